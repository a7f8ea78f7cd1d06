"""The bridge's own word on a call: the live events of its call API, where it offers one (server-sent events)."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import httpx

from telephony.clock import Clock
from telephony.simulator.webhook import Address
from telephony.simulator.websocket import client_tls

CONNECT_S = 5.0
RECONNECTS = 5
RECONNECT_AFTER_S = 0.5


@dataclass(frozen=True, slots=True)
class BridgeEvent:
    """`at_s`: when it reached us; `bridge_at_s`: when it happened, in seconds of the call as the bridge counts them."""

    at_s: float
    kind: str
    bridge_at_s: float | None
    fields: Mapping[str, Any]


def read_event(line: str, at_s: float) -> BridgeEvent | None:
    """The event in one line of an event stream; None for comments, other fields and what is no event of a call."""
    if not line.startswith("data:"):
        return None
    try:
        content = json.loads(line.removeprefix("data:"))
    except ValueError:
        return None
    if not isinstance(content, dict) or not isinstance(content.get("kind"), str):
        return None
    at = content.get("at")
    fields = {name: value for name, value in content.items() if name not in {"kind", "at"}}
    return BridgeEvent(at_s, content["kind"], float(at) if isinstance(at, int | float) else None, fields)


def clock_offset_s(events: Sequence[BridgeEvent]) -> float:
    """What to add to the bridge's times to get ours: the least delay seen, so that it errs by the quickest event.

    A time that is off by more than a second from what most events say is on some other scale and does not count.
    """
    offsets = [event.at_s - event.bridge_at_s for event in events if event.bridge_at_s is not None]
    if not offsets:
        return 0.0
    usual = median(offsets)
    return min((offset for offset in offsets if abs(offset - usual) < 1.0), default=usual)


TakeEvent = Callable[[BridgeEvent], None]


class BridgeEvents:
    """Follows the events of one call; `take` is told each of them. `offered` is None until the bridge has answered."""

    def __init__(self, address: Address, call_sid: str, api_token: str | None, clock: Clock, origin: float) -> None:
        self._url = address.reachable(address.public(f"/api/calls/{call_sid}/events"))
        self._headers = {"Accept": "text/event-stream"}
        if api_token:
            self._headers["Authorization"] = f"Bearer {api_token}"
        self._clock = clock
        self._origin = origin
        self.offered: bool | None = None
        self.ended = asyncio.Event()
        """The bridge has nothing more to say about the call."""

    async def follow(self, take: TakeEvent, silence_limit_s: float) -> None:
        """Until the bridge says that the call is over, or offers no such thing. A lost connection is tried again."""
        try:
            for _ in range(RECONNECTS + 1):
                try:
                    if await self._listen(take, silence_limit_s):
                        return
                except httpx.RequestError:
                    pass  # tried again below; a bridge that never comes back is reported as not offering its events
                await self._clock.sleep_until(self._clock.now() + RECONNECT_AFTER_S)
        finally:
            self.ended.set()

    async def _listen(self, take: TakeEvent, silence_limit_s: float) -> bool:
        """One connection; True when there will be nothing more."""
        timeout = httpx.Timeout(silence_limit_s, connect=CONNECT_S)
        verify = client_tls() if self._url.startswith("https") else False
        async with (
            httpx.AsyncClient(verify=verify, timeout=timeout, trust_env=False) as client,
            client.stream("GET", self._url, headers=self._headers) as response,
        ):
            kind = response.headers.get("content-type", "")
            self.offered = response.status_code == 200 and kind.startswith("text/event-stream")
            if not self.offered:
                return True
            async for line in response.aiter_lines():
                event = read_event(line, self._clock.now() - self._origin)
                if event is not None:
                    take(event)
                    if event.kind == "call_ended":
                        return True
        return False
