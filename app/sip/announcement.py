"""Something said before a call is answered: over early media, to its end, with no conversation behind it yet."""

from app.conversation.reply import Phrase
from telephony.clock import Clock
from telephony.leg import Leg
from telephony.pacing import Pacer
from telephony.playout import PlayoutLedger
from telephony.tasks import TaskGroup

_ON_ITS_WAY_S = 0.1
"""From the ring to the ear: the answer must not overtake the last word."""


async def announce(leg: Leg, phrase: Phrase, clock: Clock, lead_ms: int) -> None:
    """Play a phrase whose speech is at hand; returns when it was heard. Whatever the caller says is not listened to."""
    pacer = Pacer(leg.audio, PlayoutLedger(leg.audio.rate_hz, marks=False), lead_ms=lead_ms)
    pacer.begin(clock.now())
    for chunk in phrase.speech:
        pacer.queue(chunk.audio)
    pacer.finish()
    length_s = pacer.unsent_samples / leg.audio.rate_hz
    async with TaskGroup() as group:
        playing = group.create_task(leg.play(pacer))
        ignoring = group.create_task(ignore(leg))
        await clock.sleep_until(clock.now() + length_s + _ON_ITS_WAY_S)
        playing.cancel()
        ignoring.cancel()


async def ignore(leg: Leg) -> None:
    """Listen to a leg that nobody listens to yet, so that nothing old is heard on it later. Until cancelled."""
    await leg.listen(lambda _: None)
