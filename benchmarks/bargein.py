"""How fast speech stops the agent, and how seldom anything else does: both in one run, with the same settings.

Agents give long replies. On some calls people interrupt them: recordings of human speech, whose onset is labelled from
their own energy (within 35 dB of the loudest 10 ms), begin at any moment and any phase of a frame; what counts is the
time from that onset to the `clear` that arrives at the carrier. On the other calls nobody speaks, but there are coughs,
clicks, static, or the agent's own voice (human recordings) coming back 60 to 400 ms later at -20 dB; what counts is
how often they stop the agent, for each minute that it speaks, and how many replies are lost to them.

The recogniser hears no words: the voice detector alone judges, which is the hard case for both.
"""

import argparse
import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import uvloop

from benchmarks import noises
from benchmarks.bridge import Bridge, running
from benchmarks.machine import CALLERS_CORE, UsageMeter, stay_on
from benchmarks.phones import FRAME_S, Caller, Exchange, Phone, get, payload
from benchmarks.report import Report, against, quantile
from benchmarks.speech import Recording, frames, recordings
from telephony.audio import FRAME_BYTES
from telephony.simulator.sound import comfort_noise, decode, encode

SUMMARY = "speech onset to `clear`, and false holds by coughs, clicks, static and echo, in the same run"

