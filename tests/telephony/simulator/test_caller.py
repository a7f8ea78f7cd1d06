from collections.abc import Sequence
from pathlib import Path

import pytest

from telephony.simulator.caller import Caller, HungUp, KeyPressed
from telephony.simulator.notices import AgentFellSilent, AgentSpeaks, CallerFellSilent, CallerSpeaks, Notice
from telephony.simulator.script import read_script
from telephony.simulator.sound import SILENT_FRAME, audible_span, mulaw_wav, samples_of_ms

LOUD_FRAME = b"\x00" * 160
HELLO = 'say = "hello"'


class Talk:
    """A script performed against an agent that sounds at given times, in milliseconds of the call."""

    def __init__(self, steps: str, sounding: Sequence[tuple[int, int]] = (), title: str = 'title = "t"') -> None:
        self.notices: list[Notice] = []
        tables = "".join(f"[[step]]\n{step.strip()}\n" for step in steps.split("|"))
        self.caller = Caller(read_script(f"{title}\n{tables}", Path()), self.notices.append)
        self.sounding = list(sounding)
        self.pressed: list[tuple[int, str]] = []
        self.said = b""

    def run(self, until_ms: int = 60_000) -> int | None:
        """When the caller hung up, in milliseconds; None if he did not."""
        for start_ms in range(0, until_ms, 20):
            self.said += self.caller.speak()
            sounds = any(start <= start_ms < end for start, end in self.sounding)
            for action in self.caller.hear(LOUD_FRAME if sounds else None):
                match action:
                    case KeyPressed(digit):
                        self.pressed.append((start_ms + 20, digit))
                    case HungUp():
                        return start_ms + 20
        return None

    def spoke_at_ms(self) -> list[int]:
        return [round(spoken.start / 8) for spoken in self.caller.spoken]


def onset_ms(talk: Talk) -> float:
    return next(iter(talk.caller._script.utterances.values())).onset / 8


def test_he_waits_until_the_agent_has_been_silent_for_long_enough() -> None:
    talk = Talk(f"listen = true | {HELLO} | hang_up = true", [(400, 1000), (1400, 2000)])
    talk.run()
    assert talk.spoke_at_ms() == [round(2700 + onset_ms(talk))]


def test_what_he_says_is_the_recording_at_the_reported_place() -> None:
    talk = Talk(f"wait_ms = 500 | {HELLO} | hang_up = true")
    talk.run()
    (spoken,) = talk.caller.spoken
    assert audible_span(talk.said) == (spoken.start, spoken.end)
    assert (spoken.step, spoken.text, spoken.interrupting) == (2, "Hello.", False)


def test_after_his_own_words_he_waits_for_a_new_phrase_not_for_the_end_of_the_old_one() -> None:
    talk = Talk(f"wait_ms = 500 | {HELLO} | listen = true | hang_up = true", [(0, 1300), (2600, 3000)])
    assert talk.run() == 3700


def test_a_second_listen_wants_a_second_speech() -> None:
    talk = Talk("listen = true | listen = true | hang_up = true", [(0, 500), (3000, 3500)])
    assert talk.run() == 4200


def test_he_does_not_wait_for_ever_and_says_what_he_missed() -> None:
    talk = Talk("listen = true\nat_most_ms = 1000 | hang_up = true")
    assert talk.run() == 1020
    (missed,) = talk.caller.missed
    assert (missed.step, missed.measured) == (1, "silent for 1000 ms")


def test_an_agent_without_an_end_is_given_up() -> None:
    talk = Talk("listen = true | hang_up = true", [(0, 200_000)])
    assert talk.run(200_000) == 120_020
    assert "still speaking" in talk.caller.missed[0].measured


def test_he_interrupts_so_long_into_the_speech() -> None:
    talk = Talk(f"{HELLO}\ninterrupt_after_ms = 800 | hang_up = true", [(1000, 5000)])
    talk.run()
    assert talk.spoke_at_ms() == [round(1800 + onset_ms(talk))]
    assert talk.caller.spoken[0].interrupting
    assert talk.caller.missed == []


def test_an_interruption_counts_from_the_start_of_the_answer_across_its_pauses() -> None:
    talk = Talk(f"{HELLO}\ninterrupt_after_ms = 1500 | hang_up = true", [(1000, 1600), (2000, 5000)])
    talk.run()
    assert talk.spoke_at_ms() == [round(2500 + onset_ms(talk))]


