"""Twilio's REST API, as far as a live call needs it: the update that makes Twilio ask for other TwiML.

Source: https://www.twilio.com/docs/voice/api/call-resource#update-a-call-resource
"""

import asyncio
from collections.abc import Mapping
from typing import Self

import httpx

from telephony.errors import CallGone, ControlRefused, ControlUnreachable, OurFault

PERSISTENTLY = "#rc=3&rp=all"
"""Appended to a URL of ours, it makes Twilio ask up to three times more, whatever went wrong: a process that dies while
it is asked must not cost the call. Without it only refused connections are tried again, once.
https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides"""

_API_URL = "https://api.twilio.com"
_TOTAL_S = 6.0
_TIMEOUT = httpx.Timeout(4.0, connect=3.0)
_GONE = (404, 410)
_NOT_IN_PROGRESS = '"code":21220'  # https://www.twilio.com/docs/api/errors/21220
_AGAIN_FROM = 500
_TOO_MANY = 429


def twilio_control(environment: Mapping[str, str]) -> "TwilioControl | None":
    """The control that `TWILIO_ACCOUNT_SID` and `TWILIO_AUTH_TOKEN` give; None without them."""
    account, token = environment.get("TWILIO_ACCOUNT_SID", ""), environment.get("TWILIO_AUTH_TOKEN", "")
    base_url = environment.get("TWILIO_API_URL", "") or _API_URL
    if not account:
        return None
    if not token:
        raise OurFault("TWILIO_AUTH_TOKEN: needed with TWILIO_ACCOUNT_SID")
    if not base_url.startswith(("https://", "http://")):
        raise OurFault(f"TWILIO_API_URL: not an http(s) address: {base_url!r}")
    return TwilioControl(account, token, base_url.rstrip("/"))


class TwilioControl:
    """`telephony.carrier.CallControl` over HTTP."""

    def __init__(self, account_sid: str, auth_token: str, base_url: str = _API_URL) -> None:
        self._account_sid = account_sid
        self._auth_token = auth_token
        self._base_url = base_url
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        self._client = httpx.AsyncClient(
            auth=(self._account_sid, self._auth_token), timeout=_TIMEOUT, trust_env=False, follow_redirects=False
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def redirect(self, call_id: str, url: str) -> None:
        if self._client is None:
            raise OurFault("enter the control before it is used")
        target = f"{self._base_url}/2010-04-01/Accounts/{self._account_sid}/Calls/{call_id}.json"
        try:
            async with asyncio.timeout(_TOTAL_S):
                answer = await self._client.post(target, data={"Url": url + PERSISTENTLY, "Method": "POST"})
        except (httpx.HTTPError, TimeoutError) as error:
            raise ControlUnreachable(f"{self._base_url}: {error or type(error).__name__}") from error
        if answer.status_code in _GONE or _NOT_IN_PROGRESS in answer.text.replace(" ", ""):
            raise CallGone(f"{call_id}: HTTP {answer.status_code}")
        if answer.status_code >= _AGAIN_FROM or answer.status_code == _TOO_MANY:
            raise ControlUnreachable(f"HTTP {answer.status_code}")
        if answer.is_error:
            raise ControlRefused(f"HTTP {answer.status_code}: {answer.text[:200]}")
