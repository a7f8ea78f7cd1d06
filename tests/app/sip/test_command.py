"""`sidetone dial` as a person sees it: who is called, what happens, and a result that a script can use."""

import argparse
import json
from collections.abc import Iterable

import httpx
import pytest

from app.settings import Settings
from app.sip.command import ANSWERED, INTERRUPTED, NOT_ANSWERED, REFUSED, add_arguments, run

TOKEN = "a-token-of-the-tests"
ANSWERED_CALL = [
    {"kind": "call_begun", "at": 0.0},
    {"kind": "call_ringing", "at": 0.4, "status": "180 Ringing"},
    {"kind": "call_answered", "at": 5.2},
    {"kind": "reply_ended", "at": 7.0, "heard": "Hello."},
    {"kind": "caller_said", "at": 9.0, "text": "who is this"},
    {"kind": "leg_held", "at": 10.0},
    {"kind": "leg_resumed", "at": 11.0},
    {"kind": "transfer_failed", "at": 12.0, "reason": "busy"},
    {"kind": "call_ended", "at": 13.0, "reason": "carrier: completed", "cause": 16},
]
BUSY = [{"kind": "call_begun", "at": 0.0}, {"kind": "call_ended", "at": 1.0, "reason": "carrier: busy", "cause": 17}]


class Bridge:
    """The API, as far as the command uses it."""

    def __init__(self, events: Iterable[dict[str, object]] = (), status: int = 201, body: object = None) -> None:
        self.events, self.status, self.body = events, status, body
        self.orders: list[dict[str, object]] = []
        self.ended: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        if request.url.path == "/api/calls":
            self.orders.append(json.loads(request.content))
            call = {"call_id": "SIP1", "to": "+15550100003", "trunk": "sip"}
            return httpx.Response(self.status, json=call if self.body is None else self.body)
        if request.url.path == "/api/calls/SIP1/events":
            return httpx.Response(200, content=self._stream())
        self.ended.append(request.url.path)
        return httpx.Response(202)

    def _stream(self) -> Iterable[bytes]:
        for event in self.events:
            if event["kind"] == "interrupt":
                raise KeyboardInterrupt
            yield b": still here\n\n"
            yield b"data: " + json.dumps(event).encode() + b"\n\n"


def dial(bridge: Bridge, *arguments: str, token: str = TOKEN) -> tuple[int, list[str]]:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    told: list[str] = []
    settings = Settings.load({"API_TOKEN": token}, None)
    result = run(parser.parse_args(arguments), settings, told.append, httpx.MockTransport(bridge))
    return result, told


def test_a_call_is_followed_from_its_ringing_to_its_end() -> None:
    bridge = Bridge(ANSWERED_CALL)
    result, told = dial(bridge, "+15550100003", "--from", "+1555", "--trunk", "sip", "--variable", "order=1=7")
    assert result == ANSWERED
    assert bridge.orders == [{"to": "+15550100003", "from": "+1555", "trunk": "sip", "variables": {"order": "1=7"}}]
    assert told == [
        "calling +15550100003 over trunk sip   (SIP1)",
        "    0.4 s  180 ringing",
        "    5.2 s  answered",
        "    7.0 s  we say     Hello.",
        "    9.0 s  they say   who is this",
        "   10.0 s  on hold",
        "   11.0 s  back",
        "   12.0 s  not handed over: busy",
        "   13.0 s  ended: carrier: completed (cause 16)",
    ]


def test_a_call_that_nobody_answers_fails_for_a_script_too() -> None:
    result, told = dial(Bridge(BUSY), "+15550100003")
    assert (result, told[-1]) == (NOT_ANSWERED, "    1.0 s  ended: carrier: busy (cause 17)")


@pytest.mark.parametrize(
    ("body", "said"),
    [({"error": "destination", "detail": "not allowed"}, "not placed: not allowed"), ("odd", "not placed: odd")],
)
def test_a_refusal_is_told_with_its_reason(body: object, said: str) -> None:
    assert dial(Bridge(status=403, body=body), "+15550100003") == (REFUSED, [said])


def test_an_interrupt_hangs_up() -> None:
    bridge = Bridge([*ANSWERED_CALL[:2], {"kind": "interrupt"}])
    result, told = dial(bridge, "+15550100003")
    assert (result, told[-1], bridge.ended) == (INTERRUPTED, "hung up", ["/api/calls/SIP1/end"])


def test_without_a_token_the_setting_is_named() -> None:
    result, told = dial(Bridge(), "+15550100003", token="")
    assert result == REFUSED
    assert "API_TOKEN" in told[0]


def test_a_bridge_that_is_not_there_is_told() -> None:
    def nobody(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    told: list[str] = []
    settings = Settings.load({"API_TOKEN": TOKEN, "PORT": "8123"}, None)
    assert run(parser.parse_args(["1"]), settings, told.append, httpx.MockTransport(nobody)) == REFUSED
    assert told == ["no bridge at http://127.0.0.1:8123: refused"]
