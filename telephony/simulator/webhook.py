"""HTTP as Twilio does it: signed form requests with its time limits, retries, redirects and per-call cookies.

Source: https://www.twilio.com/docs/usage/webhooks, https://www.twilio.com/docs/api/errors/11205 and, for the
overrides in a URL's fragment, https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
"""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urldefrag, urlencode, urljoin, urlsplit

import httpx

from telephony.simulator.errors import WebhookFailed
from telephony.simulator.signature import HEADER, sign
from telephony.simulator.websocket import client_tls

INVALID_URL, HTTP_RETRIEVAL_FAILURE, CONNECTION_FAILURE, TOO_MANY_REDIRECTS = 11100, 11200, 11205, 11215
REDIRECT_LIMIT = 10
BODY_LIMIT_BYTES = 1 << 20
USER_AGENT = "sidetone-simulator (after TwilioProxy/1.1)"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often one request is tried. `retry_on` holds `ct` (connect), `rt` (read), `4xx`, `5xx`."""

    connect_s: float = 5.0
    read_s: float = 15.0
    total_s: float = 15.0
    retries: int = 1
    retry_on: frozenset[str] = field(default=frozenset({"ct"}))


def patience_of(fragment: str) -> Patience:
    """What a webhook URL's fragment (`rc=2&ct=1000`) asks for, within Twilio's limits; nonsense is ignored."""
    usual = Patience()
    wanted = dict(parse_qsl(fragment))
    policies = frozenset(wanted.get("rp", "ct").lower().split(","))
    return Patience(
        connect_s=_within(wanted.get("ct"), 100, 10_000, usual.connect_s * 1000) / 1000,
        read_s=_within(wanted.get("rt"), 100, 15_000, usual.read_s * 1000) / 1000,
        total_s=_within(wanted.get("tt"), 100, 15_000, usual.total_s * 1000) / 1000,
        retries=int(_within(wanted.get("rc"), 0, 5, usual.retries)),
        retry_on=frozenset({"ct", "rt", "4xx", "5xx"}) if "all" in policies else policies,
    )


def _within(text: str | None, low: float, high: float, otherwise: float) -> float:
    return min(max(float(text), low), high) if text is not None and text.isdigit() else otherwise


@dataclass(frozen=True, slots=True)
class Answer:
    """`url` is the one that answered, after redirects: relative addresses in `body` start from it."""

    url: str
    status: int
    content_type: str
    body: str


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests really go. A bridge behind a tunnel believes that it lives at `public_url`: signatures are made
    for that address while connections are opened to `url`. Without a `public_url` the two are one."""

    url: str
    public_url: str | None = None

    def public(self, path: str) -> str:
        return urljoin(self.public_url or self.url, path)

    def reachable(self, url: str) -> str:
        """`url` with the public origin replaced by the reachable one, for http and ws alike."""
        if self.public_url is None:
            return url
        parts, public, real = urlsplit(url), urlsplit(self.public_url), urlsplit(self.url)
        if parts.netloc != public.netloc:
            return url
        secure = real.scheme == "https"
        scheme = ("wss" if secure else "ws") if parts.scheme in {"ws", "wss"} else real.scheme
        return parts._replace(scheme=scheme, netloc=real.netloc).geturl()


def _checked(url: str, base: str = "") -> str:
    """`url`, absolute; raises `WebhookFailed` for what is no address."""
    try:
        absolute = urljoin(base, url)
        host = urlsplit(absolute).hostname
        if httpx.URL(absolute).scheme not in {"http", "https"} or not host or "_" in host:
            raise WebhookFailed(
                INVALID_URL, f"{absolute}: not an http or https address with a host without underscores"
            )
    except (httpx.InvalidURL, ValueError) as error:
        raise WebhookFailed(INVALID_URL, f"{url}: {error}") from error
    return absolute


