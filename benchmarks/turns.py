"""Who gets the floor: turns with pauses, interruptions, backchannels, noise and echo, over human recordings.

Real calls in virtual time: session, ear, echo guard and voice detector are the ones that serve; the model and the voice
(human recordings) are scripted; the recogniser knows the words, and says them 200 ms after they are over, the last ones
300 ms after it is asked. It never says by itself that a turn is complete. Sounds begin at any sample of a frame, over
room noise at -62 dBFS. The recordings are one speaker's, brought to -23 dBFS.

* A *cut-in* is a turn that was taken, and answered by the model, before the caller was done; *audible* if a sound of
  the answer left, too. The pause is laid at the quietest point inside, which may be inside a word; what is quiet there
  by itself is part of it. "Always": a caller who pauses so in each of his eight turns, to whom the ear adapts.
* *End of turn* is from the end of speech to the recogniser's being asked for its last word.
* An interruption is *missed* if the reply was not ended by it within 2.2 s of its end. *Stop* is from the onset of
  speech, as its energy has it, to the `clear`.
* A *hold* stops the agent's sound, a *lost* reply does not go on; *resume* is from the end of the sound to the agent's
  being heard again.
"""

import argparse
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks import noises
from benchmarks.farend import Echo
from benchmarks.report import Report, Table, against, quantile
from benchmarks.sayings import Saying, by_flite, dtmf, music, paused, prompts
from benchmarks.scenes import Disturbance, Interruption, Melody, TurnTaken, disturbance, interruption, play, turns
from telephony.vad import VoiceActivity

SUMMARY = "cut-ins, missed and false interruptions, resumes, over human recordings"

PAUSES_MS = (0, 250, 400, 600, 900)
BACKCHANNELS = ("mm hm", "yeah", "okay", "right", "uh huh", "i see", "okay yeah")
SHORT = ("stop", "wait", "no", "hello", "excuse me")
_TURNS_IN_A_CALL = 8
_ECHO_DELAYS_MS = (60, 110, 170, 230, 290, 340, 400)
_NOISES: dict[str, Callable[[int], noises.Sound]] = {
    "coughs": noises.cough,
    "clicks": noises.clicks,
    "static": noises.static,
    "line hum, 3 s": lambda seed: noises.hum(-45.0 + seed % 10, 3.0),
    "others' DTMF": dtmf,
    "music": music,
}