def test_a_speech_too_short_to_be_interrupted_is_a_miss() -> None:
    talk = Talk(f"{HELLO}\ninterrupt_after_ms = 2000 | hang_up = true", [(1000, 1500)])
    talk.run()
    assert talk.caller.missed[0].measured == "for 500 ms only"


def test_an_agent_that_says_nothing_cannot_be_interrupted() -> None:
    talk = Talk(f"{HELLO}\ninterrupt_after_ms = 200\nat_most_ms = 1000 | hang_up = true")
    talk.run()
    assert "to be interrupted" in talk.caller.missed[0].what


def test_keys_are_pressed_one_after_the_other() -> None:
    talk = Talk('press = "12#" | hang_up = true')
    assert talk.run() == 780 + 20
    assert talk.pressed == [(20, "1"), (280, "2"), (540, "#")]


def test_at_the_end_of_the_script_he_hangs_up() -> None:
    assert Talk("wait_ms = 100").run() == 120


def test_an_agent_that_does_not_hang_up_is_a_miss() -> None:
    talk = Talk("await_hang_up = true\nat_most_ms = 400")
    assert talk.run() == 420
    assert talk.caller.missed[0].what == "the agent hangs up"


@pytest.mark.parametrize(("steps", "ms", "may"), [("wait_ms = 900", 100, False), ("await_hang_up = true", 100, True)])
def test_the_agent_may_leave_only_when_the_script_awaits_it(steps: str, ms: int, may: bool) -> None:
    talk = Talk(steps)
    assert not talk.caller.may_be_left
    talk.run(ms)
    assert talk.caller.may_be_left is may


def test_the_time_to_the_agents_first_sound_is_kept_for_each_listen() -> None:
    talk = Talk("wait_ms = 200 | listen = true | hang_up = true", [(500, 900)])
    talk.run()
    assert talk.caller.listened == {2: pytest.approx(0.28)}


def test_while_quiet_he_sends_silence_or_soft_noise() -> None:
    silent = Talk("wait_ms = 500")
    silent.run()
    assert set(silent.said) == {0xFF}
    soft = Talk("wait_ms = 500", title='title = "t"\nnoise_dbfs = -60')
    soft.run()
    assert len(set(soft.said)) > 2
    assert audible_span(soft.said) is None


def test_a_watcher_is_told_who_speaks_and_how_long_it_took() -> None:
    talk = Talk(f"listen = true | {HELLO} | listen = true", [(0, 500), (2500, 4000)])
    talk.run()
    kinds = [type(notice) for notice in talk.notices]
    assert kinds == [AgentSpeaks, AgentFellSilent, CallerSpeaks, CallerFellSilent, AgentSpeaks, AgentFellSilent]
    first, answer = (notice for notice in talk.notices if isinstance(notice, AgentSpeaks))
    assert (first.answering, answer.answering) == (True, True)
    assert answer.after_s == pytest.approx(2.5 - talk.caller.spoken[0].end / 8000)


def test_a_watcher_is_told_how_long_a_barge_in_took() -> None:
    talk = Talk(f"{HELLO}\ninterrupt_after_ms = 500 | wait_ms = 500", [(0, 900)])
    talk.run()
    (silent,) = (notice for notice in talk.notices if isinstance(notice, AgentFellSilent))
    assert silent.stop_s == pytest.approx((samples_of_ms(900) - talk.caller.spoken[0].start) / 8000)


def test_the_last_frame_of_a_recording_is_filled_with_silence(tmp_path: Path) -> None:
    (tmp_path / "short.wav").write_bytes(mulaw_wav(b"\x00" * 200))
    caller = Caller(read_script('title = "t"\n[[step]]\nsay = "short.wav"', tmp_path))
    caller.hear(None)
    assert caller.speak() + caller.speak() == b"\x00" * 200 + b"\xff" * 120


def test_his_handset_returns_what_he_hears() -> None:
    talk = Talk("wait_ms = 600", [(100, 140)], title='title = "t"\n[echo]\nlevel_db = -20\ndelay_ms = 200')
    talk.run()
    returned = [round(at / 8) for at in range(0, len(talk.said), 160) if talk.said[at : at + 160] != SILENT_FRAME]
    assert returned == [300, 320]
