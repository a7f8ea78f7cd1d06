"""The same as `onset` and `load` with the vendors' adapters, their SDKs and websockets, against fakes on loopback.

The fakes (`benchmarks.vendorfakes`, a process of their own beside the callers) keep the vendors' time: final words
300 ms after the end of speech, 100 ms after they are asked for; first token 300 ms after the request, then 80 a second;
first speech 120 ms after the text, then four times real time. In series that is 720 ms, and what is told is an answer's
onset minus those: below zero where the bridge has begun before the caller's turn was confirmed.
"""

import argparse
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop

from benchmarks import load, onset
from benchmarks.bridge import free_port, running, wait_until
from benchmarks.machine import CALLERS_CORE, stay_on
from benchmarks.report import Report, against, quantile

SUMMARY = "onset, concurrent calls and costs with the vendors' adapters, against fake vendors that keep their time"

_LOCAL_EAR = {"DEEPGRAM_MODEL": "nova-3"}
_FLUX = {"DEEPGRAM_MODEL": "flux-general-en"}
_EAGER = {"DEEPGRAM_EAGER_EOT_THRESHOLD": "0.4"}


@dataclass(frozen=True)
class Variant:
    """One way to begin early, and what it is to reach, if anything."""

    settings: Mapping[str, str]
    p50_ms: float | None = None
    p99_ms: float | None = None


ONSETS = {
    "live, no speculation": Variant({**_LOCAL_EAR, "SPECULATION": "off"}, 35.0, 70.0),
    "Flux, no speculation": Variant({**_FLUX, "SPECULATION": "off"}, 35.0, 70.0),
    "Flux, eager end of turn": Variant({**_FLUX, **_EAGER, "SPECULATION": "text", "SPECULATE_ON": "eager"}, -115.0),
    "live, on pauses, with speech": Variant({**_LOCAL_EAR, "SPECULATION": "speech", "SPECULATE_ON": "pause"}),
    "live, on stable partials, with speech": Variant(
        {**_LOCAL_EAR, "SPECULATION": "speech", "SPECULATE_ON": "partial"}, -180.0
    ),
}
LOADS = {
    "live recognition, local ear": (_LOCAL_EAR, 150, 6.0),
    "Flux": (_FLUX, 200, 4.5),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--calls", type=int, default=4, help="calls at a time")
    parser.add_argument("--turns", type=int, default=18, help="turns of each call")
    parser.add_argument("--only", default="", help="variants whose name contains this, or load, or costs")
    parser.add_argument("--steps", default="150,200", help="numbers of concurrent calls")
    parser.add_argument("--profile", help="write the bridge's cProfile statistics of the last step to this file")


def measure(told: argparse.Namespace) -> Report:
    """The onsets, the steps, the costs."""
    stay_on(CALLERS_CORE)
    report = Report("vendors")
    with vendors() as addresses:
        _onsets(report, told, addresses)
        _loads(report, told, addresses)
        if told.only in ("", "costs"):
            _costs(report, {**addresses, **_LOCAL_EAR})
    return report


@contextmanager
def vendors() -> Iterator[dict[str, str]]:
    """Fake vendors beside the callers; what the bridge has to be told of them."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.vendorfakes", str(port), str(CALLERS_CORE)],
        cwd=Path(__file__).parents[1],
        env=os.environ,
    )
    try:
        wait_until(lambda: _answers(port), process)
        yield {
            "STT_PROVIDER": "deepgram",
            "DEEPGRAM_API_KEY": "bench",
            "DEEPGRAM_BASE_URL": f"ws://127.0.0.1:{port}",
            "LLM_PROVIDER": "anthropic",
            "ANTHROPIC_API_KEY": "bench",
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}",
            "TTS_PROVIDER": "elevenlabs",
            "ELEVENLABS_API_KEY": "bench",
            "ELEVENLABS_BASE_URL": f"http://127.0.0.1:{port}",
        }
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1):
        return True


def _onsets(report: Report, told: argparse.Namespace, addresses: Mapping[str, str]) -> None:
    chosen = {name: variant for name, variant in ONSETS.items() if told.only in name}
    if not chosen:
        return
    table = report.table(
        f"Onset minus 720 ms, {told.calls} calls at a time",
        *("ms", "turns", "p10", "p50", "p90", "p99", "model's start p50", "p90", "p50 of the runs", "goal", ""),
    )
    for name, variant in chosen.items():
        done = onset.runs(told, **{**addresses, **variant.settings})
        turns = [overhead for run in done for overhead in run.overhead_ms]
        medians = [quantile(run.overhead_ms, 0.5) or 0.0 for run in done]
        p50, p99 = quantile(turns, 0.5), quantile(turns, 0.99)
        goal, verdict = "", ""
        if variant.p50_ms is not None:
            goal, verdict = f"p50 <= {variant.p50_ms:g}", against(p50, variant.p50_ms)
        if variant.p99_ms is not None:
            goal += f", p99 <= {variant.p99_ms:g}"
            verdict = verdict if against(p99, variant.p99_ms) == "reached" else "missed"
        spread = f"{min(medians):.1f} to {max(medians):.1f}"
        begun = [start for run in done for start in run.stages_ms.get(onset.VOICE_TO_MODEL, [])]
        spent = (quantile(turns, 0.1), p50, quantile(turns, 0.9), p99, quantile(begun, 0.5), quantile(begun, 0.9))
        table.add(name, len(turns), *spent, spread, goal, verdict)
        report.notes.append(
            f"{name}: {sum(run.unanswered for run in done)} turns without an answer, {sum(run.gaps for run in done)} "
            f"gaps, {median(run.waited_share for run in done):.1%} of the time waiting for the core."
        )


def _loads(report: Report, told: argparse.Namespace, addresses: Mapping[str, str]) -> None:
    if told.only not in ("", "load"):
        return
    goals = None
    sizes = [int(size) for size in told.steps.split(",")]
    for name, (settings, calls, cpu_ms) in LOADS.items():
        results = {
            size: [load.step(size, told.profile if size == sizes[-1] else None, **addresses, **settings)]
            for size in sizes
        }
        load.tell_steps(report, results, name)
        goals = goals or report.table("Goals", "", "figure", "measured", "goal", "")
        most = load.held(results)
        at = most or min(results)
        goals.add(name, "calls held", most, f">= {calls}", "reached" if most >= calls else "missed")
        cpu = median(step.usage.share * 1000 / at for step in results[at])
        goals.add(name, f"CPU ms per call-second, at {at}", cpu, f"<= {cpu_ms:g}", against(cpu, cpu_ms))
        memory = median(step.mb_per_call for step in results[at])
        goals.add(name, f"MB per call, at {at}", memory, "<= 2", against(memory, 2.0))


def _costs(report: Report, settings: Mapping[str, str]) -> None:
    with running(**settings) as bridge:
        load.tell_set_up(report, uvloop.run(load.set_up(bridge)), goal_ms=25.0)
    with running(**settings) as bridge:
        load.tell_come_and_go(report, uvloop.run(load.come_and_go(bridge)))
