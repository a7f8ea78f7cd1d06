"""A telephone of its own: a second process with its own endpoint, for two cannot live in one.

It is told what to do by JSON lines on its standard input, and tells by JSON lines what happens. Inbound calls are
treated as `answer` says: answered at once, or when told, or not at all. What it says is a tone; what it hears is
told as the share of loud frames.
"""

import asyncio
import json
import sys
from dataclasses import asdict, fields
from typing import Any

from telephony.audio import FRAME_BYTES
from telephony.carrier import AudioReceived, CarrierCommand, CarrierEvent, DigitPressed, PlayAudio
from telephony.clock import MonotonicClock
from telephony.sip.contracts import SipCall
from telephony.sip.endpoint import Endpoint
from telephony.sip.events import CallEnded, CallEvent, Cause, DialRequest, Invitation, MediaOpened, TrunkStatus
from telephony.sip.settings import Codec, EndpointSettings, SessionTimers, Srtp, Tls, Transport, Trunk

TONE = bytes([0x1F, 0x2A, 0x1F, 0x60, 0x9F, 0xAA, 0x9F, 0xE0]) * (FRAME_BYTES // 8)


def say(**fact: Any) -> None:
    print(json.dumps(fact), flush=True)  # noqa: T201 - this is how it speaks


class Tone:
    """Something loud, for as long as it is wanted. `telephony.leg.Playout`."""

    def __init__(self) -> None:
        self.wanted = True
        self._at: float | None = None

    def due(self, now: float) -> tuple[CarrierCommand, ...]:
        if not self.wanted:
            self._at = None
            return ()
        self._at = (self._at or now) + 0.02
        return (PlayAudio(TONE),)

    def next_due(self, now: float) -> float | None:
        return self._at if self.wanted else None


class Phone:
    """`telephony.sip.contracts.EndpointObserver`."""

    def __init__(self, answer: str) -> None:
        self.endpoint: Endpoint
        self.calls: dict[int, SipCall] = {}
        self.group: asyncio.TaskGroup
        self._answer = answer

    def call_offered(self, call: SipCall, invitation: Invitation) -> None:
        number = self._adopt(call)
        say(event="offered", call=number, **asdict(invitation))
        match self._answer:
            case "answer":
                call.answer()
            case "ring":
                call.ring()
            case "early":
                call.open_early_media()
            case "busy":
                call.reject(Cause(486, 17, "on the phone"))

    def trunk_changed(self, status: TrunkStatus) -> None:
        say(event="trunk", **asdict(status))

    def invitation_refused(self, source: str, reason: str, count: int = 1) -> None:
        say(event="refused", source=source, reason=reason, count=count)

    def _adopt(self, call: SipCall) -> int:
        number = len(self.calls) + 1
        self.calls[number] = call
        self.group.create_task(self._follow(number, call))
        return number

    async def _follow(self, number: int, call: SipCall) -> None:
        async with asyncio.TaskGroup() as media:
            async for event in call:
                self._tell(number, event)
                if isinstance(event, MediaOpened):
                    media.create_task(self._listen(number, event))
                    media.create_task(event.leg.play(Tone()))

    @staticmethod
    def _tell(number: int, event: CallEvent) -> None:
        facts = {field.name: getattr(event, field.name) for field in fields(event) if field.name != "leg"}
        if isinstance(event, CallEnded):
            facts |= {"cause": asdict(event.cause), "statistics": asdict(event.statistics)}
        say(event=type(event).__name__, call=number, **facts)

    @staticmethod
    async def _listen(number: int, opened: MediaOpened) -> None:
        loud, heard = 0, 0

        def take(event: CarrierEvent) -> None:
            nonlocal loud, heard
            match event:
                case AudioReceived(payload):
                    for at in range(0, len(payload), FRAME_BYTES):
                        heard += 1
                        loud += sum(code & 0x7F < 0x50 for code in payload[at : at + FRAME_BYTES]) > 60
                    if heard >= 25:
                        say(event="heard", call=number, loud=loud / heard)
                        loud = heard = 0
                case DigitPressed(digit):
                    say(event="digit", call=number, digit=digit)
                case _:
                    pass

        await opened.leg.listen(take)

    def obey(self, order: dict[str, Any]) -> bool:
        """Do what a line says; False for the last."""
        call = self.calls.get(order.get("call", 1))
        match order.pop("do"):
            case "dial":
                order.pop("call", None)
                say(event="dialled", call=self._adopt(self.endpoint.dial(DialRequest(**order))))
            case "quit":
                return False
            case "treat":
                self._answer = order["how"]
            case "refuse_new":
                self.endpoint.refuse_new(Cause(503))
            case "take_new":
                self.endpoint.refuse_new(None)
            case "hang_up" if call is not None:
                call.hang_up(Cause(**order["cause"]) if "cause" in order else None)
            case "transfer_to" if call is not None:
                call.transfer_to(self.calls[order["other"]])
            case name if call is not None:
                order.pop("call", None)
                getattr(call, name)(**order)
        return True


def settings(told: dict[str, Any]) -> EndpointSettings:
    """Endpoint settings from JSON."""
    trunks = []
    for trunk in told.pop("trunks"):
        for name, kind in (("transport", Transport), ("srtp", Srtp), ("session_timers", SessionTimers)):
            if name in trunk:
                trunk[name] = kind(trunk[name])
        trunk["codecs"] = tuple(Codec(codec) for codec in trunk.get("codecs", list(Codec)))
        trunk["addresses"] = tuple(trunk.get("addresses", ()))
        trunk["numbers"] = tuple(trunk.get("numbers", ()))
        trunks.append(Trunk(**trunk))
    told["rtp_ports"] = tuple(told["rtp_ports"])
    told["listen"] = tuple(Transport(transport) for transport in told.get("listen", ()))
    return EndpointSettings(trunks=tuple(trunks), tls=Tls(**told.pop("tls", {})), **told)


async def main() -> None:
    told = json.loads(sys.argv[1])
    phone = Phone(told.pop("answer", "answer"))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    endpoint = Endpoint(settings(told), phone, MonotonicClock())
    async with asyncio.TaskGroup() as phone.group, endpoint as phone.endpoint:
        say(event="ready")
        while line := await reader.readline():
            order = json.loads(line)
            name = order["do"]
            if not phone.obey(order):
                break
            say(event="did", order=name)
    say(event="bye")


if __name__ == "__main__":
    asyncio.run(main())
