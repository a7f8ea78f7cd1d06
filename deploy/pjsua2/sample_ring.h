/* SampleRing: mu-law samples between one writer and one reader, without a lock.
 *
 * Positions count samples from the start and only grow; `taken <= written <= taken + capacity`. Whoever takes samples
 * copies them first and then moves `taken` by compare-and-swap: if somebody else moved it in between (the writer, who may
 * drop what is oldest or all there is), the copy may be torn and is discarded. Every sample is therefore either taken
 * once or dropped once, and nobody ever waits.
 *
 * Two positions are never read at once: by the time that a reader knows `written`, a writer who drops what is oldest may
 * have moved on any way from the `taken` that it read before. So the difference is never believed beyond the capacity.
 */
#ifndef SIDETONE_SAMPLE_RING_H
#define SIDETONE_SAMPLE_RING_H

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace sidetone {

class SampleRing {
public:
    explicit SampleRing(size_t capacity) : samples_(capacity), written_(0), taken_(0) {}

    uint64_t written() const { return written_.load(std::memory_order_acquire); }
    uint64_t taken() const { return taken_.load(std::memory_order_acquire); }

    size_t pending() const {
        const uint64_t taken = this->taken();  /* first: `written` may only be newer */
        return static_cast<size_t>(std::min<uint64_t>(written() - taken, samples_.size()));
    }

    /* The writer appends as many samples as there is room for; returns how many. */
    size_t append(const uint8_t *from, size_t count) {
        const size_t fitting = std::min(count, samples_.size() - pending());
        store(from, fitting);
        return fitting;
    }

    /* The writer appends all of it, `count <= capacity`, over the oldest samples if it must; returns whether it did. */
    bool append_over_oldest(const uint8_t *from, size_t count) {
        const uint64_t end = written() + count;
        uint64_t taken = this->taken();
        bool overran = false;
        while (end - taken > samples_.size())
            overran |= taken_.compare_exchange_strong(taken, end - samples_.size(), std::memory_order_acq_rel);
        store(from, count);
        return overran;
    }

    /* The writer drops everything that was not taken; returns how many samples that were. */
    size_t drop() {
        const uint64_t end = written();
        return static_cast<size_t>(end - taken_.exchange(end, std::memory_order_acq_rel));
    }

    /* The reader takes up to `count` samples; returns how many. */
    size_t take(uint8_t *to, size_t count) {
        uint64_t from = taken();
        for (;;) {
            const size_t taking = std::min({count, static_cast<size_t>(written() - from), samples_.size()});
            const size_t start = static_cast<size_t>(from % samples_.size());
            const size_t straight = std::min(taking, samples_.size() - start);
            std::memcpy(to, samples_.data() + start, straight);
            std::memcpy(to + straight, samples_.data(), taking - straight);
            if (taken_.compare_exchange_strong(from, from + taking, std::memory_order_acq_rel))
                return taking;
        }
    }

private:
    void store(const uint8_t *from, size_t count) {
        const uint64_t end = written_.load(std::memory_order_relaxed);
        const size_t start = static_cast<size_t>(end % samples_.size());
        const size_t straight = std::min(count, samples_.size() - start);
        std::memcpy(samples_.data() + start, from, straight);
        std::memcpy(samples_.data(), from + straight, count - straight);
        written_.store(end + count, std::memory_order_release);
    }

    std::vector<uint8_t> samples_;
    std::atomic<uint64_t> written_;
    std::atomic<uint64_t> taken_;
};

}  /* namespace sidetone */

#endif
