"""Decodes speech with PocketSphinx, in a process of its own: its decoder holds the interpreter while it works.

Two decoders hear every utterance: one knows the dialogue's grammar, which always finds *something*, the other a small
language model of the same sentences. What they agree on was probably said; anything else is rejected rather than
guessed. Utterances are cut by energy here, with some sound from before, so that a silent caller costs nothing.

Run as ``python -m providers.stt.pocketsphinx_worker``; reads `ToWorker` from standard input, writes `FromWorker` to
standard output, and ends with its input.
"""

import sys
import tempfile
from collections import deque
from contextlib import redirect_stdout
from difflib import SequenceMatcher
from io import StringIO
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from pocketsphinx import Decoder, get_model_path
from pocketsphinx.lm import ArpaBoLM

from providers.stt.pocketsphinx_messages import (
    LENGTH_BYTES,
    Audio,
    Close,
    Final,
    Finalize,
    FromWorker,
    Open,
    Partial,
    Ready,
    SetUp,
    ToWorker,
    encode,
    length,
)

_PRE_ROLL_FRAMES = 20
_CATCH_UP_FRAMES = 4
"""Frames fed at once while catching up with the pre-roll: all at once would stall the other calls."""
_BACKLOG_FRAMES = 200
_PARTIAL_EVERY_FRAMES = 6
_GIVE_UP_FRAMES = 200
"""An utterance with so much silence after it, and nobody who asks for it, was none."""
_AGREEMENT = 0.65
"""Share of sounds that both readings must have in common. Sounds, for the language model may take "wednesday" for "when
day". Measured on telephone recordings of one human and one synthetic voice: accepts 30 of 34 utterances of the demo
dialogue and 4 of 90 prompts that have nothing to do with it."""
_GATE_DB = 9.0
_QUIETEST_DBFS = -56.0
_FLOOR_FRAMES = 150
_TELEPHONE_CEPSTRAL_MEAN = "52.06,7.46,9.37,5.95,5.96,-5.0,-0.8,-2.71,0.41,-0.51,-7.2,-1.54,-0.51"
"""Where the live mean starts: measured on telephone speech up-sampled by repetition, as here."""


def _mulaw_table() -> Any:
    """µ-law code to 16-bit sample (ITU-T G.711)."""
    codes = ~np.arange(256) & 0xFF
    magnitude = ((((codes & 0x0F) << 3) + 0x84) << ((codes >> 4) & 0x07)) - 0x84
    return np.where(codes & 0x80, -magnitude, magnitude).astype(np.int16)


_MULAW = _mulaw_table()


class Pronunciations:
    """The first pronunciation of each word of the dialogue."""

    def __init__(self) -> None:
        self._sounds: dict[str, list[str]] = {}

    def learn(self, word: str, sounds: list[str]) -> None:
        self._sounds.setdefault(word, sounds)

    def of(self, word: str) -> list[str]:
        """Sounds of a word; of one that was decoded as its second pronunciation ("the(2)") too."""
        return self._sounds.get(word.split("(", 1)[0], [word])


