"""The Kamailio of deploy/ between a trunk and two bridges of a few lines: whom it answers, and how it counts calls."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.peers.sip.kamailio import ADDRESS, modules, proxy
from tests.telephony.sip.phones import free_ports
from tests.telephony.sip.wire import Dialog, Packet, UserAgent

pytestmark = [pytest.mark.peer, pytest.mark.timeout(120)]

WITHIN_S = 10.0


class Bridges:
    """Two bridges that keep answering OPTIONS while they wait for something else."""

    def __init__(self, *agents: UserAgent) -> None:
        self.agents = agents

    def until(self, method: str) -> tuple[int, UserAgent, Packet]:
        """Which of them gets the next request of that method."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            for number, agent in enumerate(self.agents):
                try:
                    packet = agent.receive()
                except TimeoutError:
                    continue
                if packet.method == "OPTIONS":
                    agent.answer(packet, "200 OK")
                elif packet.method == method and not packet.status:
                    return number, agent, packet
        raise AssertionError(f"no {method} at any bridge")


class Line:
    """The proxy, the trunk before it and the bridges behind it."""

    def __init__(self, port: int, trunk: UserAgent, bridges: Bridges) -> None:
        self.at = (ADDRESS, port)
        self.trunk, self.bridges = trunk, bridges

    def ring(self) -> tuple[Dialog, int, UserAgent, Packet]:
        """A call from the trunk, and the bridge where it rings."""
        dialog = self.trunk.invite(self.at, user="bridge")
        return dialog, *self.bridges.until("INVITE")

    def call(self) -> tuple[Dialog, int]:
        """A call from the trunk that is answered, and by which bridge."""
        dialog, number, bridge, invite = self.ring()
        bridge.answer(invite, "200 OK", body=bridge.sdp())
        dialog.answered(self.route())
        self.bridges.until("ACK")
        return dialog, number

    def route(self) -> str:
        return f"Route: <sip:{self.at[0]}:{self.at[1]};lr>\r\n"

    def forged(self, agent: UserAgent, to: UserAgent, *methods: str) -> None:
        """Requests of a call that never was, to be relayed to anywhere."""
        never = (
            f"INVITE sip:wire@{agent.address} SIP/2.0\r\nFrom: <sip:a@a.invalid>;tag=1\r\nTo: <sip:b@b.invalid>\r\n"
            f"Call-ID: forged@{agent.address}\r\nContact: <sip:5501@{to.address}:{to.port}>\r\n\r\n"
        )
        dialog = Dialog.of(agent, Packet(never, self.at))
        for method in methods:
            dialog.request(method, self.route())


@contextmanager
def line(folder: Path, **settings: str) -> Iterator[Line]:
    modules()
    port = free_ports(1)
    with ExitStack() as stack:
        trunk = stack.enter_context(UserAgent())
        bridges = [stack.enter_context(UserAgent(f"127.0.0.{n}", within_s=0.05)) for n in (2, 3)]
        behind = [f"{bridge.address}:{bridge.port}" for bridge in bridges]
        stack.enter_context(proxy(folder / "proxy", port, trunk.port, behind, **settings))
        yield Line(port, trunk, Bridges(*bridges))


def test_a_stranger_is_neither_answered_nor_relayed_not_even_with_the_tags_of_a_call(tmp_path: Path) -> None:
    with line(tmp_path) as on, UserAgent("127.0.0.9") as stranger, UserAgent("127.0.0.8") as target:
        on.forged(stranger, target, "INVITE", "CANCEL", "ACK", "BYE", "MESSAGE")
        stranger.invite(on.at, user="bridge")
        stranger.options(on.at)
        on.forged(on.trunk, target, "INFO")
        relayed = target.until("INFO")
        assert relayed.source == on.at
        target.answer(relayed, "200 OK")
        assert target.silent(0.5)
        assert stranger.silent(0.5)


