"""What a call over SIP costs the bridge, and how late its sound is: G.711 over RTP on loopback, seen from the wire.

The bridge under test runs on one core as it is served, all of pjsua2's threads included, and talks to scripted vendors;
the telephones (`benchmarks.sipphones`) are on the other core, and say human recordings. Four tables:

* Concurrent calls. *Late*: outgoing packets that arrive more than 30 ms after their RTP timestamp says, measured
  against the least late packet of the same call. *Onset overhead*: from the end of speech to the answer's first packet,
  less the vendors' 720 ms. A step holds if less than 0.1 % of the packets were late, the onset overhead has a p99 below
  300 ms, no answer had a hole of more than 20 ms, and no call failed.
* Answers: from INVITE to 200, and from 200 to the first packet in which the (cached) greeting sounds.
* Interruptions: human speech into a long reply, from its labelled onset to the end of the last packet that sounds. The
  recogniser hears no words: the voice detector alone judges. The jitter buffer's delay is part of it, a network's not.
* Calls that come and go: memory, descriptors and threads, each time when all is quiet, and after the 32 s for which SIP
  keeps the transactions of ended calls (RFC 3261, 17.1.1.2, 17.2).
"""

import argparse
import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvloop

from benchmarks.bargein import Interrupter, Interruption
from benchmarks.bridge import Bridge, running
from benchmarks.load import Talker
from benchmarks.machine import CALLERS_CORE, Usage, UsageMeter, open_files, resident_mb, stay_on, threads
from benchmarks.phones import Caller, CallFailed, Exchange
from benchmarks.providers import VENDORS_S
from benchmarks.report import Report, against, quantile
from benchmarks.rtp import share_over
from benchmarks.sipphones import SipPhone, SipTrunk
from benchmarks.speech import recordings
from tests.telephony.sip.phones import free_ports

SUMMARY = "calls over SIP: packets that are late, cost of a call, answers, interruptions, what calls leave behind"

PARTS = ("load", "answers", "interruptions", "leaks")
_CALLS_PER_S = 25
_SETTLE_S = 4.0
_TURNS = 200
_MAX_OVERHEAD_MS = 300.0
_MAX_LATE_S = 0.030
_MAX_LATE_PERCENT = 0.1
_MAX_CORE_PERCENT = 0.35
_EARLY_MS = -50.0
_FORGOTTEN_S = 36.0
"""Timers F, H and J of SIP transactions over UDP are 32 s."""
_GREETING = "Good morning, and thank you for calling."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", default="100,200,250,300", help="numbers of concurrent calls")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each step, and of the interruptions")
    parser.add_argument("--answers", type=int, default=100, help="calls to be answered, one after the other")
    parser.add_argument("--interrupting", type=int, default=20, help="calls on which people interrupt")
    parser.add_argument("--rounds", type=int, default=3, help="times 1000 calls that come and go; the first warms up")
    parser.add_argument("--only", choices=PARTS, help="one of the tables")
    parser.add_argument("--profile", help="write the bridge's cProfile statistics of the last step to this file")


def measure(told: argparse.Namespace) -> Report:
    """Every table against a bridge of its own."""
    stay_on(CALLERS_CORE)
    report = Report("sip")
    parts = (told.only,) if told.only else PARTS
    if "load" in parts:
        sizes = [int(size) for size in told.steps.split(",")]
        steps = {size: step(size, told.seconds, told.profile if size == sizes[-1] else None) for size in sizes}
        tell_steps(report, steps)
    if "answers" in parts:
        with bridge(GREETING=_GREETING) as (running_bridge, ports):
            tell_answers(report, uvloop.run(_answers(ports, told.answers)))
    if "interruptions" in parts:
        with bridge(BENCH_HEARS="nothing", BENCH_REPLIES="long", GREETING="") as (running_bridge, ports):
            tell_interruptions(report, *uvloop.run(_interruptions(ports, told.interrupting, told.seconds)))
    if "leaks" in parts:
        with bridge() as (running_bridge, ports):
            tell_leaks(report, uvloop.run(_come_and_go(running_bridge, ports, told.rounds)))
    return report


