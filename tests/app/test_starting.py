"""What can be known at the start is said at the start: refused keys by their variable, absent vendors as a warning."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.main import create_app
from app.settings import Settings
from providers.errors import ProviderMisconfigured
from tests.fakes.anthropic import FakeAnthropic
from tests.fakes.deepgram import FakeDeepgram
from tests.fakes.elevenlabs import FakeElevenLabs
from tests.telephony.sip.phones import need_pjsua2

NOBODY = "http://127.0.0.1:9"
CHEAP = {"STT_PROVIDER": "scripted", "LLM_PROVIDER": "scripted", "TTS_PROVIDER": "scripted"}
VENDORS = {"STT": "deepgram", "LLM": "anthropic", "TTS": "elevenlabs"}


@asynccontextmanager
async def vendors() -> AsyncIterator[dict[str, str]]:
    """All three, and what points the bridge at them."""
    async with FakeDeepgram() as ear, FakeAnthropic() as mind, FakeElevenLabs() as voice:
        yield {**ear.environment, **mind.environment, **voice.environment}


async def start(**environment: str) -> None:
    """Start the bridge and stop it."""
    app = create_app(Settings.load({**CHEAP, **environment}, None))
    async with app.router.lifespan_context(app):
        assert app.state.bridge.ready


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("kind", VENDORS)
def test_a_key_that_is_refused_stops_the_start_with_its_variable(kind: str, alone: bool, tmp_path: Path) -> None:
    vendor = VENDORS[kind]
    variable = f"{vendor.upper()}_API_KEY"
    listed = vendor if alone else f"scripted,{vendor}"

    async def scene() -> None:
        async with vendors() as environment:
            with pytest.raises(ProviderMisconfigured) as refused:
                await start(
                    **{**environment, variable: "wr0ng", f"{kind}_PROVIDER": listed, "STATE_DIR": str(tmp_path)}
                )
            assert refused.value.variable == variable
            assert "wr0ng" not in str(refused.value)

    asyncio.run(scene())


@pytest.mark.parametrize("kind", VENDORS)
def test_a_vendor_who_is_away_does_not_stop_the_start_and_is_warned_of(kind: str, tmp_path: Path) -> None:
    vendor = VENDORS[kind]

    async def scene() -> None:
        async with vendors() as environment:
            away = {f"{vendor.upper()}_BASE_URL": NOBODY, f"{kind}_PROVIDER": vendor, "STATE_DIR": str(tmp_path)}
            with capture_logs() as logs:
                await start(**{**environment, **away})
            warned = [line["provider"] for line in logs if line["event"] == "vendor not reached"]
            assert warned == [vendor]

    asyncio.run(scene())


def test_the_command_says_so_in_one_message_and_exits_with_2(tmp_path: Path) -> None:
    async def scene() -> None:
        async with vendors() as environment:
            told = {**os.environ, **CHEAP, **environment, "PORT": "0", "STATE_DIR": str(tmp_path)}
            told |= {"LLM_PROVIDER": "anthropic", "ANTHROPIC_API_KEY": "wr0ng"}
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "app.cli", "serve", env=told, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            _, errors = await process.communicate()
            assert process.returncode == 2
            assert "ANTHROPIC_API_KEY" in errors.decode()
            assert "Traceback" not in errors.decode()

    asyncio.run(scene())


def test_a_sip_port_that_is_taken_is_said_in_one_message(tmp_path: Path) -> None:
    need_pjsua2()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        told = {**os.environ, **CHEAP, "PORT": "0", "STATE_DIR": str(tmp_path), "MAX_CALLS": "10"}
        told |= {"SIP_SERVER": "127.0.0.1:9", "SIP_BIND": "127.0.0.1", "SIP_PORT": str(port)}
        ended = subprocess.run(
            [sys.executable, "-m", "app.cli", "serve"],
            env=told,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 2
    assert f"SIP cannot listen on 127.0.0.1:{port} (udp): Address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr
