"""The ledger's promise: what is counted as heard was heard, and nothing that was heard is forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from telephony.playout import Certainty, PlacedWord, PlayoutLedger

RATE = 8000


def second(ledger: PlayoutLedger, at: float, seconds: float = 1.0) -> None:
    """So much sound, queued and sent."""
    ledger.queue(round(seconds * RATE))
    ledger.send(round(seconds * RATE), at)


class AnyInterleaving(RuleBasedStateMachine):
    """0 <= heard <= sent <= queued, and heard never falls while nothing is cut, whatever comes in whatever order."""

    @initialize(marks=st.booleans())
    def begin_call(self, marks: bool) -> None:
        self.ledger = PlayoutLedger(RATE, marks=marks)
        self.now = 1000.0
        self.placed: list[str] = []
        self.cut_at: int | None = None
        self.last_heard = 0

    @rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(samples=st.integers(0, 8000), words=st.integers(0, 3))
    def queue(self, samples: int, words: int) -> None:
        start = self.ledger.queued
        length = samples // max(1, words)
        placed = tuple(PlacedWord(f"w{n}", start + n * length, start + (n + 1) * length) for n in range(words))
        self.ledger.queue(samples, placed)

    @rule(share=st.floats(0, 1))
    def send(self, share: float) -> None:
        self.ledger.send(int((self.ledger.queued - self.ledger.sent) * share), self.now)

    @rule()
    def mark(self) -> None:
        name = self.ledger.mark()
        if name is not None:
            self.placed.append(name)

    @precondition(lambda self: self.placed)
    @rule(choice=st.data())
    def echo_any_mark_ever_placed(self, choice: st.DataObject) -> None:
        self.ledger.mark_reached(choice.draw(st.sampled_from(self.placed)), self.now)

    @rule()
    def echo_of_a_stranger(self) -> None:
        assert not self.ledger.mark_reached("stranger", self.now)

    @rule()
    def cut(self) -> None:
        before = self.ledger.heard(self.now)
        heard = self.ledger.cut(self.now)
        assert heard.samples == before
        assert 0 <= heard.resume_at <= heard.samples
        assert set(heard.words) <= {word.text for word in self.ledger.words}
        self.cut_at = heard.resume_at
        for name in self.placed:
            assert not self.ledger.mark_reached(name, self.now)

    @precondition(lambda self: self.cut_at is not None)
    @rule()
    def resume(self) -> None:
        assert self.cut_at is not None
        self.ledger.resume(min(self.cut_at, self.ledger.sent))
        self.cut_at = None
        self.last_heard = 0

    @rule()
    def begin_next_reply(self) -> None:
        self.ledger.begin()
        self.cut_at = None
        self.last_heard = 0

    @invariant()
    def positions_are_in_order(self) -> None:
        heard = self.ledger.heard(self.now)
        assert 0 <= heard <= self.ledger.sent <= self.ledger.queued

    @invariant()
    def heard_never_falls(self) -> None:
        heard = self.ledger.heard(self.now)
        assert heard >= self.last_heard
        self.last_heard = heard


TestAnyInterleaving = AnyInterleaving.TestCase


@given(
    sends=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 20)), min_size=1, max_size=12),
    cut_after_ms=st.integers(0, 800),
    one_way_ms=st.integers(0, 900),
)
def test_what_counts_as_heard_at_a_cut_is_what_the_far_end_played_until_the_clear_arrived(
    sends: list[tuple[int, int]], cut_after_ms: int, one_way_ms: int
) -> None:
    ledger = PlayoutLedger(RATE, marks=False)
    now_ms = 0
    arrivals = []
    for pause_ms, frames in sends:
        now_ms += pause_ms
        ledger.queue(frames * 160)
        ledger.send(frames * 160, now_ms / 1000)
        arrivals.append((now_ms + one_way_ms, frames * 20))
    cut_ms = now_ms + cut_after_ms
    played_ms = play_end = 0
    for arrival, length in arrivals:  # the far end, in its own words
        start = max(play_end, arrival)
        play_end = start + length
        played_ms += max(0, min(length, cut_ms + one_way_ms - start))
    assert ledger.cut(cut_ms / 1000).samples == played_ms * 8


def test_nothing_is_heard_before_it_is_sent() -> None:
    ledger = PlayoutLedger(RATE)
    ledger.queue(8000)
    assert ledger.heard(10.0) == 0
    assert ledger.buffered_s(10.0) == 0.0


def test_more_cannot_be_sent_than_is_queued() -> None:
    ledger = PlayoutLedger(RATE)
    ledger.queue(100)
    with pytest.raises(ValueError, match="101 samples sent, 100 queued"):
        ledger.send(101, 0.0)


def test_sound_sent_while_some_still_plays_is_played_after_it() -> None:
    ledger = PlayoutLedger(RATE)
    second(ledger, at=0.0)
    second(ledger, at=0.5)
    assert ledger.buffered_s(0.5) == 1.5
    assert ledger.heard(1.5) == 12000
    assert ledger.underrun_s == 0.0


def test_a_gap_in_the_sound_is_counted() -> None:
    ledger = PlayoutLedger(RATE)
    second(ledger, at=0.0)
    second(ledger, at=1.25)
    assert ledger.underrun_s == 0.25
    assert ledger.heard(1.75) == 12000


def test_a_mark_that_comes_back_proves_its_position() -> None:
    ledger = PlayoutLedger(RATE)
    second(ledger, at=0.0)
    name = ledger.mark()
    assert name is not None
    assert ledger.mark_reached(name, 1.1)
    heard = ledger.peek(1.1)
    assert (heard.samples, heard.certainty) == (8000, Certainty.CONFIRMED)


def test_between_marks_the_position_is_an_estimate() -> None:
    ledger = PlayoutLedger(RATE)
    second(ledger, at=0.0)
    ledger.mark()
    heard = ledger.peek(0.4)
    assert (heard.samples, heard.certainty) == (3200, Certainty.ESTIMATED)


def test_a_mark_proves_those_before_it_that_were_lost() -> None:
    ledger = PlayoutLedger(RATE)
    second(ledger, at=0.0, seconds=0.2)
    lost = ledger.mark()
    second(ledger, at=0.0, seconds=0.2)
    second_mark = ledger.mark()
    assert lost is not None and second_mark is not None
    assert ledger.mark_reached(second_mark, 0.5)
    assert not ledger.mark_reached(lost, 0.6)
    assert ledger.heard(0.6) == 3200


def test_a_mark_later_than_usual_moves_the_estimate_back_by_its_lateness() -> None:
    ledger = PlayoutLedger(RATE)
    second(ledger, at=0.0, seconds=0.2)
    usual = ledger.mark()
    second(ledger, at=0.2, seconds=0.2)
    late = ledger.mark()
    second(ledger, at=0.4, seconds=0.4)
    assert usual is not None and late is not None
    ledger.mark_reached(usual, 0.3)  # 100 ms on the way: usual
    ledger.mark_reached(late, 0.6)  # 100 ms later than usual: the far end plays behind
    assert ledger.heard(0.7) == round((0.7 - 0.1) * RATE)


def test_jitter_of_marks_does_not_move_the_estimate() -> None:
    ledger = PlayoutLedger(RATE)
    second(ledger, at=0.0, seconds=0.2)
    usual = ledger.mark()
    second(ledger, at=0.2, seconds=0.2)
    jittered = ledger.mark()
    second(ledger, at=0.4, seconds=0.4)
    assert usual is not None and jittered is not None
    ledger.mark_reached(usual, 0.3)
    ledger.mark_reached(jittered, 0.53)
    assert ledger.heard(0.7) == round(0.7 * RATE)


def test_a_mark_that_stays_away_holds_the_estimate_back() -> None:
    ledger = PlayoutLedger(RATE)
    second(ledger, at=0.0, seconds=0.2)
    usual = ledger.mark()
    second(ledger, at=0.2, seconds=0.2)
    ledger.mark()
    second(ledger, at=0.4, seconds=1.8)
    assert usual is not None
    ledger.mark_reached(usual, 0.25)  # 50 ms on the way: what plays meanwhile is all that can have been heard beyond it
    positions = [ledger.heard(at / 100) for at in range(30, 210)]
    assert positions[0] == 2400
    assert positions[-1] <= (0.4 + 0.05 + 0.04) * RATE


def test_marks_echoed_after_a_cut_prove_nothing() -> None:
    ledger = PlayoutLedger(RATE)
    second(ledger, at=0.0)
    name = ledger.mark()
    assert name is not None
    heard = ledger.cut(0.5)
    assert not ledger.mark_reached(name, 0.55)
    assert ledger.heard(5.0) == heard.samples == 4000


def test_marks_of_the_reply_before_prove_nothing() -> None:
    ledger = PlayoutLedger(RATE)
    second(ledger, at=0.0)
    name = ledger.mark()
    ledger.begin()
    second(ledger, at=1.0)
    assert name is not None
    assert not ledger.mark_reached(name, 1.1)
    assert ledger.heard(1.1) == 800


def test_a_far_end_without_marks_is_asked_for_none() -> None:
    ledger = PlayoutLedger(RATE, marks=False)
    second(ledger, at=0.0)
    assert ledger.mark() is None
    assert not ledger.finished(0.99)
    assert ledger.finished(1.0)


WORDS = (PlacedWord("one", 0, 4000), PlacedWord("two", 4000, 8000))


@pytest.mark.parametrize(
    ("cut_at", "words", "resume_at"),
    [
        (0.0, (), 0),
        (0.1, (), 0),  # less than half a word: not heard
        (0.3, ("one",), 0),  # more than half: heard, and said again after a resume
        (0.5, ("one",), 4000),
        (0.7, ("one",), 4000),
        (0.8, ("one", "two"), 4000),
        (1.0, ("one", "two"), 8000),
    ],
)
def test_a_cut_tells_the_words_heard_and_where_to_go_on(cut_at: float, words: tuple[str, ...], resume_at: int) -> None:
    ledger = PlayoutLedger(RATE)
    ledger.queue(8000, WORDS)
    ledger.send(8000, 0.0)
    heard = ledger.cut(cut_at)
    assert heard.words == words
    assert heard.text == " ".join(words)
    assert heard.resume_at == resume_at


def test_after_a_resume_the_word_that_was_cut_is_sent_and_heard_again() -> None:
    ledger = PlayoutLedger(RATE)
    ledger.queue(8000, WORDS)
    ledger.send(8000, 0.0)
    ledger.resume(ledger.cut(0.75).resume_at)
    assert (ledger.sent, ledger.queued) == (4000, 8000)
    ledger.send(4000, 2.0)
    assert ledger.heard(2.25) == 6000
    assert ledger.peek(2.5).words == ("one", "two")


def test_nobody_resumes_beyond_what_was_heard() -> None:
    ledger = PlayoutLedger(RATE)
    second(ledger, at=0.0)
    ledger.cut(0.5)
    with pytest.raises(ValueError, match="cannot resume at 4001"):
        ledger.resume(4001)


def test_a_reply_is_finished_when_its_last_mark_is_back() -> None:
    ledger = PlayoutLedger(RATE)
    second(ledger, at=0.0)
    name = ledger.mark()
    assert name is not None
    assert not ledger.finished(1.05)
    ledger.mark_reached(name, 1.1)
    assert ledger.finished(1.1)


def test_a_last_mark_that_never_comes_is_not_awaited_for_ever() -> None:
    ledger = PlayoutLedger(RATE)
    second(ledger, at=0.0)
    ledger.mark()
    expected = ledger.finish_expected_at()
    assert not ledger.finished(expected - 0.01)
    assert ledger.finished(expected)
    assert 1.0 < expected < 4.0


def test_what_is_queued_and_not_sent_is_not_finished() -> None:
    ledger = PlayoutLedger(RATE)
    second(ledger, at=0.0)
    ledger.queue(1)
    assert not ledger.finished(1000.0)


def test_a_slower_line_is_not_taken_for_a_late_one() -> None:
    ledger = PlayoutLedger(8000)
    ledger.queue(8000)
    ledger.send(1600, 0.0)
    quick = ledger.mark()
    assert quick is not None
    assert ledger.mark_reached(quick, 0.22)
    ledger.cut(0.3)
    ledger.forget_line()
    ledger.send(1600, 1.0)
    slow = ledger.mark()
    assert slow is not None
    assert ledger.mark_reached(slow, 1.5)
    ledger.send(1600, 1.5)
    assert ledger.heard(1.6) == 1600 + 1600 + 800


def test_of_a_line_that_was_dead_before_it_was_given_up_only_what_is_proven_was_heard() -> None:
    ledger = PlayoutLedger(RATE)
    second(ledger, at=0.0)
    proven = ledger.mark()
    assert proven is not None
    assert ledger.mark_reached(proven, 1.02)
    second(ledger, at=1.0)
    ledger.mark()
    assert ledger.cut(4.0, lost=True).samples == RATE


def test_of_a_line_that_broke_under_the_sound_what_the_clock_says_was_heard() -> None:
    ledger = PlayoutLedger(RATE)
    second(ledger, at=0.0)
    proven = ledger.mark()
    assert proven is not None
    assert ledger.mark_reached(proven, 1.02)
    second(ledger, at=1.0)
    ledger.mark()
    assert ledger.cut(1.5, lost=True).samples > RATE


TONES = tuple(PlacedWord(f"w{n}", n * 1600, (n + 1) * 1600) for n in range(20))


def until_the_line_died(sent_s: float, *, round_trip_s: float) -> PlayoutLedger:
    """Words of 200 ms, sent by frames of 20 ms, 200 ms ahead, each with a mark; the last thing that came back left the
    far end `sent_s` after the first frame did here."""
    ledger, marks = PlayoutLedger(RATE), []
    ledger.queue(20 * 1600, TONES)
    for frame in range(200):
        at = max(0.0, frame * 0.02 - 0.2)
        while marks and marks[0][1] + round_trip_s <= at and marks[0][1] <= sent_s:
            name, played_at = marks.pop(0)
            assert ledger.mark_reached(name, played_at + round_trip_s)
        ledger.send(160, at)
        if frame % 10 == 9:
            name = ledger.mark()
            assert name is not None
            marks.append((name, ledger.play_end))
    return ledger


@pytest.mark.parametrize("round_trip_s", [0.0, 0.1])
@pytest.mark.parametrize("died_s", [0.71, 0.8, 0.9, 1.05, 1.19])
def test_what_had_arrived_before_the_line_died_was_heard_and_at_most_one_word_is_repeated(
    died_s: float, round_trip_s: float
) -> None:
    ledger = until_the_line_died(died_s, round_trip_s=round_trip_s)
    heard = ledger.cut(4.0, lost=True, alive_at=died_s + round_trip_s)
    played_s = died_s + 0.2 + 0.02  # it was sent no further ahead, and plays on what it has
    assert heard.samples <= played_s * RATE
    assert len(heard.words) in (round(played_s / 0.2), int(played_s / 0.2))
    assert 0 <= played_s * RATE - heard.resume_at <= 1600 + 0.06 * RATE + round_trip_s * RATE


def test_of_a_line_that_died_in_our_direction_first_what_it_played_by_then_counts() -> None:
    ledger = until_the_line_died(0.8, round_trip_s=0.05)
    heard = ledger.cut(4.0, lost=True, alive_at=2.0)
    assert 0.8 * RATE <= heard.samples <= 1.05 * RATE


def test_of_a_line_that_never_confirmed_anything_nothing_that_followed_is_taken_for_heard() -> None:
    ledger = PlayoutLedger(RATE)
    second(ledger, at=0.0)
    ledger.mark()
    assert ledger.cut(4.0, lost=True, alive_at=0.9).samples == 0


def test_what_is_left_of_a_reply_are_its_words_and_not_the_silence_behind_them() -> None:
    ledger = PlayoutLedger(RATE)
    ledger.queue(16000, WORDS)
    ledger.send(16000, 0.0)
    assert ledger.unheard_words_s(0.25) == 0.75
    ledger.cut(0.75)
    assert ledger.unheard_words_s(9.0) == 0.25  # it stays as it was cut
    ledger.resume(4000)
    assert ledger.unheard_words_s(9.0) == 0.5
    ledger.send(12000, 10.0)
    assert ledger.unheard_words_s(10.6) == 0.0


def test_what_is_left_of_a_reply_without_words_is_its_sound() -> None:
    ledger = PlayoutLedger(RATE)
    second(ledger, at=0.0)
    ledger.queue(4000)
    assert ledger.unheard_words_s(0.75) == 0.75
