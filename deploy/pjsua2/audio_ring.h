/* AudioRing: where a call's audio crosses between the conference thread and asyncio. The conference never enters Python.
 *
 *     import pjsua2
 *     ring = pjsua2.AudioRing(key, in_ms=1000, out_ms=5000)   # a pjsua2.AudioMedia: connect it with startTransmit, both ways
 *
 *     pjsua2.AudioRing.read_all() -> [(key, audio, played), ...]
 *         One call per tick for all open rings of the process. `audio` is what the caller said since the last time:
 *         mu-law, 8 kHz, a whole number of 20 ms frames (160 bytes each), b"" when there is none yet. Time never has a
 *         hole: while nothing arrives (hold, loss beyond concealment) the frames are silence. `played` as below.
 *     ring.write(audio) -> int    mu-law, 8 kHz, any buffer; the samples taken, less than given when the ring is full
 *     ring.clear() -> int         empty at once; the samples that were dropped and so will never be played
 *     ring.played() -> int        samples that the conference took so far: encoded and sent as RTP within the same tick.
 *                                 Always written - pending - cleared, exactly, for the thread that writes and clears
 *     ring.pending() -> int       samples written and neither played nor cleared
 *     ring.ticks() -> int         20 ms ticks of the conference so far: the clock by which RTP leaves
 *     ring.underruns() -> int     times that the conference ran out of audio. The end of a reply is one, too: who knows
 *                                 what is still to be written can tell a gap from an end
 *     ring.overruns() -> int      frames of the caller's that were overwritten because nobody read for `in_ms`
 *     ring.close()                leave the conference and read_all(). Idempotent; afterwards write() takes nothing and
 *                                 clear() drops what is left. Deleting the object does the same
 *
 * Threads: all of it from one Python thread (the event loop's). An error of pjsua2's own raises pjsua2.Error, a wrong
 * type TypeError, a length of less than two frames ValueError. Open a ring after libStart; close it before libDestroy.
 *
 * The conference runs both callbacks on its own thread, without the GIL and without a lock (sample_ring.h says why that
 * is exact). What they touch belongs to the port's group lock and is freed when the conference has let go of the port,
 * which happens some time after close(): removal from a conference is asynchronous.
 */
#ifndef SIDETONE_AUDIO_RING_H
#define SIDETONE_AUDIO_RING_H

#include <memory>
#include <mutex>
#include <stdexcept>

#include <pjmedia.h>
#include <pjmedia/alaw_ulaw.h>
#include <pjsua-lib/pjsua.h>

#include "sample_ring.h"

namespace sidetone {

const unsigned RATE_HZ = 8000;
const unsigned FRAME_SAMPLES = 160;
const uint8_t SILENCE = 0xff; /* mu-law for 0 */

/* The two directions of one call and what is counted on the way. */
struct Line {
    Line(int key_, unsigned in_ms, unsigned out_ms)
        : key(key_), from_caller(samples_of(in_ms)), to_caller(samples_of(out_ms)), ticks(0), underruns(0), overruns(0),
          playing(false), cleared(0) {}

    static size_t samples_of(unsigned ms) {
        const size_t frames = ms * (RATE_HZ / 1000) / FRAME_SAMPLES;
        if (frames < 2)
            throw std::invalid_argument("a ring holds at least two frames of 20 ms");
        return frames * FRAME_SAMPLES;
    }

    uint64_t played() const { return to_caller.taken() - cleared; }

    const int key;
    SampleRing from_caller;
    SampleRing to_caller;
    std::atomic<uint64_t> ticks;
    std::atomic<uint64_t> underruns;
    std::atomic<uint64_t> overruns;
    bool playing;     /* the conference thread's own */
    uint64_t cleared; /* the Python thread's own */
};

/* Every open line of the process, in the order of opening. */
class OpenLines {
public:
    void add(const std::shared_ptr<Line> &line) {
        std::lock_guard<std::mutex> guard(mutex_);
        lines_.push_back(line);
    }
    void remove(const std::shared_ptr<Line> &line) {
        std::lock_guard<std::mutex> guard(mutex_);
        lines_.erase(std::remove(lines_.begin(), lines_.end(), line), lines_.end());
    }
    /* A copy: who reads may make Python collect garbage, and garbage may be a ring that closes. */
    std::vector<std::shared_ptr<Line>> all() const {
        std::lock_guard<std::mutex> guard(mutex_);
        return lines_;
    }

private:
    mutable std::mutex mutex_;
    std::vector<std::shared_ptr<Line>> lines_;
};

inline OpenLines &open_lines() {
    static OpenLines lines;
    return lines;
}

/* What the conference holds: its port, the memory that the port lives in, and a share of the line. */
struct Port {
    Port(const std::shared_ptr<Line> &line_) : line(line_), pool(pjsua_pool_create("ring", 512, 512)), port() {
        pj_str_t name = pj_str(const_cast<char *>("ring"));
        pjmedia_port_info_init(&port.info, &name, PJMEDIA_SIG_CLASS_APP('R', 'N', 'G'), RATE_HZ, 1, 16, FRAME_SAMPLES);
        port.port_data.pdata = this;
        port.put_frame = &put_frame;
        port.get_frame = &get_frame;
        port.on_destroy = &on_destroy;
    }

