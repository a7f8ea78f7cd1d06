"""What a frame costs, in microseconds: each part by itself, the ways through the leg, and the websocket servers.

The parts run in this process on one core, each as the median of seven runs. The websocket servers echo in a process of
their own, as uvicorn runs them: CPU time for one message in and one out, with 100 sockets of 50 messages a second.
"""

import argparse
import asyncio
import importlib.util
import time
from collections.abc import Callable
from itertools import cycle
from statistics import median
from typing import Any

import uvloop

from app.telemetry.metrics import Metrics
from app.web.websocket_leg import MediaLimits, WebsocketLeg
from benchmarks.bridge import running
from benchmarks.echo import echo
from benchmarks.machine import CALLERS_CORE, stay_on
from benchmarks.report import Report, Table
from benchmarks.speech import frames, utterances
from telephony.audio import FRAME_BYTES, FRAME_MS, TELEPHONE, AudioFormat, Encoding
from telephony.carrier import CarrierCommand, PlayAudio
from telephony.carriers import CARRIERS
from telephony.carriers.twilio import TwilioProtocol
from telephony.clock import MonotonicClock
from telephony.codecs.g711 import decode_mulaw, encode_mulaw, mulaw_to_float
from telephony.codecs.transcode import Transcoder
from telephony.pacing import Pacer
from telephony.playout import PlayoutLedger
from telephony.silero import CHUNK_SAMPLES
from telephony.simulator.wire import StreamWriter
from telephony.vad import VoiceActivity

SUMMARY = "microseconds per frame: codec, protocol, pacer, voice detector, leg; websocket servers compared"

_RUNS = 7
_SERVERS = {"websockets-sansio": "websockets", "websockets": "websockets", "wsproto": "wsproto"}
_SOCKETS = 100
_CALL = "CA" + "0" * 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=3, help="of each websocket server")


def measure(told: argparse.Namespace) -> Report:
    """The parts, then the servers."""
    stay_on(CALLERS_CORE)
    report = Report("frames")
    parts = report.table("Parts, one frame of 20 ms unless it says otherwise", "part", "µs")
    _codecs(parts)
    _protocol(parts)
    _pacer(parts)
    _voice(parts)
    parts.add("websocket leg, inbound: ASGI message to event", uvloop.run(_leg_inbound()))
    parts.add("websocket leg, outbound: command to ASGI message", uvloop.run(_leg_outbound()))
    servers = report.table(
        "Websocket servers: one message in and one out",
        *("server", "CPU µs", "round trip p50 ms", "round trip p99 ms"),
    )
    for server, package in _SERVERS.items():
        if importlib.util.find_spec(package) is None:
            report.notes.append(f"{server} is not installed.")
            continue
        found = []
        for _ in range(told.runs):
            with running("--only-echo", "--ws", server) as bridge:
                found.append(uvloop.run(echo(bridge, _SOCKETS, 6.0)))
        servers.add(
            server,
            median(one.usage.cpu_s / one.messages * 1e6 for one in found),
            median(one.p50_ms for one in found),
            median(one.p99_ms for one in found),
        )
    return report


def _us(act: Callable[[], Any], times: int = 3000) -> float:
    """Microseconds of one `act`: the median of some runs."""
    runs = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        for _ in range(times):
            act()
        runs.append((time.perf_counter() - began) / times)
    return median(runs) * 1e6


def _codecs(table: Table) -> None:
    mulaw = utterances()[0].audio[:FRAME_BYTES]
    linear = decode_mulaw(mulaw)
    table.add("µ-law to linear", _us(lambda: decode_mulaw(mulaw)))
    table.add("linear to µ-law", _us(lambda: encode_mulaw(linear)))
    table.add("µ-law to float samples", _us(lambda: mulaw_to_float(mulaw)))
    wide = AudioFormat(Encoding.PCM16, 24_000)
    narrow, widen = Transcoder(wide, TELEPHONE), Transcoder(TELEPHONE, wide)
    wide_frame = bytes(wide.frame_bytes)
    table.add("linear 24 kHz to µ-law 8 kHz", _us(lambda: narrow.feed(wide_frame)))
    table.add("µ-law 8 kHz to linear 24 kHz", _us(lambda: widen.feed(mulaw)))


def _started() -> TwilioProtocol:
    protocol = TwilioProtocol()
    protocol.receive(_writer().start({"token": "t"}), 0.0)
    return protocol


