"""Voice activity of every call in the process: one owner, and one run of the network per tick for all calls together.

Each call feeds its µ-law audio into a `Channel`, which only collects it. One tick takes a chunk of 256 samples (32 ms)
from each channel that has one, lets an energy gate decide which of them can hold speech at all, runs the network
(`telephony.silero`) on those, and hands each of these channels its `VoiceFrame`. It comes as soon as there is a chunk,
but not within 8 ms of the last one, so that of many calls some are always judged together.

The gate is minimum statistics: it opens while the smoothed power is 3 dB above the quietest of the last 3 s and above
-56 dBFS, and stays open for half a second. Behind it the network hears about half of a telephone call. It costs no
accuracy: the network's memory stays as it is over what the network does not hear, so no long silence lulls it.

Not thread-safe: feeding, ticking and closing belong to one thread, the event loop's.
"""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from telephony.clock import Alarm, Clock
from telephony.codecs.g711 import mulaw_to_float
from telephony.silero import BATCH, CHUNK_SAMPLES, CONTEXT_SAMPLES, STATE_SIZE, Silero

CHUNK_S = CHUNK_SAMPLES / 8000
"""32 ms."""

TICK_S = CHUNK_S / 4
"""At most four times for each chunk: calls are at any place in theirs, and of many a whole one waits for 4 ms on
average. The network runs on a quarter of the calls at a time; what a tick costs by itself is 0.1 ms."""

BACKLOG_CHUNKS = 32
"""What a channel keeps for ticks to come, 1.024 s; what is older is dropped and counted."""

CHUNKS_PER_TICK = 8
"""How far one late tick catches up, so that a stall of the process is not followed by another one."""

QUIETEST_DBFS = -100.0
"""The level reported for digital silence; the softest code of µ-law is at -72 dBFS."""

_BACKLOG_BYTES = BACKLOG_CHUNKS * CHUNK_SAMPLES

_SMOOTHING = 0.56  # weight of the newest chunk: a time constant of 39 ms
_WINDOW_CHUNKS = 94  # 3 s
_ABOVE_QUIETEST = 10 ** (3 / 10)
_ABSOLUTE = 10 ** (-56 / 10)
_HOLD_CHUNKS = 16

_MEMORY = np.dtype(
    [
        ("state", np.float32, STATE_SIZE),
        ("context", np.float32, CONTEXT_SAMPLES),
        ("smoothed", np.float32),
        ("quietest", np.float32, _WINDOW_CHUNKS),
        ("hold", np.int32),
    ]
)
"""What the process remembers of one call between ticks: 1.5 kB."""


def _newborn() -> NDArray[np.void]:
    """Memory of a call's beginning. Its gate is open for half a second, as long as "quiet" means nothing yet."""
    memory = np.zeros(1, _MEMORY)
    memory["quietest"] = np.inf
    memory["hold"] = _HOLD_CHUNKS
    return memory


_NEWBORN = _newborn()


class VoiceFrame(msgspec.Struct, frozen=True, gc=False):
    """What 32 ms of a call sounded like.

    `probability` of speech is 0..1, and 0.0 where the gate spared the network. `level_dbfs` is the RMS level, a
    full-scale square wave being 0. `now` is when the chunk's last sample was in, as far as the tick can tell; within a
    channel it never goes back, and it is never later than the tick.
    """

    probability: float
    level_dbfs: float
    now: float


def _nobody(_: object) -> None:
    """Who is told of a channel that is closed."""


