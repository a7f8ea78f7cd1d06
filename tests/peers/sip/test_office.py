"""The whole bridge with Asterisk as its trunk: calls in and out, keys, hold, hand-overs, and a human voice."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from telephony.simulator.sound import read_linear
from tests.peers.sip.asterisk import COLLEAGUE, PASSWORD, USER, Asterisk, pbx
from tests.peers.sip.network import Impairment, Network, network
from tests.peers.sip.office import Office, open_office, until
from tests.recordings import SOUNDS, needs_human_speech
from tests.telephony.sip.phones import free_ports, need_pjsua2, phone_settings, phones

pytestmark = [pytest.mark.peer, pytest.mark.timeout(180)]

BAD_LINE = Impairment(loss=0.05, delay_ms=20, jitter_ms=30)
LOUD = 600.0
"""Root mean square of a tenth of a second, on the 16-bit scale, from which it is speech and not a line's noise."""


@dataclass(frozen=True)
class House:
    """A PBX, and the line to it."""

    line: Network
    asterisk: Asterisk
    folder: Path

    def play(self, scene: Callable[[Office], Awaitable[None]], **environment: str) -> None:
        """The scene, with a bridge that is registered there and a colleague with a telephone."""
        colleague = {"name": "pbx", "server": self.asterisk.address, "options_every_s": 0, **COLLEAGUE}
        settings = phone_settings(free_ports(2), trunks=[colleague]) | {"bind_address": self.line.ours}
        variables = {
            "SIP_SERVER": self.asterisk.address,
            "SIP_USER": USER,
            "SIP_PASSWORD": PASSWORD,
            "SIP_BIND": self.line.ours,
            **environment,
        }

        async def registered(at: Office) -> bool:
            return (await at.client.get("/readyz")).json().get("trunks") == {"sip": "up"}

        async def run() -> None:
            async with open_office(self.folder, phone, "pbx", **variables) as at:
                await until(lambda: registered(at))
                await scene(at)

        with phones(settings) as (phone,):
            phone.until("trunk", state="up")
            asyncio.run(run())


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    need_pjsua2()
    folder = tmp_path_factory.mktemp("house")
    with network(folder) as line, pbx(line, folder) as asterisk:
        yield House(line, asterisk, folder)


def test_a_key_asks_for_a_human_and_the_pbx_puts_the_caller_through(house: House) -> None:
    async def scene(at: Office) -> None:
        number, call_id = await at.call_in()
        await at.nth(call_id, "reply_started", 1)
        at.phone.do("press", call=number, digits="0")
        assert (await at.event(call_id, "digit_keyed"))["digit"] == "0"
        asked = await at.event(call_id, "transfer_requested")
        assert asked["target"] == "5510"
        ended = await at.event(call_id, "call_ended", within_s=30.0)
        assert (ended["reason"], ended["cause"]) == ("transferred", 16)
        await at.on_the_phone(at.phone.hears, number, loud=True)
        assert "Milliwatt" in house.asterisk.ask("core show channels concise")
        at.phone.do("hang_up", call=number)
        await at.on_the_phone(at.phone.until, "CallEnded", call=number)

    house.play(scene, TRANSFER_TO="5510")


def test_a_hand_over_to_nobody_comes_back_and_the_caller_can_hold_resume_and_hang_up(house: House) -> None:
    async def scene(at: Office) -> None:
        number, call_id = await at.call_in()
        await at.nth(call_id, "reply_started", 1)
        at.phone.do("press", call=number, digits="0")
        failed = await at.event(call_id, "transfer_failed", within_s=30.0)
        assert failed["reason"] == "unknown number"
        replies = [event for event in await at.events(call_id) if event["kind"] == "reply_started"]
        await at.nth(call_id, "reply_started", len(replies) + 1)
        at.phone.do("hold", call=number)
        await at.event(call_id, "leg_held")
        at.phone.do("resume", call=number)
        await at.event(call_id, "leg_resumed")
        at.phone.do("hang_up", call=number)
        ended = await at.event(call_id, "call_ended")
        assert (ended["reason"], ended["cause"]) == ("carrier: completed", 16)

    house.play(scene, TRANSFER_TO="5599")


