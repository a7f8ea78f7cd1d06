"""What keeping journals costs: CPU per second of a call, with conversations that talk half of the time.

The calls are only as real as their journals need: events of a conversation at its pace, a playout ledger that moves
along, and the writer with a real store. The same calls without a writer are subtracted. A store in SQLite works in a
thread of the process, which counts; a Redis server's own work does not.
"""

import argparse
import asyncio
import base64
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from app.calls.journal import (
    CallAnswered,
    CallerPartial,
    CallerSaid,
    FloorChanged,
    ReplyBegun,
    ReplyEnded,
    ReplyStarted,
)
from app.calls.seal import Seal
from app.calls.store.opening import open_store
from app.calls.writer import JournalWriter
from app.conversation.progress import Progress
from app.conversation.record import CallRecord
from app.conversation.turn import Turn
from app.telemetry.latency import LatencyMetrics
from app.telemetry.metrics import Metrics
from benchmarks.report import Report, against
from telephony.audio import TELEPHONE
from telephony.clock import MonotonicClock
from telephony.pacing import Pacer
from telephony.playout import PlacedWord, PlayoutLedger

SUMMARY = "what keeping journals costs"

_REPLY = "We are open from Monday to Friday, from nine in the morning until five, and on Saturday until noon."
_TURN_S = 12.0
"""A turn of the caller and a reply; the reply is spoken for half of it."""
_GOAL_MS = 0.1


class _Talk:
    """One call's conversation: `step` is called every 100 ms."""

    def __init__(self, call_id: str, clock: MonotonicClock, metrics: Metrics, offset_s: float) -> None:
        self.call_id = call_id
        self.record = CallRecord(clock, metrics)
        self._clock = clock
        self._ledger = PlayoutLedger(TELEPHONE.rate_hz, marks=False)
        self._progress = Progress()
        self._began = clock.now() - offset_s
        self._number = 0
        self._said = 0
        self._turn: Turn | None = None
        answered_at = self.record.answered_at.isoformat()
        self.record.add(CallAnswered(0.0, call_id, "twilio", "+15550100001", "+15550100002", answered_at))

    def step(self) -> None:
        number, into = divmod(self._clock.now() - self._began, _TURN_S)
        at, words = self.record.at(), _REPLY.split()
        if into < _TURN_S / 2:
            if self._turn is not None:
                self.record.add(ReplyEnded(at, self._turn.number, _REPLY, _REPLY, "completed"))
                self._turn = None
            said = int(into * 2)
            if said != self._said:
                self._said = said
                self.record.add(CallerPartial(at, " ".join(words[:said])))
        elif number != self._number or self._turn is None:
            self._number = int(number)
            self._begin(at, words)
        else:
            self._ledger.send(min(800, self._ledger.queued - self._ledger.sent), self._clock.now())

    def _begin(self, at: float, words: list[str]) -> None:
        for floor in ("PROCESSING_SPEECH", "THINKING", "SPEAKING"):
            self.record.add(FloorChanged(at, floor, "live"))
        self.record.add(CallerSaid(at, _REPLY))
        self.record.add(ReplyBegun(at, self._number + 1, "answer"))
        self.record.add(ReplyStarted(at, self._number + 1))
        self._ledger.begin()
        samples = 2400
        placed = tuple(PlacedWord(word, n * samples, (n + 1) * samples) for n, word in enumerate(words))
        self._ledger.queue(samples * len(words), placed)
        pacer = Pacer(TELEPHONE, self._ledger, lead_ms=200, on_room=lambda: None)
        self._turn = Turn(
            self._number + 1,
            pacer=pacer,
            observer=None,
            metrics=LatencyMetrics(),
            clock=self._clock,  # type: ignore[arg-type]
        )
        self._turn.wording.add(_REPLY)

    def progress(self) -> None:
        turn = self._turn
        if turn is not None:
            samples, words = self._ledger.progress(self._clock.now())
            event = self._progress.report(turn, samples // 8, words, False, self.record.at())
            if event is not None:
                self.record.add(event)


async def _cpu_s(calls: int, seconds: float, url: str, sealed: bool, written: bool) -> tuple[float, int]:
    """CPU seconds of the process, and events that were stored."""
    clock, metrics = MonotonicClock(), Metrics()
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(open_store(url, Path(folder), clock, keep_s=60.0))
            seal = Seal([base64.b64encode(bytes(32)).decode()] if sealed else [])
            writer = JournalWriter(store, clock, metrics, owner="benchmark", seal=seal)
            talks = [_Talk(f"benchmark{n}", clock, metrics, n * 0.37) for n in range(calls)]
            group = await stack.enter_async_context(asyncio.TaskGroup())
            if written:
                for talk in talks:
                    writer.begin(talk, talk.record.journal)
                await writer.flush()
                writing = group.create_task(writer.run())
            began, ends = time.process_time(), clock.now() + seconds
            while clock.now() < ends:
                await clock.sleep_until(clock.now() + 0.1)
                for talk in talks:
                    talk.step()
            spent = time.process_time() - began
            if not written:
                return spent, 0
            writing.cancel()
            await writer.finish()
            return spent, sum([len(await store.read(talk.call_id)) for talk in talks])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--calls", type=int, default=100, help="at once (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=12.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--redis", metavar="URL", help="measure with this server, too")


def measure(told: argparse.Namespace) -> Report:
    """With each store, in the clear and sealed."""
    report = Report("journal")
    title = f"{told.calls} calls for {told.seconds:g} s"
    table = report.table(title, "store", "ms per call-second", "events per call-second", "goal", "")
    call_s = told.calls * told.seconds
    idle_s, _ = asyncio.run(_cpu_s(told.calls, told.seconds, "memory:", False, False))
    for url in ("memory:", "sqlite:", *filter(None, (told.redis,))):
        for sealed in (False, True):
            spent_s, events = asyncio.run(_cpu_s(told.calls, told.seconds, url, sealed, True))
            cost_ms = (spent_s - idle_s) * 1000 / call_s
            name = f"{url.split(':')[0]}{', sealed' if sealed else ''}"
            table.add(name, f"{cost_ms:.3f}", events / call_s, f"{_GOAL_MS:g} ms", against(cost_ms, _GOAL_MS))
    report.notes.append(f"The calls without a writer: {idle_s * 1000 / call_s:.3f} ms per call-second, subtracted.")
    return report
