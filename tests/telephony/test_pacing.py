"""The pacer sends every sample once, in time, and never far ahead of what the caller hears."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.audio import FRAME_BYTES, TELEPHONE, AudioFormat, Encoding
from telephony.carrier import CarrierCommand, PlaceMark, PlayAudio
from telephony.pacing import Pacer
from telephony.playout import PlacedWord, PlayoutLedger

LEAD_MS = 200


def make(audio: AudioFormat = TELEPHONE, *, marks: bool = True, capacity_ms: int = 8_000) -> Pacer:
    pacer = Pacer(audio, PlayoutLedger(audio.rate_hz, marks=marks), lead_ms=LEAD_MS, capacity_ms=capacity_ms)
    pacer.begin(0.0)
    return pacer


def sound(length: int, start: int = 0) -> bytes:
    """Bytes that tell their position."""
    return bytes((start + n) % 251 for n in range(length))


def played(commands: tuple[CarrierCommand, ...]) -> bytes:
    return b"".join(command.payload for command in commands if isinstance(command, PlayAudio))


@dataclass
class FarEnd:
    """Plays what it is sent in real time, a millisecond (8 samples) at a time, and can be cleared."""

    buffer: bytearray = field(default_factory=bytearray)
    ear: bytearray = field(default_factory=bytearray)
    marks: list[tuple[int, str]] = field(default_factory=list)  # still to be played: bytes before it, name
    longest_buffer: int = 0
    gaps_ms: int = 0

    def take(self, commands: tuple[CarrierCommand, ...]) -> None:
        for command in commands:
            match command:
                case PlayAudio(payload):
                    self.buffer += payload
                case PlaceMark(name):
                    self.marks.append((len(self.buffer), name))
        self.longest_buffer = max(self.longest_buffer, len(self.buffer))

    def play(self, ms: int) -> list[str]:
        """Time passes; marks that were reached."""
        length = min(8 * ms, len(self.buffer))
        self.gaps_ms += ms - length // 8 if self.ear else 0
        self.ear += self.buffer[:length]
        del self.buffer[:length]
        reached = [name for before, name in self.marks if before <= length]
        self.marks = [(before - length, name) for before, name in self.marks if before > length]
        return reached

    def clear(self) -> None:
        self.buffer.clear()
        self.marks.clear()


@given(chunks=st.lists(st.integers(1, 3000), min_size=1, max_size=12), waits=st.lists(st.integers(1, 120), min_size=1))
def test_every_sample_is_sent_once_and_the_far_end_never_holds_more_than_the_lead(
    chunks: list[int], waits: list[int]
) -> None:
    pacer, far = make(), FarEnd()
    whole = b""
    for length in chunks:
        pacer.queue(sound(length, len(whole)))
        whole += sound(length, len(whole))
    pacer.finish()
    ms = turn = 0
    while pacer.unsent_samples or far.buffer:
        far.take(pacer.due(ms / 1000))
        wait = waits[turn % len(waits)]
        far.play(wait)
        ms, turn = ms + wait, turn + 1
    assert far.longest_buffer <= LEAD_MS * 8
    assert far.ear[: len(whole)] == whole
    assert far.ear[len(whole) :] == b"\xff" * (-len(whole) % FRAME_BYTES)
    assert pacer.due(ms / 1000 + 10) == ()


def test_the_lead_is_filled_at_once_and_then_kept() -> None:
    pacer = make()
    pacer.queue(sound(16_000))
    assert len(played(pacer.due(0.0))) == LEAD_MS * 8
    assert pacer.due(0.0) == ()
    assert pacer.next_due(0.0) == pytest.approx(0.06)
    assert len(played(pacer.due(0.04))) == 2 * FRAME_BYTES


def test_an_hour_of_sound_takes_an_hour_without_gap_or_drift() -> None:
    pacer = make()
    block = sound(FRAME_BYTES * 50)
    now, seconds_queued, sent = 5000.0, 0, 0
    while True:
        while seconds_queued < 3600 and pacer.has_room():
            pacer.queue(block)
            seconds_queued += 1
        for command in pacer.due(now):
            match command:
                case PlayAudio(payload):
                    sent += len(payload)
                case PlaceMark(name):
                    pacer.ledger.mark_reached(name, now)
        due = pacer.next_due(now)
        if due is None:
            break
        now = due
    assert sent == 3600 * 8000
    assert pacer.ledger.underrun_s == 0.0
    assert now - 5000.0 == pytest.approx(3600 - LEAD_MS / 1000, abs=0.041)


def test_a_writer_that_overslept_catches_up_and_the_lead_hides_it() -> None:
    pacer, far = make(), FarEnd()
    pacer.queue(sound(16_000))
    far.take(pacer.due(0.0))
    far.play(150)
    far.take(pacer.due(0.15))
    far.play(50)
    assert far.gaps_ms == 0
    assert len(far.buffer) == 150 * 8 // FRAME_BYTES * FRAME_BYTES + 50 * 8 - 50 * 8


def test_only_whole_frames_leave_until_the_reply_is_finished() -> None:
    pacer = make()
    pacer.queue(sound(FRAME_BYTES + 7))
    assert played(pacer.due(0.0)) == sound(FRAME_BYTES)
    assert pacer.next_due(0.0) is None
    pacer.finish()
    assert played(pacer.due(0.0)) == sound(7, FRAME_BYTES) + b"\xff" * (FRAME_BYTES - 7)
    assert pacer.finished


def test_linear_sound_is_filled_up_with_linear_silence() -> None:
    wideband = AudioFormat(Encoding.PCM16, 16000)
    pacer = make(wideband)
    pacer.queue(b"\x01\x02" * 10)
    pacer.finish()
    assert played(pacer.due(0.0)) == b"\x01\x02" * 10 + b"\0" * (wideband.frame_bytes - 20)


def test_finishing_twice_adds_nothing() -> None:
    pacer = make()
    pacer.queue(sound(7))
    pacer.finish()
    pacer.finish()
    assert pacer.unsent_samples == FRAME_BYTES


def test_a_mark_follows_each_chunk_and_every_200_ms_of_a_long_one() -> None:
    pacer, far = make(), FarEnd()
    pacer.queue(sound(8_000))
    pacer.queue(sound(1_600))
    pacer.finish()
    marked = []
    for ms in range(0, 1300, 20):
        commands = pacer.due(ms / 1000)
        far.take(commands)
        marked += [pacer.ledger.sent for command in commands if isinstance(command, PlaceMark)]
        far.play(20)
    assert marked[-1] == pacer.ledger.queued
    assert any(8_000 <= position < 8_000 + 2 * FRAME_BYTES for position in marked)
    assert all(b - a <= 1_600 + 2 * FRAME_BYTES for a, b in zip([0, *marked], marked, strict=False))


def test_a_full_queue_says_so_and_calls_when_it_has_room_again() -> None:
    calls = []
    ledger = PlayoutLedger(8000)
    pacer = Pacer(TELEPHONE, ledger, lead_ms=LEAD_MS, capacity_ms=400, on_room=lambda: calls.append(ledger.sent))
    pacer.begin(0.0)
    pacer.queue(sound(3_000))
    assert pacer.has_room()
    pacer.queue(sound(3_000))
    assert not pacer.has_room()
    pacer.due(0.0)
    assert not pacer.has_room() and not calls
    pacer.due(0.2)
    assert pacer.has_room() and calls == [3_200]
    pacer.due(0.4)
    assert len(calls) == 1


def test_nothing_leaves_while_held_and_nothing_is_lost_by_it() -> None:
    pacer = make()
    pacer.queue(sound(16_000))
    pacer.due(0.0)
    first = pacer.hold(0.1)
    assert pacer.held
    assert pacer.hold(0.15) is first
    assert pacer.due(1.0) == ()
    assert pacer.next_due(1.0) is None
    pacer.queue(sound(100, 16_000))
    pacer.resume()
    assert played(pacer.due(2.0)) == sound(LEAD_MS * 8, first.resume_at)


def test_a_reply_begun_while_held_waits_for_the_resume() -> None:
    pacer = make()
    pacer.begin(0.0, held=True)
    pacer.queue(sound(1_600))
    assert pacer.due(0.5) == ()
    pacer.resume()
    assert played(pacer.due(1.0)) == sound(1_600)


def test_resuming_what_is_not_held_changes_nothing() -> None:
    pacer = make()
    pacer.queue(sound(1_600))
    pacer.due(0.0)
    pacer.resume()
    assert pacer.due(0.1) == ()
    assert pacer.ledger.sent == 1_600


def test_a_flush_drops_what_was_not_sent_and_tells_how_much() -> None:
    pacer = make()
    pacer.queue(sound(16_000))
    pacer.due(0.0)
    assert pacer.flush() == 16_000 - LEAD_MS * 8
    assert pacer.due(5.0) == ()
    assert pacer.unsent_samples == 0


@settings(deadline=None)
@given(
    word_ms=st.lists(st.integers(40, 900), min_size=3, max_size=12),
    holds=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 40)), max_size=6),
)
def test_holds_and_resumes_lose_nothing_and_repeat_at_most_one_word(
    word_ms: list[int], holds: list[tuple[int, int]]
) -> None:
    """`holds`: after so many steps of 5 ms the sound is held, for so many steps."""
    pacer, far = make(), FarEnd()
    words, position = [], 0
    for number, ms in enumerate(word_ms):
        words.append(PlacedWord(f"w{number}", position, position + ms * 8))
        position += ms * 8
    whole = sound(position)
    pacer.queue(whole, tuple(words))
    pacer.finish()
    step = expected = 0  # `expected`: the position in the reply that sounds next

    def pass_time() -> None:
        nonlocal step, expected
        for name in far.play(5):
            pacer.ledger.mark_reached(name, (step + 1) / 200)
        step += 1
        fresh = bytes(far.ear)
        far.ear.clear()
        inside = fresh[: max(0, len(whole) - expected)]
        assert inside == whole[expected : expected + len(inside)]
        expected += len(fresh)

    for steps, held_steps in holds:
        for _ in range(steps):
            far.take(pacer.due(step / 200))
            pass_time()
        heard = pacer.hold(step / 200)
        far.clear()
        assert heard.samples == min(expected, pacer.ledger.queued)
        cut = next((word for word in words if word.start < expected < word.end), None)
        assert heard.resume_at == (cut.start if cut else heard.samples)
        expected = heard.resume_at
        for _ in range(held_steps):
            assert pacer.due(step / 200) == ()
            step += 1
        pacer.resume()
    while not pacer.ledger.finished(step / 200):
        far.take(pacer.due(step / 200))
        pass_time()
    assert expected >= len(whole)
    assert pacer.ledger.peek(step / 200).words == tuple(word.text for word in words)


def test_a_reply_held_near_its_end_is_confirmed_by_a_mark_after_the_resume() -> None:
    pacer = make()
    pacer.queue(sound(1_600))
    pacer.finish()
    pacer.due(0.0)
    pacer.hold(0.15)
    pacer.resume()
    last = pacer.due(1.0)
    assert isinstance(last[-1], PlaceMark)
    assert pacer.ledger.mark_reached(last[-1].name, 1.1)
    assert pacer.ledger.finished(1.1)


def test_the_last_samples_leave_after_a_resume_in_the_middle_of_a_frame() -> None:
    pacer = make()
    pacer.queue(sound(1_600))
    pacer.finish()
    pacer.due(0.0)
    assert pacer.hold(0.011).resume_at == 88
    pacer.resume()
    assert played(pacer.due(1.0)).startswith(sound(1_600 - 88, 88))
    assert pacer.unsent_samples == 0


def test_a_long_reply_does_not_keep_all_its_sound() -> None:
    pacer = make(marks=False)
    block = sound(FRAME_BYTES * 50)
    now = 0.0
    for _ in range(120):
        pacer.queue(block)
        for _ in range(25):
            pacer.due(now)
            now += 0.04
    assert len(pacer._sound) < 60 * 8000
    pacer.queue(block)
    pacer.due(now)
    held = pacer.hold(now + 0.1)
    pacer.resume()
    commands = pacer.due(now + 0.1)
    assert played(commands)[:100] == (block * 121)[held.resume_at : held.resume_at + 100]
