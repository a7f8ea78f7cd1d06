"""Chains over the real SDKs and the vendors' fakes: what really breaks is gone on with, word for word."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from providers.base import ProviderContext
from providers.llm.anthropic import create as create_anthropic
from providers.llm.openai import create as create_openai
from providers.resilience.deadlines import Deadlines
from providers.resilience.models import ModelChain
from providers.resilience.voices import VoiceChain
from providers.tts.elevenlabs import create as create_elevenlabs
from telephony.clock import MonotonicClock
from tests.fakes import anthropic, elevenlabs, openai
from tests.fakes.http import CUT, Answer
from tests.providers.resilience.scripts import Reply, Speech, ask, speak

BEGUN, REST = ("We are open ", "on Monday. On "), ("Tuesday we ", "are closed.")
WHOLE = "".join(BEGUN + REST)
SOON = Deadlines(connect_s=0.3, first_result_s=0.3, gap_s=0.3, give_up_s=5.0)
BROKEN = {
    "refused": anthropic.refused(503, "api_error"),
    "full": anthropic.refused(529, "overloaded_error"),
    "silent": Answer((anthropic.start(), asyncio.Event())),
    "stalled": Answer((anthropic.start(), anthropic.text(*BEGUN), asyncio.Event())),
    "garbage": Answer((anthropic.start(), anthropic.text(*BEGUN), b"event: x\ndata: {gar\n\n")),
    "dropped": Answer((anthropic.start(), anthropic.text(*BEGUN), CUT)),
    "truncated": Answer((anthropic.start(), anthropic.text(*BEGUN))),
    "an error in mid-stream": Answer(
        (
            anthropic.start(),
            anthropic.text(*BEGUN),
            anthropic.event("error", **{"error": {"type": "overloaded_error", "message": "no"}}),
        )
    ),
}


def context(environment: Mapping[str, str]) -> ProviderContext:
    return ProviderContext(environment, MonotonicClock())


@pytest.mark.parametrize("broken", list(BROKEN))
def test_the_same_or_another_vendor_goes_on_with_a_reply(broken: str) -> None:
    begun = broken not in ("refused", "full", "silent")

    async def scene() -> tuple[Reply, Any]:
        async with (
            anthropic.FakeAnthropic(BROKEN[broken], anthropic.said(*REST)) as one,
            openai.FakeOpenAI(openai.said(*(REST if begun else (*BEGUN, *REST)))) as two,
        ):
            told = context({**one.environment, **two.environment})
            async with ModelChain([create_anthropic(told), create_openai(told)], told, SOON) as chain:
                reply = await ask(chain)
            return reply, two.requests[0].body if two.requests else None

    reply, body = asyncio.run(scene())
    assert reply.text == WHOLE
    assert len(reply.switches) == 1
    assert reply.switches[0].successor == ("anthropic" if broken in ("dropped", "truncated") else "openai")
    if begun and body is not None:
        assert body["messages"][-2]["content"] == "We are open on Monday. On"


FAULTS = {
    "stalled before it began": elevenlabs.Fault(stall=True),
    "stalled": elevenlabs.Fault(chunk=3, stall=True),
    "dropped": elevenlabs.Fault(chunk=3, reset=True),
    "garbage": elevenlabs.Fault(chunk=3, send="{gar"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_vendor_that_fails_once_speaks_every_word(fault: str) -> None:
    async def scene() -> Speech:
        async with elevenlabs.FakeElevenLabs() as vendor:
            vendor.faults = [FAULTS[fault]]
            told = context(vendor.environment)
            async with VoiceChain([create_elevenlabs(told)], told, SOON) as chain:
                return await asyncio.wait_for(speak(chain, "We are open on Monday.", "Never on Sunday."), 10)

    speech = asyncio.run(scene())
    assert speech.words == "We are open on Monday. Never on Sunday.".split()
    assert len(speech.switches) == 1
