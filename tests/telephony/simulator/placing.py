"""What the tests of the driver share: short scripts, and one call against a `FakeBridge`."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from telephony.clock import MonotonicClock
from telephony.simulator.call import place_call
from telephony.simulator.line import Line
from telephony.simulator.notices import Notice
from telephony.simulator.report import CallReport
from telephony.simulator.script import Script, read_script
from tests.telephony.simulator.fake_bridge import STREAM, FakeBridge, MediaSession

AFTER = "<Redirect>/twilio/after</Redirect>"
WITH_AFTER = {"/twilio/voice": [STREAM.replace("{then}", AFTER)], "/twilio/after": ["<Response><Hangup/></Response>"]}
ONLY_STREAM: dict[str, list[str | int]] = {"/twilio/voice": [STREAM.replace("{then}", "")]}
AWAIT = "await_hang_up = true\nat_most_ms = 10000"


def script(steps: str, head: str = "") -> Script:
    """A script of steps that are parted by `|`."""
    tables = "".join(f"[[step]]\n{step.strip()}\n" for step in steps.split("|"))
    return read_script(f'title = "t"\n{head}\n{tables}', Path())


async def listen_only(session: MediaSession) -> None:
    await session.receive_until("stop")


async def leave_at_once(session: MediaSession) -> None:
    await session.receive()


def place(bridge: FakeBridge, steps: str, watched: list[Notice] | None = None, **line: Any) -> CallReport:
    """One call, to its end, against `bridge`. `head` in `line` is the head of the script."""
    head = line.pop("head", "")
    notices: list[Notice] = [] if watched is None else watched

    async def scenario() -> CallReport:
        async with bridge.serve():
            usual = Line(bridge.url, allow_plain_ws=True)
            return await place_call(replace(usual, **line), script(steps, head), MonotonicClock(), notices.append)

    return asyncio.run(asyncio.wait_for(scenario(), 30))