_NOISE_DBFS = -62.0
_ECHO_DB = -20.0
_ECHO_DELAYS_MS = (60, 130, 200, 270, 340, 400)
_MISSED_AFTER_S = 0.6
"""Without a clear so long after the end of the utterance, the interruption was missed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=180.0, help="of each run")
    parser.add_argument("--interrupting", type=int, default=10, help="calls on which people interrupt")
    parser.add_argument("--per-noise", type=int, default=6, help="calls for each kind of noise")


@lru_cache
def _quiet() -> list[bytes]:
    return [payload(frame) for frame in comfort_noise(_NOISE_DBFS, 250)]


@dataclass
class Interruption:
    """One utterance into a reply. Times on the monotonic clock."""

    name: str
    onset: float
    until: float
    cleared: float | None = None


class Interrupter(Caller):
    """Lets the agent speak for a while, then speaks."""

    def __init__(self, seed: int, said: tuple[Recording, ...]) -> None:
        self._random = random.Random(seed)
        self._said = said
        self._left: list[bytes] = []
        self._at = self._random.randrange(250)
        self._begin_after_s = 2.0
        self._sounding_since: float | None = None
        self.interruptions: list[Interruption] = []
        self.false_clears = 0

    def rest(self) -> None:
        """Interrupt no more."""
        self._begin_after_s = float("inf")

    def frame(self, phone: Phone, due: float) -> bytes:
        if self._left:
            return self._left.pop()
        if phone.play_end < due - 0.3 or self._resting(due):
            self._sounding_since = None
        elif self._sounding_since is None:
            self._sounding_since = due
        elif due - self._sounding_since > self._begin_after_s:
            self._begin(due)
            return self._left.pop()
        self._at = (self._at + 1) % len(_quiet())
        return _quiet()[self._at]

    def _resting(self, due: float) -> bool:
        return bool(self.interruptions) and due < self.interruptions[-1].until + _MISSED_AFTER_S

    def _begin(self, due: float) -> None:
        recording = self._random.choice(self._said)
        shift = self._random.randrange(FRAME_BYTES)
        audio = b"\xff" * shift + recording.audio
        self._left = [payload(frame) for frame in frames(audio)][::-1]
        began = due - FRAME_S + shift / 8000  # a frame leaves when its last sample was spoken
        self.interruptions.append(
            Interruption(recording.name, began + recording.onset / 8000, began + recording.end / 8000)
        )
        self._begin_after_s = self._random.uniform(1.0, 3.0)
        self._sounding_since = None

    def agent_cleared(self, phone: Phone, now: float) -> None:
        last = self.interruptions[-1] if self.interruptions else None
        if last is None or now > last.until + _MISSED_AFTER_S:
            self.false_clears += 1
        elif last.cleared is None:
            last.cleared = now


class Bystander(Caller):
    """Says nothing, but is not silent: a sound now and then, over a steady one. Whenever the agent has come to an end,
    something is said, so that it goes on; that is not counted."""

    def __init__(self, seed: int, bed: np.ndarray, event: Callable[[int], np.ndarray] | None, every_s: float) -> None:
        self._random = random.Random(seed)
        self._bed = bed
        self._event = event
        self._every_s = every_s
        self._due = 0.0
        self._position = 0
        self._sound = np.zeros(0)
        self._prompt: list[bytes] = []
        self._prompted_until = 0.0
        self.events = 0
        self.clears = 0

    def frame(self, phone: Phone, due: float) -> bytes:
        if self._prompt:
            self._prompted_until = due + 1.0
            return self._prompt.pop()
        if phone.play_end and due > max(phone.play_end, self._prompted_until) + 2.5:
            said = [recording for recording in recordings() if 1.0 < recording.seconds < 2.0]
            self._prompt = [payload(frame) for frame in frames(self._random.choice(said).audio)][::-1]
        speaking = phone.play_end > due
        if self._event is not None and speaking and due > self._due:
            self._due = due + self._every_s * self._random.uniform(0.7, 1.3)
            self._sound = np.concatenate([self._sound, self._event(self._random.randrange(1 << 30))])
            self.events += 1
        return payload(encode(self._next(phone, due)))

    def _next(self, phone: Phone, due: float) -> np.ndarray:
        at = self._position % (len(self._bed) - FRAME_BYTES)
        self._position += FRAME_BYTES
        mixed = self._bed[at : at + FRAME_BYTES].copy()
        sound, self._sound = self._sound[:FRAME_BYTES], self._sound[FRAME_BYTES:]
        mixed[: len(sound)] += sound
        return mixed

    def agent_cleared(self, phone: Phone, now: float) -> None:
        self.clears += 1


class Echoing(Bystander):
    """A telephone whose loudspeaker is heard by its microphone."""

    def __init__(self, seed: int, bed: np.ndarray, delay_s: float) -> None:
        super().__init__(seed, bed, None, 0.0)
        self._delay_s = delay_s
        self._heard = np.zeros(0)
        self._heard_from = 0.0

    def _next(self, phone: Phone, due: float) -> np.ndarray:
        self._listen(phone, due)
        begin = round((due - FRAME_S - self._delay_s - self._heard_from) * 8000)
        mixed = super()._next(phone, due)
        if begin >= 0:
            echo = self._heard[begin : begin + FRAME_BYTES]
            mixed[: len(echo)] += echo * 10 ** (_ECHO_DB / 20)
        return mixed

    def agent_cleared(self, phone: Phone, now: float) -> None:
        super().agent_cleared(phone, now)
        self._listen(phone, now)
        self._heard = self._heard[: max(0, round((now - self._heard_from) * 8000))]

    def _listen(self, phone: Phone, due: float) -> None:
        """Lay what arrived on the time line, of which the last second is kept."""
        assert phone.sound is not None, "because: its phone was made to keep it"
        for begins, mulaw in phone.sound:
            at = round((begins - self._heard_from) * 8000)
            if at > len(self._heard) + 80_000:
                self._heard, self._heard_from, at = np.zeros(0), begins, 0
            self._heard = np.concatenate([self._heard, np.zeros(max(0, at - len(self._heard)))])[:at]
            self._heard = np.concatenate([self._heard, decode(mulaw).astype(np.float64)])
        phone.sound.clear()
        surplus = round((due - 1.0 - self._heard_from) * 8000)
        if surplus > 8000:
            self._heard = self._heard[surplus:]
            self._heard_from += surplus / 8000


@dataclass
class Noise:
    """What one kind of noise did, over all its calls."""

    minutes: float = 0.0
    events: int = 0
    holds: int = 0
    lost: int = 0


@dataclass
class Run:
    interruptions: list[Interruption]
    noises: dict[str, Noise]
    failures: int
    waited_share: float


def measure(told: argparse.Namespace) -> Report:
    """All runs, each against a bridge of its own."""
    stay_on(CALLERS_CORE)
    runs = []
    for number in range(told.runs):
        settings = {"BENCH_HEARS": "nothing", "BENCH_REPLIES": "long", "BENCH_VOICE": "human", "GREETING": ""}
        with running(**settings) as bridge:
            runs.append(uvloop.run(_run(bridge, told, number)))
    return _tell(runs)


def _bystanders(count: int, seed: int) -> dict[str, list[Bystander]]:
    room = np.random.default_rng(seed).normal(0, 32768 * 10 ** (_NOISE_DBFS / 20), 80_000)
    line = noises.hum(-45.0, 10.0)
    return {
        "coughs": [Bystander(seed + n, room, noises.cough, 6.0) for n in range(count)],
        "clicks": [Bystander(seed + n, room, noises.clicks, 3.0) for n in range(count)],
        "line noise": [Bystander(seed + n, line, noises.static, 5.0) for n in range(count)],
        "agent's echo": [
            Echoing(seed + n, room, _ECHO_DELAYS_MS[n % len(_ECHO_DELAYS_MS)] / 1000) for n in range(count)
        ],
    }


async def _run(bridge: Bridge, told: argparse.Namespace, number: int) -> Run:
    said = tuple(recording for recording in recordings() if 0.5 <= recording.seconds <= 4.0)
    interrupters = [Interrupter(100 * number + seed, said) for seed in range(told.interrupting)]
    bystanders = _bystanders(told.per_noise, 1000 * number)
    exchange = Exchange()
    phones: dict[Caller, Phone] = {
        caller: Phone(bridge.port, caller)
        for caller in [*interrupters, *(b for kind in bystanders.values() for b in kind)]
    }
    meter = UsageMeter(bridge.pid)
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(exchange.run())
        for caller, phone in phones.items():
            phone.sound = [] if isinstance(caller, Echoing) else None
            await phone.dial()
            exchange.connect(phone)
            await asyncio.sleep(0.04)
        await asyncio.sleep(told.seconds)
        waited = meter.read().waited_share
        found = {
            kind: Noise(
                sum(phones[caller].heard.sounded_s for caller in callers) / 60,
                sum(caller.events for caller in callers),
                sum(caller.clears for caller in callers),
                sum([await _interrupted(bridge, phones[caller]) for caller in callers]),
            )
            for kind, callers in bystanders.items()
        }
        for phone in phones.values():
            await phone.hang_up()
        ticking.cancel()
    failures = sum(bool(phone.heard.failure) for phone in phones.values())
    return Run([i for caller in interrupters for i in caller.interruptions], found, failures, waited)


async def _interrupted(bridge: Bridge, phone: Phone) -> int:
    """How many replies of this call were ended by what was taken for the caller."""
    journal = json.loads(await get(bridge.port, f"/api/calls/{phone.sid}"))["events"]
    return sum(event["kind"] == "reply_ended" and event["reason"] == "interrupted" for event in journal)


def _tell(runs: list[Run]) -> Report:
    report = Report("bargein")
    all_of_them = [one for run in runs for one in run.interruptions]
    took = [(one.cleared - one.onset) * 1000 for one in all_of_them if one.cleared is not None]
    early = sum(ms < 0 for ms in took)
    took = [ms for ms in took if ms >= 0]
    missed = sum(one.cleared is None for one in all_of_them)
    speech = report.table(
        f"Human speech into a reply: {len(all_of_them)} interruptions, {len(runs)} runs",
        *("ms", "p50", "p90", "p99", "goal", ""),
    )
    p50, p90 = quantile(took, 0.5), quantile(took, 0.9)
    reached = "reached" if against(p50, 120.0) == against(p90, 330.0) == "reached" else "missed"
    speech.add("onset to clear", p50, p90, quantile(took, 0.99), "p50 <= 120, p90 <= 330", reached)
    table = report.table(
        "Not speech",
        *("sound", "minutes of agent's speech", "sounds", "false holds", "per minute", "replies lost", "goal", ""),
    )
    total = Noise()
    for kind in runs[0].noises:
        parts = [run.noises[kind] for run in runs]
        summed = Noise(
            sum(part.minutes for part in parts),
            sum(part.events for part in parts),
            sum(part.holds for part in parts),
            sum(part.lost for part in parts),
        )
        _tell_noise(table.add, kind, summed)
        total = Noise(
            total.minutes + summed.minutes,
            total.events + summed.events,
            total.holds + summed.holds,
            total.lost + summed.lost,
        )
    _tell_noise(table.add, "all", total)
    report.notes += [
        f"{missed} interruptions without a clear, {early} cleared before their onset, "
        f"{sum(run.failures for run in runs)} calls failed.",
        f"The bridge waited for its core for {max(run.waited_share for run in runs):.1%} of the time.",
        "Sounds: coughs every 6 s, clicks every 3 s, static every 5 s over hum at -45 dBFS; the echo is there always.",
    ]
    return report


def _tell_noise(add: Callable[..., None], kind: str, noise: Noise) -> None:
    rate = noise.holds / noise.minutes if noise.minutes else None
    add(kind, noise.minutes, noise.events or None, noise.holds, rate, noise.lost, "<= 1 per minute", against(rate, 1.0))
