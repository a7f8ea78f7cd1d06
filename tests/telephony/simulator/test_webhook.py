import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.simulator.errors import WebhookFailed
from telephony.simulator.signature import sign
from telephony.simulator.webhook import Address, Answer, Patience, WebhookClient, patience_of

FORM = [("CallSid", "CA1"), ("From", "+15550100001"), ("FromCity", "")]
Reply = str | None
"""A raw HTTP answer; None drops the connection without one."""


@dataclass
class RawServer:
    """Answers raw requests from a list, the last one for ever; keeps what it was asked."""

    replies: list[Reply]
    requests: list[str] = field(default_factory=list)
    url: str = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.lower().split(b"\r\n")
                        if line.startswith(b"content-length")
                    ),
                    0,
                )
                self.requests.append((head + await reader.readexactly(length)).decode())
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                if reply is None:
                    break
                if reply == "hang":
                    await reader.read()
                    break
                writer.write(reply.encode())
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()
            await writer.wait_closed()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["RawServer"]:
        async with await asyncio.start_server(self.answer, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self


def reply(status: int = 200, body: str = "<Response/>", **headers: str) -> str:
    lines = {"content-type": "text/xml", "content-length": str(len(body)), **headers}
    return (
        f"HTTP/1.1 {status} X\r\n"
        + "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in lines.items())
        + "\r\n"
        + body
    )


def against(
    server: RawServer,
    ask: Callable[[WebhookClient], Awaitable[Answer]],
    token: str | None = None,
    public: str | None = None,
) -> Answer:
    async def scenario() -> Answer:
        async with server.serve(), WebhookClient(Address(server.url, public), token) as client:
            return await ask(client)

    return asyncio.run(scenario())


def test_a_post_carries_the_form_and_its_signature() -> None:
    server = RawServer([reply()])
    answer = against(server, lambda client: client.request("POST", server.url + "/voice?x=1", FORM), token="secret")
    assert (answer.status, answer.content_type, answer.body) == (200, "text/xml", "<Response/>")
    (request,) = server.requests
    assert request.startswith("POST /voice?x=1 HTTP/1.1\r\n")
    assert request.endswith("\r\n\r\nCallSid=CA1&From=%2B15550100001&FromCity=")
    assert f"X-Twilio-Signature: {sign('secret', server.url + '/voice?x=1', FORM)}" in request


def test_without_a_token_nothing_is_signed() -> None:
    server = RawServer([reply()])
    against(server, lambda client: client.request("POST", server.url, FORM))
    assert "twilio-signature" not in server.requests[0].lower()


def test_a_get_carries_the_fields_in_its_url_and_signs_that() -> None:
    server = RawServer([reply()])
    against(server, lambda client: client.request("GET", server.url + "/v?a=1", FORM), token="secret")
    path = "/v?a=1&CallSid=CA1&From=%2B15550100001&FromCity="
    assert server.requests[0].startswith(f"GET {path} HTTP/1.1\r\n")
    assert f"X-Twilio-Signature: {sign('secret', server.url + path)}" in server.requests[0]


def test_a_bridge_behind_a_tunnel_is_signed_for_its_public_address() -> None:
    server = RawServer([reply()])
    public = "https://bridge.example.net"
    against(server, lambda client: client.request("POST", public + "/voice", FORM), token="secret", public=public)
    assert f"X-Twilio-Signature: {sign('secret', public + '/voice', FORM)}" in server.requests[0]
    assert "Host: bridge.example.net\r\n" in server.requests[0]


def test_a_redirect_is_followed_and_each_request_is_signed_for_its_own_url() -> None:
    server = RawServer([reply(307, location="/b"), reply(302, location="/c"), reply()])
    answer = against(server, lambda client: client.request("POST", server.url + "/a", FORM), token="secret")
    assert [request.split(" HTTP")[0] for request in server.requests] == ["POST /a", "POST /b", "GET /c"]
    assert server.requests[1].endswith("FromCity=")
    assert sign("secret", server.url + "/c") in server.requests[2]
    assert answer.url == server.url + "/c"


def test_ten_redirects_are_followed_and_not_one_more() -> None:
    server = RawServer([*[reply(307, location="/next")] * 10, reply()])
    assert against(server, lambda client: client.request("POST", server.url, FORM)).status == 200
    endless = RawServer([reply(307, location="/next")])
    with pytest.raises(WebhookFailed) as failed:
        against(endless, lambda client: client.request("POST", endless.url, FORM))
    assert failed.value.code == 11215
    assert len(endless.requests) == 11


def test_cookies_are_kept_within_a_call() -> None:
    server = RawServer([reply(set_cookie="session=s-81; Path=/"), reply()])

    async def ask(client: WebhookClient) -> Answer:
        await client.request("POST", server.url + "/a", FORM)
        return await client.request("POST", server.url + "/b", FORM)

    against(server, ask)
    assert "cookie" not in server.requests[0].lower()
    assert "session=s-81" in server.requests[1]


@pytest.mark.parametrize("status", [404, 500])
def test_an_error_status_is_a_failure_and_not_tried_again(status: int) -> None:
    server = RawServer([reply(status, "sorry")])
    with pytest.raises(WebhookFailed, match="sorry") as failed:
        against(server, lambda client: client.request("POST", server.url, FORM))
    assert failed.value.code == 11200
    assert len(server.requests) == 1


def test_the_fragment_asks_for_retries_and_is_not_sent() -> None:
    server = RawServer([reply(503), None, reply()])
    answer = against(server, lambda client: client.request("POST", server.url + "/v#rc=2&rp=all", FORM))
    assert answer.status == 200
    assert [request.split(" HTTP")[0] for request in server.requests] == ["POST /v"] * 3


def test_a_lost_connection_is_not_tried_again_unless_asked_for() -> None:
    server = RawServer([None, reply()])
    with pytest.raises(WebhookFailed) as failed:
        against(server, lambda client: client.request("POST", server.url, FORM))
    assert failed.value.code == 11205
    assert len(server.requests) == 1


def test_nobody_there_is_a_failure() -> None:
    async def scenario() -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        server.close()
        await server.wait_closed()
        async with WebhookClient(Address(url), None) as client:
            await client.request("POST", url, FORM)

    with pytest.raises(WebhookFailed) as failed:
        asyncio.run(scenario())
    assert failed.value.code == 11205


def test_a_bridge_that_does_not_answer_is_given_up_after_its_time() -> None:
    server = RawServer(["hang"])
    with pytest.raises(WebhookFailed, match=r"no answer within 0\.1 s") as failed:
        against(server, lambda client: client.request("POST", server.url + "#tt=100", FORM))
    assert failed.value.code == 11205


def test_an_answer_that_cannot_be_decoded_is_a_failure() -> None:
    server = RawServer([reply(body="plain", content_encoding="gzip")])
    with pytest.raises(WebhookFailed) as failed:
        against(server, lambda client: client.request("POST", server.url, FORM))
    assert failed.value.code == 11205


def test_an_endless_answer_is_given_up() -> None:
    server = RawServer([reply(body="x" * (1 << 20) + "x")])
    with pytest.raises(WebhookFailed, match="more than"):
        against(server, lambda client: client.request("POST", server.url, FORM))


@pytest.mark.parametrize("url", ["", "/voice", "http://[nonsense/", "ftp://127.0.0.1/", "http://", "http://my_bridge/"])
def test_an_address_that_is_none_is_a_failure(url: str) -> None:
    server = RawServer([reply()])
    with pytest.raises(WebhookFailed) as failed:
        against(server, lambda client: client.request("POST", url, FORM))
    assert failed.value.code == 11100


@pytest.mark.parametrize(
    ("fragment", "patience"),
    [
        ("", Patience()),
        ("ct=1000&rt=2000&tt=3000&rc=3", Patience(1.0, 2.0, 3.0, 3, frozenset({"ct"}))),
        ("ct=1&tt=99999&rc=99&rp=rt,5xx", Patience(0.1, 15.0, 15.0, 5, frozenset({"rt", "5xx"}))),
        ("rc=many&ct=-5&edge=ashburn", Patience()),
        ("rp=all", Patience(retry_on=frozenset({"ct", "rt", "4xx", "5xx"}))),
    ],
)
def test_overrides_are_taken_within_limits_and_nonsense_is_ignored(fragment: str, patience: Patience) -> None:
    assert patience_of(fragment) == patience


@given(st.text())
def test_any_fragment_gives_a_patience_within_the_limits(fragment: str) -> None:
    patience = patience_of(fragment)
    assert 0.1 <= patience.connect_s <= 10
    assert 0.1 <= patience.total_s <= 15
    assert 0 <= patience.retries <= 5


@pytest.mark.parametrize(
    ("url", "reachable"),
    [
        ("https://bridge.example.net/after?x=1", "http://127.0.0.1:8080/after?x=1"),
        ("wss://bridge.example.net/media", "ws://127.0.0.1:8080/media"),
        ("wss://elsewhere.example.net/media", "wss://elsewhere.example.net/media"),
    ],
)
def test_the_public_address_is_reached_where_the_bridge_really_is(url: str, reachable: str) -> None:
    assert Address("http://127.0.0.1:8080", "https://bridge.example.net").reachable(url) == reachable
    assert Address("http://127.0.0.1:8080").reachable(url) == url
