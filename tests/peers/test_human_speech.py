"""A call in a human voice, through the real webhook and the real media websocket, to the embedded providers."""

import asyncio
from pathlib import Path

import pytest

from telephony.clock import MonotonicClock
from telephony.simulator.call import place_call
from telephony.simulator.line import Line
from telephony.simulator.report import CallReport, EndedBy
from telephony.simulator.script import read_script
from tests.recordings import SOUNDS, needs_human_speech
from tests.serving import bridge

pytestmark = [pytest.mark.peer, needs_human_speech, pytest.mark.timeout(150)]

SCRIPT = """
title = "A human voice"
noise_dbfs = -65

[[step]]
listen = true
begins_within_ms = 3000
finished_after_ms = 900

[[step]]
say = "hours.wav"
understood = ["hours"]
answer_within_ms = 2500

[[step]]
say = "vm-intro.wav"
interrupt_after_ms = 1200
stop_within_ms = 500
answer_within_ms = 2500

[[step]]
listen = true

[[step]]
say = "digits/tomorrow.wav"
understood = ["tomorrow"]
answer_within_ms = 2500

[[step]]
listen = true

[[step]]
hang_up = true

[expect]
answers = 3
"""


def test_a_human_caller_is_understood_interrupts_and_is_politely_rejected(tmp_path: Path) -> None:
    async def scene() -> CallReport:
        async with bridge(tmp_path) as url:
            line = Line(url=url, allow_plain_ws=True, follow_events=True)
            return await place_call(line, read_script(SCRIPT, SOUNDS), MonotonicClock())

    report = asyncio.run(scene())
    assert not report.failed, report.failed
    assert report.ended_by is EndedBy.CALLER
    said = [event.fields["said"] for event in report.events if event.kind == "reply_ended"]
    heard = [event.fields["text"] for event in report.events if event.kind == "caller_said"]
    assert heard[1] == "", f"the recording is outside the dialogue, yet was taken for {heard[1]!r}"
    assert "not understand" in said[2] or "sorry" in said[2].lower()
    interrupted = [event.fields for event in report.events if event.kind == "reply_ended"][1]
    assert interrupted["reason"] == "interrupted"
    assert 0 < len(interrupted["heard"]) < len(interrupted["said"])
