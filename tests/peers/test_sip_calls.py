"""Whole calls over real SIP and RTP on loopback: the bridge as it is served, and a telephone with its own process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.peers.sip.daemons import wait_until
from tests.peers.sip.office import Office, open_office
from tests.peers.sip.served import SCRIPTED, Served, served
from tests.telephony.sip.phones import free_ports, need_pjsua2, phone_settings, phones
from tests.telephony.sip.wire import UserAgent

GREETING = "Hello, this is the bridge, and this greeting takes a while to be spoken to its end."


@asynccontextmanager
async def office(state_dir: Path, **environment: str) -> AsyncIterator[Office]:
    need_pjsua2()
    here, there = free_ports(2), free_ports(2)
    variables = {
        "GREETING": GREETING,
        "SIP_SERVER": f"127.0.0.1:{there}",
        "SIP_USER": "5500",
        "SIP_BIND": "127.0.0.1",
        "SIP_PORT": str(here),
        **environment,
    }
    line = {"name": "bridge", "server": f"127.0.0.1:{here}", "register": False, "user": "5501", "options_every_s": 0}
    with phones(phone_settings(there, trunks=[line])) as (phone,):
        async with open_office(state_dir, phone, "bridge", **variables) as at:
            yield at


def scene(play: Callable[[Office], Awaitable[None]], state_dir: Path, **environment: str) -> None:
    async def run() -> None:
        async with office(state_dir, **environment) as at:
            await play(at)

    asyncio.run(run())


def test_a_phone_calls_the_bridge_is_greeted_and_hangs_up(tmp_path: Path) -> None:
    async def play(at: Office) -> None:
        number, call_id = await at.call_in()
        await at.hears_the_agent(number)
        ready = (await at.client.get("/readyz")).json()
        assert ready["trunks"] == {"sip": "up"}
        at.phone.do("hang_up", call=number)
        await at.event(call_id, "call_ended")
        told = {event["kind"]: event for event in await at.events(call_id)}
        assert (told["call_ended"]["reason"], told["call_ended"]["cause"]) == ("carrier: completed", 16)
        assert told["call_answered"]["variables"]["trunk"] == "sip"
        assert told["call_answered"]["caller"] == "5501"
        assert told["media_measured"]["facts"]["codec"] == "PCMU"
        assert told["media_measured"]["facts"]["packets_sent"] > 20
        metrics = (await at.client.get("/metrics")).text
        assert 'sidetone_sip_trunk{state="up",trunk="sip"} 1.0' in metrics
        assert "sidetone_rtp_mos_count 1.0" in metrics

    scene(play, tmp_path)


def test_the_bridge_calls_a_phone_and_speaks_when_it_is_answered(tmp_path: Path) -> None:
    async def play(at: Office) -> None:
        at.phone.do("treat", how="ring")
        placed = await at.client.post("/api/calls", json={"to": "5501", "variables": {"order": "17"}})
        assert placed.status_code == 201, placed.text
        call_id = placed.json()["call_id"]
        number = (await at.on_the_phone(at.phone.offered))["call"]
        assert (await at.event(call_id, "call_ringing"))["status"].startswith("180")
        assert (await at.client.get(f"/api/calls/{call_id}")).json()["phase"] == "ringing"
        at.phone.do("answer", call=number)
        await at.hears_the_agent(number)
        assert (await at.event(call_id, "call_answered"))["variables"]["order"] == "17"
        assert (await at.client.post(f"/api/calls/{call_id}/end")).status_code == 202
        ended = await at.on_the_phone(at.phone.until, "CallEnded", call=number)
        assert ended["cause"]["q850"] == 16

    scene(play, tmp_path)


def test_a_busy_phone_is_told_by_the_journal(tmp_path: Path) -> None:
    async def play(at: Office) -> None:
        at.phone.do("treat", how="busy")
        placed = await at.client.post("/api/calls", json={"to": "5501"})
        ended = await at.event(placed.json()["call_id"], "call_ended")
        assert (ended["reason"], ended["cause"]) == ("carrier: busy", 17)

    scene(play, tmp_path)


def test_on_hold_the_agent_is_silent_and_goes_on_afterwards(tmp_path: Path) -> None:
    async def play(at: Office) -> None:
        number, call_id = await at.call_in()
        await at.hears_the_agent(number)
        at.phone.do("hold", call=number)
        await at.event(call_id, "leg_held")
        assert (await at.client.get(f"/api/calls/{call_id}")).json()["phase"] == "held"
        at.phone.do("resume", call=number)
        await at.event(call_id, "leg_resumed")
        await at.hears_the_agent(number)
        at.phone.do("hang_up", call=number)
        await at.event(call_id, "call_ended")

    scene(play, tmp_path)


def test_keys_pressed_by_the_bridge_arrive_once(tmp_path: Path) -> None:
    async def play(at: Office) -> None:
        number, call_id = await at.call_in()
        assert (await at.client.post(f"/api/calls/{call_id}/digits", json={"digits": "4#"})).status_code == 202
        for digit in "4#":
            await at.on_the_phone(at.phone.until, "digit", call=number, digit=digit)
        at.phone.do("hang_up", call=number)
        await at.event(call_id, "call_ended")

    scene(play, tmp_path)


def test_an_announcement_comes_before_the_answer(tmp_path: Path) -> None:
    async def play(at: Office) -> None:
        number = await at.on_the_phone(at.phone.dial, trunk="bridge", target="5500")
        opened = await at.on_the_phone(at.phone.until, "MediaOpened", call=number)
        assert opened["early"]
        await at.hears_the_agent(number)
        assert not [fact for fact in at.phone.told if fact["event"] == "CallAnswered"]
        await at.on_the_phone(at.phone.until, "CallAnswered", call=number)
        at.phone.do("hang_up", call=number)
        await at.event((await at.calls())[-1]["call_id"], "call_ended")

    scene(play, tmp_path, SIP_ANNOUNCEMENT="This call may be recorded, to make our service better.")


def registrar_says(agent: UserAgent, bridge: Served, status: str, state: str) -> None:
    """Answer each REGISTER like that, until it has made that of the trunk."""

    def come_to_that() -> bool:
        return bool(bridge.ask("/readyz")["trunks"] == {"sip": state})

    while not come_to_that():
        request = agent.until("REGISTER")
        agent.answer(request, status, f"{request.headers('contact')}Expires: 300\r\n")
        with contextlib.suppress(AssertionError):  # it was an old one
            wait_until(come_to_that, "the trunk has heard it", 1.0)


def test_bytes_that_are_no_text_end_nothing(tmp_path: Path) -> None:
    need_pjsua2()
    port = free_ports(2)
    with UserAgent(within_s=20) as agent:
        agent.name, agent.encoding = "w\xe9re", "latin-1"
        own = {"SIP_SERVER": f"{agent.address}:{agent.port}", "SIP_USER": "bridge", "SIP_PASSWORD": "x"}
        with served(tmp_path, port, SIP_DESTINATIONS="+49", **own, **SCRIPTED) as bridge:
            registrar_says(agent, bridge, "503 Indisponibl\xe9", "down")
            refused = bridge.refused("/api/calls", to="+4930123")
            assert (refused.status_code, "Indisponibl\N{REPLACEMENT CHARACTER}" in refused.text) == (503, True)
            registrar_says(agent, bridge, "200 OK", "up")

            call_id = bridge.order("/api/calls", to="+4930123")["call_id"]
            agent.answer(agent.until("INVITE"), "183 Signalis\xe9")
            bridge.daemon.until_true(lambda: "call_ringing" in bridge.kinds(call_id), "it rings")
            told = bridge.ask(f"/api/calls/{call_id}")["events"]
            assert "183 Signalis\N{REPLACEMENT CHARACTER}" in [event.get("status") for event in told]

            dialog = agent.invite(("127.0.0.1", port))
            dialog.answered()
            (called,) = [call["call_id"] for call in bridge.ask("/api/calls") if call["call_id"] != call_id]
            bridge.daemon.until_true(lambda: "leg_attached" in bridge.kinds(called), "it is heard")
            dialog.bye()
            bridge.daemon.until_true(lambda: "call_ended" in bridge.kinds(called), "it has ended")
            assert bridge.is_ready() and bridge.daemon.process.poll() is None


def test_a_number_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    async def play(at: Office) -> None:
        number = await at.on_the_phone(at.phone.dial, trunk="bridge", target="5500")
        ended = await at.on_the_phone(at.phone.until, "CallEnded", call=number)
        assert ended["cause"]["status"] == 404
        assert await at.calls() == []

    scene(play, tmp_path, SIP_NUMBERS="5777")


@pytest.mark.parametrize("attended", [False, True], ids=["blind", "attended"])
def test_a_transfer_that_nobody_takes_comes_back_to_the_agent(tmp_path: Path, attended: bool) -> None:
    async def play(at: Office) -> None:
        number, call_id = await at.call_in()
        await at.hears_the_agent(number)
        at.phone.do("treat", how="busy")
        wanted = {"to": "5501", "attended": attended}
        assert (await at.client.post(f"/api/calls/{call_id}/transfer", json=wanted)).status_code == 202
        failed = await at.event(call_id, "transfer_failed")
        assert failed["reason"]
        assert (await at.client.get(f"/api/calls/{call_id}")).json()["phase"] == "live"
        at.phone.do("hang_up", call=number)
        await at.event(call_id, "call_ended")

    scene(play, tmp_path)
