"""The audio ring as asyncio uses it, in a conference that runs: what is written is played once, or was dropped."""

import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

SILENCE = b"\xff"
SOUND = bytes(n for n in range(256) if n != 0x7F) * 4
"""No 0x7f: mu-law has two zeros, and the one comes out as the other."""


@pytest.fixture(scope="module")
def pj() -> Iterator[ModuleType]:
    """The library, with a conference that ticks and no SIP."""
    pjsua2: Any = pytest.importorskip("pjsua2", reason="pjsua2 is not installed: make sip builds it")
    endpoint = pjsua2.Endpoint()
    endpoint.libCreate()
    wanted = pjsua2.EpConfig()
    wanted.logConfig.level = wanted.logConfig.consoleLevel = 0
    media = wanted.medConfig
    media.clockRate = media.sndClockRate = 8000
    media.channelCount, media.audioFramePtime = 1, 20
    media.ecTailLen, media.sndAutoCloseTime = 0, -1
    endpoint.libInit(wanted)
    with pytest.raises(pjsua2.Error):
        pjsua2.AudioRing(1)  # not before the library runs
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    yield pjsua2
    endpoint.libDestroy()


@pytest.fixture
def rings(pj: Any) -> Iterator[Callable[..., Any]]:
    opened = []

    def opening(*arguments: object, **named: object) -> Any:
        ring = pj.AudioRing(*arguments, **named)
        opened.append(ring)
        return ring

    yield opening
    for ring in opened:
        ring.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_one_ring_is_given_another_one_hears(pj: Any, rings: Callable[..., Any]) -> None:
    mouth, ear = rings(1), rings(2)
    heard = bytearray()

    def listen() -> None:
        heard.extend({key: audio for key, audio, _ in pj.AudioRing.read_all()}[2])

    mouth.startTransmit(ear)
    assert mouth.write(SOUND) == len(SOUND)
    wait_until(lambda: mouth.pending() == 0)
    after = ear.ticks() + 3
    wait_until(lambda: ear.ticks() > after)
    listen()
    assert heard.strip(SILENCE) == SOUND.strip(SILENCE)
    assert len(heard) % 160 == 0
    assert (mouth.played(), mouth.underruns()) == (len(SOUND), 1)
    assert ear.played() == 0


def test_clear_empties_at_once_and_says_how_much_was_not_played(rings: Callable[..., Any]) -> None:
    mouth, ear = rings(1), rings(2)
    mouth.startTransmit(ear)
    written = sum(mouth.write(SOUND) for _ in range(5))
    wait_until(lambda: mouth.played() > 0)
    dropped = mouth.clear()
    assert mouth.pending() == 0
    assert 0 < dropped < written
    assert mouth.played() == written - dropped
    assert mouth.clear() == 0
    after = mouth.ticks() + 3
    wait_until(lambda: mouth.ticks() > after)
    assert mouth.played() == written - dropped


def test_played_is_told_with_the_audio(pj: Any, rings: Callable[..., Any]) -> None:
    mouth, ear = rings(7), rings(8)
    mouth.startTransmit(ear)
    mouth.write(SOUND)
    wait_until(lambda: mouth.pending() == 0)
    assert {key: played for key, _, played in pj.AudioRing.read_all()} == {7: len(SOUND), 8: 0}


def test_time_goes_on_where_nobody_speaks(pj: Any, rings: Callable[..., Any]) -> None:
    ring = rings(1)
    wait_until(lambda: ring.ticks() >= 5)
    ((_, audio, _),) = pj.AudioRing.read_all()
    assert len(audio) >= 5 * 160
    assert audio == SILENCE * len(audio)


def test_a_ring_that_nobody_reads_keeps_the_newest_and_counts_the_rest(pj: Any, rings: Callable[..., Any]) -> None:
    ring = rings(1, in_ms=40)
    wait_until(lambda: ring.overruns() >= 3)
    ((_, audio, _),) = pj.AudioRing.read_all()
    assert len(audio) == 320


def test_a_full_ring_takes_no_more(rings: Callable[..., Any]) -> None:
    ring = rings(1, out_ms=40)
    assert ring.write(bytes(300)) == 300
    assert ring.write(bytes(300)) == 20
    assert ring.write(bytearray(b"x")) == 0
    assert ring.clear() == 320
    assert ring.write(memoryview(b"x")) == 1


def test_a_closed_ring_is_out_of_the_way(pj: Any, rings: Callable[..., Any]) -> None:
    ring, other = rings(1), rings(2)
    ring.write(SOUND)
    ring.close()
    ring.close()
    assert [key for key, _, _ in pj.AudioRing.read_all()] == [2]
    assert ring.write(SOUND) == 0
    assert ring.clear() == len(SOUND)
    del other


@pytest.mark.parametrize(
    ("wrong", "arguments"), [(ValueError, {"in_ms": 20}), (ValueError, {"out_ms": 0}), (TypeError, {"in_ms": "1 s"})]
)
def test_a_size_that_cannot_be_is_refused(
    rings: Callable[..., Any], wrong: type[Exception], arguments: dict[str, object]
) -> None:
    with pytest.raises(wrong):
        rings(1, **arguments)


def test_only_bytes_can_be_played(rings: Callable[..., Any]) -> None:
    with pytest.raises(TypeError):
        rings(1).write("text")
