"""Phrases on disk, so that a process that starts has them before its voice has said a word.

One file a phrase, named by what its sound depends on. A file is written beside its place and moved there, so nobody
reads half of one; whatever cannot be read as it was written counts as missing. The folder is bounded: what was not
needed for the longest time goes. Blocking: call it from a thread.
"""

import hashlib
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from providers.base import SpeechChunk, SpokenWord
from telephony.audio import AudioFormat

_SUFFIX = ".phrase"
_MAGIC = b"sidetone phrase 1\n"
_DIGEST_BYTES = 32
_MOST_BYTES = 64 * 1024 * 1024
"""About two hours of telephone speech."""


@dataclass(frozen=True, slots=True)
class PhraseKey:
    """What the sound of a phrase depends on. `voice`: vendor, voice, model and settings, as the provider words it."""

    voice: str
    audio: AudioFormat
    text: str

    @property
    def file_name(self) -> str:
        parts = (self.voice, self.audio.encoding.value, str(self.audio.rate_hz), self.text)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest() + _SUFFIX


class _Spoken(msgspec.Struct, array_like=True):
    """What a file holds."""

    voice: str
    text: str
    chunks: list[tuple[bytes, list[tuple[str, int, int]]]]


class PhraseStore:
    """A folder of phrases. Losing it loses nothing but time."""

    def __init__(self, folder: Path, most_bytes: int = _MOST_BYTES) -> None:
        self._folder = folder
        self._most_bytes = most_bytes

    def load(self, key: PhraseKey) -> tuple[SpeechChunk, ...] | None:
        """The phrase; None for one that is missing or damaged."""
        path = self._folder / key.file_name
        try:
            kept = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        head = len(_MAGIC) + _DIGEST_BYTES
        digest, body = kept[len(_MAGIC) : head], kept[head:]
        if not kept.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
            return None
        try:
            spoken = msgspec.msgpack.decode(body, type=_Spoken)
        except msgspec.MsgspecError:
            return None
        if (spoken.voice, spoken.text) != (key.voice, key.text):
            return None
        return tuple(SpeechChunk(audio, tuple(SpokenWord(*word) for word in words)) for audio, words in spoken.chunks)

    def save(self, key: PhraseKey, speech: tuple[SpeechChunk, ...]) -> None:
        """Keep the phrase. Raises `OSError` for a disk that does not take it."""
        chunks = [(chunk.audio, [(word.text, word.start, word.end) for word in chunk.words]) for chunk in speech]
        body = msgspec.msgpack.encode(_Spoken(key.voice, key.text, chunks))
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_MAGIC + hashlib.sha256(body).digest() + body)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._folder / key.file_name)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
        self._prune()

    def _prune(self) -> None:
        """The oldest go until the rest is small enough. Another process may do the same."""
        files = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            with suppress(FileNotFoundError):
                files.append((path.stat().st_mtime, path.stat().st_size, path))
        excess = sum(size for _, size, _ in files) - self._most_bytes
        for _, size, path in sorted(files):
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size