@dataclass(frozen=True)
class Ports:
    """Of SIP: the bridge's and ours."""

    bridge: int
    ours: int


@contextmanager
def bridge(*options: str, **settings: str) -> Iterator[tuple[Bridge, Ports]]:
    """A bridge with a trunk to this process."""
    ports = Ports(free_ports(2), free_ports(2))
    sip = {
        "MAX_CALLS": "1000",
        "SIP_SERVER": f"127.0.0.1:{ports.ours}",
        "SIP_USER": "5500",
        "SIP_BIND": "127.0.0.1",
        "SIP_PORT": str(ports.bridge),
        "SIP_RTP_PORTS": "10000-19999",
        "SIP_OPTIONS_S": "0",
        "SIP_CALLS_PER_S": "1000",
    }
    with running(*options, **{**sip, **settings}) as started:
        yield started, ports


async def _dial(phones: list[SipPhone], exchange: Exchange, calls_per_s: float = _CALLS_PER_S) -> None:
    due = time.monotonic()
    for phone in phones:
        due += 1 / calls_per_s
        try:
            await phone.dial()
            exchange.connect(phone)
        except CallFailed as failed:
            phone.heard.failure = str(failed)
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _hang_up(phones: list[SipPhone]) -> None:
    for phone in phones:
        try:
            await phone.hang_up()
        except CallFailed as failed:
            phone.heard.failure = phone.heard.failure or str(failed)


# Many calls at once


@dataclass
class Step:
    """What one number of calls came to."""

    packets: int
    lost: int
    late_percent: float | None
    worst_late_ms: float
    overhead_ms: list[float]
    holes: int
    failures: list[str]
    usage: Usage
    mb_per_call: float
    generator_late_ms: float

    @property
    def holds(self) -> bool:
        p99 = quantile(self.overhead_ms, 0.99)
        punctual = self.late_percent is not None and self.late_percent < _MAX_LATE_PERCENT
        return punctual and p99 is not None and p99 < _MAX_OVERHEAD_MS and not self.holes and not self.failures


def step(size: int, seconds: float, profile: str | None = None, **settings: str) -> Step:
    """So many calls at a fresh bridge."""
    options = ["--profile", profile] if profile else []
    with bridge(*options, **settings) as (started, ports):
        return uvloop.run(_talk(started, ports, size, seconds))


async def _talk(started: Bridge, ports: Ports, size: int, seconds: float) -> Step:
    trunk, exchange = SipTrunk(ports.bridge, ports.ours), Exchange()
    talkers = [Talker(seed) for seed in range(size)]
    phones = [SipPhone(trunk, talker) for talker in talkers]
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(exchange.run())
        first = SipPhone(trunk, Talker(-1))  # what is loaded with the first call is no call's memory
        await _dial([first], exchange)
        await asyncio.sleep(1.0)
        await first.hang_up()
        exchange.disconnect(first)
        empty_mb = resident_mb(started.pid)
        await _dial(phones, exchange)
        await asyncio.sleep(_SETTLE_S)
        exchange.lateness_s.clear()
        for phone in phones:
            phone.stream.forget()
        began, meter = time.monotonic(), UsageMeter(started.pid)
        while (passed := time.monotonic() - began) < 2 * seconds:
            turns = sum(at >= began for talker in talkers for at, _ in talker.onsets)
            if passed >= seconds and turns >= _TURNS:
                break
            await asyncio.sleep(0.5)
        usage, full_mb = meter.read(), resident_mb(started.pid)
        late_s = [late for phone in phones for late in phone.stream.late_s()]
        lost = sum(phone.stream.lost for phone in phones)
        await _hang_up(phones)
        ticking.cancel()
    trunk.close()
    onsets_ms = [(onset - VENDORS_S) * 1000 for talker in talkers for at, onset in talker.onsets if at >= began]
    over = share_over(late_s, _MAX_LATE_S)
    return Step(
        packets=len(late_s),
        lost=lost,
        late_percent=None if over is None else over * 100,
        worst_late_ms=max(late_s, default=0.0) * 1000,
        overhead_ms=[overhead for overhead in onsets_ms if overhead >= _EARLY_MS],
        holes=sum(at >= began for talker in talkers for at, _ in talker.gaps),
        failures=[phone.heard.failure for phone in phones if phone.heard.failure],
        usage=usage,
        mb_per_call=(full_mb - empty_mb) / size,
        generator_late_ms=(quantile(exchange.lateness_s, 0.99) or 0.0) * 1000,
    )


