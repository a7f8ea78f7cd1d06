"""One bidirectional media stream as Twilio runs it, sans I/O: the caller's frames out, the bridge's messages in.

Methods return the text messages to send, in order.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from telephony.audio import FRAME_MS
from telephony.simulator.faults import Fault
from telephony.simulator.playout import Playout
from telephony.simulator.sound import FRAME_SAMPLES
from telephony.simulator.twiml import Warned
from telephony.simulator.wire import CONNECTED, MALFORMED_MESSAGE, Clear, Mark, Media, StreamWriter, Unreadable, read

MEDIA_DISCARDED = 31931
LATE_MARKS_S = 0.3
UNKNOWN_EVERY_FRAMES = 50

Warn = Callable[[Warned], None]


@dataclass(slots=True)
class MarkEcho:
    """A mark and what became of it, in seconds of the call. `cleared`: echoed because of a `clear`, not of playing."""

    name: str
    placed_s: float
    echoed_s: float | None = None
    cleared: bool = False


@dataclass(slots=True)
class Traffic:
    """What passed over the stream."""

    frames_sent: int = 0
    media_received: int = 0
    bytes_received: int = 0
    clears: int = 0
    foreign_stream: int = 0
    marks: list[MarkEcho] = field(default_factory=list)


class MediaStream:
    """The carrier's end of one media websocket. Times are seconds of the caller's clock; `origin` is the answer."""

    def __init__(
        self, sids: tuple[str, str, str], origin: float, now: float, position: int, faults: frozenset[Fault], warn: Warn
    ) -> None:
        """`sids` are those of the stream, the call and the account. `position` is the caller's present, in samples of
        the call: what he has lived through, which is a little behind `now`. `warn` is told what Twilio warns of."""
        self.sid = sids[0]
        self._write = StreamWriter(*sids)
        self._origin = origin
        self._opened = now
        self._first_ms = 0  # presentation time of the first frame; the others follow at 20 ms, however late they leave
        self._faults = faults
        self._warn = warn
        self.playout = Playout(origin, position, Fault.LATE_MEDIA_AFTER_CLEAR in faults)
        self.traffic = Traffic()
        self._unechoed: deque[MarkEcho] = deque()
        self._late: deque[tuple[float, str]] = deque()
        self._discarding = False

    def open(self, parameters: Mapping[str, str]) -> list[str]:
        return [CONNECTED, self._write.start(parameters)]

    def tick(self, frame: bytes, now: float) -> list[str]:
        """Every 20 ms: the caller's frame leaves, and the marks whose time has come. Nothing may be skipped."""
        marks = self.playout.advance(now)
        messages = [*self._echo(marks, now), *self._echo_late(now)] if marks or self._late else []
        self.traffic.frames_sent += 1
        if Fault.UNKNOWN_EVENT in self._faults and self.traffic.frames_sent % UNKNOWN_EVERY_FRAMES == 0:
            messages.append(self._write.unknown())
        if self.traffic.frames_sent == 1:
            self._first_ms = round((now - self._opened) * 1000)
        messages.append(self._write.media(frame, self._first_ms + FRAME_MS * (self.traffic.frames_sent - 1)))
        return messages

    def take_frame(self) -> bytes | None:
        """After each tick: the 20 ms that the caller hears; None for silence."""
        return self.playout.take(FRAME_SAMPLES)

    def receive(self, message: bytes, now: float) -> list[str]:
        """A text message of the bridge."""
        received = read(message)
        if isinstance(received, Unreadable):
            self._warn(Warned(received.code, received.detail))
            return []
        if received.stream_sid != self.sid:
            self.traffic.foreign_stream += 1
            return []
        match received:
            case Media():
                return self._receive_media(received.media.payload, now)
            case Mark():
                return self._receive_mark(received.mark.name, now)
            case Clear():
                return self._clear(now)
            case _:
                assert_never(received)

    def receive_binary(self, size: int) -> None:
        """A binary message of the bridge: Twilio warns and ignores it."""
        self._warn(Warned(MALFORMED_MESSAGE, f"binary message of {size} bytes"))

    def press(self, digit: str) -> list[str]:
        return [self._write.dtmf(digit)]

    def stop(self) -> list[str]:
        """The last words of the stream when the call ends."""
        return [] if Fault.NO_STOP in self._faults else [self._write.stop()]

    def _receive_media(self, payload: bytes, now: float) -> list[str]:
        self.traffic.media_received += 1
        self.traffic.bytes_received += len(payload)
        fits, marks = self.playout.receive(payload, now)
        if not fits and not self._discarding:
            self._discarding = True
            self._warn(Warned(MEDIA_DISCARDED, "more than ten minutes of audio are waiting"))
        return list(self._echo(marks, now))

    def _receive_mark(self, name: str, now: float) -> list[str]:
        mark = MarkEcho(name, now - self._origin)
        self.traffic.marks.append(mark)
        self._unechoed.append(mark)
        return list(self._echo(self.playout.place_mark(name, now), now))

    def _clear(self, now: float) -> list[str]:
        self.traffic.clears += 1
        reached, cleared = self.playout.clear(now)
        echoes = list(self._echo(reached, now))
        if Fault.LATE_MARKS_AFTER_CLEAR in self._faults:
            self._late.extend((now + LATE_MARKS_S, name) for name in cleared)
            return echoes
        return [*echoes, *self._echo(cleared, now, cleared=True)]

    def _echo_late(self, now: float) -> Iterator[str]:
        while self._late and self._late[0][0] <= now:
            yield from self._echo([self._late.popleft()[1]], now, cleared=True)

    def _echo(self, names: list[str], now: float, cleared: bool = False) -> Iterator[str]:
        for name in names:
            mark = next(mark for mark in self._unechoed if mark.name == name)
            self._unechoed.remove(mark)
            mark.echoed_s = now - self._origin
            mark.cleared = cleared
            yield self._write.mark(name)
