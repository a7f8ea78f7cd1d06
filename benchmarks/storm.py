"""A SIP endpoint that calls itself: short calls with audio both ways, many a second, while its event loop is kept busy.

It is the endpoint that the bridge has (`telephony.sip.endpoint`), with a trunk to its own port. Run by
`python -m benchmarks hangups`, in a process of its own: what is to be seen is whether it survives.
"""

import argparse
import asyncio
import json
import sys
import time

from telephony.audio import FRAME_BYTES
from telephony.carrier import AudioReceived, CarrierCommand, CarrierEvent, PlayAudio
from telephony.clock import MonotonicClock
from telephony.leg import Leg
from telephony.sip.contracts import Direction, SipCall
from telephony.sip.endpoint import Endpoint
from telephony.sip.events import CallAnswered, CallEnded, DialRequest, Invitation, MediaOpened, TrunkStatus
from telephony.sip.settings import EndpointSettings, Trunk
from tests.telephony.sip.phones import free_ports

_TICK_S = 0.020
_FRAME = bytes(range(16)) * 10
_MOST_CALLS = 1000
_LINGER_S = 30.0
"""A call that has not ended by then never will."""


class Chatter:
    """A frame every 20 ms. `telephony.leg.Playout`."""

    def __init__(self) -> None:
        self._next: float | None = None

    def due(self, now: float) -> tuple[CarrierCommand, ...]:
        self._next = (now if self._next is None else self._next) + _TICK_S
        return (PlayAudio(_FRAME),)

    def next_due(self, now: float) -> float | None:
        return self._next


class Storm:
    """What one run of calls has come to. `telephony.sip.contracts.EndpointObserver`."""

    def __init__(self, told: argparse.Namespace, group: asyncio.TaskGroup) -> None:
        self._told = told
        self._group = group
        self._calm = asyncio.Event()
        self.placed = self.ended = self.failed = self.frames = 0

    def call_offered(self, call: SipCall, invitation: Invitation) -> None:
        call.answer()
        self._group.create_task(self._follow(call))

    def trunk_changed(self, status: TrunkStatus) -> None:
        pass

    def invitation_refused(self, source: str, reason: str, count: int = 1) -> None:
        pass  # its call ends with another status than 200, and counts as failed

    async def rage(self, endpoint: Endpoint) -> None:
        """Place all calls at their rate and see both ends of every one of them end."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while self.placed < self._told.calls:
            call = endpoint.dial(DialRequest("self", "storm"))
            self._group.create_task(self._follow(call))
            self.placed += 1
            await asyncio.sleep(max(0.0, began + self.placed / self._told.rate - loop.time()))
        async with asyncio.timeout(_LINGER_S):
            await self._calm.wait()

    async def _follow(self, call: SipCall) -> None:
        """One end of a call, to its end. Who called hangs up."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as media:
            async for event in call:
                match event:
                    case MediaOpened(leg):
                        media.create_task(leg.play(Chatter()))
                        media.create_task(self._listen(leg))
                    case CallAnswered() if call.direction is Direction.OUTBOUND:
                        loop.call_later(self._told.length_s, call.hang_up)
                    case CallEnded(cause):
                        self.failed += cause.status not in (0, 200)
                    case _:
                        pass
        self.ended += 1
        if self.ended == 2 * self._told.calls:
            self._calm.set()

    async def _listen(self, leg: Leg) -> None:
        def take(event: CarrierEvent) -> None:
            if isinstance(event, AudioReceived):
                self.frames += len(event.payload) // FRAME_BYTES

        await leg.listen(take)

    async def burn(self) -> None:
        """Hold the interpreter for its share of the time, for ever."""
        while True:
            until = time.perf_counter() + self._told.busy * _TICK_S
            while time.perf_counter() < until:
                sum(range(200))
            await asyncio.sleep((1 - self._told.busy) * _TICK_S)


def _settings() -> EndpointSettings:
    port = free_ports(2)
    to_itself = Trunk("self", f"127.0.0.1:{port}", user="storm", register=False, options_every_s=0)
    return EndpointSettings(
        (to_itself,),
        bind_address="127.0.0.1",
        port=port,
        rtp_ports=(20_000, 29_999),
        max_calls=_MOST_CALLS,
    )


async def _run(told: argparse.Namespace) -> dict[str, int]:
    async with asyncio.TaskGroup() as group:
        storm = Storm(told, group)
        async with Endpoint(_settings(), storm, MonotonicClock()) as endpoint:
            burning = group.create_task(storm.burn())
            await storm.rage(endpoint)
            burning.cancel()
    return {"placed": storm.placed, "ended": storm.ended, "failed": storm.failed, "frames": storm.frames}


def main() -> None:
    """Rage once, print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--length-s", type=float, required=True)
    parser.add_argument("--busy", type=float, required=True)
    json.dump(asyncio.run(_run(parser.parse_args())), sys.stdout)


if __name__ == "__main__":
    main()
