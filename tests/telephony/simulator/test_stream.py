import base64
import json
from typing import Any

import pytest

from telephony.simulator.faults import Fault
from telephony.simulator.sound import SILENT_FRAME
from telephony.simulator.stream import MediaStream
from telephony.simulator.twiml import Warned

SIDS = ("MZ1", "CA1", "AC1")


class Peer:
    """Plays the bridge against one stream that opens 1.005 s into a call; collects what is sent to it."""

    def __init__(self, *faults: Fault) -> None:
        self.warned: list[Warned] = []
        self.now = 1.005
        self.frame = 50
        self.stream = MediaStream(SIDS, 0.0, self.now, 50 * 160, frozenset(faults), self.warned.append)
        self.sent: list[dict[str, Any]] = []
        self.take(self.stream.open({"token": "t"}))

    def take(self, messages: list[str]) -> None:
        self.sent += map(json.loads, messages)

    def tick(self, frames: int = 1) -> bytes:
        heard = b""
        for _ in range(frames):
            self.frame += 1
            self.now = self.frame * 0.02
            self.take(self.stream.tick(SILENT_FRAME, self.now))
            heard += self.stream.take_frame() or SILENT_FRAME
        return heard

    def say(self, event: str, sid: str = "MZ1", **parts: Any) -> None:
        self.take(self.stream.receive(json.dumps({"event": event, "streamSid": sid, **parts}).encode(), self.now))

    def play(self, audio: bytes) -> None:
        self.say("media", media={"payload": base64.b64encode(audio).decode()})

    def mark(self, name: str) -> None:
        self.say("mark", mark={"name": name})

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.sent if message["event"] == kind]

    def marks(self) -> list[str]:
        return [message["mark"]["name"] for message in self.events("mark")]


def test_connected_and_start_come_first() -> None:
    peer = Peer()
    assert peer.sent[0] == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert peer.sent[1]["start"]["customParameters"] == {"token": "t"}


def test_each_tick_sends_one_frame_stamped_from_the_opening_of_the_stream() -> None:
    peer = Peer()
    peer.tick(3)
    assert [message["media"]["timestamp"] for message in peer.events("media")] == ["15", "35", "55"]


def test_what_arrives_is_heard_on_the_axis_of_the_call() -> None:
    peer = Peer()
    peer.play(b"\x01" * 240)
    assert peer.tick() == b"\xff" * 40 + b"\x01" * 120
    assert peer.tick() == b"\x01" * 120 + b"\xff" * 40


def test_marks_come_back_when_played_and_at_once_when_nothing_waits() -> None:
    peer = Peer()
    peer.mark("empty")
    assert peer.marks() == ["empty"]
    peer.play(b"\x01" * 240)
    peer.mark("played")
    peer.tick()
    assert peer.marks() == ["empty"]
    peer.tick()
    assert peer.marks() == ["empty", "played"]
    assert [(mark.name, mark.cleared) for mark in peer.stream.traffic.marks] == [("empty", False), ("played", False)]


def test_clear_silences_and_returns_the_marks_in_order() -> None:
    peer = Peer()
    for name in ("a", "b"):
        peer.play(b"\x01" * 8000)
        peer.mark(name)
    peer.say("clear")
    assert peer.marks() == ["a", "b"]
    assert all(mark.cleared for mark in peer.stream.traffic.marks)
    assert peer.tick(2) == SILENT_FRAME * 2


def test_equal_mark_names_are_told_apart_by_their_order() -> None:
    peer = Peer()
    peer.play(b"\x01" * 160)
    peer.mark("same")
    peer.play(b"\x01" * 160)
    peer.mark("same")
    peer.tick(2)
    first, second = peer.stream.traffic.marks
    assert first.echoed_s is not None
    assert second.echoed_s is None


def test_messages_for_another_stream_are_ignored_and_counted() -> None:
    peer = Peer()
    peer.say("media", sid="MZ2", media={"payload": "AAAA"})
    peer.say("clear", sid="")
    assert peer.tick() == SILENT_FRAME
    assert peer.stream.traffic.foreign_stream == 2
    assert peer.warned == []


def test_wrong_messages_are_warned_of_and_the_stream_goes_on() -> None:
    peer = Peer()
    peer.take(peer.stream.receive(b"nonsense", peer.now))
    peer.stream.receive_binary(12)
    assert [warned.code for warned in peer.warned] == [31951, 31950]
    peer.play(b"\x01" * 160)
    assert peer.tick(2).count(1) == 160


def test_more_than_ten_minutes_are_discarded_with_one_warning() -> None:
    peer = Peer()
    for _ in range(63):
        peer.play(b"\x01" * 80_000)
    assert [warned.code for warned in peer.warned] == [31931]
    assert peer.stream.playout.waiting_samples == 60 * 80_000


def test_digits_and_stop() -> None:
    peer = Peer()
    peer.take(peer.stream.press("5"))
    peer.take(peer.stream.stop())
    assert [message["event"] for message in peer.sent[2:]] == ["dtmf", "stop"]


def test_fault_without_a_stop() -> None:
    assert Peer(Fault.NO_STOP).stream.stop() == []


def test_fault_unknown_events_come_once_a_second() -> None:
    peer = Peer(Fault.UNKNOWN_EVENT)
    peer.tick(100)
    assert [message["sequenceNumber"] for message in peer.events("telemetry")] == ["51", "102"]


def test_fault_marks_of_a_clear_come_late_amid_newer_audio() -> None:
    peer = Peer(Fault.LATE_MARKS_AFTER_CLEAR)
    peer.play(b"\x01" * 8000)
    peer.mark("cut")
    peer.say("clear")
    peer.play(b"\x02" * 160)
    peer.mark("new")
    peer.tick(14)
    assert peer.marks() == ["new"]
    peer.tick(2)
    assert peer.marks() == ["new", "cut"]


def test_fault_media_is_heard_after_its_clear() -> None:
    peer = Peer(Fault.LATE_MEDIA_AFTER_CLEAR)
    peer.play(b"\x01" * 8000)
    peer.say("clear")
    assert peer.tick(20).count(1) == 1600


@pytest.mark.parametrize("late_s", [0.0, 0.013, 0.047])
def test_a_late_tick_loses_nothing_and_every_frame_is_whole(late_s: float) -> None:
    peer = Peer()
    peer.now += late_s
    peer.play(bytes(range(1, 121)) * 8)
    heard = b""
    for frame in range(51, 61):
        peer.take(peer.stream.tick(SILENT_FRAME, frame * 0.02 + late_s))
        frame_heard = peer.stream.take_frame() or SILENT_FRAME
        assert len(frame_heard) == 160
        heard += frame_heard
    assert heard.replace(b"\xff", b"") == bytes(range(1, 121)) * 8
