"""How much of the project a frame and an interruption pass: files and function calls, counted, not timed.

A whole call in virtual time over the real ASGI endpoint, with the real voice detector and scripted vendors. A profile
hook counts the calls of functions of `app`, `telephony` and `providers`, by the task that makes them. The vendor's part
(`providers/scripted.py`, and what it calls) is left out. A coroutine or generator that is resumed counts as called.

* inbound: from a media message that the endpoint receives to its asking for the next one, and the frame's share (20 of
  32 ms) of the voice detector's tick; the tick serves all calls at once, here there is only one to share its cost;
* outbound: everything that the reply's task and the leg's writer do, from the voice's chunks to the messages sent;
* interruption, hold: from the verdict of the voice detector that makes speech likely to the leg's control slot, from
  where on nothing but the clear can leave; and to the clear on the socket, with all that is recorded in between;
* interruption, commit: from the verdict that confirms it to the reply's end, all records included. No sound is left by
  then, so nobody waits for it.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

from app.calls.directory import Directory
from app.conversation.manners import Manners
from app.conversation.phrasebook import Phrasebook
from app.conversation.services import Providers, Services
from app.conversation.tools import Toolbox
from app.telemetry.metrics import Metrics
from app.web.media import MediaEndpoint
from app.web.security import CarrierGate
from app.web.websocket_leg import MediaLimits
from benchmarks.providers import LONG_REPLY
from benchmarks.report import Report, against
from providers.scripted import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech
from telephony.audio import FRAME_BYTES, FRAME_MS
from telephony.carrier import CallOffered, OpenStream
from telephony.carriers import CARRIERS
from telephony.clock import LoopClock
from telephony.simulator.sound import SILENT_FRAME
from telephony.simulator.voice import utterance
from telephony.simulator.wire import CONNECTED, Clear, Media, StreamWriter, read
from telephony.vad import CHUNK_S, VoiceActivity
from tests.virtual import run as in_virtual_time

SUMMARY = "files and function calls that a frame and an interruption pass"

FRAME_S = FRAME_MS / 1000
_ROOT = Path(__file__).parents[1]
_PROJECT = tuple(f"{_ROOT / name}/" for name in ("app", "telephony", "providers"))
_OUTSIDE = (str(_ROOT / "providers" / "scripted.py"), f"{_ROOT / 'telephony' / 'simulator'}/")
"""The vendor's part, and the carrier's."""
_QUEUES = str(Path(asyncio.__file__).parent / "queues.py")

READER, WRITER, TICK, SPEAKING = "Legs._serve", "WebsocketLeg.play", "VoiceActivity.run", "Turn.run"


@dataclass
class Passage:
    """One way through the project. `calls` and `files` are of the median frame, or of the one interruption."""

    calls: float
    files: frozenset[str]
    queues: int = 0
    """Operations on queues on the way."""


@dataclass
class Window:
    """What was called between two moments."""

    calls: int = 0
    files: set[str] = field(default_factory=set)
    queues: int = 0

    def add(self, other: "Window") -> None:
        self.calls += other.calls
        self.files |= other.files
        self.queues += other.queues


class CallCounter:
    """Counts while `counting`. Each task has a window; `cut` closes it and begins the next."""

    def __init__(self) -> None:
        self._windows: dict[str, Window] = {}
        self.stop = Window()
        """From the verdict that holds to the control slot."""
        self.verdicts: list[tuple[Window, set[str]]] = []
        """For every call of `Hearing._verdict`: what it called, and the functions' names."""
        self._verdict: tuple[FrameType, Window, set[str]] | None = None

    @contextmanager
    def counting(self) -> Iterator[None]:
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)

    def cut(self, task: str) -> Window:
        """What this task has called since the last cut."""
        return self._windows.pop(task, Window())

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "return":
            if self._verdict is not None and frame is self._verdict[0]:
                self.verdicts.append(self._verdict[1:])
                self._verdict = None
            return
        if event != "call":
            return
        name = code.co_filename
        queued = name == _QUEUES
        if not queued and (not name.startswith(_PROJECT) or _is_outside(frame)):
            return
        if code.co_qualname == "Hearing._verdict":
            self._verdict = (frame, Window(), set())
        windows = [self._windows.setdefault(_task_name(), Window())]
        if self._verdict is not None:
            windows.append(self._verdict[1])
            self._verdict[2].add(code.co_qualname)
        for window in windows:
            if queued:
                window.queues += code.co_name in ("put", "get", "put_nowait", "get_nowait")
            else:
                window.calls += 1
                window.files.add(name.removeprefix(f"{_ROOT}/"))
        if self._verdict is not None and code.co_qualname == "WebsocketLeg.clear":
            self.stop.add(self._verdict[1])
            self.cut(WRITER)  # what the writer did before has nothing to do with it


