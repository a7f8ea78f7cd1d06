"""What the carrier asks and tells the bridge about one call over HTTP, with Twilio's form fields.

Sources: https://www.twilio.com/docs/voice/twiml, https://www.twilio.com/docs/voice/twiml/stream and
https://www.twilio.com/docs/voice/api/call-resource#statuscallback
"""

from collections.abc import Mapping
from datetime import UTC
from email.utils import format_datetime
from types import TracebackType
from typing import Self

from telephony.clock import Clock
from telephony.simulator.calllog import CallLog
from telephony.simulator.errors import DocumentRejected, WebhookFailed
from telephony.simulator.line import Line
from telephony.simulator.report import WebhookMade
from telephony.simulator.twiml import Document, Warned, read_document
from telephony.simulator.webhook import Answer, WebhookClient

_PLACES = ("City", "State", "Zip", "Country")


class Callbacks:
    """The requests about one call. An async context manager."""

    def __init__(self, line: Line, call_sid: str, clock: Clock, log: CallLog) -> None:
        self._line = line
        self._call_sid = call_sid
        self._clock = clock
        self._log = log
        self._http = WebhookClient(line.address, line.auth_token)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    async def voice(self, status: str) -> Document:
        """Ask what to do with the call. Raises `WebhookFailed` or `DocumentRejected` after the fallback has failed."""
        return await self.fetch("voice", "POST", self._line.address.public(self._line.voice_path), status)

    async def fetch(
        self, purpose: str, method: str, url: str, status: str, extra: Mapping[str, str] | None = None
    ) -> Document:
        """The document at `url`; where it cannot be had, the one at the fallback URL. Raises like `voice`."""
        form = self._fields(status) | dict(extra or {})
        try:
            return await self._document(purpose, method, url, form)
        except (WebhookFailed, DocumentRejected) as error:
            if self._line.fallback_path is None:
                raise
            self._log.warn(Warned(error.code, error.detail))
            fallback = self._line.address.public(self._line.fallback_path)
            fault = {"ErrorCode": str(error.code), "ErrorUrl": url}
            return await self._document("fallback", "POST", fallback, form | fault)

    async def tell_status(self, status: str, sequence: int, duration_s: float | None) -> None:
        """The call status callback; a failure is only warned of, as Twilio does not try again either."""
        if self._line.status_path is None:
            return
        form = self._fields(status) | {
            "SequenceNumber": str(sequence),
            "Timestamp": format_datetime(self._clock.today().astimezone(UTC)),
            "CallbackSource": "call-progress-events",
        }
        if duration_s is not None:
            form |= {"CallDuration": str(round(duration_s)), "Duration": str(-(-round(duration_s) // 60))}
        await self._tell("status", "POST", self._line.address.public(self._line.status_path), form)

    async def tell_stream(self, target: tuple[str, str], stream: tuple[str, str], event: str, error: str = "") -> None:
        """The stream status callback to `target` (method and URL); `stream` is its sid and name."""
        form = {
            "AccountSid": self._line.account_sid,
            "CallSid": self._call_sid,
            "StreamSid": stream[0],
            "StreamName": stream[1] or stream[0],
            "StreamEvent": event,
            "Timestamp": self._clock.today().astimezone(UTC).isoformat(),
        }
        if error:
            form["StreamError"] = error
        await self._tell(event, *target, form)

    def _fields(self, status: str) -> dict[str, str]:
        """The standard parameters. Places are best effort at Twilio, and often blank: so they are here."""
        line = self._line
        fields = {
            "AccountSid": line.account_sid,
            "ApiVersion": "2010-04-01",
            "CallSid": self._call_sid,
            "CallStatus": status,
            "Direction": "inbound",
            "From": line.caller,
            "To": line.called,
            "Caller": line.caller,
            "Called": line.called,
        }
        return fields | {f"{end}{place}": "" for end in ("From", "To") for place in _PLACES}

    async def _document(self, purpose: str, method: str, url: str, form: Mapping[str, str]) -> Document:
        answer = await self._request(purpose, method, url, form)
        document = read_document(answer.content_type, answer.body, answer.url)
        for warned in document.warnings:
            self._log.warn(warned)
        return document

    async def _tell(self, purpose: str, method: str, url: str, form: Mapping[str, str]) -> None:
        try:
            await self._request(purpose, method, url, form)
        except WebhookFailed as error:
            self._log.warn(Warned(error.code, error.detail))

    async def _request(self, purpose: str, method: str, url: str, form: Mapping[str, str]) -> Answer:
        began_s = self._log.now_s()
        status: int | None = None
        try:
            answer = await self._http.request(method, url, list(form.items()))
            status = answer.status
            return answer
        finally:
            took_s = self._log.now_s() - began_s
            self._log.webhooks.append(WebhookMade(began_s, purpose, url, status, took_s))
