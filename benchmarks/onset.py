"""How long after the end of a caller's speech the answer begins, at the caller's ear, without what the vendors took.

The simulator places the calls, a few at a time, and measures at the caller's ear, to the sample. The scripted vendors
take 720 ms of every answer: the recogniser's final 300 ms after the end of speech, the model's first token 300 ms
after that, the voice's first sound 120 ms after it was given something to say. What is left is the overhead: the time
in which the model says enough for the voice to begin (two more words at 80 a second here: 25 ms), which every bridge
has to wait for, and the bridge's own.
"""

import argparse
import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

import uvloop

from benchmarks.bridge import Bridge, running
from benchmarks.machine import CALLERS_CORE, UsageMeter, stay_on
from benchmarks.providers import SHORT_REPLY, VENDORS_S, first_clause_s
from benchmarks.report import Report, against, quantile
from benchmarks.speech import utterances
from telephony.clock import MonotonicClock
from telephony.simulator.call import place_call
from telephony.simulator.line import Line
from telephony.simulator.report import CallReport
from telephony.simulator.script import HangUp, Listen, Say, Script, Step
from telephony.simulator.voice import Utterance

SUMMARY = "response onset at the caller's ear, minus what the vendors took"

_FINISHED_AFTER_MS = 320.0
VOICE_TO_MODEL = "caller's last voice to the model's start"
_STAGES = (
    ("caller's last voice to final words (300 by script)", "speech_ended", "asr_complete", 0.0),
    ("final words to the model's start", "asr_complete", "llm_started", 0.0),
    (VOICE_TO_MODEL, "speech_ended", "llm_started", 0.0),
    ("first token, beyond 300", "llm_started", "llm_first_token", 0.3),
    ("first clause to the voice", "llm_first_token", "tts_started", 0.0),
    ("first speech, beyond 120", "tts_started", "tts_first_chunk", 0.12),
    ("first speech to its leaving", "tts_first_chunk", "playout_started", 0.0),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--calls", type=int, default=4, help="calls at a time")
    parser.add_argument("--turns", type=int, default=18, help="turns of each call")


@dataclass
class Run:
    """One run's turns, in ms."""

    overhead_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    unanswered: int = 0
    gaps: int = 0
    late_frames: int = 0
    frames: int = 0
    waited_share: float = 0.0


def measure(told: argparse.Namespace) -> Report:
    """All runs, each against a bridge of its own."""
    stay_on(CALLERS_CORE)
    return _tell(runs(told), told.calls)


def runs(told: argparse.Namespace, **settings: str) -> list[Run]:
    """As many as told, each against a fresh bridge with these settings."""
    done = []
    for number in range(told.runs):
        with running(**settings) as bridge:
            done.append(uvloop.run(_run(bridge, told.calls, told.turns, number)))
    return done


async def _run(bridge: Bridge, calls: int, turns: int, number: int) -> Run:
    line = Line(url=bridge.url, allow_plain_ws=True, record=False)
    meter = UsageMeter(bridge.pid)
    placed = []
    async with asyncio.TaskGroup() as group:
        for call in range(calls):
            await asyncio.sleep(0.53)  # so that they do not speak in chorus
            script = _script(turns, (number * calls + call) * turns)
            placed.append(group.create_task(place_call(line, script, MonotonicClock())))
    run = Run(waited_share=meter.read().waited_share)
    for task in placed:
        _take(task.result(), run)
    return run


def _script(turns: int, first: int) -> Script:
    """Hear the greeting; then say something and hear the answer out, `turns` times."""
    said = utterances()
    chosen = [said[(first + turn) % len(said)] for turn in range(turns)]
    steps: list[Step] = [Listen()]
    for recording in chosen:
        steps += [Say(say=recording.name), Listen()]
    steps.append(HangUp())
    sounds: Mapping[str, Utterance] = {
        recording.name: Utterance(recording.name, recording.audio, recording.onset, recording.end)
        for recording in chosen
    }
    return Script("onset", tuple(steps), sounds, _FINISHED_AFTER_MS, noise_dbfs=-62.0)


def _take(call: CallReport, run: Run) -> None:
    for exchange in call.exchanges:
        if exchange.onset_s is None or exchange.cut_in:
            run.unanswered += 1
        else:
            run.overhead_ms.append((exchange.onset_s - VENDORS_S) * 1000)
    run.gaps += len(call.gaps)
    run.frames += call.pace.frames
    run.late_frames += call.pace.late
    for event in call.events:
        if event.kind != "turn_measured":
            continue
        stamps = event.fields["stamps"]
        for name, start, end, scripted_s in _STAGES:
            if stamps[start] is not None and stamps[end] is not None and stamps["speech_ended"] is not None:
                stage = (stamps[end] - stamps[start] - scripted_s) * 1000
                run.stages_ms.setdefault(name, []).append(stage)


def _tell(runs: list[Run], calls: int) -> Report:
    report = Report("onset")
    model_ms = first_clause_s(SHORT_REPLY) * 1000
    turns = [overhead for run in runs for overhead in run.overhead_ms]
    table = report.table(
        f"Onset minus 720 ms: {len(turns)} turns, {len(runs)} runs, {calls} calls at a time",
        *("ms", "p50", "p90", "p99", "p50 of the runs", "goal", ""),
    )
    medians = [quantile(run.overhead_ms, 0.5) or 0.0 for run in runs]
    own = [overhead - model_ms for overhead in turns]
    p50, p99, own_p50 = quantile(turns, 0.5), quantile(turns, 0.99), quantile(own, 0.5)
    spread = f"{min(medians):.1f} to {max(medians):.1f}"
    reached = against(p50, 35.0) if against(p99, 60.0) == "reached" else "missed"
    table.add("overhead", p50, quantile(turns, 0.9), p99, spread, "p50 <= 35, p99 <= 60", reached)
    table.add("of it the model's first clause", model_ms, model_ms, model_ms, "", "", "")
    table.add(
        "of it the bridge's", own_p50, quantile(own, 0.9), quantile(own, 0.99), "", "p50 <= 8", against(own_p50, 8)
    )
    stages = report.table("By the bridge's own stamps", "ms", "p50", "p90", "p99")
    for name, *_ in _STAGES:
        values = [value for run in runs for value in run.stages_ms.get(name, [])]
        stages.add(name, quantile(values, 0.5), quantile(values, 0.9), quantile(values, 0.99))
    late = sum(run.late_frames for run in runs) / max(1, sum(run.frames for run in runs))
    report.notes += [
        f"{sum(run.unanswered for run in runs)} turns without an answer, {sum(run.gaps for run in runs)} gaps.",
        f"The simulator was more than 5 ms late with {late:.2%} of its frames; the bridge waited for its core for "
        f"{median(run.waited_share for run in runs):.1%} of the time.",
        "The caller's last voice is the voice detector's, in chunks of 32 ms; the overhead is measured at the ear.",
    ]
    return report
