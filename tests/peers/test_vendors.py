"""A whole call with a vendor for each part: the real SDKs, the real bridge, and faithful fakes of the vendors."""

import asyncio
import re
import wave
from pathlib import Path

import httpx

from telephony.clock import MonotonicClock
from telephony.codecs.g711 import decode_mulaw
from telephony.simulator.call import place_call
from telephony.simulator.line import Line
from telephony.simulator.report import CallReport
from telephony.simulator.script import read_script
from tests.fakes.anthropic import FakeAnthropic, said
from tests.fakes.deepgram import FakeDeepgram, say
from tests.fakes.elevenlabs import FakeElevenLabs
from tests.serving import bridge

GREETING = "Good morning, how can I help you?"
ANSWER = "We are open from nine to five."
SCRIPT = """
title = "Three vendors"

[[step]]
listen = true
begins_within_ms = 5000
finished_after_ms = 1200

[[step]]
say = "question.wav"
answer_within_ms = 5000
understood = ["red", "seven", "blue"]

[[step]]
listen = true
finished_after_ms = 1200

[[step]]
hang_up = true
"""


def write_question(path: Path, words: str) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(decode_mulaw(say(words)))


def test_a_call_is_held_by_the_three_vendors_that_their_keys_choose(tmp_path: Path) -> None:
    write_question(tmp_path / "question.wav", "red seven blue")

    async def scene() -> tuple[CallReport, str]:
        async with (
            FakeDeepgram() as ear,
            FakeAnthropic(said(GREETING), said(ANSWER)) as mind,
            FakeElevenLabs() as voice,
        ):
            keys = {**ear.environment, **mind.environment, **voice.environment}
            async with bridge(tmp_path, **keys) as url:
                line = Line(url=url, allow_plain_ws=True)
                report = await place_call(line, read_script(SCRIPT, tmp_path), MonotonicClock())
                async with httpx.AsyncClient() as http:
                    return report, (await http.get(f"{url}/metrics")).text

    report, metrics = asyncio.run(scene())
    told = set(re.findall(r'^sidetone_buffer_fill{buffer="(\w+)"}', metrics, re.MULTILINE))
    assert told == {"recogniser", "replay", "text", "playout"}
    assert not report.failed, report.failed
    answered = next(event.fields for event in report.events if event.kind == "call_answered")
    assert answered["providers"] == {"stt": "deepgram", "llm": "anthropic", "tts": "elevenlabs"}
    heard = [event.fields["heard"] for event in report.events if event.kind == "reply_ended"]
    assert heard == [GREETING, ANSWER]