class Models:
    """The dialogue's dictionary, grammar and language model, as files that decoders load."""

    def __init__(self, set_up: SetUp, folder: Path) -> None:
        self._jsgf = set_up.jsgf
        self._language_model = folder / "dialogue.arpa"
        self._dictionary = folder / "dialogue.dict"
        self.pronunciations = Pronunciations()
        self.words = self._write_dictionary(set_up)
        model = ArpaBoLM(text="\n".join(f"<s> {sentence} </s>" for sentence in set_up.sentences))
        model.compute()
        with redirect_stdout(StringIO()):
            model.write_file(str(self._language_model))

    def _write_dictionary(self, set_up: SetUp) -> int:
        """Only the dialogue's words: a decoder with the full dictionary takes five times the memory."""
        wanted = {word for sentence in set_up.sentences for word in sentence.split()}
        found = set()
        with (
            open(f"{get_model_path()}/en-us/cmudict-en-us.dict", encoding="utf-8") as full,
            self._dictionary.open("w", encoding="utf-8") as small,
        ):
            for line in full:
                entry, *sounds = line.split()
                word = entry.split("(", 1)[0]
                if word in wanted:
                    found.add(word)
                    small.write(line)
                    self.pronunciations.learn(word, sounds)
        unknown = wanted - found
        if unknown:
            raise ValueError(f"no pronunciation for {', '.join(sorted(unknown))}: use other words in the dialogue")
        return len(found)

    def grammar_decoder(self) -> Decoder:
        decoder = Decoder(**self._common(), lm=None, bestpath=False)
        decoder.add_jsgf_string("turn", self._jsgf)
        decoder.activate_search("turn")
        decoder.set_cmn(_TELEPHONE_CEPSTRAL_MEAN)
        return decoder

    def language_decoder(self) -> Decoder:
        decoder = Decoder(**self._common(), lm=str(self._language_model), fwdflat=False)
        decoder.set_cmn(_TELEPHONE_CEPSTRAL_MEAN)
        return decoder

    def _common(self) -> dict[str, Any]:
        return {
            "hmm": f"{get_model_path()}/en-us/en-us",
            "dict": str(self._dictionary),
            "loglevel": "FATAL",
        }


class Decoders:
    """A pair of decoders, which one call uses at a time."""

    def __init__(self, models: Models) -> None:
        self._grammar = models.grammar_decoder()
        self._language = models.language_decoder()
        self._fsg = self._grammar.get_fsg("turn")
        self._pronunciations = models.pronunciations

    def start(self) -> None:
        """An utterance begins. What was heard before it must not shift its spectrum: calls are short and uneven."""
        self._grammar.set_cmn(_TELEPHONE_CEPSTRAL_MEAN)
        self._language.set_cmn(_TELEPHONE_CEPSTRAL_MEAN)
        self._grammar.start_utt()
        self._language.start_utt()

    def hear(self, samples: Any) -> None:
        """Decode 8 kHz samples. Each is doubled: the mirror image above 4 kHz suits the 16 kHz model better than the
        silence that clean resampling leaves there (measured)."""
        sound = np.repeat(samples, 2).tobytes()
        self._grammar.process_raw(sound, False, False)
        self._language.process_raw(sound, False, False)

    def end(self) -> None:
        self._grammar.end_utt()
        self._language.end_utt()

    def reading(self) -> tuple[str, float]:
        """What was said as the grammar has it, and how far (0..1) the language model agrees."""
        by_grammar, by_language = _words(self._grammar), _words(self._language)
        if not by_grammar or not by_language:
            return "", 0.0
        one, other = self._sounds(by_grammar), self._sounds(by_language)
        matcher = SequenceMatcher(None, one, other, autojunk=False)
        same = sum(block.size for block in matcher.get_matching_blocks())
        return " ".join(by_grammar), same / max(len(one), len(other))

    def _sounds(self, words: list[str]) -> list[str]:
        return [sound for word in words for sound in self._pronunciations.of(word)]

    def complete(self, text: str) -> bool:
        """The words are a whole turn of the grammar."""
        return bool(self._fsg.accept(text))


def _words(decoder: Decoder) -> list[str]:
    hypothesis = decoder.hyp()
    return hypothesis.hypstr.split() if hypothesis else []


