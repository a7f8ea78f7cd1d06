"""Calls of one process learn from each other who is sick: the real bridge, the real SDKs, fakes of the vendors."""

import asyncio
from pathlib import Path

import httpx

from telephony.clock import MonotonicClock
from telephony.simulator.call import place_call
from telephony.simulator.line import Line
from telephony.simulator.report import CallReport
from telephony.simulator.script import HangUp, Listen, Script
from tests.fakes.anthropic import FakeAnthropic, refused
from tests.fakes.deepgram import FakeDeepgram
from tests.fakes.elevenlabs import FakeElevenLabs
from tests.fakes.openai import FakeOpenAI
from tests.serving import bridge

FAILURES = 3
"""So many open the breaker."""


async def call(url: str) -> CallReport:
    """The agent speaks first; the caller hears him out and hangs up."""
    script = Script("sick vendor", (Listen(), HangUp()), {}, 600.0, noise_dbfs=-70.0)
    return await place_call(Line(url=url, allow_plain_ws=True), script, MonotonicClock())


def was_answered(report: CallReport) -> bool:
    return [event.fields["reason"] for event in report.events if event.kind == "reply_ended"] == ["completed"]


def switches(report: CallReport) -> list[tuple[str, str]]:
    return [
        (event.fields["provider"], event.fields["successor"])
        for event in report.events
        if event.kind == "provider_replaced"
    ]


async def until_state(url: str, wanted: str) -> None:
    """Until the breaker of the sick vendor is in this state."""
    async with asyncio.timeout(20), httpx.AsyncClient() as client:
        while (await client.get(f"{url}/readyz")).json()["breakers"]["llm"]["anthropic"] != wanted:
            await asyncio.sleep(0.05)


def test_calls_after_some_that_failed_avoid_the_sick_vendor_until_a_probe_finds_him_well(tmp_path: Path) -> None:
    async def scene() -> None:
        sick = FakeAnthropic(*[refused(503, "api_error")] * FAILURES)
        async with FakeDeepgram() as ear, sick, FakeOpenAI() as second, FakeElevenLabs() as voice:
            keys = {**ear.environment, **sick.environment, **second.environment, **voice.environment}
            async with bridge(tmp_path, **keys, LLM_PROVIDER="anthropic,openai", GREETING="") as url:
                await until_state(url, "closed")
                for report in await asyncio.gather(*(call(url) for _ in range(FAILURES))):
                    assert was_answered(report)
                    assert switches(report) == [("anthropic", "openai")]
                await until_state(url, "open")

                report = await call(url)
                assert was_answered(report)
                assert switches(report) == []
                assert (len(sick.requests), len(second.requests)) == (FAILURES, FAILURES + 1)

                await until_state(url, "half_open")
                report = await call(url)
                assert was_answered(report)
                assert (len(sick.requests), len(second.requests)) == (FAILURES + 1, FAILURES + 1)
                await until_state(url, "closed")

    asyncio.run(scene())
