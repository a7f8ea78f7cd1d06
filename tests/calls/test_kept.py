"""Calls outlive the process that had them: the API and the command show them from the store, masked and sealed."""

import asyncio
import base64
import json
from pathlib import Path

import httpx
import pytest

from app.cli import main
from telephony.clock import MonotonicClock
from telephony.simulator.call import place_call
from telephony.simulator.line import Line
from telephony.simulator.script import read_script
from tests.redis_server import RedisServer
from tests.serving import bridge

KEY = base64.b64encode(bytes(range(32))).decode()
SCRIPTED = {"STT_PROVIDER": "scripted", "LLM_PROVIDER": "scripted", "TTS_PROVIDER": "scripted"}
SCRIPT = """
title = "A greeting is enough"

[[step]]
listen = true
begins_within_ms = 3000

[[step]]
hang_up = true
"""


async def a_call(url: str, tmp_path: Path) -> str:
    """Place a call and answer its id once the API says that it is over."""
    line = Line(url=url, allow_plain_ws=True, follow_events=False)
    report = await place_call(line, read_script(SCRIPT, tmp_path), MonotonicClock())
    assert not report.failed, report.failed
    async with asyncio.timeout(10.0), httpx.AsyncClient(base_url=url) as client:
        while True:
            (call,) = (await client.get("/api/calls")).json()
            if call["phase"] == "ended":
                return str(call["call_id"])
            await asyncio.sleep(0.05)


def kept(tmp_path: Path, **environment: str) -> tuple[str, dict[str, object], list[dict[str, object]]]:
    """A call, and what another process shows of it: its id, its record, its events as they are streamed."""

    async def scene() -> tuple[str, dict[str, object], list[dict[str, object]]]:
        async with bridge(tmp_path, **SCRIPTED, **environment) as url:
            call_id = await a_call(url, tmp_path)
        async with bridge(tmp_path, **SCRIPTED, **environment) as url, httpx.AsyncClient(base_url=url) as client:
            assert [call["call_id"] for call in (await client.get("/api/calls")).json()] == [call_id]
            record = (await client.get(f"/api/calls/{call_id}")).json()
            streamed = (await client.get(f"/api/calls/{call_id}/events")).text.split("\n\n")
            assert (await client.get("/api/calls/CA0")).status_code == 404
            assert (await client.get("/api/calls/CA0/events")).status_code == 404
            assert (await client.post(f"/api/calls/{call_id}/end")).status_code == 404
            return call_id, record, [json.loads(line.removeprefix("data: ")) for line in streamed if line]

    return asyncio.run(scene())


def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *arguments: str, **environment: str) -> int:
    for name, value in {"STATE_DIR": str(tmp_path), **environment}.items():
        monkeypatch.setenv(name, value)
    return main(["calls", *arguments])


def test_a_call_is_shown_by_the_next_process_and_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call_id, record, streamed = kept(tmp_path)
    kinds = [event["kind"] for event in streamed]
    assert kinds[0] == "call_answered" and kinds[-1] == "call_ended"
    assert {"leg_attached", "reply_begun", "reply_heard", "reply_ended"} <= set(kinds)
    assert record["events"] == streamed
    assert record["phase"] == "ended" and record["end_reason"]
    assert command(monkeypatch, tmp_path) == 0
    assert call_id in capsys.readouterr().out
    assert command(monkeypatch, tmp_path, call_id) == 0
    told = capsys.readouterr().out
    assert "agent " in told and f"ended: {record['end_reason']}" in told
    assert command(monkeypatch, tmp_path, call_id, "--json") == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == streamed
    assert command(monkeypatch, tmp_path, "--live") == 0
    assert call_id not in capsys.readouterr().out
    assert command(monkeypatch, tmp_path, "CA0") == 1
    assert capsys.readouterr().err == "no call CA0 is kept\n"
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, tmp_path, "--limit", "0")
    assert "'0' is no number from 1 up" in capsys.readouterr().err


def test_a_sealed_call_is_shown_with_the_key_and_not_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call_id, record, _ = kept(tmp_path, JOURNAL_KEYS=KEY)
    assert record["carrier"] == "twilio"
    assert b"+1555" not in (tmp_path / "calls.sqlite").read_bytes()
    assert command(monkeypatch, tmp_path, call_id) == 1
    assert "not among JOURNAL_KEYS" in capsys.readouterr().err
    assert command(monkeypatch, tmp_path, call_id, JOURNAL_KEYS="nonsense") == 2
    assert "JOURNAL_KEYS: give 32 random bytes" in capsys.readouterr().err
    assert command(monkeypatch, tmp_path, call_id, JOURNAL_KEYS=KEY) == 0


def test_what_is_not_to_be_shown_is_masked_and_what_is_not_to_be_stored_is_not_there(tmp_path: Path) -> None:
    _, record, streamed = kept(tmp_path, REDACT_SHOWN="numbers", REDACT_STORED="replies")
    assert str(record["caller"]).startswith("+***")
    said = [str(event["said"]) for event in streamed if event["kind"] == "reply_ended"]
    assert said and all(set(text) <= {"*", " "} for text in said)
    assert b"+1555" in (tmp_path / "calls.sqlite").read_bytes()


def test_redis_serves_as_well(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        _, record, streamed = kept(tmp_path, STORE_URL=server.url)
        assert record["events"] == streamed and streamed[-1]["kind"] == "call_ended"
    assert not (tmp_path / "calls.sqlite").exists()


def test_calls_are_answered_while_the_store_is_gone_and_the_api_says_what_it_cannot_show(tmp_path: Path) -> None:
    async def scene() -> None:
        with RedisServer(tmp_path) as server:
            server.stop()
            async with (
                bridge(tmp_path, STORE_URL=server.url, **SCRIPTED) as url,
                httpx.AsyncClient(base_url=url) as client,
            ):
                line = Line(url=url, allow_plain_ws=True, follow_events=False)
                report = await place_call(line, read_script(SCRIPT, tmp_path), MonotonicClock())
                assert not report.failed
                assert (await client.get("/api/calls")).json() == []
                assert (await client.get("/api/calls/CA0")).status_code == 503
                server.start()
                async with asyncio.timeout(15.0):
                    while not (calls := (await client.get("/api/calls")).json()):
                        await asyncio.sleep(0.05)
                events = (await client.get(f"/api/calls/{calls[0]['call_id']}")).json()["events"]
                assert events[0]["kind"] == "call_answered" and events[-1]["kind"] == "call_ended"

    asyncio.run(scene())


def test_a_store_that_cannot_be_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, tmp_path, STORE_URL="mysql://h/db") == 2
    assert "STORE_URL: give memory:, sqlite:" in capsys.readouterr().err
    assert command(monkeypatch, tmp_path, STORE_URL="sqlite:", REDACT_SHOWN="everything") == 2
    assert "REDACT_SHOWN" in capsys.readouterr().err
