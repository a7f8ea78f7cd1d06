"""`sidetone dial NUMBER`: have the running bridge call somebody, and tell what becomes of it."""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

from app.settings import Settings

ANSWERED, NOT_ANSWERED, REFUSED, INTERRUPTED = 0, 1, 2, 130
_CONNECT_S = 5.0
_SILENCE_S = 60.0
"""The bridge says that it is still there every fifteen seconds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments, for `run`."""
    add = parser.add_argument
    add("to", metavar="NUMBER", help="whom to call: a number or SIP address that SIP_DESTINATIONS allows")
    add("--from", dest="caller", default="", metavar="NUMBER", help="the number to show")
    add("--trunk", default="", help="over which trunk (default: the first that may call there)")
    add("--variable", action="append", default=[], metavar="NAME=VALUE", help="something the agent is to know")
    add("--url", help="the bridge (default: the one on this machine)")


def run(
    arguments: argparse.Namespace,
    settings: Settings,
    tell: Callable[[str], None],
    transport: httpx.BaseTransport | None = None,
) -> int:
    """Place the call and `tell` what becomes of it, to its end; an interrupt hangs up. 0: answered, 1: not, 2: refused.

    `transport` takes the place of the network.
    """
    token = settings.api_token.get_secret_value()
    if not token:
        tell("sidetone dial needs the token of the API: set API_TOKEN, here and where the bridge runs")
        return REFUSED
    order = {
        "to": arguments.to,
        "from": arguments.caller,
        "trunk": arguments.trunk,
        "variables": dict(item.split("=", 1) for item in arguments.variable if "=" in item),
    }
    url = arguments.url or f"http://127.0.0.1:{settings.port}"
    limits = httpx.Timeout(_SILENCE_S, connect=_CONNECT_S)
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=limits, transport=transport, trust_env=False) as client:
        try:
            return _follow(client, order, tell)
        except httpx.HTTPError as error:
            tell(f"no bridge at {url}: {error}")
            return REFUSED


def _follow(client: httpx.Client, order: Mapping[str, Any], tell: Callable[[str], None]) -> int:
    placed = client.post("/api/calls", json=order)
    if placed.status_code != 201:
        tell(f"not placed: {_reason(placed)}")
        return REFUSED
    call = placed.json()
    tell(f"calling {call['to']} over trunk {call['trunk']}   ({call['call_id']})")
    answered = False
    try:
        for event in _events(client, call["call_id"]):
            answered = answered or event["kind"] == "call_answered"
            line = _line(event)
            if line:
                tell(f"{event['at']:7.1f} s  {line}")
    except KeyboardInterrupt:
        client.post(f"/api/calls/{call['call_id']}/end")
        tell("hung up")
        return INTERRUPTED
    return ANSWERED if answered else NOT_ANSWERED


def _events(client: httpx.Client, call_id: str) -> Iterator[dict[str, Any]]:
    with client.stream("GET", f"/api/calls/{call_id}/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def _line(event: Mapping[str, Any]) -> str:
    """What a person wants to know of an event; empty: nothing."""
    match event["kind"]:
        case "call_ringing":
            return str(event["status"]).lower()
        case "call_answered":
            return "answered"
        case "caller_said":
            return f"they say   {event['text']}" if event["text"] else ""
        case "reply_ended":
            return f"we say     {event['heard']}" if event["heard"] else ""
        case "leg_held":
            return "on hold"
        case "leg_resumed":
            return "back"
        case "transfer_failed":
            return f"not handed over: {event['reason']}"
        case "call_ended":
            cause = event.get("cause")
            return f"ended: {event['reason']}" + (f" (cause {cause})" if cause is not None else "")
        case _:
            return ""


def _reason(answer: httpx.Response) -> str:
    try:
        told = answer.json()
    except json.JSONDecodeError:
        return answer.text
    return str(told.get("detail", told)) if isinstance(told, dict) else str(told)
