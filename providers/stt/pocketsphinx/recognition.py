"""One call as the bridge sees it: audio on its way to a worker, and what came back. Sans I/O but for waiting."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import assert_never

from providers.base import FinalTranscript, PartialTranscript, RecognitionEvent, RecognitionGap
from providers.errors import ProviderError
from providers.stt.pocketsphinx.call import LONGEST_MS
from providers.stt.pocketsphinx.wire import Audio, Final, Finalize, Lost, Order, Partial
from telephony.audio import TELEPHONE

_OUTBOX_BYTES = TELEPHONE.bytes_of_ms(30_000)
"""Audio that waits for a worker which is busy or being restarted; beyond it the oldest is dropped. More than a call
hands over at once when another recogniser was lost, or this one was opened late."""

_INBOX_EVENTS = 64
"""Events that wait for the session; beyond it the oldest is dropped: who reads none has stopped caring."""


class CallRecognition:
    """Recognition of call `number`; see `providers.base.Recognition`. `wake` says that `orders` has something.

    `online` is whether a worker is listening; while none is, audio waits and `finalize` is answered here.
    """

    def __init__(self, number: int, wake: Callable[[], None], online: bool) -> None:
        self.number = number
        self.online = online
        self._wake = wake
        self._outbox: deque[bytes | None] = deque()  # None: finalize
        self._outbox_bytes = 0
        self._dropped_bytes = 0
        self._unanswered_bytes = 0
        self.asked: deque[float] = deque()
        """When the finalizes were sent that the worker owes an answer to."""
        self._inbox: deque[RecognitionEvent] = deque(maxlen=_INBOX_EVENTS)
        self._arrived = asyncio.Event()
        self._end: ProviderError | None = None
        self._closed = False

    # The session's side

    def send(self, audio: bytes) -> None:
        TELEPHONE.samples(len(audio))
        self._outbox.append(audio)
        self._outbox_bytes += len(audio)
        while self._outbox_bytes > _OUTBOX_BYTES:
            self._drop_oldest()
        self._wake()

    def finalize(self) -> None:
        if not self.online:
            self._drop_all()
            self._put(FinalTranscript("", finalized=True))
            return
        self._outbox.append(None)
        self._wake()

    def fills(self) -> Mapping[str, float]:
        """See `Buffered`: what waits for the worker."""
        return {"recogniser": self._outbox_bytes / _OUTBOX_BYTES}

    async def __aiter__(self) -> AsyncIterator[RecognitionEvent]:
        while True:
            while self._inbox:
                yield self._inbox.popleft()
            if self._end is not None:
                raise self._end
            if self._closed:
                return
            self._arrived.clear()
            await self._arrived.wait()

    # The worker's side

    def orders(self, now: float) -> list[Order]:
        """What the worker is to be told; frames that wait together go together."""
        self._report_dropped()
        orders: list[Order] = []
        audio: list[bytes] = []
        for item in self._outbox:
            if item is not None:
                audio.append(item)
                continue
            if audio:
                orders.append(Audio(self.number, b"".join(audio)))
                audio = []
            orders.append(Finalize(self.number))
            self.asked.append(now)
        if audio:
            orders.append(Audio(self.number, b"".join(audio)))
        self._unanswered_bytes += self._outbox_bytes
        self._outbox.clear()
        self._outbox_bytes = 0
        return orders

    def report(self, report: Partial | Final | Lost) -> None:
        """Take what the worker says of this call."""
        match report:
            case Partial(_, text, stable, complete):
                self._put(PartialTranscript(text, stable, complete))
            case Final(_, text, confidence, finalized):
                if finalized and self.asked:
                    self.asked.popleft()
                self._unanswered_bytes = 0
                self._put(FinalTranscript(text, confidence, finalized))
            case Lost(_, lost_ms):
                self._put(RecognitionGap(lost_ms, "decoding fell behind"))
            case _:
                assert_never(report)

    def worker_lost(self, reason: str) -> None:
        """The worker is gone, with what it was told and did not answer: at most one utterance."""
        self.online = False
        lost_ms = min(TELEPHONE.ms(self._unanswered_bytes), LONGEST_MS)
        self._unanswered_bytes = 0
        self._put(RecognitionGap(lost_ms, reason))
        for _ in self.asked:
            self._put(FinalTranscript("", finalized=True))
        self.asked.clear()

    def fail(self, error: ProviderError) -> None:
        """Nothing more will come: iterating ends with `error`."""
        self._end = error
        self._arrived.set()

    def close(self) -> None:
        """Nothing more is wanted: iterating ends."""
        self._closed = True
        self._arrived.set()

    def _put(self, event: RecognitionEvent) -> None:
        if self._inbox and isinstance(self._inbox[-1], PartialTranscript) and isinstance(event, PartialTranscript):
            self._inbox.pop()  # a partial replaces the one before it, read or not
        self._inbox.append(event)
        self._arrived.set()

    def _drop_oldest(self) -> None:
        oldest = next(at for at, item in enumerate(self._outbox) if item is not None)
        self._outbox_bytes -= len(self._outbox[oldest] or b"")
        self._dropped_bytes += len(self._outbox[oldest] or b"")
        del self._outbox[oldest]

    def _drop_all(self) -> None:
        self._dropped_bytes += self._outbox_bytes
        self._outbox.clear()
        self._outbox_bytes = 0
        self._report_dropped()

    def _report_dropped(self) -> None:
        if self._dropped_bytes:
            self._put(RecognitionGap(TELEPHONE.ms(self._dropped_bytes), "the recogniser did not keep up"))
            self._dropped_bytes = 0