    static Line &line_of(pjmedia_port *port) { return *static_cast<Port *>(port->port_data.pdata)->line; }

    /* The caller's audio, once per tick. An unconnected port is given frames without audio: time passes all the same. */
    static pj_status_t put_frame(pjmedia_port *port, pjmedia_frame *frame) {
        Line &line = line_of(port);
        uint8_t samples[FRAME_SAMPLES];
        if (frame->type == PJMEDIA_FRAME_TYPE_AUDIO && frame->size == 2 * FRAME_SAMPLES)
            pjmedia_ulaw_encode(samples, static_cast<const pj_int16_t *>(frame->buf), FRAME_SAMPLES);
        else
            std::memset(samples, SILENCE, FRAME_SAMPLES);
        if (line.from_caller.append_over_oldest(samples, FRAME_SAMPLES))
            line.overruns.fetch_add(1, std::memory_order_relaxed);
        line.ticks.fetch_add(1, std::memory_order_relaxed);
        return PJ_SUCCESS;
    }

    /* Audio for the caller, once per tick while the port is connected. The end of a reply is filled up with silence. */
    static pj_status_t get_frame(pjmedia_port *port, pjmedia_frame *frame) {
        Line &line = line_of(port);
        uint8_t samples[FRAME_SAMPLES];
        const size_t taken = line.to_caller.take(samples, FRAME_SAMPLES);
        if (taken < FRAME_SAMPLES && line.playing)
            line.underruns.fetch_add(1, std::memory_order_relaxed);
        line.playing = taken == FRAME_SAMPLES;
        if (taken == 0) {
            frame->type = PJMEDIA_FRAME_TYPE_NONE;
            frame->size = 0;
            return PJ_SUCCESS;
        }
        std::memset(samples + taken, SILENCE, FRAME_SAMPLES - taken);
        pjmedia_ulaw_decode(static_cast<pj_int16_t *>(frame->buf), samples, FRAME_SAMPLES);
        frame->type = PJMEDIA_FRAME_TYPE_AUDIO;
        frame->size = 2 * FRAME_SAMPLES;
        return PJ_SUCCESS;
    }

    static pj_status_t on_destroy(pjmedia_port *port) {
        Port *self = static_cast<Port *>(port->port_data.pdata);
        pj_pool_t *pool = self->pool;
        delete self;
        pj_pool_release(pool);
        return PJ_SUCCESS;
    }

    std::shared_ptr<Line> line;
    pj_pool_t *pool;
    pjmedia_port port;
};

} /* namespace sidetone */

namespace pj {

class AudioRing : public AudioMedia {
public:
    AudioRing(int key, unsigned in_ms, unsigned out_ms)
        : line_(std::make_shared<sidetone::Line>(key, in_ms, out_ms)), port_(NULL) {
        if (pjsua_get_state() != PJSUA_STATE_RUNNING)
            PJSUA2_RAISE_ERROR2(PJ_EINVALIDOP, "AudioRing before libStart");
        port_ = new sidetone::Port(line_);
        pj_status_t status = pjmedia_port_init_grp_lock(&port_->port, port_->pool, NULL);
        if (status != PJ_SUCCESS) {
            sidetone::Port::on_destroy(&port_->port);
            PJSUA2_RAISE_ERROR2(status, "AudioRing");
        }
        try {
            registerMediaPort2(&port_->port, port_->pool);
        } catch (...) {
            pjmedia_port_destroy(&port_->port);
            throw;
        }
        sidetone::open_lines().add(line_);
    }

    virtual ~AudioRing() { close(); }

    void close() {
        if (!port_)
            return;
        sidetone::open_lines().remove(line_);
        sidetone::Port *port = port_;
        port_ = NULL;
        if (pjsua_get_state() == PJSUA_STATE_NULL)
            return; /* the library took port and pool with it */
        PJSUA2_CATCH_IGNORE(unregisterMediaPort());
        pjmedia_port_destroy(&port->port);
    }

    size_t write(const uint8_t *audio, size_t samples) { return port_ ? line_->to_caller.append(audio, samples) : 0; }

    size_t clear() {
        const size_t dropped = line_->to_caller.drop();
        line_->cleared += dropped;
        return dropped;
    }

    uint64_t played() const { return line_->played(); }
    size_t pending() const { return line_->to_caller.pending(); }
    uint64_t ticks() const { return line_->ticks.load(std::memory_order_relaxed); }
    uint64_t underruns() const { return line_->underruns.load(std::memory_order_relaxed); }
    uint64_t overruns() const { return line_->overruns.load(std::memory_order_relaxed); }

private:
    AudioRing(const AudioRing &);
    AudioRing &operator=(const AudioRing &);

    std::shared_ptr<sidetone::Line> line_;
    sidetone::Port *port_; /* NULL once closed */
};

} /* namespace pj */

#endif
