"""One call in a worker: what is reported, and when."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.stt.pocketsphinx.call import Call, Heard
from providers.stt.pocketsphinx.wire import Final, Lost, Partial, Report
from telephony.audio import FRAME_BYTES, MULAW_SILENCE

SILENCE = bytes([MULAW_SILENCE]) * FRAME_BYTES
LOUD = b"\x00\x80" * (FRAME_BYTES // 2)


@dataclass
class Words:
    """A recogniser that hears one more word every ten frames."""

    vocabulary: str = "i would like to book"
    utterances: list["Spoken"] = field(default_factory=list)

    def listen(self) -> "Spoken":
        self.utterances.append(Spoken(self.vocabulary.split()))
        return self.utterances[-1]


@dataclass
class Spoken:
    words: list[str]
    frames: list[bytes] = field(default_factory=list)
    finished: bool = False

    def hear(self, frame: bytes) -> Heard | None:
        assert not self.finished
        self.frames.append(frame)
        return None if len(self.frames) % 10 else Heard(self._text())

    def finish(self) -> Heard:
        self.finished = True
        return Heard(self._text(), 0.9 if self._text() else 0.2)

    def _text(self) -> str:
        return " ".join(self.words[: len(self.frames) // 10])


def drained(call: Call) -> list[Report]:
    reports = []
    while call.busy:
        reports += call.work(frames=3)
    return reports


def heard(words: Words, frames: list[bytes]) -> list[Report]:
    call = Call(7, words.listen)
    reports = []
    for frame in frames:
        call.audio(frame)
        reports += drained(call)
    return reports


def test_partials_come_while_the_caller_speaks_and_the_final_when_it_is_asked_for() -> None:
    words = Words()
    call = Call(7, words.listen)
    call.audio(SILENCE * 50 + LOUD * 20)
    assert drained(call) == [
        Partial(7, "i", False, False),
        Partial(7, "i would", False, False),
        Partial(7, "i would like", False, False),
    ]
    call.finalize()
    assert drained(call) == [Final(7, "i would like", 0.9, True)]
    assert [spoken.finished for spoken in words.utterances] == [True]


def test_silence_costs_no_decoding_and_is_finalized_at_once() -> None:
    words = Words()
    call = Call(7, words.listen)
    call.audio(SILENCE * 500)
    assert not call.busy
    call.finalize()
    assert drained(call) == [Final(7, "", None, True)]
    assert words.utterances == []


def test_a_sound_that_is_not_understood_is_an_empty_final_with_its_confidence() -> None:
    call = Call(7, Words("").listen)
    call.audio(SILENCE * 50 + LOUD * 20)
    call.finalize()
    assert drained(call) == [Final(7, "", 0.2, True)]


def test_words_that_nobody_finalizes_are_final_after_a_long_pause() -> None:
    reports = heard(Words(), [SILENCE] * 50 + [LOUD] * 20 + [SILENCE] * 200)
    assert reports[-1] == Final(7, "i would like to book", 0.9, False)


def test_a_cough_that_nobody_finalizes_is_forgotten() -> None:
    words = Words("")
    assert heard(words, [SILENCE] * 50 + [LOUD] * 20 + [SILENCE] * 200) == []
    assert words.utterances[0].finished


def test_a_short_pause_does_not_cut_a_sentence() -> None:
    words = Words()
    heard(words, [SILENCE] * 50 + [LOUD] * 20 + [SILENCE] * 90 + [LOUD] * 20 + [SILENCE] * 50)
    assert len(words.utterances) == 1


def test_an_endless_utterance_is_ended() -> None:
    words = Words("blah " * 100)
    reports = heard(words, ([LOUD] * 20 + [SILENCE] * 5) * 64)
    assert [isinstance(report, Final) for report in reports].count(True) == 2
    assert words.utterances[0].finished
    assert len(words.utterances[0].frames) == 750


def test_speech_beyond_the_backlog_is_dropped_oldest_first_and_reported() -> None:
    words = Words()
    call = Call(7, words.listen)
    call.audio((LOUD * 20 + SILENCE * 5) * 10)
    call.finalize()
    first, *rest = drained(call)
    assert first == Lost(7, 50 * 20)
    assert rest[-1] == Final(7, "i would like to book", 0.9, True)
    assert len(words.utterances[0].frames) == 200  # 4 s


def test_a_finalize_is_never_dropped() -> None:
    call = Call(7, Words().listen)
    call.audio(LOUD * 20)
    call.finalize()
    call.audio(LOUD * 400)
    assert [report for report in drained(call) if isinstance(report, Final) and report.finalized]


@pytest.mark.parametrize("frames", [1, 3, 10])
def test_work_is_bounded_so_that_calls_take_turns(frames: int) -> None:
    words = Words()
    call = Call(7, words.listen)
    call.audio(LOUD * 50)
    call.work(frames)
    assert len(words.utterances[0].frames) == frames


def test_closing_ends_an_utterance_that_was_begun() -> None:
    words = Words()
    call = Call(7, words.listen)
    call.audio(LOUD * 50)
    call.work(5)
    call.close()
    assert words.utterances[0].finished


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60))
def test_frames_are_the_same_however_the_audio_is_cut(sizes: list[int]) -> None:
    line = (SILENCE * 10 + bytes(range(100, 110)) * 16 * 30)[: sum(sizes)]
    cut, whole = Words(), Words()
    call, other = Call(7, cut.listen), Call(7, whole.listen)
    at = 0
    for size in sizes:
        call.audio(line[at : at + size])
        at += size
    other.audio(line)
    assert drained(call) == drained(other)
    assert [spoken.frames for spoken in cut.utterances] == [spoken.frames for spoken in whole.utterances]
