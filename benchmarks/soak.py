"""Calls that come and go for a long time while something breaks every few seconds: what is left behind?

A supervisor runs two workers on the embedded store. Callers hang up when their two questions are answered, and others
call. One call in three loses its stream, reset or half-open; every few seconds a worker stands still for a moment, is
killed, or is told to end, all but one: the steadfast worker lives as long as the soak does, and what it holds (memory,
descriptors, tasks) has to be as much in the end as it was when the first calls had gone.
"""

import argparse
import asyncio
import os
import random
import re
import signal
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from benchmarks.machine import resident_mb
from benchmarks.outages import ACCOUNT, TOKEN, Running, bridge
from benchmarks.recovery import CALL_S, Outcome, conversation, judge, line_to
from benchmarks.report import Report
from telephony.clock import MonotonicClock
from telephony.simulator.call import place_call
from telephony.simulator.faults import Network, Stall
from telephony.simulator.line import Line
from telephony.simulator.rest import Exchange, RestApi

SUMMARY = "memory, descriptors, tasks and journals after an hour of calls and faults"

_SAMPLE_S = 1.0
_FOREVER_MS = 3_600_000.0
_PATIENCE_MS = 4000
_STANDSTILL_S = 1.0


@dataclass(frozen=True)
class Sample:
    """What the steadfast worker holds at a time."""

    at_s: float
    memory_mb: float
    descriptors: int
    tasks: int
    calls: int


@dataclass
class Soaked:
    """What came of it."""

    outcome: Outcome = field(default_factory=Outcome)
    faults: dict[str, int] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    after: Sample | None = None
    """When all calls had ended."""
    before: Sample | None = None
    """Before the first."""

    def growth_mb(self) -> float:
        """Of the memory, from the second quarter of the time to the last."""
        quarter = max(1, len(self.samples) // 4)
        late, early = self.samples[-quarter:], self.samples[quarter : 2 * quarter] or self.samples[:quarter]
        return statistics.median(s.memory_mb for s in late) - statistics.median(s.memory_mb for s in early)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--calls", type=int, default=100, help="at a time")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every-s", type=float, default=5.0, help="seconds between faults, about")
    parser.add_argument("--seed", type=int, default=1)


def measure(told: argparse.Namespace) -> Report:
    soaked = asyncio.run(soak(told.calls, 60.0 * told.minutes, told.every_s, told.seed))
    outcome, report = soaked.outcome, Report("soak")
    calls = report.table(
        "Calls",
        *("calls", "lost", "felt a fault", "words never heard", "heard twice", "turns lost", "wrong context"),
        "journals cut",
    )
    calls.add(
        *(outcome.calls, outcome.lost, outcome.faults_felt, outcome.never_heard, outcome.heard_twice),
        *(outcome.caller_lost, outcome.wrong_context, outcome.incomplete),
    )
    held = report.table("The steadfast worker", "when", "memory MB", "descriptors", "tasks", "calls")
    quarters = [soaked.samples[len(soaked.samples) * n // 4 - 1] for n in (1, 2, 3, 4)]
    for sample in filter(None, (soaked.before, *quarters, soaked.after)):
        held.add(f"{sample.at_s / 60:.1f} min", sample.memory_mb, sample.descriptors, sample.tasks, sample.calls)
    report.notes.append(f"faults: {', '.join(f'{name} {count}' for name, count in sorted(soaked.faults.items()))}")
    report.notes.append(f"memory from the second quarter to the last: {soaked.growth_mb():+.1f} MB")
    report.notes += outcome.problems[:10]
    return report


async def soak(calls: int, for_s: float, every_s: float, seed: int) -> Soaked:
    """So many calls at a time for so long."""
    soaked, chance, exchange = Soaked(), random.Random(seed), Exchange()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        api = await stack.enter_async_context(RestApi(exchange, ACCOUNT, TOKEN))
        running = await stack.enter_async_context(bridge(folder, api.url))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=running.url, timeout=20.0))
        steadfast, began = running.workers()[0], time.monotonic()
        soaked.before = await _sample(client, steadfast, began)
        line, end = line_to(running.url, exchange), began + for_s
        async with asyncio.TaskGroup() as group:
            callers = [
                group.create_task(_call_again_and_again(line, client, chance, end, soaked)) for _ in range(calls)
            ]
            breaking = group.create_task(_break(running, steadfast, chance, every_s, soaked))
            watching = group.create_task(_watch(client, steadfast, began, soaked))
            await asyncio.sleep(max(0.0, end - time.monotonic()))
            breaking.cancel()
            watching.cancel()
            await asyncio.wait(callers)
        soaked.after = await _sample(client, steadfast, began)
    return soaked


async def _call_again_and_again(
    line: Line, client: httpx.AsyncClient, chance: random.Random, end: float, soaked: Soaked
) -> None:
    script = conversation(_PATIENCE_MS)
    await asyncio.sleep(chance.uniform(0.0, CALL_S / 2))
    while time.monotonic() < end:
        at_s = chance.uniform(1.0, CALL_S)
        name, network = chance.choice(
            [
                ("reset", Network(drop_at_s=at_s)),
                ("half-open", Network(stalls=(Stall(at_s, _FOREVER_MS),))),
                *[("", Network())] * 4,
            ]
        )
        if name:
            soaked.faults[name] = soaked.faults.get(name, 0) + 1
        report = await place_call(replace(line, network=network), script, MonotonicClock())
        await judge(report, client, soaked.outcome)
        await asyncio.sleep(chance.uniform(0.0, 2.0))


async def _break(running: Running, steadfast: int, chance: random.Random, every_s: float, soaked: Soaked) -> None:
    while True:
        await asyncio.sleep(chance.uniform(0.5 * every_s, 1.5 * every_s))
        others = [pid for pid in running.workers() if pid != steadfast]
        name = chance.choice(("kill", "terminate", "stand still"))
        if name == "stand still":
            await _stand_still(chance.choice((steadfast, *others)))
        elif others:
            os.kill(others[0], signal.SIGKILL if name == "kill" else signal.SIGTERM)
        else:  # the last one that was broken is not there again yet
            continue
        soaked.faults[name] = soaked.faults.get(name, 0) + 1


async def _stand_still(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(_STANDSTILL_S)
    finally:
        os.kill(pid, signal.SIGCONT)


async def _watch(client: httpx.AsyncClient, steadfast: int, began: float, soaked: Soaked) -> None:
    while True:
        await asyncio.sleep(_SAMPLE_S)
        soaked.samples.append(await _sample(client, steadfast, began))


async def _sample(client: httpx.AsyncClient, pid: int, began: float) -> Sample:
    """Waits until somebody tells of this process: one that stands still tells nothing."""
    while True:
        text = await _metrics(client)
        tasks, calls = (
            re.search(rf'^sidetone_{name}{{process="{pid}"}} (\S+)$', text, re.MULTILINE)
            for name in ("tasks", "live_calls")
        )
        if tasks is not None and calls is not None:
            descriptors = len(os.listdir(f"/proc/{pid}/fd"))
            at_s = time.monotonic() - began
            return Sample(at_s, resident_mb(pid), descriptors, int(float(tasks[1])), int(float(calls[1])))
        await asyncio.sleep(0.1)


async def _metrics(client: httpx.AsyncClient) -> str:
    try:
        return (await client.get("/metrics")).text
    except httpx.RequestError:  # the worker that was asked has been killed
        return ""
