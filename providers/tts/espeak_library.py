"""eSpeak NG's C library, by ctypes: text in, samples and the places of words and clauses out.

The library keeps all its state in globals, so the process has one `Library` and it does one synthesis at a time, in
whatever thread calls. Source: `speak_lib.h` of eSpeak NG 1.52.
"""

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    _Samples = ctypes._Pointer[ctypes.c_short]
    _Events = ctypes._Pointer["_Event"]

RATE_HZ = 22050
"""Of every voice that eSpeak NG synthesises itself."""

_OUTPUT_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: synthesis happens within espeak_Synth, audio goes to the callback
_BUFFER_MS = 200
_DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT: without its data files the library would end the process
_POSITION_IS_CHARACTER = 1
_UTF8_WITH_END_PAUSE = 0x0001 | 0x1000  # espeakCHARS_UTF8, espeakENDPAUSE; neither SSML nor phonemes: text is text
_PARAMETER_RATE, _PARAMETER_PITCH = 1, 3
_LIST_TERMINATED, _WORD, _END = 0, 1, 5


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """espeak_EVENT."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


class _VoiceProperties(ctypes.Structure):
    """espeak_VOICE."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("unused", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class EspeakBroken(Exception):
    """The library or its data cannot be used, or a synthesis failed."""


class VoiceUnknown(Exception):
    """Neither a voice nor a language has this name."""


@dataclass(frozen=True, slots=True)
class Voice:
    """`name` is a voice's or a language's ("en-us", "en-gb", "de"); `pitch` is 0 to 99, 50 being the voice's own."""

    name: str
    words_per_minute: int
    pitch: int


@dataclass(frozen=True, slots=True)
class SpokenClause:
    """A clause as eSpeak saw it: it ends before `text_end` in the text and before `sample_end` in the audio.

    `words` are pairs of text position and sample, by time. What a word is, is eSpeak's own idea: "10:30" is two, and
    "on the" is one. Positions count characters from the start of the text, and are rough within numbers.
    """

    text_end: int
    sample_end: int
    words: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Synthesis:
    """Samples at `RATE_HZ`, and the clauses that cover all of them. Cancelled: as far as it came."""

    samples: NDArray[np.int16]
    clauses: tuple[SpokenClause, ...]


class Library:
    """The loaded library. Use `load`: a second one would take over the first one's callback."""

    def __init__(self) -> None:
        """Raises `ImportError` without the package `espeakng-loader`, `EspeakBroken` if what it holds does not work."""
        import espeakng_loader

        try:
            self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as reason:
            raise EspeakBroken(str(reason)) from reason
        data = espeakng_loader.get_data_path().encode()
        rate = self._library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, _BUFFER_MS, data, _DONT_EXIT)
        if rate != RATE_HZ:
            raise EspeakBroken(f"espeak_Initialize answered {rate}, not {RATE_HZ} Hz, for {data.decode()}")
        self._lock = threading.Lock()
        self._voice: Voice | None = None
        self._audio: list[bytes] = []
        self._words: list[tuple[int, int]] = []
        self._clauses: list[SpokenClause] = []
        self._cancelled: Callable[[], bool] = bool
        # The library keeps only its address, so this reference is what keeps it alive.
        self._callback = _Callback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def select(self, voice: Voice) -> None:
        """Speak with `voice` from now on. Raises `VoiceUnknown`."""
        with self._lock:
            self._select(voice)

    def synthesise(self, text: str, voice: Voice, cancelled: Callable[[], bool]) -> Synthesis:
        """Speak `text`, which takes about 0.5 ms per second of speech. Stops within 200 ms of it once `cancelled()`.

        Raises `VoiceUnknown`, and `EspeakBroken` if eSpeak fails.
        """
        encoded = text.replace("\0", " ").encode("utf-8", "replace")
        with self._lock:
            self._select(voice)
            self._audio, self._words, self._clauses = [], [], []
            self._cancelled = cancelled
            failure = self._library.espeak_Synth(
                encoded, len(encoded) + 1, 0, _POSITION_IS_CHARACTER, 0, _UTF8_WITH_END_PAUSE, None, None
            )
            if failure:
                raise EspeakBroken(f"espeak_Synth answered {failure}")
            return Synthesis(np.frombuffer(b"".join(self._audio), np.int16), tuple(self._clauses))

    def _select(self, voice: Voice) -> None:
        if voice == self._voice:
            return
        self._voice = None  # nothing is said of the voice that a refusal leaves behind
        name = voice.name.encode()
        language = _VoiceProperties(languages=name)
        if self._library.espeak_SetVoiceByName(name) and self._library.espeak_SetVoiceByProperties(
            ctypes.byref(language)
        ):
            raise VoiceUnknown(voice.name)
        self._library.espeak_SetParameter(_PARAMETER_RATE, voice.words_per_minute, 0)
        self._library.espeak_SetParameter(_PARAMETER_PITCH, voice.pitch, 0)
        self._voice = voice

    def _receive(self, audio: "_Samples", count: int, events: "_Events") -> int:
        """Called by eSpeak with up to 200 ms of audio and what happens in it; 1 tells it to stop.

        ctypes would print an exception and go on as after 0, so nothing here may raise.
        """
        if audio:
            self._audio.append(ctypes.string_at(audio, count * 2))
        at = 0
        while (event := events[at]).type != _LIST_TERMINATED:
            if event.type == _WORD:
                self._words.append((event.text_position - 1, event.sample))
            elif event.type == _END:
                self._clauses.append(SpokenClause(event.text_position, event.sample, tuple(self._words)))
                self._words = []
            at += 1
        return int(self._cancelled())


_loading = threading.Lock()


def load() -> Library:
    """The process's one `Library`, loaded and initialised by whoever asks first, in a few ms. Raises as it does."""
    with _loading:
        return _load()


@cache
def _load() -> Library:
    return Library()