class WebhookClient:
    """The requests of one call: they share cookies and connections. An async context manager."""

    def __init__(self, address: Address, auth_token: str | None) -> None:
        self._address = address
        self._auth_token = auth_token
        self._cookies = httpx.Cookies()
        verify: ssl.SSLContext | bool = client_tls() if address.url.startswith("https") else False
        self._transport = httpx.AsyncHTTPTransport(verify=verify)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def request(self, method: str, url: str, form: Sequence[tuple[str, str]]) -> Answer:
        """The answer to a signed request. Raises `WebhookFailed` when there is none that Twilio would take."""
        bare, fragment = urldefrag(_checked(url))
        patience = patience_of(fragment)
        try:
            async with asyncio.timeout(patience.total_s):
                return await self._follow_redirects(method, bare, form, patience)
        except TimeoutError as error:
            raise WebhookFailed(CONNECTION_FAILURE, f"{bare}: no answer within {patience.total_s:g} s") from error

    async def _follow_redirects(
        self, method: str, url: str, form: Sequence[tuple[str, str]], patience: Patience
    ) -> Answer:
        for _ in range(REDIRECT_LIMIT + 1):
            response = await self._try(method, url, form, patience)
            location = response.headers.get("location")
            if response.status_code not in {301, 302, 303, 307, 308} or not location:
                return self._answer(url, response)
            url = _checked(location, url)
            if response.status_code in {301, 302, 303}:
                method, form = "GET", ()
        raise WebhookFailed(TOO_MANY_REDIRECTS, f"{url}: more than {REDIRECT_LIMIT} redirects")

    def _answer(self, url: str, response: httpx.Response) -> Answer:
        if response.status_code >= 400:
            raise WebhookFailed(HTTP_RETRIEVAL_FAILURE, f"{url}: HTTP {response.status_code}: {response.text[:200]}")
        return Answer(url, response.status_code, response.headers.get("content-type", ""), response.text)

    async def _try(self, method: str, url: str, form: Sequence[tuple[str, str]], patience: Patience) -> httpx.Response:
        """One request with its retries; raises `WebhookFailed` when the last try got no HTTP answer at all."""
        left = patience.retries
        while True:
            try:
                response = await self._send(method, url, form, patience)
                kind = f"{response.status_code // 100}xx"
            except httpx.RequestError as error:
                kind = "ct" if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else "rt"
                if not left or kind not in patience.retry_on:
                    raise WebhookFailed(CONNECTION_FAILURE, f"{url}: {error or type(error).__name__}") from error
            else:
                if not left or kind not in patience.retry_on:
                    return response
            left -= 1

    async def _send(self, method: str, url: str, form: Sequence[tuple[str, str]], patience: Patience) -> httpx.Response:
        if method == "GET" and form:
            url += ("&" if urlsplit(url).query else "?") + urlencode(form)
            form = ()
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*", **self._signature(url, form)}
        content = None
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded; charset=UTF-8"
            content = urlencode(form).encode()
        headers["Host"] = urlsplit(url).netloc.rpartition("@")[2]
        timeout = httpx.Timeout(patience.read_s, connect=patience.connect_s)
        request = httpx.Request(
            method,
            self._address.reachable(url),
            headers=headers,
            content=content,
            extensions={"timeout": timeout.as_dict()},
        )
        self._cookies.set_cookie_header(request)
        response = await self._transport.handle_async_request(request)
        try:
            response.request = request
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > BODY_LIMIT_BYTES:
                    raise WebhookFailed(
                        HTTP_RETRIEVAL_FAILURE, f"{url}: an answer of more than {BODY_LIMIT_BYTES} bytes"
                    )
            self._cookies.extract_cookies(response)
            return httpx.Response(response.status_code, headers=_without_length(response.headers), content=bytes(body))
        finally:
            await response.aclose()

    def _signature(self, url: str, form: Sequence[tuple[str, str]]) -> Mapping[str, str]:
        return {HEADER: sign(self._auth_token, url, form)} if self._auth_token else {}


def _without_length(headers: httpx.Headers) -> list[tuple[str, str]]:
    """The headers that still hold for a decoded body."""
    return [
        (name, value)
        for name, value in headers.items()
        if name not in {"content-encoding", "content-length", "transfer-encoding"}
    ]
