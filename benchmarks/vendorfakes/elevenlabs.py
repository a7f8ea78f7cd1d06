"""ElevenLabs' multi-context websocket with a stopwatch: first sound `FIRST_SPEECH_S` after a flush, then `SPEED` times
real time. The voice is a tone, 60 ms for each character."""

import asyncio
import base64
import json
from array import array
from collections import deque
from dataclasses import dataclass, field

from benchmarks.providers import FIRST_SPEECH_S
from benchmarks.vendorfakes.wire import Connection

SPEED = 4.0
_CHARACTER_MS = 60
_CHUNK_CHARACTERS = 4
_TONE = bytes(array("B", [0x1F, 0x2A, 0x1F, 0x60, 0x9F, 0xAA, 0x9F, 0xE0]))
"""One period of 1 kHz at 8 kHz, µ-law."""
_SOUND = [base64.b64encode(_TONE * (_CHARACTER_MS * count)).decode() for count in range(_CHUNK_CHARACTERS + 1)]


@dataclass
class _Context:
    buffered: str = ""
    pieces: deque[str] = field(default_factory=deque)
    closing: bool = False
    due: float = 0.0
    speaking: bool = False


class Voice:
    """One connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._contexts: dict[str, _Context] = {}
        self._loop = asyncio.get_running_loop()

    def binary(self, payload: memoryview, mask: bytes) -> None:
        """The vendor takes none."""

    def closed(self) -> None:
        self._contexts.clear()

    def text(self, message: bytes) -> None:
        told = json.loads(message)
        name = told.get("context_id", "")
        context = self._contexts.setdefault(name, _Context())
        context.buffered += told.get("text") or ""
        if told.get("flush"):
            context.pieces.append(context.buffered.strip())
            context.buffered = ""
            if not context.speaking:
                context.speaking = True
                context.due = self._loop.time() + FIRST_SPEECH_S
                self._loop.call_at(context.due, self._speak, name, 0)
        if told.get("close_context"):
            context.closing = True
            if not context.speaking:
                self._finish(name)

    def _speak(self, name: str, at: int) -> None:
        context = self._contexts.get(name)
        if context is None:
            return
        piece = context.pieces[0]
        said = piece[at : at + _CHUNK_CHARACTERS]
        if said:
            times = {
                "chars": list(said),
                "charStartTimesMs": [_CHARACTER_MS * place for place in range(len(said))],
                "charDurationsMs": [_CHARACTER_MS] * len(said),
            }
            self._say(audio=_SOUND[len(said)], alignment=times, normalizedAlignment=times, contextId=name)
        if at + _CHUNK_CHARACTERS < len(piece):
            context.due += len(said) * _CHARACTER_MS / 1000 / SPEED
            self._loop.call_at(context.due, self._speak, name, at + _CHUNK_CHARACTERS)
            return
        context.pieces.popleft()
        self._say(type="flush_done", contextId=name)
        if context.pieces:
            context.due = max(context.due, self._loop.time()) + FIRST_SPEECH_S
            self._loop.call_at(context.due, self._speak, name, 0)
        else:
            context.speaking = False
            if context.closing:
                self._finish(name)

    def _finish(self, name: str) -> None:
        del self._contexts[name]
        self._say(isFinal=True, contextId=name)

    def _say(self, **message: object) -> None:
        self._connection.send(json.dumps(message).encode())
