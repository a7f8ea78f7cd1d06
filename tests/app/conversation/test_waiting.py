"""Waits are bridged, and looking for a way to do so costs next to nothing."""

import asyncio
from collections.abc import Iterable

import pytest

from app.conversation.filler import Filler
from app.conversation.waiting import Waiting
from app.conversation.wording import Wording
from providers.base import SpeechChunk
from telephony.clock import LoopClock
from tests.virtual import run

SPEECH = (SpeechChunk(b"\x10" * 800),)


class CountingClock(LoopClock):
    """Counts the waits, and ends one that never would."""

    waits = 0

    async def sleep_until(self, deadline: float) -> None:
        self.waits += 1
        assert self.waits < 1000, "waits for nothing"
        await super().sleep_until(deadline)


class HeldVoice:
    """The voice's half of a reply over a line that is held: what is put there stays there."""

    sounded = False
    quiet = True

    def preface(self, speech: Iterable[SpeechChunk]) -> None:
        self.quiet = False


@pytest.mark.parametrize("speech", [(), SPEECH], ids=["no speech at hand", "held"])
@pytest.mark.parametrize("after_s", [0.0, 1.0])
def test_a_wait_that_cannot_be_bridged_is_looked_at_now_and_then(
    speech: tuple[SpeechChunk, ...], after_s: float
) -> None:
    async def scene() -> None:
        clock, pieces = CountingClock(), asyncio.Queue[str | None]()
        filler = Filler("One moment.", speech, lambda tools: 0.0)
        waiting = Waiting(filler, HeldVoice(), Wording(), clock=clock, after_s=after_s, again_s=1.0)  # type: ignore[arg-type]
        waiting.begin(clock.now())
        bridging = asyncio.create_task(waiting.bridge(pieces))
        await asyncio.sleep(5.0)
        assert not bridging.done()
        assert clock.waits <= 55
        waiting.begin(clock.now(), ("look_up",))  # now there is a way, or was one already
        await asyncio.sleep(0.3 + after_s)
        bridging.cancel()
        assert pieces.qsize() == (0 if speech else 1)

    run(scene())
