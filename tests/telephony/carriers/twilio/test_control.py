"""Redirecting a live call: what Twilio's API is asked, and what its answers mean."""

import asyncio

import httpx
import pytest

from telephony.carriers.twilio.control import TwilioControl, twilio_control
from telephony.errors import CallGone, ControlRefused, ControlUnreachable, OurFault
from telephony.simulator.rest import CallUpdate, Exchange, RestApi

ACCOUNT, TOKEN = "AC00000000000000000000000000000001", "secret"


def redirected(account: str = ACCOUNT, token: str = TOKEN, call: str = "CA1") -> list[CallUpdate]:
    """What the one live call, CA1, was updated to."""

    async def scenario() -> list[CallUpdate]:
        exchange, updates = Exchange(), list[CallUpdate]()
        exchange.calls["CA1"] = updates.append
        async with RestApi(exchange, ACCOUNT, TOKEN) as api, TwilioControl(account, token, api.url) as control:
            await control.redirect(call, "https://bridge.example.net/twilio/after")
        return updates

    return asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_live_call_is_sent_to_the_url() -> None:
    assert redirected() == [CallUpdate(url="https://bridge.example.net/twilio/after#rc=3&rp=all")]


def test_a_call_that_is_over_is_gone() -> None:
    with pytest.raises(CallGone):
        redirected(call="CA2")


def test_a_wrong_token_is_our_fault() -> None:
    with pytest.raises(ControlRefused, match="401"):
        redirected(token="wrong")


def test_an_api_that_is_gone_is_worth_another_try() -> None:
    async def scenario() -> None:
        async with TwilioControl(ACCOUNT, TOKEN, "http://127.0.0.1:9") as control:
            with pytest.raises(ControlUnreachable):
                await control.redirect("CA1", "https://bridge.example.net/twilio/after")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (429, '{"code": 20429}', ControlUnreachable),
        (503, "", ControlUnreachable),
        (400, '{"code": 21220, "message": "Call is not in-progress"}', CallGone),
        (400, '{"code": 21205}', ControlRefused),
    ],
)
def test_each_refusal_says_what_to_do(status: int, body: str, error: type[Exception]) -> None:
    async def scenario() -> None:
        control = TwilioControl(ACCOUNT, TOKEN, "http://api.example")
        answer = httpx.MockTransport(lambda _: httpx.Response(status, text=body))
        async with control:
            control._client = httpx.AsyncClient(transport=answer)
            with pytest.raises(error):
                await control.redirect("CA1", "https://bridge.example.net/twilio/after")

    asyncio.run(scenario())


def test_without_an_account_there_is_no_control() -> None:
    assert twilio_control({"TWILIO_AUTH_TOKEN": TOKEN}) is None


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"TWILIO_ACCOUNT_SID": ACCOUNT}, "TWILIO_AUTH_TOKEN"),
        ({"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN, "TWILIO_API_URL": "api"}, "TWILIO_API_URL"),
    ],
)
def test_a_setting_that_cannot_work_is_named(environment: dict[str, str], named: str) -> None:
    with pytest.raises(OurFault, match=named):
        twilio_control(environment)