def _writer() -> StreamWriter:
    return StreamWriter("MZ" + "0" * 32, _CALL, "AC" + "0" * 32)


def _messages(count: int) -> list[str]:
    write, sound = _writer(), cycle(frames(utterances()[0].audio))
    return [write.media(next(sound), number * FRAME_MS) for number in range(count)]


def _protocol(table: Table) -> None:
    messages = _messages(3000)

    def receive_all() -> None:
        protocol = _started()
        for message in messages:
            protocol.receive(message, 0.0)

    protocol, command = _started(), PlayAudio(utterances()[0].audio[: 3 * FRAME_BYTES])
    table.add("carrier protocol, inbound: message to event", _us(receive_all, 1) / len(messages))
    table.add("carrier protocol, outbound: 60 ms to message", _us(lambda: protocol.send(command)))


def _pacer(table: Table) -> None:
    """A reply of 60 s in chunks of 100 ms: queued, paced, marked."""
    chunk = bytes(800)

    def speak() -> None:
        pacer, now = Pacer(TELEPHONE, PlayoutLedger(TELEPHONE.rate_hz)), 0.0
        pacer.begin(now)
        for _ in range(600):
            pacer.queue(chunk)
            while (due := pacer.next_due(now)) is not None and pacer.unsent_samples >= 320:
                now = max(now, due)
                pacer.due(now)

    table.add("pacer and ledger, outbound", _us(speak, 1) / 3000)


def _voice(table: Table) -> None:
    said = utterances()
    for calls in (1, 50, 250):
        activity = VoiceActivity()
        channels = [activity.open(lambda _: None, lambda _: None) for _ in range(calls)]
        sounds = [bytearray(said[index % len(said)].audio * 20) for index in range(calls)]
        ticks = 60
        runs = []
        for run in range(3):
            spent = 0.0
            for tick in range(ticks):
                at = (run * ticks + tick) * CHUNK_SAMPLES
                for channel, sound in zip(channels, sounds, strict=True):
                    channel.feed(bytes(sound[at : at + CHUNK_SAMPLES]))
                began = time.perf_counter()
                activity.tick(at / 8000)
                spent += time.perf_counter() - began
            runs.append(spent / ticks / calls * 1e6)
        share = activity.chunks_judged / activity.chunks_heard
        table.add(f"voice detector, 32 ms of speech, {calls} calls at once ({share:.0%} past the gate)", median(runs))


def _leg(messages: list[str], sent: list[Any]) -> WebsocketLeg:
    """A leg on a socket that has everything there already, and takes everything at once."""
    inbox = iter([{"type": "websocket.receive", "text": message} for message in messages])
    over = {"type": "websocket.disconnect", "code": 1000}

    async def receive() -> Any:
        return next(inbox, over)

    async def send(message: Any) -> None:
        sent.append(message)

    return WebsocketLeg(CARRIERS["twilio"], receive, send, MonotonicClock(), Metrics(), MediaLimits())


async def _leg_inbound() -> float:
    messages = [_writer().start({"token": "t"}), *_messages(20_000)]
    runs = []
    for _ in range(_RUNS):
        leg = _leg(messages, [])
        began = time.perf_counter()
        await leg.started()
        await leg.listen(lambda _: None)
        runs.append((time.perf_counter() - began) / len(messages))
    return median(runs) * 1e6


async def _leg_outbound() -> float:
    """60 ms in a message, so a third of a message's cost."""
    count, sound = 5000, utterances()[0].audio[: 3 * FRAME_BYTES]
    runs = []
    for _ in range(_RUNS):
        sent: list[Any] = []
        leg = _leg([_writer().start({"token": "t"})], sent)
        await leg.started()
        playout = _Endless(sound, count, leg.close)
        began = time.perf_counter()
        await leg.play(playout)
        runs.append((time.perf_counter() - began) / len(sent) / 3)
        await asyncio.sleep(0)
    return median(runs) * 1e6


class _Endless:
    """A playout that has 60 ms whenever it is asked, `count` times."""

    def __init__(self, sound: bytes, count: int, over: Callable[[], None]) -> None:
        self._batch: tuple[CarrierCommand, ...] = tuple(PlayAudio(sound) for _ in range(count))
        self._over = over

    def due(self, now: float) -> tuple[CarrierCommand, ...]:
        batch, self._batch = self._batch, ()
        if not batch:
            self._over()
        return batch

    def next_due(self, now: float) -> float | None:
        return now
