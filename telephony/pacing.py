"""When the next frame leaves: absolute deadlines, a bounded lead, and the sound that is still to be sent.

The far end gets at most `lead_ms` more than it has played. More would be played on after the caller has interrupted,
if a clear is lost, and would be lost with the socket; less makes every hiccup of the network audible.

Sans I/O: a leg asks `due(now)` and `next_due(now)`, the conversation feeds and holds.
"""

from collections import deque
from collections.abc import Callable

from telephony.audio import FRAME_MS, AudioFormat
from telephony.carrier import CarrierCommand, PlaceMark, PlayAudio
from telephony.playout import Heard, PlacedWord, PlayoutLedger

_KEPT_MS = 10_000
"""Sound kept behind the heard position: a resume never goes back further than one word."""


class Pacer:
    """The only queue of outgoing sound. Bounded: `queue` takes what it is given, but asks for `has_room` first.

    Sound leaves in pieces of `tick_ms`: a message costs as much as the frames in it, and with 60 ms the far end always
    has 140 ms of its 200.

    A reply is fed with `queue`, closed with `finish`; `hold` and `resume` are the two halves of a false interruption,
    `flush` ends a reply at once. `on_room` is called when a full queue has room again.
    """

    def __init__(
        self,
        audio: AudioFormat,
        ledger: PlayoutLedger,
        *,
        lead_ms: int = 200,
        tick_ms: int = 3 * FRAME_MS,
        capacity_ms: int = 8_000,
        mark_every_ms: int = 200,
        on_room: Callable[[], None] | None = None,
    ) -> None:
        self.audio = audio
        self.ledger = ledger
        self._lead_s = lead_ms / 1000
        self._tick_s = tick_ms / 1000
        self._sample_bytes = audio.sample_bytes
        self._frame_samples = audio.samples(audio.frame_bytes)
        self._capacity_samples = audio.samples(audio.bytes_of_ms(capacity_ms))
        self._mark_every_samples = audio.samples(audio.bytes_of_ms(mark_every_ms))
        self._kept_samples = audio.samples(audio.bytes_of_ms(_KEPT_MS))
        self._on_room = on_room
        self._silence = _silence(audio)
        self._reset()

    def _reset(self) -> None:
        self._sound = bytearray()
        self._base = 0  # reply position of the first byte kept
        self._chunk_ends: deque[int] = deque()
        self._last_mark = 0
        self._finished = False
        self._cut: Heard | None = None

    def begin(self, now: float, *, held: bool = False) -> None:
        """Start a reply, held from the start if asked to. What was left of the one before is dropped."""
        self._reset()
        self.ledger.begin()
        if held:
            self.hold(now)

    @property
    def held(self) -> bool:
        """Nothing leaves until `resume`."""
        return self._cut is not None

    @property
    def unsent_samples(self) -> int:
        return self.ledger.queued - self.ledger.sent

    @property
    def fill(self) -> float:
        """How much of its capacity is taken; a last chunk may go beyond it."""
        return min(1.0, self.unsent_samples / self._capacity_samples)

    def has_room(self) -> bool:
        return self.unsent_samples < self._capacity_samples

    def queue(self, sound: bytes, words: tuple[PlacedWord, ...] = ()) -> bool:
        """Append sound of the present reply; `words` in reply positions (see `ledger.queued` for where it starts).

        True when there was no whole frame before: then whoever was told None by `next_due` has to ask again.
        """
        was_dry = self.ledger.queued - self.ledger.sent < self._frame_samples
        self._sound += sound
        self.ledger.queue(self.audio.samples(len(sound)), words)
        self._chunk_ends.append(self.ledger.queued)
        return was_dry

    def finish(self) -> None:
        """The reply is complete. Its last frame is filled up with silence."""
        if self._finished:
            return
        self._finished = True
        if not self.held:
            self._fill_up()

    @property
    def finished(self) -> bool:
        """The reply was completed by `finish`."""
        return self._finished

    def due(self, now: float) -> tuple[CarrierCommand, ...]:
        """Whole frames that may leave now, as one `PlayAudio`, and the mark that follows them; `()` if none may."""
        ledger = self.ledger
        unsent = ledger.queued - ledger.sent
        frames = self._frames_due(unsent, now)
        if not frames:
            return ()
        samples = frames * self._frame_samples
        begin = (ledger.sent - self._base) * self._sample_bytes
        payload = bytes(self._sound[begin : begin + samples * self._sample_bytes])
        ledger.send(samples, now)
        self._forget(now)
        if unsent - samples < self._capacity_samples <= unsent and self._on_room is not None:
            self._on_room()
        name = self.ledger.mark() if self._mark_is_due() else None
        return (PlayAudio(payload),) if name is None else (PlayAudio(payload), PlaceMark(name))

    def next_due(self, now: float) -> float | None:
        """When `due` will have something; None as long as nothing is queued, or the sound is held."""
        ready = (self.ledger.queued - self.ledger.sent) // self._frame_samples
        if self._cut is not None or not ready:
            return None
        wanted_s = min(self._tick_s, ready * FRAME_MS / 1000)
        return now + max(0.0, self.ledger.buffered_s(now) + wanted_s - self._lead_s)

    def hold(self, now: float, *, lost: bool = False, alive_at: float | None = None) -> Heard:
        """Stop sending at once and keep everything: the caller may have been misheard. The far end is to be cleared,
        or the line to it is `lost`, over which something came in for the last time `alive_at`.

        Idempotent: a second hold tells what the first one cut.
        """
        if self._cut is None:
            self._cut = self.ledger.cut(now, lost=lost, alive_at=alive_at)
        return self._cut

    def resume(self) -> None:
        """Go on after a hold, from the word that was cut; nothing if nothing is held."""
        if self._cut is not None:
            self.ledger.resume(self._cut.resume_at)
            self._last_mark = self._cut.resume_at
            self._cut = None
            if self._finished:
                self._fill_up()

    def flush(self) -> int:
        """Drop what was not sent; returns how many samples that was."""
        dropped = self.unsent_samples
        self._reset()
        self.ledger.begin()
        return dropped

    def _fill_up(self) -> None:
        """Make what is still to be sent whole frames, a mark after the last: a resume may begin anywhere in a frame."""
        short = -self.unsent_samples % self._frame_samples
        if short:
            self._sound += self._silence * short
            self.ledger.queue(short)
        if self.unsent_samples and (not self._chunk_ends or self._chunk_ends[-1] < self.ledger.queued):
            self._chunk_ends.append(self.ledger.queued)

    def _frames_due(self, unsent: int, now: float) -> int:
        if self._cut is not None or unsent < self._frame_samples:
            return 0
        allowed_s = self._lead_s - self.ledger.buffered_s(now)
        # A rounding error of the clock must not cost a whole frame.
        allowed = int(allowed_s * 1000 / FRAME_MS + 1e-6)
        return max(0, min(allowed, unsent // self._frame_samples))

    def _mark_is_due(self) -> bool:
        sent = self.ledger.sent
        chunk_ended = False
        while self._chunk_ends and self._chunk_ends[0] <= sent:
            self._chunk_ends.popleft()
            chunk_ended = True
        if not chunk_ended and sent - self._last_mark < self._mark_every_samples:
            return False
        self._last_mark = sent
        return True

    def _forget(self, now: float) -> None:
        surplus = self.ledger.heard(now) - self._kept_samples - self._base
        if surplus > self._kept_samples:
            del self._sound[: surplus * self._sample_bytes]
            self._base += surplus


def _silence(audio: AudioFormat) -> bytes:
    """One sample of silence."""
    codes = {"mulaw": b"\xff", "alaw": b"\xd5", "pcm16": b"\x00\x00"}
    return codes[audio.encoding.value]