def _is_outside(frame: FrameType) -> bool:
    """The vendor's or the carrier's part, or called by it."""
    caller = frame.f_back
    return frame.f_code.co_filename.startswith(_OUTSIDE) or (
        caller is not None and caller.f_code.co_filename.startswith(_OUTSIDE)
    )


def _task_name() -> str:
    task = asyncio.current_task()
    return "" if task is None else str(getattr(task.get_coro(), "__qualname__", ""))


class _Socket:
    """The far end of the media websocket, as ASGI shows it, with a caller who follows `sound`."""

    def __init__(self, counter: CallCounter, token: str, call_id: str) -> None:
        write = StreamWriter("MZ" + call_id[2:], call_id, "AC" + call_id[2:])
        self._write = write
        self._counter = counter
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._inbox.put_nowait({"type": "websocket.connect"})
        self._says(CONNECTED)
        self._says(write.start({"token": token}))
        self.sound = bytearray()
        self.inbound: list[Window] = []
        self.outbound: list[tuple[Window, int]] = []
        """The writer's calls before each media message, and the frames in it."""
        self.clears: list[Window] = []
        self.cleared = asyncio.Event()

    def _says(self, message: str) -> None:
        self._inbox.put_nowait({"type": "websocket.receive", "text": message})

    async def talk(self) -> None:
        """A frame every 20 ms, until cancelled."""
        loop = asyncio.get_running_loop()
        due, number = loop.time(), 0
        while True:
            due += FRAME_S
            await asyncio.sleep(due - loop.time())
            frame = bytes(self.sound[:FRAME_BYTES]).ljust(FRAME_BYTES, SILENT_FRAME[:1])
            del self.sound[:FRAME_BYTES]
            number += 1
            self._says(self._write.media(frame, number * FRAME_MS))

    async def receive(self) -> dict[str, Any]:
        passed = self._counter.cut(READER)
        if passed.calls:
            self.inbound.append(passed)
        message = await self._inbox.get()
        self._counter.cut(READER)
        return message

    async def send(self, message: Any) -> None:
        if message["type"] != "websocket.send":
            return
        match read(message["text"].encode()):
            case Media(media=media):
                self.outbound.append((self._counter.cut(WRITER), len(media.payload) // FRAME_BYTES))
            case Clear():
                self.clears.append(self._counter.cut(WRITER))
                self.cleared.set()
            case _:
                pass

    def hang_up(self) -> None:
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})


class _Ticks(VoiceActivity):
    """The voice detector, telling where its ticks begin and end."""

    def __init__(self, counter: CallCounter) -> None:
        super().__init__()
        self._counter = counter
        self.windows: list[Window] = []

    def tick(self, now: float) -> None:
        self._counter.cut(TICK)
        heard = self.chunks_heard
        super().tick(now)
        if self.chunks_heard == heard + 1:
            self.windows.append(self._counter.cut(TICK))


@dataclass
class Budgets:
    """All that was counted."""

    inbound: Passage
    tick: Passage
    outbound: Passage
    stop: Passage
    hold: Passage
    commit: Passage


def count() -> Budgets:
    """Place the call and count."""
    return in_virtual_time(_count())


