"""The network between carrier and bridge: delay, jitter and stalls, message by message and in order."""

import asyncio
import random
from collections import deque
from collections.abc import Callable

from telephony.clock import Clock
from telephony.simulator.faults import Network

HELD_LIMIT = 5000
"""Messages on the way in one direction (100 s of media); one more and the network loses the connection."""


class Passage:
    """When a message that enters a direction of the network leaves it; sans I/O. `opened` is when the stream began."""

    def __init__(self, network: Network, opened: float, seed: str) -> None:
        self._network = network
        self._stalls = [(opened + stall.at_s, opened + stall.at_s + stall.for_ms / 1000) for stall in network.stalls]
        self._random = random.Random(seed)
        self._last = opened

    def leaves(self, now: float) -> float:
        """Not before any message that entered earlier: TCP keeps the order."""
        due = now + (self._network.delay_ms + self._random.uniform(0, self._network.jitter_ms)) / 1000
        for start, end in self._stalls:
            if start <= due < end:
                due = end
        self._last = max(self._last, due)
        return self._last


class Link:
    """One direction of a slow network. What enters is a delivery to be made; `run` makes it when it is due."""

    def __init__(self, passage: Passage, clock: Clock, lost: Callable[[], None]) -> None:
        """`lost` is called when more than `HELD_LIMIT` messages are on the way: the connection is to be dropped."""
        self._passage = passage
        self._clock = clock
        self._lost = lost
        self._held: deque[tuple[float, Callable[[], None]]] = deque()
        self._entered = asyncio.Event()

    def enter(self, deliver: Callable[[], None]) -> None:
        if len(self._held) >= HELD_LIMIT:
            self._lost()
            return
        self._held.append((self._passage.leaves(self._clock.now()), deliver))
        self._entered.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._entered.wait()
            while self._held:
                due, deliver = self._held[0]
                await self._clock.sleep_until(due)
                self._held.popleft()
                deliver()
            self._entered.clear()
