"""One call, placed: the carrier and the caller joined frame by frame, in real time."""

import asyncio
from dataclasses import replace
from secrets import token_hex
from typing import assert_never

from telephony.audio import FRAME_MS
from telephony.clock import Clock
from telephony.simulator.bridge import BridgeEvent, BridgeEvents
from telephony.simulator.callbacks import Callbacks
from telephony.simulator.caller import Caller, HungUp, KeyPressed
from telephony.simulator.calllog import CallLog
from telephony.simulator.carrier import IN_PROGRESS, RINGING, CarrierCall, Outcome
from telephony.simulator.errors import DocumentRejected, WebhookFailed
from telephony.simulator.faults import Fault, Network
from telephony.simulator.judge import judge
from telephony.simulator.line import Line
from telephony.simulator.measure import exchanges, gaps
from telephony.simulator.notices import BridgeReported, CallOver, Watcher, nobody
from telephony.simulator.report import CallReport, EndedBy, Pace, Recording
from telephony.simulator.script import Script
from telephony.simulator.sound import SILENT_FRAME, seconds
from telephony.simulator.twiml import Document, Warned
from telephony.simulator.websocket import CLOSE_S

FRAME_S = FRAME_MS / 1000
LATE_S = 0.005
EVENTS_KEPT = 10_000
LAST_EVENTS_S = 2.0
"""How long the bridge may take after the call to tell the rest of its events."""


async def place_call(line: Line, script: Script, clock: Clock, watch: Watcher = nobody) -> CallReport:
    """Place a call and see it to its end. Never raises for what the bridge does: the report says it.

    The script's faults and network add to, or stand in for, the line's. A second of call costs about 3 ms of processor
    time, so that many can be placed at once in one process; `CallReport.pace` says whether that process kept up.
    """
    network = line.network if line.network != Network() else script.network
    line = replace(line, faults=line.faults | script.faults, network=network)
    call = _Call(line, script, clock, watch)
    async with Callbacks(line, call.sid, clock, call.log) as callbacks:
        return await call.run(callbacks)


