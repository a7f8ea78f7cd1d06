"""Connections before they are needed, counted at the vendors."""

import asyncio
from dataclasses import dataclass

import pytest

from providers.base import CallerMessage, ProviderContext, ReplyRequest
from providers.errors import ProviderError, ProviderMisconfigured, ProviderRejected, ProviderUnavailable
from providers.llm.anthropic import create as create_model
from providers.resilience.models import ModelChain
from providers.resilience.roster import Roster
from providers.resilience.voices import VoiceChain
from providers.resilience.warmth import Chain, try_all, warm
from providers.tts.elevenlabs import create as create_voice
from telephony.audio import TELEPHONE
from telephony.clock import MonotonicClock
from tests.fakes.anthropic import FakeAnthropic
from tests.fakes.elevenlabs import FakeElevenLabs

CLOCK = MonotonicClock()


@dataclass
class Distant:
    """A provider somewhere else."""

    name: str = "distant"
    failure: ProviderError | None = None
    warmed: int = 0

    async def warm(self) -> None:
        self.warmed += 1
        if self.failure is not None:
            raise self.failure


class AtHand:
    name = "at hand"


class Some:
    """A chain."""

    def __init__(self, *providers: Distant | AtHand) -> None:
        self.roster = Roster("llm", providers, CLOCK, ProviderContext({}, CLOCK).instruments)


def test_a_model_has_one_connection_from_the_first_ring_on() -> None:
    async def scene() -> None:
        async with FakeAnthropic() as vendor:
            context = ProviderContext(vendor.environment, CLOCK)
            async with ModelChain([create_model(context)], context) as model:
                assert isinstance(model, Chain)
                await warm(model)
                assert vendor.connections == 1
                for _ in range(3):
                    async for _ in model.reply(ReplyRequest((CallerMessage("hello"),))):
                        pass
                await warm(model)
                assert vendor.connections == 1

    asyncio.run(scene())


def test_a_voice_has_one_connection_from_the_first_ring_on() -> None:
    async def scene() -> None:
        async with FakeElevenLabs() as vendor:
            context = ProviderContext(vendor.environment, CLOCK)
            async with VoiceChain([create_voice(context)], context) as voice:

                async def text():  # type: ignore[no-untyped-def]
                    yield "Hello there. "

                await warm(voice)
                assert len(vendor.lines) == 1
                for _ in range(3):
                    async for _ in voice.speak(text(), TELEPHONE):
                        pass
                await warm(voice)
                assert len(vendor.lines) == 1
                assert not vendor.violations

    asyncio.run(scene())


def test_before_a_call_only_the_one_who_would_be_asked_is_warmed() -> None:
    async def scene() -> None:
        first, second = Distant("first"), Distant("second")
        chain = Some(first, second)
        await warm(chain)
        assert (first.warmed, second.warmed) == (1, 0)
        first.failure = ProviderUnavailable("first", "down")
        for _ in range(3):
            await warm(chain)
        await warm(chain)
        assert second.warmed == 1  # the breaker has opened

    asyncio.run(scene())


def test_at_the_start_everybody_is_tried_who_is_far_away() -> None:
    async def scene() -> None:
        away = ProviderUnavailable("first", "down")
        first, second = Distant("first", away), Distant("second")
        assert await try_all(Some(first, AtHand(), second)) == [away]
        assert (first.warmed, second.warmed) == (1, 1)

    asyncio.run(scene())


def test_one_refused_key_is_an_error_whoever_else_there_is() -> None:
    async def scene() -> None:
        refused = ProviderRejected("second", "401", "SECOND_KEY").as_misconfigured()
        with pytest.raises(ProviderMisconfigured, match="SECOND_KEY"):
            await try_all(Some(Distant("first"), Distant("second", refused)))

    asyncio.run(scene())


def test_a_refusal_that_is_not_about_the_key_stays_one() -> None:
    refused = ProviderRejected("second", "no such model")
    assert refused.as_misconfigured() is refused
