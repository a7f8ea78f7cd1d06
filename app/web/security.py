"""Who may come in.

A carrier's requests come in by their signature, checked against the public URL that the carrier was given. Without a
signing secret the bridge serves its own machine only: a request must address a loopback name, come from a loopback
address, and bear no sign of a browser page elsewhere or of a proxy (a tunnel's requests arrive from loopback too).
The REST API comes in by its bearer token, or likewise from this machine only.
"""

import hmac
from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address, ip_address
from urllib.parse import quote

from starlette.types import Scope

from telephony.carrier import Carrier, WebhookRequest
from telephony.errors import OurFault, SignatureRejected

_PROXY_HEADERS = frozenset({"forwarded", "via", "x-real-ip"})
_PROXY_PREFIX = "x-forwarded-"


class RequestRefused(Exception):
    """A request that is not served. `reason` is a metric label, `text` is for the peer, `remedy` for our own log."""

    def __init__(self, status: int, reason: str, text: str, remedy: str = "", headers: Mapping[str, str] = {}) -> None:
        super().__init__(f"{status} {reason}: {text}")
        self.status = status
        self.reason = reason
        self.text = text
        self.remedy = remedy or text
        self.headers = dict(headers)


class CarrierGate:
    """Admits what one carrier sent."""

    def __init__(self, carrier: Carrier, public_url: str, secrets: Iterable[str]) -> None:
        """`public_url` is what the carrier's requests are addressed to, without the route: `https://host[/prefix]`.

        `secrets` are the values of the carrier's `secret_variables`, empty ones left out. None at all means local
        development. Raises `OurFault` for a public URL that cannot be signed.
        """
        self._carrier = carrier
        self._secrets = tuple(secret for secret in secrets if secret)
        scheme, separator, rest = public_url.rstrip("/").partition("://")
        if scheme not in ("http", "https") or not separator or not rest or "?" in rest or "#" in rest:
            raise OurFault(f"PUBLIC_URL: not an http(s) URL without query: {public_url!r}")
        self._http_url = f"{scheme}://{rest}"
        self._websocket_url = f"{'wss' if scheme == 'https' else 'ws'}://{rest}"
        self._remedy = (
            f"To take calls from outside set {carrier.secret_variables[0]} and PUBLIC_URL: requests are then admitted "
            f"by the carrier's signature."
        )

    @property
    def signed(self) -> bool:
        """Whether requests are admitted by signature; if not, only this machine is served."""
        return bool(self._secrets)

    def admit(self, scope: Scope, form: tuple[tuple[str, str], ...] = (), body: bytes = b"") -> WebhookRequest:
        """The carrier's request, for an HTTP request or a websocket upgrade. Raises `RequestRefused`."""
        base = self._websocket_url if scope["type"] == "websocket" else self._http_url
        url = base + _target(scope)
        request = WebhookRequest(scope.get("method", "GET"), url, _headers(scope), form, body)
        if not self._secrets:
            require_local(scope, self._remedy)
            return request
        try:
            self._carrier.webhooks.authenticate(request, self._secrets)
        except SignatureRejected as rejected:
            # The peer learns nothing about the configuration; whoever reads the log learns what to compare.
            raise RequestRefused(403, "signature", "The signature was not accepted.", rejected.remedy) from rejected
        return request


class ApiGate:
    """Admits requests to the REST API and the console."""

    def __init__(self, token: str | None) -> None:
        """Without a `token` only this machine is served."""
        self._token = token.encode() if token else None

    def require_token(self) -> None:
        """For what costs money, being on this machine is not enough. Raises `RequestRefused`."""
        if self._token is None:
            raise RequestRefused(403, "no_token", "This takes a token: set API_TOKEN and send it as a Bearer token.")

    def admit(self, scope: Scope) -> None:
        """Return if the request may be served; raise `RequestRefused` otherwise."""
        if self._token is None:
            require_local(scope, "To use it from elsewhere set API_TOKEN and send `Authorization: Bearer <token>`.")
            return
        kind, _, token = _headers(scope).get("authorization", "").partition(" ")
        given = token.strip().encode("utf-8", "replace")
        if kind.lower() != "bearer" or not hmac.compare_digest(given, self._token):
            raise RequestRefused(
                401, "bearer", "Send `Authorization: Bearer <API_TOKEN>`.", headers={"www-authenticate": "Bearer"}
            )


def require_local(scope: Scope, remedy: str) -> None:
    """Raise `RequestRefused` unless the request comes from this machine and is meant for it.

    Each check stops one way in from outside: the peer address other machines, the forwarding headers tunnels and local
    proxies, Host a public name that was made to resolve to loopback (DNS rebinding), Origin a web page in a local
    browser.
    """
    headers = _headers(scope)
    host = headers.get("host", "")
    refusal = None
    if not _is_loopback_peer(scope):
        refusal = "peer_not_loopback", "The request comes from another machine."
    elif any(name in _PROXY_HEADERS or name.startswith(_PROXY_PREFIX) for name in headers):
        refusal = "forwarded", "The request came through a tunnel or proxy."
    elif not _is_loopback_name(host):
        refusal = "host_not_loopback", "The request is addressed to another name than localhost."
    elif "origin" in headers and headers["origin"].partition("://")[2].lower() != host.lower():
        refusal = "foreign_origin", "The request comes from a page of another site."
    if refusal:
        reason, problem = refusal
        raise RequestRefused(403, reason, f"Only this machine is served here. {problem} {remedy}")


def _is_loopback_peer(scope: Scope) -> bool:
    client = scope.get("client")
    return client is not None and _is_loopback_address(client[0])


def _is_loopback_name(host: str) -> bool:
    """Whether a Host header names this machine: `localhost`, `127.0.0.0/8` or `[::1]`, with any port."""
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        name, port = host, ""
    if port and not (port.isascii() and port.isdigit()):
        return False
    if name.startswith("[") and name.endswith("]"):
        return _is_loopback_address(name[1:-1])
    return name.lower() == "localhost" or (":" not in name and _is_loopback_address(name))


def _is_loopback_address(address: str) -> bool:
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:  # a v4 peer on a dual-stack socket
        ip = ip.ipv4_mapped
    return ip.is_loopback


def _target(scope: Scope) -> str:
    """Path and query as they were on the wire, still percent-encoded: that is what was signed."""
    path = scope.get("raw_path") or quote(scope["path"]).encode()
    query = scope.get("query_string", b"")
    return (path + b"?" + query if query else path).decode("latin-1")


def _headers(scope: Scope) -> dict[str, str]:
    """Headers by lower-case name; a repeated one has its values joined, and so matches nothing by accident."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