class _Call:
    """The state of one call, and its life from ringing to the last status."""

    def __init__(self, line: Line, script: Script, clock: Clock, watch: Watcher) -> None:
        self.sid = "CA" + token_hex(16)
        self.log = CallLog(clock, watch)
        self._line = line
        self._script = script
        self._clock = clock
        self._caller = Caller(script, watch)
        self._events: list[BridgeEvent] = []
        self._heard = bytearray()
        self._said = bytearray()
        self._ended_s = 0.0
        self._end_told = False
        self._frames = 0
        self._late = 0
        self._worst_s = 0.0

    async def run(self, callbacks: Callbacks) -> CallReport:
        placed = self._clock.today()
        document = await self._ring(callbacks)
        self.log.answered()
        carrier = CarrierCall(self._line, callbacks, self.sid, self._clock, self.log)
        events = BridgeEvents(self._line.address, self.sid, self._line.api_token, self._clock, self.log.origin)
        outcome = Outcome(EndedBy.CARRIER, "failed")
        if document is None:
            self.log.tell(CallOver(0.0, outcome.ended_by))
            await self._tell_end(callbacks, outcome, 0.0)
        else:
            self._line.exchange.calls[self.sid] = carrier.update
            try:
                outcome = await self._live(document, carrier, callbacks, events)
            finally:
                del self._line.exchange.calls[self.sid]
        spoken, ear = self._caller.spoken, self._caller.ear
        report = CallReport(
            call_sid=self.sid,
            url=self._line.url,
            script=self._script.title,
            placed=placed,
            answered_after_s=-self.log.webhooks[0].at_s,
            duration_s=self._ended_s,
            ended_by=outcome.ended_by,
            greeting_s=self._greeting_s(carrier),
            exchanges=exchanges(spoken, ear.phrases),
            gaps=tuple(gap for runs in carrier.runs for gap in gaps(runs, spoken)),
            verbs=tuple(self.log.verbs),
            webhooks=tuple(self.log.webhooks),
            streams=tuple(carrier.streams),
            warnings=tuple(self.log.warnings),
            events=tuple(self._events),
            events_offered=bool(events.offered),
            pace=Pace(self._frames, self._late, self._worst_s * 1000),
            recording=Recording(bytes(self._said), bytes(self._heard)) if self._line.record else None,
        )
        return replace(report, verdicts=judge(self._script, self._caller, report))

    async def _ring(self, callbacks: Callbacks) -> Document | None:
        """The bridge's first document; None when there is none to be had."""
        try:
            if Fault.DUPLICATE_WEBHOOK in self._line.faults:
                await callbacks.voice(RINGING)
            return await callbacks.voice(RINGING)
        except (WebhookFailed, DocumentRejected) as error:
            self.log.warn(Warned(error.code, error.detail))
            return None

    async def _live(
        self, document: Document, carrier: CarrierCall, callbacks: Callbacks, events: BridgeEvents
    ) -> Outcome:
        """From the answer to the last status and the bridge's last word."""
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(carrier.follow(document))
            talking = tasks.create_task(self._talk(carrier))
            listening = None
            if self._line.follow_events:
                listening = tasks.create_task(events.follow(self._take_event, self._line.time_limit_s))
            await asyncio.wait(
                {following, talking}, timeout=self._line.time_limit_s, return_when=asyncio.FIRST_COMPLETED
            )
            self._ended_s = self.log.now_s()
            if following.done():
                outcome = following.result()
            else:
                outcome = Outcome(EndedBy.CALLER if talking.done() else EndedBy.TIME_LIMIT)
                await self._hang_up(carrier, callbacks, following)
            talking.cancel()
            self.log.tell(CallOver(self._ended_s, outcome.ended_by))
            await self._tell_end(callbacks, outcome, self._ended_s)
            if listening is not None:
                await asyncio.wait({listening}, timeout=LAST_EVENTS_S)
                listening.cancel()
        return outcome

    async def _talk(self, carrier: CarrierCall) -> None:
        """Every 20 ms, by absolute deadlines, until the caller hangs up. A late frame is followed at once by the next,
        so that the call neither drifts nor skips."""
        caller, origin = self._caller, self.log.origin
        while True:
            due = origin + (self._frames + 1) * FRAME_S
            await self._clock.sleep_until(due)
            now = self._clock.now()
            self._keep_pace(now - due)
            frame = caller.speak()
            heard = carrier.tick(frame, max(now, due))
            if self._line.record:
                self._said += frame
                self._heard += heard or SILENT_FRAME
            for action in caller.hear(heard):
                match action:
                    case KeyPressed():
                        carrier.press(action.digit)
                    case HungUp():
                        return
                    case _:
                        assert_never(action)

    def _keep_pace(self, late_s: float) -> None:
        self._frames += 1
        self._late += late_s > LATE_S
        self._worst_s = max(self._worst_s, late_s)

    async def _hang_up(self, carrier: CarrierCall, callbacks: Callbacks, following: "asyncio.Task[Outcome]") -> None:
        if Fault.OUT_OF_ORDER_STATUS in self._line.faults:
            await self._tell_end(callbacks, Outcome(EndedBy.CALLER), self._ended_s)
        if carrier.hang_up():
            await asyncio.wait({following}, timeout=CLOSE_S + 1)
        following.cancel()

    async def _tell_end(self, callbacks: Callbacks, outcome: Outcome, duration_s: float) -> None:
        """The terminal status, once; out of order, it comes before those that it follows."""
        if self._end_told:
            return
        self._end_told = True
        if Fault.OUT_OF_ORDER_STATUS not in self._line.faults:
            await callbacks.tell_status(outcome.status, 0, duration_s)
            return
        await callbacks.tell_status(outcome.status, 2, duration_s)
        await callbacks.tell_status(IN_PROGRESS, 1, None)
        await callbacks.tell_status(RINGING, 0, None)

    def _take_event(self, event: BridgeEvent) -> None:
        if len(self._events) < EVENTS_KEPT:
            self._events.append(event)
        self.log.tell(BridgeReported(event.at_s, event.kind, event.fields))

    def _greeting_s(self, carrier: CarrierCall) -> float | None:
        phrases, spoken = self._caller.ear.phrases, self._caller.spoken
        if not carrier.streams or not phrases or (spoken and spoken[0].start <= phrases[0].start):
            return None
        return seconds(phrases[0].start) - carrier.streams[0].opened_s