class Listener:
    """One call: cuts its sound into utterances and has them decoded."""

    def __init__(self, call: int, decoders: Decoders) -> None:
        self._call = call
        self.decoders = decoders
        self._before: deque[bytes] = deque(maxlen=_PRE_ROLL_FRAMES)
        self._backlog: deque[bytes] = deque(maxlen=_BACKLOG_FRAMES)
        self._levels: deque[float] = deque(maxlen=_FLOOR_FRAMES)
        self._loud = 0
        self._quiet = 0
        self._heard = 0
        self._active = False
        self._told = Partial(call, "", stable=False, complete=False)
        self._last_reading = ""

    def audio(self, payload: bytes) -> Partial | None:
        """Take a frame; a partial if there is a new one."""
        loud = self._is_loud(payload)
        if not self._active:
            self._before.append(payload)
            self._loud = self._loud + 1 if loud else 0
            if self._loud >= 2:
                self._start()
            return None
        self._backlog.append(payload)
        self._quiet = 0 if loud else self._quiet + 1
        for _ in range(min(len(self._backlog), _CATCH_UP_FRAMES)):
            self._hear(self._backlog.popleft())
        if self._quiet > _GIVE_UP_FRAMES:
            self._end()
            return None
        self._heard += 1
        return self._partial() if self._heard % _PARTIAL_EVERY_FRAMES == 0 else None

    def finalize(self) -> Final:
        """The utterance is over."""
        if not self._active:
            return Final(self._call, "", 0.0)
        while self._backlog:
            self._hear(self._backlog.popleft())
        self._end()
        text, agreement = self.decoders.reading()
        return Final(self._call, text if agreement >= _AGREEMENT else "", agreement)

    def close(self) -> None:
        if self._active:
            self._end()

    def _start(self) -> None:
        self._active = True
        self._quiet = self._heard = 0
        self._told = Partial(self._call, "", stable=False, complete=False)
        self._last_reading = ""
        self._backlog.extend(self._before)
        self._before.clear()
        self.decoders.start()

    def _end(self) -> None:
        self._active = False
        self._loud = 0
        self._backlog.clear()
        self.decoders.end()

    def _hear(self, payload: bytes) -> None:
        self.decoders.hear(_MULAW[np.frombuffer(payload, np.uint8)])

    def _partial(self) -> Partial | None:
        text, agreement = self.decoders.reading()
        agreed = agreement >= _AGREEMENT
        repeated, self._last_reading = text == self._last_reading, text
        partial = Partial(
            self._call,
            text if agreed else "",
            stable=agreed and repeated,
            complete=agreed and repeated and self.decoders.complete(text),
        )
        if partial == self._told:
            return None
        self._told = partial
        return partial

    def _is_loud(self, payload: bytes) -> bool:
        samples = _MULAW[np.frombuffer(payload, np.uint8)].astype(np.float32)
        power = float(np.dot(samples, samples)) / max(1, len(samples)) / 32768.0**2
        level = 10 * np.log10(power + 1e-12)
        self._levels.append(level)
        return bool(level > max(_QUIETEST_DBFS, min(self._levels) + _GATE_DB))


class Worker:
    """All calls of this process."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._listeners: dict[int, Listener] = {}
        self._idle = [Decoders(models)]

    def take(self, message: ToWorker) -> FromWorker | None:
        """Do what a message asks for; the answer, if there is one."""
        match message:
            case Audio(call, payload):
                listener = self._listeners.get(call)
                return listener.audio(payload) if listener and payload else None
            case Finalize(call):
                listener = self._listeners.get(call)
                return listener.finalize() if listener else Final(call, "", 0.0)
            case Open(call):
                decoders = self._idle.pop() if self._idle else Decoders(self._models)
                self._listeners[call] = Listener(call, decoders)
            case Close(call):
                closed = self._listeners.pop(call, None)
                if closed:
                    closed.close()
                    self._idle.append(closed.decoders)
            case SetUp():
                raise ValueError("set up twice")
        return None


def _read(stream: BinaryIO, decoder: "msgspec.msgpack.Decoder[ToWorker]") -> ToWorker | None:
    prefix = stream.read(LENGTH_BYTES)
    if len(prefix) < LENGTH_BYTES:
        return None
    return decoder.decode(stream.read(length(prefix)))


def main() -> None:
    """Serve until the input ends."""
    decoder = msgspec.msgpack.Decoder(ToWorker)
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    set_up = _read(stdin, decoder)
    if not isinstance(set_up, SetUp):
        return
    with tempfile.TemporaryDirectory(prefix="sidetone-") as folder:
        models = Models(set_up, Path(folder))
        worker = Worker(models)
        stdout.write(encode(Ready(models.words)))
        stdout.flush()
        while (message := _read(stdin, decoder)) is not None:
            answer = worker.take(message)
            if answer is not None:
                stdout.write(encode(answer))
                stdout.flush()


if __name__ == "__main__":
    main()
