"""A signed call: the carrier signs its webhooks and its upgrade, the bridge believes nobody else."""

import asyncio
from pathlib import Path

import pytest

from telephony.clock import MonotonicClock
from telephony.simulator.call import place_call
from telephony.simulator.line import Line
from telephony.simulator.report import CallReport
from telephony.simulator.script import read_script
from tests.serving import bridge

TOKEN = "0123456789abcdef0123456789abcdef"
SCRIPTED = {"STT_PROVIDER": "scripted", "LLM_PROVIDER": "scripted", "TTS_PROVIDER": "scripted"}
SCRIPT = """
title = "A greeting is enough"

[[step]]
listen = true
begins_within_ms = 3000

[[step]]
hang_up = true
"""


def call(tmp_path: Path, public_url: str, token: str) -> CallReport:
    async def scene() -> CallReport:
        async with bridge(tmp_path, TWILIO_AUTH_TOKEN=TOKEN, PUBLIC_URL=public_url, **SCRIPTED) as url:
            line = Line(url=url, public_url=public_url, auth_token=token, allow_plain_ws=True, follow_events=False)
            return await place_call(line, read_script(SCRIPT, tmp_path), MonotonicClock())

    return asyncio.run(scene())


@pytest.mark.parametrize("public_url", ["http://127.0.0.1:8080", "https://bridge.example.net"])
def test_a_call_that_the_carrier_signed_is_answered(tmp_path: Path, public_url: str) -> None:
    report = call(tmp_path, public_url, TOKEN)
    assert not report.failed, report.failed
    assert report.streams


def test_a_call_that_somebody_else_signed_is_not(tmp_path: Path) -> None:
    report = call(tmp_path, "https://bridge.example.net", TOKEN[::-1])
    assert report.failed
    assert not report.streams