def test_the_bridge_calls_a_colleague_who_is_busy_first_and_hangs_up_later(house: House) -> None:
    async def scene(at: Office) -> None:
        at.phone.do("treat", how="busy")
        placed = await at.client.post("/api/calls", json={"to": "5501"})
        ended = await at.event(placed.json()["call_id"], "call_ended")
        assert (ended["reason"], ended["cause"]) == ("carrier: busy", 17)
        await at.on_the_phone(at.phone.offered)
        at.phone.do("treat", how="ring")
        call_id = (await at.client.post("/api/calls", json={"to": "5501"})).json()["call_id"]
        number = (await at.on_the_phone(at.phone.offered))["call"]
        await at.event(call_id, "call_ringing")
        at.phone.do("answer", call=number)
        await at.hears_the_agent(number)
        at.phone.do("hang_up", call=number)
        ended = await at.event(call_id, "call_ended")
        assert (ended["reason"], ended["cause"]) == ("carrier: completed", 16)

    house.play(scene, SIP_DIALS_PER_S="10")


@needs_human_speech
def test_a_human_voice_is_understood_over_rtp_and_silences_the_agent(house: House) -> None:
    async def scene(at: Office) -> None:
        talk = await human_talk(at, house.asterisk)
        question, _, answer = (turn["text"] for turn in talk if turn["kind"] == "caller_said")
        assert "hours" in question and "tomorrow" in answer
        apology = [turn["said"] for turn in talk if turn["kind"] == "reply_ended"][2].lower()
        assert "understand" in apology or "sorry" in apology

    house.play(scene)


@needs_human_speech
def test_over_a_bad_line_a_human_talk_comes_to_its_end_all_the_same(tmp_path: Path) -> None:
    async def scene(at: Office) -> None:
        talk = await human_talk(at, asterisk)
        measured = next(turn["facts"] for turn in talk if turn["kind"] == "media_measured")
        assert measured["packets_lost"] > 0 and measured["jitter_max_ms"] > 5

    need_pjsua2()
    with network(tmp_path, BAD_LINE) as line, pbx(line, tmp_path) as asterisk:
        House(line, asterisk, tmp_path).play(scene)


async def human_talk(at: Office, asterisk: Asterisk) -> list[dict[str, Any]]:
    """A question, an interruption that makes no sense in this dialogue, an answer, and the end: the call's journal."""
    for name in ("hours", "vm-intro", "digits/tomorrow"):
        shutil.copyfile(SOUNDS / f"{name}.wav", asterisk.folder / "sounds" / f"{Path(name).name}.wav")
    asterisk.call_the_bridge("caller")
    call_id = (await until(at.calls))[-1]["call_id"]
    await at.nth(call_id, "reply_ended", 1)
    asterisk.send_caller("say-hours")
    await at.nth(call_id, "reply_started", 2)
    asterisk.send_caller("over-vm-intro")
    interrupted = await at.nth(call_id, "reply_ended", 2)
    assert interrupted["reason"] == "interrupted"
    assert 0 < len(interrupted["heard"]) < len(interrupted["said"])
    await at.nth(call_id, "reply_ended", 3)
    asterisk.send_caller("say-tomorrow")
    await at.nth(call_id, "reply_ended", 4)
    asterisk.ask("channel request hangup all")
    ended = await at.event(call_id, "call_ended")
    assert (ended["reason"], ended["cause"]) == ("carrier: completed", 16)
    said, heard = (loud_tenths(asterisk.folder / f"{name}.wav") for name in ("said", "heard"))
    assert stopped_by(said, heard), "the agent goes on on the wire while it is interrupted"
    return await at.events(call_id)


def loud_tenths(path: Path) -> list[bool]:
    """Which tenths of a second of a recording are loud."""
    sound = read_linear(path)
    whole = len(sound) // 800 * 800
    return [bool(level >= LOUD) for level in np.sqrt((sound[:whole].reshape(-1, 800) ** 2).mean(axis=1))]


def stopped_by(said: list[bool], heard: list[bool]) -> bool:
    """Somewhere both spoke, and from then on for a second only the caller did."""
    both = [at for at, (ours, theirs) in enumerate(zip(said, heard, strict=False)) if ours and theirs]
    return any(any(said[at + 1 : at + 11]) and not any(heard[at + 1 : at + 11]) for at in both)