Disturbing = Callable[[VoiceActivity], Coroutine[Any, Any, Disturbance]]
Interrupting = Callable[[VoiceActivity], Coroutine[Any, Any, Interruption]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--noises", type=int, default=24, help="items of each kind of noise")
    parser.add_argument("--turn-model", type=Path, help="weights of the turn-end model: the turns with it, too")
    parser.add_argument("--only", choices=("turns", "interruptions", "disturbances"), help="one of the tables")


def measure(told: argparse.Namespace) -> Report:
    """Play everything once: virtual time and fixed seeds make it the same each time."""
    report = Report("turns")
    if told.only in (None, "turns"):
        _measure_turns(report)
        if told.turn_model is not None:
            _measure_turns(report, Melody(told.turn_model))
    if told.only in (None, "interruptions"):
        _measure_interruptions(report)
    if told.only in (None, "disturbances"):
        _measure_disturbances(report, told.noises)
    return report


def _measure_turns(report: Report, melody: Melody | None = None) -> None:
    table = report.table(
        "Turns: pauses spliced into human speech" + (", with the turn-end model" if melody else ""),
        *("pause, ms", "items", "cut-ins", "%", "audible", "end of turn p50, ms", "p90", "words changed", "goal", ""),
    )
    for pause_ms in PAUSES_MS:
        said = [paused(saying, pause_ms) if pause_ms else saying for saying in prompts()]
        fresh = play(
            [partial(turns, seed=number, sayings=[saying], melody=melody) for number, saying in enumerate(said)]
        )
        _tell_turns(table, f"{pause_ms}" if pause_ms else "none", pause_ms, fresh)
        calls = [said[at : at + _TURNS_IN_A_CALL] for at in range(0, len(said), _TURNS_IN_A_CALL)] if pause_ms else []
        always = play(
            [partial(turns, seed=1000 + number, sayings=call, melody=melody) for number, call in enumerate(calls)]
        )
        if always:
            _tell_turns(table, f"{pause_ms}, always", pause_ms, always)


def _tell_turns(table: Table, name: str, pause_ms: int, calls: Iterable[list[TurnTaken]]) -> None:
    taken = list(chain.from_iterable(calls))
    cut_ins = sum(one.cut_in for one in taken)
    share = 100 * cut_ins / len(taken)
    latency = [one.latency_s * 1000 for one in taken if one.latency_s is not None]
    goal, verdict = ("<= 5 %", against(share, 5.0)) if pause_ms <= 400 else ("", "")
    audible, changed = sum(one.audible for one in taken), sum(not one.words_kept for one in taken)
    p50, p90 = quantile(latency, 0.5), quantile(latency, 0.9)
    table.add(name, len(taken), cut_ins, share, audible, p50, p90, changed, goal, verdict)


def _measure_interruptions(report: Report) -> None:
    table = report.table(
        "Speech into a reply",
        *(
            "speech",
            "items",
            "missed",
            "%",
            "stop p50, ms",
            "p90",
            "commit p50, ms",
            "p90",
            "words changed",
            "goal",
            "",
        ),
    )
    said = prompts()
    silent = [Saying(saying.name, saying.sound) for saying in said]
    for name, sayings, echo_db in (
        ("recordings", said, None),
        ("recordings, recogniser silent", silent, None),
        ("recordings, over echo at -20 dB", said, -20.0),
        ("short words by flite", by_flite(SHORT), None),
    ):
        scenes: list[Interrupting] = [
            partial(interruption, seed=number, saying=saying, echo=_echo(echo_db, number))
            for number, saying in enumerate(sayings)
        ]
        if scenes:
            _tell_interruptions(table, name, play(scenes))


def _tell_interruptions(table: Table, name: str, found: Sequence[Interruption]) -> None:
    stops = [one.cleared_s * 1000 for one in found if one.cleared_s is not None]
    commits = [one.committed_s * 1000 for one in found if one.committed_s is not None]
    missed = len(found) - len(commits)
    share = 100 * missed / len(found)
    changed = sum(not one.words_kept for one in found)
    table.add(
        *(name, len(found), missed, share, quantile(stops, 0.5), quantile(stops, 0.9)),
        *(quantile(commits, 0.5), quantile(commits, 0.9), changed, "<= 2 %", against(share, 2.0)),
    )


def _measure_disturbances(report: Report, count: int) -> None:
    table = report.table(
        "No interruptions: what else sounds while the agent speaks",
        *("sound", "items", "lost", "in context", "holds", "resume p50, ms", "max"),
        *("words lost", "said twice", "goal: none lost, resume max", ""),
    )
    kinds: dict[str, list[Disturbing]] = {
        "backchannels": [
            partial(disturbance, seed=number, saying=saying) for number, saying in enumerate(by_flite(BACKCHANNELS))
        ]
    }
    for name, sound in _NOISES.items():
        kinds[name] = [
            partial(disturbance, seed=seed, saying=Saying(f"{name} {seed}", sound(seed))) for seed in range(count)
        ]
    for echo_db in (-15.0, -20.0, -30.0):
        kinds[f"echo at {echo_db:g} dB, 10 s"] = [
            partial(disturbance, seed=number, saying=None, echo=_echo(echo_db, number))
            for number in range(2 * len(_ECHO_DELAYS_MS))
        ]
    for name, scenes in kinds.items():
        if scenes:
            _tell_disturbances(table, name, play(scenes), 700.0 if name == "backchannels" else 1000.0)


def _tell_disturbances(table: Table, name: str, found: Sequence[Disturbance], resumed_within_ms: float) -> None:
    # What was lost did not resume: it is counted where it belongs.
    resumed = [seconds * 1000 for one in found if not one.lost for seconds in one.resumed_s]
    lost, entered = sum(one.lost for one in found), sum(one.entered_context for one in found)
    words_lost = max(one.words_lost for one in found)
    twice = max(one.words_doubled for one in found)
    slowest = max(resumed, default=None)
    good = not lost and not entered and not words_lost and twice <= 1 and (slowest or 0.0) <= resumed_within_ms
    table.add(
        *(name, len(found), lost, entered, sum(one.holds for one in found), quantile(resumed, 0.5), slowest),
        *(words_lost, twice, f"{resumed_within_ms:g}", "reached" if good else "missed"),
    )


def _echo(level_db: float | None, number: int) -> Echo | None:
    delay_ms = _ECHO_DELAYS_MS[number % len(_ECHO_DELAYS_MS)]
    return None if level_db is None else Echo(level_db, delay_ms)