async def _count() -> Budgets:
    clock, counter = LoopClock(), CallCounter()
    activity = _Ticks(counter)
    stt = ScriptedSpeechToText(clock, (), ends_turn=False)
    llm = ScriptedLanguageModel(clock, lambda _: LONG_REPLY)
    tts = ScriptedTextToSpeech(clock)
    manners, metrics = Manners(greeting=""), Metrics()
    services = Services(Providers(stt, llm, tts), activity, Toolbox(), Phrasebook(), manners, metrics, clock)
    carrier, call_id = CARRIERS["twilio"], "CA" + "0" * 32
    url = "http://localhost"
    speech = utterance("I would like to book an appointment", Path()).audio
    async with asyncio.TaskGroup() as group:
        ears = group.create_task(activity.run(clock))
        async with Directory(services, public_url=url) as directory:
            decision = directory.answer(carrier, CallOffered(call_id, "+15550100001", "+15550100002", "inbound"))
            assert isinstance(decision, OpenStream), "because: a directory without calls takes one"
            await asyncio.sleep(0)
            socket = _Socket(counter, decision.token, call_id)
            gate = CarrierGate(carrier, url, ())
            endpoint = MediaEndpoint(carrier, gate, directory, clock, metrics, MediaLimits())
            with counter.counting():
                serving = group.create_task(endpoint(_SCOPE, socket.receive, socket.send))
                talking = group.create_task(socket.talk())
                await asyncio.sleep(6.0)
                counted = _frames(socket, activity, counter)
                socket.sound += speech
                counter.verdicts.clear()
                await socket.cleared.wait()
                await asyncio.sleep(2.0)
            interruption = _interruption(counter, socket)
            talking.cancel()
            socket.hang_up()
            await serving
            session = directory.find(call_id)
            assert session is not None, "because: ended calls are kept for a while"
            session.caller_gone("completed")
        ears.cancel()
    return Budgets(*counted, *interruption)


_SCOPE = {
    "type": "websocket",
    "path": "/twilio/media",
    "raw_path": b"/twilio/media",
    "query_string": b"",
    "headers": [(b"host", b"localhost")],
    "client": ("127.0.0.1", 1),
    "server": ("127.0.0.1", 80),
    "extensions": {},
}


def _frames(socket: _Socket, activity: _Ticks, counter: CallCounter) -> tuple[Passage, Passage, Passage]:
    """Of the reply in progress. Its beginning is left out: what happens once for a reply is no cost of a frame."""
    inbound = _usual(socket.inbound)
    tick = _usual(activity.windows)
    sent = socket.outbound[len(socket.outbound) // 2 :]
    frames = sum(size for _, size in sent)
    speaking = counter.cut(SPEAKING)
    frames_spoken = sum(size for _, size in socket.outbound)
    outbound = Passage(
        calls=sum(window.calls for window, _ in sent) / frames + speaking.calls / frames_spoken,
        files=_usual([window for window, _ in sent]).files | speaking.files,
    )
    return inbound, tick, outbound


def _usual(windows: list[Window]) -> Passage:
    """The median window, and the files that at least half of them touch."""
    files = {name for window in windows for name in window.files}
    return Passage(
        calls=median(window.calls for window in windows),
        files=frozenset(name for name in files if sum(name in window.files for window in windows) * 2 >= len(windows)),
        queues=round(median(window.queues for window in windows)),
    )


def _interruption(counter: CallCounter, socket: _Socket) -> tuple[Passage, ...]:
    """To the slot, to the socket, to the reply's end."""
    hold = next(window for window, names in counter.verdicts if "Mouth.hold" in names)
    hold.add(socket.clears[0])
    commit = next(window for window, names in counter.verdicts if "AgentSide.end" in names)
    windows = (counter.stop, hold, commit)
    return tuple(Passage(window.calls, frozenset(window.files), window.queues) for window in windows)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--files", action="store_true", help="name the files, too")


def measure(told: argparse.Namespace) -> Report:
    """Count once: it is always the same."""
    report = Report("budgets")
    budgets = count()
    share = FRAME_S / CHUNK_S
    table = report.table("Project files and calls", "on the way of", "files", "calls", "queue operations", "goal", "")
    ways = [
        ("an inbound frame: socket to ear and recogniser", budgets.inbound, 30.0),
        ("an outbound frame: voice to socket", budgets.outbound, 30.0),
        ("an interruption, hold: verdict to the control slot", budgets.stop, 40.0),
        ("   and on to the clear on the socket, and the records", budgets.hold, 40.0),
        ("   commit: verdict to the reply's end, and the records", budgets.commit, 40.0),
    ]
    for name, way, goal in ways:
        reached = "reached" if len(way.files) <= 8 and against(way.calls, goal) == "reached" else "missed"
        table.add(name, len(way.files), way.calls, way.queues, f"8 files, {goal:g} calls", reached)
        if told.files:
            report.notes.append(f"{name}: {', '.join(sorted(way.files))}")
    tick = budgets.tick
    table.add("one tick of the voice detector, all calls at once", len(tick.files), tick.calls, tick.queues, "", "")
    if told.files:
        report.notes.append(f"the tick: {', '.join(sorted(tick.files))}")
    report.notes.append(f"A frame's share of the tick of a single call: {tick.calls * share:.1f} calls.")
    return report
