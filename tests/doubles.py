"""Small real objects in place of the world: a line with a caller on it, and a voice detector that judges energy."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from telephony.audio import FRAME_BYTES, FRAME_MS, TELEPHONE
from telephony.carrier import (
    AudioReceived,
    CarrierCapabilities,
    CarrierEvent,
    DigitPressed,
    MarkReached,
    PlaceMark,
    PlayAudio,
)
from telephony.clock import Alarm, Clock
from telephony.leg import Playout
from telephony.vad import VoiceFrame

LIKE_TWILIO = CarrierCapabilities(
    marks=True, marks_echo_on_clear=True, clear=True, resume=True, transfer=True, dtmf_out=False
)
SPEECH = bytes([0x1F, 0x2A, 0x1F, 0x60, 0x9F, 0xAA, 0x9F, 0xE0]) * (FRAME_BYTES // 8)
NOISE = bytes([0x33, 0xB3] * (FRAME_BYTES // 2))
SILENCE = b"\xff" * FRAME_BYTES
FRAME_S = FRAME_MS / 1000


class EnergyDetector:
    """A voice detector with the interface of `telephony.vad.VoiceActivity` that takes anything loud for speech."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def open(self, on_voice: Callable[[VoiceFrame], None], on_failure: Callable[[Exception], None]) -> "EnergyChannel":
        return EnergyChannel(self.clock, on_voice, on_failure)


class EnergyChannel:
    def __init__(
        self, clock: Clock, on_voice: Callable[[VoiceFrame], None], on_failure: Callable[[Exception], None]
    ) -> None:
        self._clock = clock
        self._on_voice: Callable[[VoiceFrame], None] | None = on_voice
        self._on_failure: Callable[[Exception], None] | None = on_failure
        self._waiting = bytearray()

    def feed(self, mulaw: bytes) -> None:
        self._waiting += mulaw
        while len(self._waiting) >= 256 and self._on_voice is not None:
            chunk, self._waiting = self._waiting[:256], self._waiting[256:]
            loud = sum(1 for code in chunk if (code & 0x7F) < 0x50)
            try:
                self._on_voice(VoiceFrame(0.95 if loud > 100 else 0.02, -20.0 if loud else -80.0, self._clock.now()))
            except Exception as error:  # noqa: BLE001 - as the real one does
                if self._on_failure is not None:
                    self._on_failure(error)

    def close(self) -> None:
        self._on_voice = self._on_failure = None


@dataclass
class Line:
    """A leg with a caller at its other end, who plays what he is sent in real time, as a carrier does."""

    clock: Clock
    delay_s: float = 0.02
    capabilities: CarrierCapabilities = LIKE_TWILIO
    audio = TELEPHONE
    heard: list[tuple[float, bytes]] = field(default_factory=list)
    """Frames of the agent's voice as they sounded at the caller's ear; silence is not listed."""
    clears: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._events: asyncio.Queue[CarrierEvent | None] = asyncio.Queue()
        self._alarm = Alarm(self.clock)
        self._clear_wanted = False
        self._closed = False
        self._far: deque[tuple[float, bytes | str]] = deque()
        self._sound: deque[bytes | str] = deque()
        self._mouth: deque[bytes] = deque()

    # the session's side

    async def listen(self, take: Callable[[CarrierEvent], None]) -> None:
        while not self._closed:
            event = await self._events.get()
            if event is None:
                return
            take(event)

    async def play(self, playout: Playout) -> None:
        while not self._closed:
            now = self.clock.now()
            if self._clear_wanted:
                self._clear_wanted = False
                self.clears.append(now)
                self._far.append((now + self.delay_s, "clear"))
            for command in playout.due(now):
                match command:
                    case PlayAudio(payload):
                        self._far.append((now + self.delay_s, payload))
                    case PlaceMark(name):
                        self._far.append((now + self.delay_s, f"mark {name}"))
                    case _:
                        raise AssertionError(command)
            await self._alarm.wait_until(playout.next_due(now))

    def wake(self) -> None:
        self._alarm.ring()

    def clear(self) -> None:
        self._clear_wanted = True
        self._alarm.ring()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._events.put_nowait(None)
            self._alarm.ring()

    # the caller's side

    @property
    def closed(self) -> bool:
        return self._closed

    def drop(self) -> None:
        """The network is gone, without a word."""
        self.close()

    def press(self, digit: str) -> None:
        self._events.put_nowait(DigitPressed(digit))

    def speak(self, seconds: float, frame: bytes = SPEECH) -> None:
        """Talk for so long, from now on."""
        self._mouth.extend([frame] * round(seconds / FRAME_S))

    async def run(self) -> None:
        """Be the carrier: a frame each way every 20 ms."""
        due, timestamp_ms = self.clock.now(), 0
        while not self._closed:
            await self.clock.sleep_until(due)
            frame = self._mouth.popleft() if self._mouth else SILENCE
            self._events.put_nowait(AudioReceived(frame, timestamp_ms))
            timestamp_ms += FRAME_MS
            self._arrive(due)
            self._play_frame(due)
            due += FRAME_S

    def _arrive(self, now: float) -> None:
        while self._far and self._far[0][0] <= now + 1e-9:
            _, item = self._far.popleft()
            if item == "clear":
                marks = [waiting for waiting in self._sound if isinstance(waiting, str)]
                self._sound.clear()
                for mark in marks:
                    self._echo(mark)
            elif isinstance(item, bytes):
                self._sound.extend(item[i : i + FRAME_BYTES] for i in range(0, len(item), FRAME_BYTES))
            else:
                self._sound.append(item)

    def _play_frame(self, now: float) -> None:
        while self._sound and isinstance(self._sound[0], str):
            self._echo(str(self._sound.popleft()))
        if self._sound:
            frame = self._sound.popleft()
            assert isinstance(frame, bytes)
            self.heard.append((now, frame))
        while self._sound and isinstance(self._sound[0], str):
            self._echo(str(self._sound.popleft()))

    def _echo(self, mark: str) -> None:
        self._events.put_nowait(MarkReached(mark.removeprefix("mark ")))

    def sounding(self) -> bool:
        """The agent is audible right now."""
        return bool(self.heard) and self.clock.now() - self.heard[-1][0] < 2.5 * FRAME_S