def tell_steps(report: Report, steps: dict[int, Step]) -> None:
    """The table of steps, and the goals."""
    table = report.table(
        "Concurrent calls on one core",
        *("calls", "packets", "late %", "latest ms", "lost", "turns", "overhead p50 ms", "p99 ms", "holes", "failed"),
        *("core %", "core % per call", "waited %", "MB/call", "generator late p99 ms", "holds"),
    )
    for size, one in steps.items():
        table.add(
            *(size, one.packets, one.late_percent, one.worst_late_ms, one.lost, len(one.overhead_ms)),
            *(quantile(one.overhead_ms, 0.5), quantile(one.overhead_ms, 0.99), one.holes, len(one.failures)),
            *(one.usage.share * 100, one.usage.share * 100 / size, one.usage.waited_share * 100),
            *(one.mb_per_call, one.generator_late_ms, "yes" if one.holds else "no"),
        )
        report.notes += [f"{size} calls: {reason}" for reason in sorted(set(one.failures))]
    goals = report.table("Goals", "figure", "measured", "goal", "")
    most = max((size for size, one in steps.items() if one.holds), default=0)
    goals.add("calls held on one core", most, ">= 200", "reached" if most >= 200 else "missed")
    at = min((size for size in steps if size >= 200), default=max(steps))
    late = steps[at].late_percent
    goals.add(f"late packets in %, at {at} calls", late, f"< {_MAX_LATE_PERCENT}", against(late, _MAX_LATE_PERCENT))
    cost = steps[at].usage.share * 100 / at
    goals.add(f"core in % per call, at {at} calls", cost, f"<= {_MAX_CORE_PERCENT}", against(cost, _MAX_CORE_PERCENT))


# Answers


async def _answers(ports: Ports, calls: int) -> list[SipPhone]:
    """One call after the other, each up to a moment into its greeting."""
    trunk, exchange, phones = SipTrunk(ports.bridge, ports.ours), Exchange(), []
    chance = random.Random(1)
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(exchange.run())
        for number in range(calls + 3):
            phone = SipPhone(trunk, Caller())
            await phone.dial()
            exchange.connect(phone)
            await asyncio.sleep(0.5 + chance.uniform(0.0, 0.02))  # at no fixed place in the conference's 20 ms
            await phone.hang_up()
            exchange.disconnect(phone)
            if number >= 3:  # the first ones load modules
                phones.append(phone)
        ticking.cancel()
    trunk.close()
    return phones


def tell_answers(report: Report, phones: list[SipPhone]) -> None:
    """How soon calls are taken, and the agent is heard."""
    table = report.table(
        f"Answers, {len(phones)} calls with a cached greeting", *("ms", "p50", "p90", "max", "goal", "")
    )
    taken = [(phone.answered_at - phone.invited_at) * 1000 for phone in phones]
    heard = [(phone.first_sound_at - phone.answered_at) * 1000 for phone in phones if phone.first_sound_at]
    for name, found, goal in (("INVITE to 200", taken, 50.0), ("200 to the first agent audio", heard, 150.0)):
        worst = quantile(found, 0.9)
        table.add(name, quantile(found, 0.5), worst, max(found, default=None), f"<= {goal:g}", against(worst, goal))
    if len(heard) < len(phones):
        report.notes.append(f"{len(phones) - len(heard)} calls were not greeted within half a second.")


# Interruptions


