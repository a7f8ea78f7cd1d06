"""The caller's wait for a reply, and what he is told meanwhile."""

import asyncio

from app.conversation.filler import Filler
from app.conversation.speaking import Speaking
from app.conversation.wording import Wording
from telephony.clock import Clock

_LOOK_AGAIN_S = 0.1
"""When there was nothing to say, or no way to say it."""


class Waiting:
    """One reply's waits: for the model and the voice's first sound, then for tools and what the model makes of them."""

    def __init__(
        self,
        filler: Filler | None,
        speaking: Speaking,
        wording: Wording,
        *,
        clock: Clock,
        after_s: float,
        again_s: float,
    ) -> None:
        """A wait longer than `after_s` is bridged by the filler, if there is one, and again every `again_s`."""
        self._filler = filler
        self._speaking = speaking
        self._wording = wording
        self._clock = clock
        self._after_s = after_s
        self._again_s = again_s
        self._waits = asyncio.Event()
        self._since = 0.0
        self._tools: tuple[str, ...] = ()
        self._has_text = False
        self.tools_at_work = False
        """He waits for tools, which have deadlines of their own."""

    def begin(self, since: float, tools: tuple[str, ...] = ()) -> None:
        """He waits since then, for these tools first."""
        self._since, self._tools, self._has_text = since, tools, False
        self.tools_at_work = bool(tools)
        self._waits.set()

    def tools_returned(self) -> None:
        """He goes on waiting, for the model."""
        self.tools_at_work = False

    def end(self) -> None:
        """There is text: what he may still wait for is the voice."""
        if not self._has_text:
            self._since, self._has_text = self._clock.now(), True

    async def bridge(self, pieces: "asyncio.Queue[str | None]") -> None:
        """Say something each time he waits too long without hearing anything, until cancelled; `pieces` is the way to
        the voice."""
        vain_until = 0.0
        while (filler := self._filler) is not None:
            await self._waits.wait()
            since, now = self._since, self._clock.now()
            due = since + self._after_s if self._has_text else filler.due(self._tools, since, now, self._after_s)
            await self._clock.sleep_until(max(due, vain_until))
            if since != self._since:
                continue
            over = self._has_text and self._speaking.sounded
            if not over and self._speaking.quiet and await self._say(filler, pieces):
                await self._clock.sleep_until(self._clock.now() + self._again_s)
            elif self._has_text:
                self._waits.clear()
            else:
                vain_until = self._clock.now() + _LOOK_AGAIN_S

    async def _say(self, filler: Filler, pieces: "asyncio.Queue[str | None]") -> bool:
        """At once from the speech at hand, before the voice's first sound; between what was said and what tools make of
        it the voice says it."""
        if not self._speaking.sounded and not self._wording.carried_on and filler.speech:
            self._speaking.preface(filler.frames())
            self._wording.put_before(filler.text)
        elif self.tools_at_work:
            await pieces.put(self._wording.put_between(filler.text))
        else:
            return False
        return True