def test_a_strangers_response_is_not_passed_on(tmp_path: Path) -> None:
    with line(tmp_path) as on, UserAgent("127.0.0.9") as stranger, UserAgent("127.0.0.8") as target:
        for agent, status in ((stranger, "486 Busy Here"), (on.trunk, "200 OK")):
            vias = "".join(
                f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bKforged\r\n"
                for host, port in (on.at, (target.address, target.port))
            )
            agent.send(
                f"SIP/2.0 {status}\r\n{vias}From: <sip:a@a.invalid>;tag=1\r\nTo: <sip:b@b.invalid>;tag=2\r\n"
                "Call-ID: forged-response\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
                on.at,
            )
        assert target.until("INVITE", 200).source == on.at  # the trunk's, an answer sent again
        assert target.silent(0.5)


def refused(on: Line, status: str) -> int:
    dialog, number, bridge, invite = on.ring()
    bridge.answer(invite, status)
    on.trunk.until("INVITE", int(status[:3]))
    dialog.request("ACK")
    return number


def refused_by_both(on: Line) -> int:
    dialog, number, bridge, invite = on.ring()
    bridge.answer(invite, "503 Draining")
    other, bridge, invite = on.bridges.until("INVITE")
    assert other != number
    bridge.answer(invite, "503 Draining")
    on.trunk.until("INVITE", 500)  # RFC 3261 16.7: a proxy passes no 503 on
    dialog.request("ACK")
    return number


def cancelled(on: Line) -> int:
    dialog, number, bridge, invite = on.ring()
    bridge.answer(invite, "180 Ringing")
    on.trunk.until("INVITE", 180)
    dialog.request("CANCEL")
    _, _, cancel = on.bridges.until("CANCEL")
    bridge.answer(cancel, "200 OK")
    bridge.answer(invite, "487 Request Terminated")
    on.trunk.until("INVITE", 487)
    dialog.request("ACK")
    return number


def hung_up(on: Line) -> int:
    dialog, number = on.call()
    dialog.request("BYE", extra=on.route())
    _, bridge, bye = on.bridges.until("BYE")
    bridge.answer(bye, "200 OK")
    on.trunk.until("BYE", 200)
    return number


ENDINGS: dict[str, Callable[[Line], int]] = {
    "refused as busy": lambda on: refused(on, "486 Busy Here"),
    "refused as unknown": lambda on: refused(on, "404 Not Found"),
    "refused by both": refused_by_both,
    "cancelled": cancelled,
    "hung up": hung_up,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_call_that_is_over_counts_no_more(ending: str, tmp_path: Path) -> None:
    with line(tmp_path) as on:
        first = ENDINGS[ending](on)
        assert [on.call()[1] for _ in range(4)] == [first, 1 - first] * 2


def test_a_call_that_was_answered_before_its_cancel_came_still_counts(tmp_path: Path) -> None:
    with line(tmp_path) as on:
        dialog, first, bridge, invite = on.ring()
        bridge.answer(invite, "180 Ringing")
        on.trunk.until("INVITE", 180)
        dialog.request("CANCEL")
        _, _, cancel = on.bridges.until("CANCEL")
        bridge.answer(invite, "200 OK", body=bridge.sdp())
        bridge.answer(cancel, "481 Call Does Not Exist")
        dialog.answered(on.route())
        on.bridges.until("ACK")
        assert [on.call()[1] for _ in range(2)] == [1 - first, first]


def test_the_trunk_may_be_a_name_and_signal_from_networks(tmp_path: Path) -> None:
    where = {"TRUNK_HOST": "sip.carrier.example", "TRUNK_ADDRESSES": f"192.0.2.7,127.0.0.16/28,{ADDRESS}"}
    with line(tmp_path, **where) as on, UserAgent("127.0.0.17") as gateway, UserAgent("127.0.0.32") as stranger:
        stranger.invite(on.at, user="stranger")
        gateway.invite(on.at, user="gateway")
        _, bridge, invite = on.bridges.until("INVITE")
        assert invite.start.startswith("INVITE sip:gateway@")
        bridge.answer(invite, "486 Busy Here")
        gateway.until("INVITE", 486)
        assert stranger.silent(0.5)
