/* AudioRing as Python sees it. Nothing here gives up the GIL but opening and closing, which wait for locks of pjsua's
 * that a callback into Python may hold. */
%{
#define THIS_FILE "audio_ring.i"
#include "audio_ring.h"
using pj::AudioRing;

/* [(key, audio, played), ...] of every open ring. */
static PyObject *AudioRing_read_all_lines() {
    const std::vector<std::shared_ptr<sidetone::Line>> lines = sidetone::open_lines().all();
    std::vector<uint8_t> audio;
    PyObject *all = PyList_New(static_cast<Py_ssize_t>(lines.size()));
    for (size_t i = 0; all && i < lines.size(); ++i) {
        sidetone::Line &line = *lines[i];
        audio.resize(line.from_caller.pending());
        const size_t taken = line.from_caller.take(audio.data(), audio.size());
        PyObject *bytes = PyBytes_FromStringAndSize(reinterpret_cast<char *>(audio.data()), static_cast<Py_ssize_t>(taken));
        PyObject *row = Py_BuildValue("(iNK)", line.key, bytes, static_cast<unsigned long long>(line.played()));
        if (row)
            PyList_SET_ITEM(all, static_cast<Py_ssize_t>(i), row);
        else
            Py_CLEAR(all);
    }
    return all;
}
%}

%include <exception.i>
%include <stdint.i>

%typemap(in) (const uint8_t *audio, size_t samples) (Py_buffer view) {
    if (PyObject_GetBuffer($input, &view, PyBUF_SIMPLE) != 0) SWIG_fail;
    $1 = static_cast<uint8_t *>(view.buf);
    $2 = static_cast<size_t>(view.len);
}
%typemap(freearg) (const uint8_t *audio, size_t samples) {
    if ($1) PyBuffer_Release(&view$argnum);
}
%typemap(throws) std::invalid_argument {
    SWIG_exception(SWIG_ValueError, $1.what());
}

%nothread pj::AudioRing::read_all;
%nothread pj::AudioRing::write;
%nothread pj::AudioRing::clear;
%nothread pj::AudioRing::played;
%nothread pj::AudioRing::pending;
%nothread pj::AudioRing::ticks;
%nothread pj::AudioRing::underruns;
%nothread pj::AudioRing::overruns;
%feature("kwargs") pj::AudioRing::AudioRing;
%feature("compactdefaultargs") pj::AudioRing::AudioRing;

namespace pj {
class AudioRing : public AudioMedia {
public:
    AudioRing(int key, unsigned in_ms = 1000, unsigned out_ms = 5000) throw(pj::Error, std::invalid_argument);
    virtual ~AudioRing();
    void close();
    size_t write(const uint8_t *audio, size_t samples);
    size_t clear();
    uint64_t played() const;
    size_t pending() const;
    uint64_t ticks() const;
    uint64_t underruns() const;
    uint64_t overruns() const;
    %extend {
        static PyObject *read_all() { return AudioRing_read_all_lines(); }
    }
};
}
