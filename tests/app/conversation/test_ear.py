"""Voice, words and silence, joined into what the caller does with the floor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.conversation.ear import BACKCHANNELS_EN, Ear, EarSettings, spoken_words
from app.conversation.state import Event
from providers.base import FinalTranscript, PartialTranscript

DETECTOR_S = 0.032
STARTED, CONFIRMED, PAUSED = Event.SPEECH_STARTED, Event.SPEECH_CONFIRMED, Event.SPEECH_PAUSED
ENDED, UNDERSTOOD = Event.TURN_ENDED, Event.TURN_UNDERSTOOD
UNINTELLIGIBLE, DISMISSED = Event.TURN_UNINTELLIGIBLE, Event.SPEECH_DISMISSED


class Listener:
    """An ear, and its time."""

    def __init__(self, *, disputed: bool, settings: EarSettings | None = None) -> None:
        self.ear = Ear(settings)
        self.disputed = disputed
        self.heard_out = False
        self.now = 100.0

    def hear(self, ms: float, probability: float) -> list[Event]:
        events = []
        for _ in range(round(ms / 32)):
            self.now += DETECTOR_S
            events += self.ear.voice(probability, self.now, disputed=self.disputed)
        return events

    def voice(self, ms: float) -> list[Event]:
        return self.hear(ms, 0.9)

    def silence(self, ms: float) -> list[Event]:
        return self.hear(ms, 0.05)

    def partial(self, text: str, *, stable: bool = True, complete: bool = False) -> list[Event]:
        return self.ear.partial(PartialTranscript(text, stable, complete), self.now, disputed=self.disputed)

    def final(self, text: str, *, finalized: bool = False, ends_turn: bool = False) -> list[Event]:
        final = FinalTranscript(text, finalized=finalized, ends_turn=ends_turn)
        return self.ear.final(final, self.now, disputed=self.disputed, heard_out=self.heard_out)

    def silence_until(self, event: Event) -> float:
        """Milliseconds of silence until it came."""
        began = self.now
        while event not in self.silence(32):
            assert self.now - began < 10, f"{event} never came"
        return (self.now - began) * 1000


# the caller's floor


def test_a_turn_of_the_caller_from_onset_to_words() -> None:
    caller = Listener(disputed=False)
    assert caller.voice(320) == [STARTED]
    assert caller.partial("what") == [CONFIRMED]
    assert caller.voice(640) == []
    assert caller.silence(480) == []
    assert caller.silence(64) == [ENDED]
    assert caller.silence(2000) == []
    assert caller.final("what are your hours", finalized=True) == [UNDERSTOOD]
    assert caller.ear.take_words() == "what are your hours"
    assert caller.ear.began_at is None
    assert caller.ear.words == ""


def test_a_click_is_no_speech() -> None:
    assert Listener(disputed=False).voice(32) == []


def test_speech_began_when_its_first_voice_was_heard() -> None:
    caller = Listener(disputed=False)
    caller.silence(320)
    began = caller.now
    caller.voice(320)
    assert caller.ear.began_at == pytest.approx(began)
    assert caller.ear.last_voice_at == pytest.approx(caller.now)


def test_voice_that_wavers_between_the_thresholds_goes_on() -> None:
    caller = Listener(disputed=False)
    caller.voice(96)
    caller.hear(960, 0.4)
    assert caller.ear.speaking
    caller.hear(32, 0.3)
    assert not caller.ear.speaking


def test_a_caller_who_goes_on_is_waited_for_again() -> None:
    caller = Listener(disputed=False)
    caller.voice(320)
    assert ENDED in caller.silence(640)
    caller.voice(320)
    assert ENDED in caller.silence(640)


@pytest.mark.parametrize(
    ("words", "complete", "patience_ms"),
    [
        ("what are your hours", False, 500),
        ("what are your hours", True, 300),
        ("i would like to book for", False, 1200),
        ("I'd like Monday AND...", False, 1200),
        ("i would like to", True, 300),
        ("", False, 500),
    ],
)
def test_patience_is_what_the_words_ask_for(words: str, complete: bool, patience_ms: float) -> None:
    caller = Listener(disputed=False)
    caller.voice(320)
    caller.partial(words, complete=complete)
    assert caller.silence_until(ENDED) == pytest.approx(patience_ms, abs=32)


def test_finals_are_joined_with_the_partial_after_them() -> None:
    caller = Listener(disputed=False)
    caller.voice(320)
    caller.final("on monday")
    caller.partial("at")
    caller.partial("at ten")
    assert caller.ear.words == "on monday at ten"
    assert caller.ear.unfinished == "at ten"


def test_words_without_a_voice_are_a_turn_all_the_same() -> None:
    caller = Listener(disputed=False)
    assert caller.partial("hello") == [CONFIRMED]
    assert caller.silence_until(ENDED) == pytest.approx(500, abs=32)


def test_final_words_without_a_voice_are_a_turn_all_the_same() -> None:
    caller = Listener(disputed=False)
    assert caller.final("hello") == [CONFIRMED]
    assert caller.silence_until(ENDED) == pytest.approx(500, abs=32)


def test_an_answer_that_comes_while_he_talks_on_does_not_end_his_turn() -> None:
    caller = Listener(disputed=False)
    caller.voice(640)
    caller.partial("what are your hours")
    assert ENDED in caller.silence(600)
    caller.voice(96)
    assert caller.final("what are your hours", finalized=True) == []
    caller.partial("on monday")
    caller.voice(640)
    assert ENDED in caller.silence(1000)
    assert caller.final("on monday", finalized=True) == [UNDERSTOOD]
    assert caller.ear.take_words() == "what are your hours on monday"


def test_the_recognisers_own_end_of_turn_is_taken() -> None:
    caller = Listener(disputed=False)
    caller.voice(320)
    caller.silence(96)
    assert caller.final("hello", ends_turn=True) == [UNDERSTOOD]


def test_the_recognisers_end_of_turn_is_not_believed_while_voice_is_heard() -> None:
    caller = Listener(disputed=False)
    caller.voice(320)
    assert caller.final("hello", ends_turn=True) == [CONFIRMED]
    caller.voice(320)
    assert caller.silence_until(ENDED) == pytest.approx(500, abs=32)
    assert caller.final("there", finalized=True) == [UNDERSTOOD]
    assert caller.ear.take_words() == "hello there"


def test_a_noise_without_words_is_dismissed_and_long_speech_without_words_is_not() -> None:
    caller = Listener(disputed=False)
    caller.voice(320)
    caller.silence(640)
    assert caller.final("", finalized=True) == [DISMISSED]
    caller.voice(704)
    caller.silence(640)
    assert caller.final("", finalized=True) == [UNINTELLIGIBLE]


# the agent's floor


def test_a_backchannel_is_asked_about_when_it_pauses_and_then_dismissed() -> None:
    caller = Listener(disputed=True)
    assert caller.voice(320) == [STARTED]
    assert caller.partial("yeah") == []
    assert caller.silence_until(PAUSED) == pytest.approx(160, abs=1)
    assert caller.final("yeah", finalized=True) == [DISMISSED]
    assert caller.ear.take_words() == ""


def test_words_that_are_no_backchannel_confirm_at_once() -> None:
    caller = Listener(disputed=True)
    caller.voice(256)
    assert caller.partial("wait a") == [CONFIRMED]


def test_one_word_alone_waits_for_the_pause() -> None:
    """A cough is easily taken for a word; the sound is held meanwhile, so nothing is lost by asking."""
    caller = Listener(disputed=True)
    caller.voice(256)
    assert caller.partial("no") == []
    caller.silence_until(PAUSED)
    assert caller.final("no", finalized=True) == [CONFIRMED]
    cough = Listener(disputed=True)
    cough.voice(256)
    cough.partial("no")
    cough.silence_until(PAUSED)
    assert cough.final("", finalized=True) == [DISMISSED]
    assert caller.partial("wait a") == []


def test_the_first_word_of_a_backchannel_of_two_confirms_nothing_yet() -> None:
    caller = Listener(disputed=True)
    caller.voice(256)
    assert caller.partial("I") == []
    assert caller.partial("I see") == []
    assert caller.partial("okay, I") == []
    assert caller.partial("okay, I want") == [CONFIRMED]


def test_the_first_word_of_a_backchannel_that_stays_alone_is_speech() -> None:
    caller = Listener(disputed=True)
    caller.voice(256)
    assert caller.partial("I") == []
    assert caller.silence_until(PAUSED)
    assert caller.final("I", finalized=True) == [CONFIRMED]


def test_unstable_words_confirm_nothing() -> None:
    caller = Listener(disputed=True)
    caller.voice(256)
    assert caller.partial("wait", stable=False) == []


def test_words_that_turn_stable_as_they_are_confirm_once() -> None:
    caller = Listener(disputed=True)
    caller.voice(256)
    assert caller.partial("wait a", stable=False) == []
    assert caller.partial("wait a") == [CONFIRMED]
    assert caller.partial("wait a", stable=False) == []
    assert caller.partial("wait a") == []


def test_speech_of_600_ms_is_meant_even_when_the_recogniser_stays_silent() -> None:
    caller = Listener(disputed=True)
    assert caller.voice(640) == [STARTED]
    assert caller.silence_until(PAUSED)
    assert caller.final("", finalized=True) == [CONFIRMED]
    caller.disputed = False
    assert caller.silence_until(ENDED) <= 500


def test_speech_that_goes_on_waits_for_late_words_and_no_longer() -> None:
    caller = Listener(disputed=True)
    assert caller.voice(864) == [STARTED]
    assert caller.voice(64) == [CONFIRMED]
    assert caller.voice(2000) == []


def test_a_drawn_out_backchannel_is_no_interruption() -> None:
    caller = Listener(disputed=True)
    caller.voice(704)
    assert caller.partial("mm") == []
    assert caller.voice(320) == []
    assert caller.silence_until(PAUSED)
    assert caller.final("mm hm", finalized=True) == [DISMISSED]


def test_speech_of_a_second_and_a_half_is_meant_whatever_the_recogniser_makes_of_it() -> None:
    caller = Listener(disputed=True)
    caller.voice(704)
    assert caller.partial("yeah") == []
    assert caller.voice(736) == []
    assert caller.voice(96) == [CONFIRMED]


def test_two_coughs_with_a_pause_between_are_no_long_speech() -> None:
    caller = Listener(disputed=True)
    caller.voice(192)
    assert caller.silence(320) == [PAUSED]
    assert caller.voice(192) == []
    assert caller.silence(320) == [PAUSED]


def test_the_silence_before_the_next_cough_makes_the_first_no_longer() -> None:
    caller = Listener(disputed=True)
    caller.voice(192)
    assert caller.silence(448) == [PAUSED]
    caller.voice(32)
    assert caller.final("", finalized=True) == [DISMISSED]


def test_after_a_pause_long_speech_is_meant_again() -> None:
    caller = Listener(disputed=True)
    caller.voice(192)
    caller.silence(320)
    assert caller.voice(864) == []
    assert caller.voice(64) == [CONFIRMED]


def test_an_answer_that_comes_while_he_talks_again_does_not_resume_the_reply() -> None:
    caller = Listener(disputed=True)
    caller.voice(192)
    caller.silence(256)
    caller.voice(128)
    assert caller.final("mm-hm", finalized=True) == []
    assert caller.silence_until(PAUSED) == pytest.approx(160, abs=1)
    assert caller.final("no wait", finalized=True) == [CONFIRMED]
    assert caller.ear.words == "no wait"


def test_words_found_out_after_the_pause_confirm_and_the_turn_goes_on() -> None:
    caller = Listener(disputed=True)
    caller.voice(320)
    caller.silence(256)
    assert caller.final("stop please", finalized=True) == [CONFIRMED]
    caller.disputed = False
    assert caller.silence_until(ENDED) <= 300
    assert caller.final("", finalized=True) == [UNDERSTOOD]


def test_a_turn_that_the_recogniser_ends_over_the_agent_is_understood_at_once() -> None:
    caller = Listener(disputed=True)
    caller.voice(320)
    caller.silence(96)
    assert caller.final("stop please", ends_turn=True) == [CONFIRMED, UNDERSTOOD]


def test_a_faint_voice_over_the_agent_that_only_the_recogniser_heard_is_understood() -> None:
    caller = Listener(disputed=True)
    assert caller.final("stop please", ends_turn=True) == [CONFIRMED, UNDERSTOOD]
    assert caller.ear.began_at == caller.now


def test_a_final_in_mid_speech_over_the_agent_waits_for_the_pause() -> None:
    caller = Listener(disputed=True)
    caller.voice(192)
    assert caller.final("okay") == []
    assert caller.silence_until(PAUSED) == pytest.approx(160, abs=1)


@pytest.mark.parametrize("text", ["Mm-hm.", "Yeah", "okay, yeah!", "uh huh right", "Got it. Okay.", "all right", ""])
def test_backchannels_alone_or_together(text: str) -> None:
    caller = Listener(disputed=True)
    caller.voice(192)
    caller.silence(256)
    assert caller.final(text, finalized=True) == [DISMISSED]


@pytest.mark.parametrize("text", ["Mm-hm.", "Yeah", "okay, yeah!", "right"])
def test_a_backchannel_answers_when_nothing_is_left_to_listen_to(text: str) -> None:
    caller = Listener(disputed=True)
    caller.voice(320)
    assert caller.silence_until(PAUSED)
    caller.heard_out = True
    assert caller.final(text, finalized=True) == [CONFIRMED]
    caller.disputed = caller.heard_out = False
    assert caller.silence_until(ENDED) <= USUAL.endpoint_ms  # he may go on, as after any other word
    assert caller.final("", finalized=True) == [UNDERSTOOD]
    assert caller.ear.take_words() == text


@pytest.mark.parametrize("text", ["", " ...", "?"])
def test_a_cough_answers_nothing_when_nothing_is_left_to_listen_to(text: str) -> None:
    caller = Listener(disputed=True)
    caller.voice(192)
    caller.silence(256)
    caller.heard_out = True
    assert caller.final(text, finalized=True) == [DISMISSED]


@pytest.mark.parametrize("text", ["yeah but", "right now", "okay stop", "i see you", "goodness", "no"])
def test_more_than_a_backchannel_is_speech(text: str) -> None:
    caller = Listener(disputed=True)
    caller.voice(192)
    caller.silence(256)
    assert caller.final(text, finalized=True) == [CONFIRMED]


def test_the_backchannels_of_another_language_are_a_setting() -> None:
    caller = Listener(disputed=True, settings=EarSettings(backchannels=frozenset({"genau"})))
    caller.voice(192)
    caller.silence(256)
    assert caller.final("Genau!", finalized=True) == [DISMISSED]
    caller.voice(192)
    caller.silence(256)
    assert caller.final("yeah", finalized=True) == [CONFIRMED]


@given(st.text())
def test_spoken_words_compare_alike_however_they_are_written(text: str) -> None:
    words = spoken_words(text)
    assert spoken_words(words) == words
    assert spoken_words(text.upper().lower()) == spoken_words(f" {text.upper().lower()}! ")


def test_every_backchannel_is_written_as_it_is_compared() -> None:
    assert {spoken_words(word) for word in BACKCHANNELS_EN} == BACKCHANNELS_EN


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("voice"), st.integers(1, 30)),
        st.tuples(st.just("silence"), st.integers(1, 60)),
        st.tuples(st.just("partial"), st.sampled_from(("", "yeah", "stop", "i would like to"))),
        st.tuples(st.just("final"), st.sampled_from(("", "yeah", "stop", "on monday"))),
        st.tuples(st.just("finalized"), st.sampled_from(("", "yeah", "stop"))),
        st.tuples(st.just("ends"), st.sampled_from(("", "yeah", "stop"))),
    ),
    max_size=30,
)


@given(STEPS, st.booleans())
def test_whatever_is_heard_speech_is_confirmed_at_most_once_a_turn_and_silence_ends_it(
    steps: list[tuple[str, object]], disputed: bool
) -> None:
    caller = Listener(disputed=disputed)
    confirmed = 0
    for kind, value in steps:
        match kind, value:
            case "voice", int(frames):
                events = caller.voice(frames * 32)
            case "silence", int(frames):
                events = caller.silence(frames * 32)
            case "partial", str(text):
                events = caller.partial(text)
            case _, str(text):
                events = caller.final(text, finalized=kind == "finalized", ends_turn=kind == "ends")
        confirmed += events.count(CONFIRMED)
        assert confirmed <= 1
        if {UNDERSTOOD, UNINTELLIGIBLE, DISMISSED} & set(events):
            caller.ear.take_words()
            confirmed = 0
    if caller.ear.began_at is not None and not disputed:
        caller.voice(96)
        assert ENDED in caller.silence(1600)  # the most that a slow caller is given


def test_a_click_in_the_silence_does_not_stretch_a_turn() -> None:
    caller = Listener(disputed=False)
    caller.voice(480)
    caller.silence(384)
    caller.voice(32)
    assert ENDED in caller.silence(160)


# melody

USUAL = EarSettings()


@pytest.mark.parametrize(
    ("done", "patience_ms"),
    [(0.95, USUAL.sounds_done_ms), (0.6, USUAL.endpoint_ms), (0.1, USUAL.trailing_ms)],
)
def test_patience_follows_how_the_turn_sounds(done: float, patience_ms: float) -> None:
    caller = Listener(disputed=False)
    caller.voice(640)
    caller.partial("my number")
    caller.silence(200)
    caller.ear.judged(done)
    assert caller.ear.patience_ms() == patience_ms


def test_a_verdict_on_a_pause_is_void_once_the_caller_goes_on() -> None:
    caller = Listener(disputed=False)
    caller.voice(640)
    caller.silence(200)
    caller.ear.judged(0.95)
    caller.voice(96)
    caller.ear.judged(0.05)  # an answer that comes while he talks
    assert caller.ear.patience_ms() == USUAL.endpoint_ms


def test_words_that_trail_off_outweigh_a_closing_melody() -> None:
    caller = Listener(disputed=False)
    caller.voice(640)
    caller.partial("i would like to")
    caller.silence(200)
    caller.ear.judged(0.99)
    assert caller.ear.patience_ms() == USUAL.trailing_ms
