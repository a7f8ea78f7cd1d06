import argparse
import asyncio
import json
import threading
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from telephony.simulator.sound import mulaw_wav
from telephony.simulator.terminal import add_arguments, run
from tests.telephony.simulator.fake_bridge import FakeBridge, MediaSession, tone
from tests.telephony.simulator.placing import WITH_AFTER

SCRIPT = """
title = "Short"
finished_after_ms = 300
[[step]]
listen = true
[[step]]
say = "hello"
answer_within_ms = {}
[[step]]
listen = true
"""


async def answer(session: MediaSession) -> None:
    """Speaks, and once more after the caller's hello, by the time of the stream."""
    await session.play(tone(200))
    while int((await session.receive()).get("media", {}).get("timestamp", 0)) < 1300:
        pass
    await session.play(tone(200))
    await session.receive_until("stop")


@contextmanager
def running(bridge: FakeBridge) -> Iterator[str]:
    """The bridge in a thread of its own, since the command brings its own event loop."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve() -> None:
        async with bridge.serve():
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: asyncio.Runner(loop_factory=lambda: loop).run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield bridge.url
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)


def call(*words: str, **environment: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(words), environment)


def test_a_call_is_shown_and_its_files_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "short.toml").write_text(SCRIPT.format(5000))
    outputs = [str(tmp_path / name) for name in ("call.wav", "call.json", "call.png")]
    bridge = FakeBridge(answer, dict(WITH_AFTER))
    with running(bridge) as url:
        code = call(
            *(url, "--script", str(tmp_path / "short.toml"), "--from", "+15550100077"),
            *("--record", outputs[0], "--report", outputs[1], "--plot", outputs[2]),
            TWILIO_AUTH_TOKEN="secret",
        )
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "caller  “Hello.”" in printed
    assert "agent   speaks after" in printed
    assert "expected  2 met, 0 failed" in printed
    assert "x-twilio-signature" in bridge.posts[0][2]
    assert bridge.posts[0][1]["From"] == "+15550100077"
    with wave.open(outputs[0]) as recording:
        assert recording.getnchannels() == 2
    assert json.loads(Path(outputs[1]).read_text())["script"] == "Short"
    assert Path(outputs[2]).read_bytes().startswith(b"\x89PNG")


def test_a_failed_expectation_is_named_with_what_was_measured_and_the_exit_code_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "strict.toml").write_text(SCRIPT.format(1))
    with running(FakeBridge(answer, dict(WITH_AFTER))) as url:
        assert call(url, "--script", str(tmp_path / "strict.toml"), "--quiet") == 1
    printed = capsys.readouterr().out
    assert "FAILED    step 2: the agent answers within 1 ms; measured: " in printed
    assert "caller  “Hello.”" not in printed


def test_several_calls_are_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "short.toml").write_text(SCRIPT.format(5000))
    bridge = FakeBridge(answer, dict(WITH_AFTER))
    with running(bridge) as url:
        assert call(url, "--script", str(tmp_path / "short.toml"), "--calls", "3") == 0
    assert "3 calls, 0 with failed expectations" in capsys.readouterr().out
    assert len(bridge.sessions) == 3


def test_files_to_say_and_a_webhook_address_are_taken(tmp_path: Path) -> None:
    (tmp_path / "beep.wav").write_bytes(mulaw_wav(tone(100)))
    bridge = FakeBridge(answer, {"/my/hook": WITH_AFTER["/twilio/voice"], "/twilio/after": WITH_AFTER["/twilio/after"]})
    with running(bridge) as url:
        assert call(url + "/my/hook?tenant=7", "--say", str(tmp_path / "beep.wav"), "--quiet") == 0
    assert bridge.forms("/my/hook")


def test_nobody_there_is_a_failed_expectation(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--quiet", PORT="9") == 1
    assert "ended by the carrier" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--script", "none.toml"], "none.toml"),
        (["--say", "none.wav"], "none.wav"),
        (["ftp://x"], "not an http or https address"),
        (["--calls", "0"], "at least one"),
        (["--report", "/nonexistent/x.json"], "no such folder"),
    ],
)
def test_wrong_use_is_refused_with_the_reason(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*words) == 2
    assert reason in capsys.readouterr().err
