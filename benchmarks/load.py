"""How many calls one core holds, and what each of them costs.

Each step is a fresh bridge with that many calls, which come 25 a second. Every caller says something (human speech),
hears the answer out, and goes on; in between there is the soft noise of a line. Voice activity runs on every call. In
the same run as many sockets talk to a bare echo on the same web stack, 50 messages a second each way: no bridge built
on that stack can cost less. A step holds if the answers' onset overhead has a p99 below 300 ms over at least 200 turns,
no playout ran dry for more than 20 ms, and no call failed.

The generator is `benchmarks.phones`, lean enough for 250 calls on the other core; its own lateness is in the table, and
adds to the onsets. `waited` is the share of time in which the bridge was ready to run and something else held its core.
"""

import argparse
import asyncio
import random
import time
from dataclasses import dataclass
from functools import lru_cache
from statistics import median

import uvloop

from benchmarks.bridge import Bridge, running
from benchmarks.echo import Echoed, EchoPhone, echo
from benchmarks.machine import CALLERS_CORE, Usage, UsageMeter, cpu_s, resident_mb, stay_on
from benchmarks.phones import FRAME_S, Caller, CallFailed, Exchange, Phone, payload
from benchmarks.providers import VENDORS_S
from benchmarks.report import Report, Table, against, quantile
from benchmarks.speech import frames, utterances
from telephony.simulator.sound import comfort_noise

SUMMARY = "concurrent calls on one core, beside a bare echo of the web stack; cost of a call; set-up; memory"

_CALLS_PER_S = 25
_SETTLE_S = 4.0
_WINDOW_S = (20.0, 60.0)
_TURNS = 200
_ECHO_S = 8.0
_ANSWER_WITHIN_S = 5.0
_MAX_OVERHEAD_MS = 300.0
_EARLY_MS = -50.0
"""An answer this much too early answers the middle of an utterance: its voice faded for longer than patience lasts."""
_NOISE_DBFS = -62.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", default="50,100,150,200,250", help="numbers of concurrent calls")
    parser.add_argument("--runs", type=int, default=1, help="whole runs; the table has their medians")
    parser.add_argument("--no-costs", action="store_true", help="only the steps: no set-up, no come and go")
    parser.add_argument("--profile", help="write the bridge's cProfile statistics of the last step to this file")


@lru_cache
def _sounds() -> tuple[list[list[bytes]], list[bytes]]:
    """What callers say, and what the line sounds like in between, as payloads."""
    said = [[payload(frame) for frame in frames(recording.audio)] for recording in utterances()]
    return said, [payload(frame) for frame in comfort_noise(_NOISE_DBFS, 250)]


class Talker(Caller):
    """Says something, hears the answer out, goes on."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._left: list[bytes] = []
        self._said, self._noise = _sounds()
        self._noise_at = self._random.randrange(len(self._noise))
        self._answered = True  # by the greeting, which comes first
        self._silent_since = 0.0
        self._pause_s = self._random.uniform(0.3, 4.0)
        self.onsets: list[tuple[float, float]] = []
        self.gaps: list[tuple[float, float]] = []

    def frame(self, phone: Phone, due: float) -> bytes:
        if self._left:
            frame = self._left.pop()
            if not self._left:
                self._answered, self._silent_since = False, due
            return frame
        if not self._answered:
            if due - self._silent_since > _ANSWER_WITHIN_S:
                phone.heard.failure = "no answer"
                self._answered = True
        elif phone.play_end and due > phone.play_end + self._pause_s:
            self._left = self._random.choice(self._said)[::-1]
            self._pause_s = self._random.uniform(0.3, 0.9)
        self._noise_at = (self._noise_at + 1) % len(self._noise)
        return self._noise[self._noise_at]

    def agent_sounds(self, phone: Phone, dry_s: float, now: float) -> None:
        if not self._answered:
            self._answered = True
            self.onsets.append((now, now - self._silent_since))
        elif phone.play_end and dry_s > FRAME_S and not self._left:
            self.gaps.append((now, dry_s))


@dataclass
class Step:
    """What one number of calls came to."""

    overhead_ms: list[float]
    early: int
    gaps: int
    failures: list[str]
    usage: Usage
    mb_per_call: float
    late_ms: float
    echo: Echoed

    @property
    def holds(self) -> bool:
        p99 = quantile(self.overhead_ms, 0.99)
        return p99 is not None and p99 < _MAX_OVERHEAD_MS and not self.gaps and not self.failures


def measure(told: argparse.Namespace) -> Report:
    """All steps, then the costs."""
    stay_on(CALLERS_CORE)
    sizes = [int(size) for size in told.steps.split(",")]
    report = Report("load")
    results: dict[int, list[Step]] = {size: [] for size in sizes}
    for _ in range(told.runs):
        for size in sizes:
            results[size].append(step(size, told.profile if size == sizes[-1] else None))
    tell_steps(report, results)
    _tell_goals(report, results)
    if not told.no_costs:
        with running() as bridge:
            tell_set_up(report, uvloop.run(set_up(bridge)))
        with running() as bridge:
            tell_come_and_go(report, uvloop.run(come_and_go(bridge)))
    return report


# Many calls at once


def step(size: int, profile: str | None = None, **settings: str) -> Step:
    """So many calls at a fresh bridge, after as many sockets at a bare echo."""
    with running("--only-echo") as bridge:
        echoed = uvloop.run(echo(bridge, size, _ECHO_S))
    with running(*(["--profile", profile] if profile else []), **settings) as bridge:
        return uvloop.run(_talk(bridge, size, echoed))


async def _talk(bridge: Bridge, size: int, echoed: Echoed) -> Step:
    exchange = Exchange()
    talkers = [Talker(seed) for seed in range(size)]
    phones = [Phone(bridge.port, talker) for talker in talkers]
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(exchange.run())
        first = Phone(bridge.port, Talker(-1))  # what is loaded with the first call is no call's memory
        await _dial([first], exchange)
        await asyncio.sleep(1.0)
        await first.hang_up()
        exchange.disconnect(first)
        empty_mb = resident_mb(bridge.pid)
        await _dial(phones, exchange)
        await asyncio.sleep(_SETTLE_S)
        exchange.lateness_s.clear()
        began, meter = time.monotonic(), UsageMeter(bridge.pid)
        turns = 0
        while (passed := time.monotonic() - began) < _WINDOW_S[1]:
            turns = sum(at >= began for talker in talkers for at, _ in talker.onsets)
            if passed >= _WINDOW_S[0] and turns >= _TURNS:
                break
            await asyncio.sleep(0.5)
        usage, full_mb = meter.read(), resident_mb(bridge.pid)
        await _hang_up_all(phones)
        ticking.cancel()
    overhead_ms = [(onset - VENDORS_S) * 1000 for talker in talkers for at, onset in talker.onsets if at >= began]
    return Step(
        overhead_ms=[overhead for overhead in overhead_ms if overhead >= _EARLY_MS],
        early=sum(overhead < _EARLY_MS for overhead in overhead_ms),
        gaps=sum(at >= began for talker in talkers for at, _ in talker.gaps),
        failures=[phone.heard.failure for phone in phones if phone.heard.failure],
        usage=usage,
        mb_per_call=(full_mb - empty_mb) / size,
        late_ms=(quantile(exchange.lateness_s, 0.99) or 0.0) * 1000,
        echo=echoed,
    )


async def _dial(phones: list[Phone], exchange: Exchange) -> None:
    """One call after the other, at an even rate."""
    due = time.monotonic()
    for phone in phones:
        due += 1 / _CALLS_PER_S
        try:
            await phone.dial()
            exchange.connect(phone)
        except (CallFailed, OSError, TimeoutError) as error:
            phone.heard.failure = str(error) or "no connection"
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _hang_up_all(phones: list[Phone]) -> None:
    for phone in phones:
        try:
            await phone.hang_up()
        except (CallFailed, OSError, TimeoutError) as error:
            phone.heard.failure = phone.heard.failure or f"hanging up: {error}"


def tell_steps(report: Report, results: dict[int, list[Step]], title: str = "Concurrent calls on one core") -> None:
    """The table of steps, by their size."""
    table = report.table(
        f"{title} (onset overhead: answer's onset minus 720 ms, at the caller's end)",
        *("calls", "turns", "p50 ms", "p99 ms", "early", "gaps", "failed"),
        *("CPU ms/call-s", "core %", "waited %", "MB/call"),
        *("generator late p99 ms", "echo CPU ms/socket-s", "echo core %", "echo p99 ms", "holds"),
    )
    for size, steps in results.items():
        table.add(
            size,
            round(median(len(step.overhead_ms) for step in steps)),
            median(quantile(step.overhead_ms, 0.5) or 0.0 for step in steps),
            median(quantile(step.overhead_ms, 0.99) or 0.0 for step in steps),
            sum(step.early for step in steps),
            sum(step.gaps for step in steps),
            sum(len(step.failures) for step in steps),
            median(step.usage.share * 1000 / size for step in steps),
            median(step.usage.share * 100 for step in steps),
            median(step.usage.waited_share * 100 for step in steps),
            median(step.mb_per_call for step in steps),
            median(step.late_ms for step in steps),
            median(step.echo.usage.share * 1000 / size for step in steps),
            median(step.echo.usage.share * 100 for step in steps),
            median(step.echo.p99_ms for step in steps),
            "yes" if all(step.holds for step in steps) else "no",
        )
        for reason in sorted({reason for step in steps for reason in step.failures}):
            report.notes.append(f"{size} calls: {reason}")


def held(results: dict[int, list[Step]]) -> int:
    """The most calls that were held; 0 if no step was."""
    return max((size for size, steps in results.items() if all(step.holds for step in steps)), default=0)


def _tell_goals(report: Report, results: dict[int, list[Step]]) -> None:
    goals = report.table("Goals", "figure", "measured", "goal", "")
    most = held(results)
    goals.add("calls held on one core", most, ">= 150", "reached" if most >= 150 else "missed")
    at = most or min(results)
    cpu = median(step.usage.share * 1000 / at for step in results[at])
    goals.add(f"CPU ms per call-second, at {at} calls", cpu, "<= 6", against(cpu, 6.0))
    memory = median(step.mb_per_call for step in results[at])
    goals.add(f"MB per call, at {at} calls", memory, "<= 1", against(memory, 1.0))


# One call's beginning


async def set_up(bridge: Bridge, calls: int = 60) -> tuple[float, list[float], list[float]]:
    """CPU ms of a call that comes and goes at once, and the worst round trip of an echo in ms beside each set-up; the
    same of as many stretches without one."""
    stalls: list[float] = []
    idle: list[float] = []
    took: list[float] = []
    prober = EchoPhone(bridge.port, took.append)
    await prober.dial()
    exchange = Exchange()

    async def probe() -> None:
        while True:
            prober.tick(0.0)
            await asyncio.sleep(0.002)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(probe()), group.create_task(exchange.run())]
        for number in range(calls + 5):
            await asyncio.sleep(0.1)
            quiet_ms = max(took) * 1000
            took.clear()
            phone = Phone(bridge.port, Caller())
            await phone.dial()
            exchange.connect(phone)
            await asyncio.sleep(0.1)
            if number >= 5:  # the first ones load modules
                stalls.append(max(took) * 1000)
                idle.append(quiet_ms)
            await phone.hang_up()
            exchange.disconnect(phone)
            await asyncio.sleep(0.02)
            took.clear()
        for task in tasks:
            task.cancel()
    await prober.hang_up()
    began = cpu_s(bridge.pid)
    for _ in range(calls):
        phone = Phone(bridge.port, Caller())
        await phone.dial()
        await asyncio.sleep(0.05)  # else the hang-up overtakes the stream, and nothing is set up
        await phone.hang_up()
    return (cpu_s(bridge.pid) - began) / calls * 1000, stalls, idle


def tell_set_up(report: Report, measured: tuple[float, list[float], list[float]], goal_ms: float = 15.0) -> None:
    """What a set-up costs and blocks."""
    cpu_ms, stalls, idle = measured
    table: Table = report.table("Set-up of a call", "figure", "p50", "p90", "max", "goal", "")
    worst = quantile(stalls, 0.9)
    table.add(
        "worst echo beside a set-up, ms", median(stalls), worst, max(stalls), f"<= {goal_ms:g}", against(worst, goal_ms)
    )
    table.add("the same without a set-up, ms", median(idle), quantile(idle, 0.9), max(idle), "", "")
    table.add("CPU of set-up and tear-down, ms", cpu_ms, None, None, "", "")


# Calls that come and go


async def come_and_go(bridge: Bridge, rounds: int = 30, at_once: int = 50) -> list[float]:
    """Resident MB after each 100 calls."""
    sizes = []
    exchange = Exchange()
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(exchange.run())
        for number in range(rounds):
            phones = [Phone(bridge.port, Talker(1000 * number + seed)) for seed in range(at_once)]
            await _dial(phones, exchange)
            await asyncio.sleep(1.0)
            await _hang_up_all(phones)
            for phone in phones:
                exchange.disconnect(phone)
            await asyncio.sleep(0.5)
            if number % 2:
                sizes.append(resident_mb(bridge.pid))
        ticking.cancel()
    return sizes


def tell_come_and_go(report: Report, sizes: list[float]) -> None:
    """Memory over calls that come and go."""
    table = report.table("Calls that come and go, 50 at once", "calls so far", "resident MB")
    for index, size in enumerate(sizes, 1):
        table.add(index * 100, size)
    grown = sizes[-1] - sizes[-6]
    report.notes.append(
        f"Over the last 500 calls it grew by {grown:.1f} MB; the first 1,000 fill what is kept for good."
    )