async def _interruptions(ports: Ports, calls: int, seconds: float) -> tuple[list[Interruption], list[str]]:
    """People interrupt on every call; and why calls failed."""
    said = tuple(recording for recording in recordings() if 0.5 <= recording.seconds <= 4.0)
    trunk, exchange = SipTrunk(ports.bridge, ports.ours), Exchange()
    callers = [Interrupter(seed, said) for seed in range(calls)]
    phones = [SipPhone(trunk, caller) for caller in callers]
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(exchange.run())
        await _dial(phones, exchange)
        await asyncio.sleep(seconds)
        for caller in callers:
            caller.rest()
        await asyncio.sleep(max(recording.seconds for recording in said) + 1.0)
        await _hang_up(phones)
        ticking.cancel()
    trunk.close()
    found = [interruption for caller in callers for interruption in caller.interruptions]
    return found, [phone.heard.failure for phone in phones if phone.heard.failure]


def tell_interruptions(report: Report, found: list[Interruption], failures: list[str]) -> None:
    """How soon the agent falls silent."""
    took = [(one.cleared - one.onset) * 1000 for one in found if one.cleared is not None and one.cleared >= one.onset]
    table = report.table(
        f"Human speech into a reply, {len(found)} interruptions", *("ms", "p50", "p90", "p99", "goal", "")
    )
    p50 = quantile(took, 0.5)
    table.add(
        "onset to silence on the wire",
        p50,
        quantile(took, 0.9),
        quantile(took, 0.99),
        "p50 <= 150",
        against(p50, 150.0),
    )
    missed = sum(one.cleared is None for one in found)
    early = len(found) - missed - len(took)
    report.notes.append(
        f"{missed} interruptions without silence, {early} silent before the onset, {len(failures)} calls failed."
    )
    report.notes += sorted(set(failures))


# Calls that come and go


@dataclass
class Left:
    """What the bridge held when all was quiet, at once after the last call and after SIP's transactions were over."""

    calls: int
    failed: int
    at_once: tuple[float, int, int]
    later: tuple[float, int, int] = field(default=(0.0, 0, 0))


async def _come_and_go(started: Bridge, ports: Ports, rounds: int, calls: int = 1000) -> list[Left]:
    """Rounds of calls of two seconds, fifty at once."""
    trunk, exchange, left, placed = SipTrunk(ports.bridge, ports.ours), Exchange(), [], 0

    def holds() -> tuple[float, int, int]:
        return resident_mb(started.pid), open_files(started.pid), threads(started.pid)

    async def one(seed: int) -> int:
        phone = SipPhone(trunk, Talker(seed))
        await _dial([phone], exchange)
        await asyncio.sleep(2.0)
        await _hang_up([phone])
        exchange.disconnect(phone)
        return bool(phone.heard.failure)

    left.append(Left(0, 0, holds(), holds()))
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(exchange.run())
        for _ in range(rounds):
            tasks = []
            for seed in range(placed, placed + calls):
                tasks.append(group.create_task(one(seed)))
                await asyncio.sleep(1 / _CALLS_PER_S)
            failed = sum([await task for task in tasks])
            placed += calls
            await asyncio.sleep(1.0)
            left.append(Left(placed, failed, holds()))
            await asyncio.sleep(_FORGOTTEN_S)
            left[-1].later = holds()
        ticking.cancel()
    trunk.close()
    return left


def tell_leaks(report: Report, left: list[Left]) -> None:
    """What is left of calls; the first round warms up."""
    table = report.table(
        f"Calls that come and go, 50 at once; at once, and {_FORGOTTEN_S:.0f} s later",
        *("calls so far", "failed", "MB", "descriptors", "threads", "MB later", "descriptors later", "threads later"),
    )
    for one in left:
        table.add(one.calls, one.failed, *one.at_once, *one.later)
    if len(left) > 2:
        grown = [after - before for before, after in zip(left[1].later, left[-1].later, strict=True)]
        report.notes.append(
            f"From {left[1].calls} to {left[-1].calls} calls: {grown[0]:+.1f} MB, {grown[1]:+.0f} descriptors, "
            f"{grown[2]:+.0f} threads."
        )