class Channel:
    """One call's ear. Made by `VoiceActivity.open`."""

    __slots__ = ("_activity", "_on_failure", "_on_voice", "_pending", "_row", "_said_at", "dropped_samples")

    def __init__(
        self,
        activity: "VoiceActivity",
        row: int,
        on_voice: Callable[[VoiceFrame], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._activity = activity
        self._row = row
        self._on_voice = on_voice
        self._on_failure = on_failure
        self._pending = bytearray()
        self._said_at = float("-inf")
        self.dropped_samples = 0
        """Never judged, because the backlog was full."""

    def feed(self, mulaw: bytes) -> None:
        """Take the next audio of the call: µ-law at 8 kHz, of any length. A closed channel ignores it."""
        pending = self._pending
        pending += mulaw
        if len(pending) > _BACKLOG_BYTES:
            excess = len(pending) - _BACKLOG_BYTES
            del pending[:excess]
            self.dropped_samples += excess
        if len(pending) >= CHUNK_SAMPLES:
            self._activity._has_chunk(self)

    def close(self) -> None:
        """No more frames, also within the tick that is running. Idempotent."""
        self._activity._forget(self)
        self._on_voice = self._on_failure = _nobody

    def _take(self) -> bytearray:
        """The oldest chunk."""
        pending = self._pending
        chunk = pending[:CHUNK_SAMPLES]
        del pending[:CHUNK_SAMPLES]
        return chunk

    def _tell(self, probability: float, level_dbfs: float, now: float) -> None:
        behind, told = len(self._pending) // CHUNK_SAMPLES, self._on_failure
        self._said_at = max(self._said_at, now - behind * CHUNK_S)
        try:
            self._on_voice(VoiceFrame(probability, level_dbfs, self._said_at))
        except Exception as failure:  # noqa: BLE001 - the wall between calls: behind it are the frames of all others
            self.close()
            told(failure)


class VoiceActivity:
    """The ears of all calls. `run` it in one task, or `tick` it by hand."""

    def __init__(self) -> None:
        # OpenBLAS would spread these small products over all cores and leave its threads spinning for the next one:
        # on two cores that is 20 to 50 times the CPU time. The limit holds for the whole process, as OpenBLAS has it.
        threadpool_limits(limits=1, user_api="blas")
        self._network = Silero.load()
        self._memory = np.zeros(16, _MEMORY)
        self._free_rows = list(range(len(self._memory)))
        self._channels: dict[Channel, None] = {}
        self._ready: dict[Channel, None] = {}
        """Those with a whole chunk, or more; closed ones among them."""
        self._alarm: Alarm | None = None
        self.chunks_heard = 0
        self.chunks_judged = 0
        """Those of `chunks_heard` for which the gate was open and the network ran."""

    def open(self, on_voice: Callable[[VoiceFrame], None], on_failure: Callable[[Exception], None]) -> Channel:
        """A channel for one call. `on_voice` gets a frame for every 256 samples, in order, from within a tick.

        An exception out of `on_voice` is a bug of that one call: the channel is closed, no other call notices, and
        `on_failure` gets it, to bring it to the call's own task. `on_failure` itself must not raise.
        """
        if not self._free_rows:
            rows = len(self._memory)
            self._memory = np.concatenate([self._memory, np.zeros(rows, _MEMORY)])
            self._free_rows = list(range(rows, 2 * rows))
        row = self._free_rows.pop()
        self._memory[row] = _NEWBORN[0]
        channel = Channel(self, row, on_voice, on_failure)
        self._channels[channel] = None
        return channel

    def tick(self, now: float) -> None:
        """Judge every whole chunk that was fed, at most `CHUNKS_PER_TICK` of a channel, oldest first."""
        for _ in range(CHUNKS_PER_TICK):
            ready = [channel for channel in self._ready if channel in self._channels]
            if not ready:
                self._ready.clear()
                return
            verdicts = [self._judge(ready[start : start + BATCH]) for start in range(0, len(ready), BATCH)]
            self._ready = dict.fromkeys(channel for channel in ready if len(channel._pending) >= CHUNK_SAMPLES)
            for channel, (probability, level) in zip(ready, chain.from_iterable(verdicts), strict=True):
                if channel in self._channels:
                    channel._tell(probability, level, now)

    async def run(self, clock: Clock) -> NoReturn:
        """Tick whenever there is something to judge, at most every 8 ms."""
        self._alarm = Alarm(clock)
        while True:
            if not self._ready:
                await self._alarm.wait_until(None)
            now = clock.now()
            self.tick(now)
            await clock.sleep_until(now + TICK_S)

    def _has_chunk(self, channel: Channel) -> None:
        if not self._ready and self._alarm is not None:
            self._alarm.ring()
        self._ready[channel] = None

    def _forget(self, channel: Channel) -> None:
        if self._channels.pop(channel, self) is None:
            self._free_rows.append(channel._row)

    def _judge(self, ready: list[Channel]) -> Iterable[tuple[float, float]]:
        """Probability and level of each channel's oldest chunk."""
        calls = len(ready)
        rows = np.array([channel._row for channel in ready])
        memory = self._memory[rows]
        samples = np.empty((calls, CONTEXT_SAMPLES + CHUNK_SAMPLES), np.float32)
        chunks = samples[:, CONTEXT_SAMPLES:]
        chunks[:] = mulaw_to_float(b"".join([channel._take() for channel in ready])).reshape(calls, CHUNK_SAMPLES)
        samples[:, :CONTEXT_SAMPLES] = memory["context"]
        memory["context"] = chunks[:, -CONTEXT_SAMPLES:]
        power = np.einsum("cs,cs->c", chunks, chunks) / CHUNK_SAMPLES
        audible = np.flatnonzero(_gate(memory, power))
        probabilities = np.zeros(calls, np.float32)
        if audible.size:
            state = memory["state"][audible]
            probabilities[audible] = self._network(samples[audible], state)
            memory["state"][audible] = state
        self._memory[rows] = memory
        self.chunks_heard += calls
        self.chunks_judged += audible.size
        levels = 10 * np.log10(np.maximum(power, 10 ** (QUIETEST_DBFS / 10)))
        return zip(probabilities.tolist(), levels.tolist(), strict=True)


def _gate(memory: NDArray[np.void], power: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which calls may hold speech, [calls]; moves `memory`, [calls], on by a chunk of `power`, [calls]."""
    smoothed = memory["smoothed"]
    smoothed += _SMOOTHING * (power - smoothed)
    quietest = memory["quietest"]
    quietest[:, :-1] = quietest[:, 1:]
    quietest[:, -1] = smoothed
    above = (smoothed > _ABOVE_QUIETEST * quietest.min(axis=1)) & (smoothed > _ABSOLUTE)
    hold = memory["hold"]
    hold[above] = _HOLD_CHUNKS + 1
    audible: NDArray[np.bool_] = hold > 0
    hold -= audible
    return audible
