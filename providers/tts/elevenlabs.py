"""ElevenLabs: streaming speech over websockets that all calls of the process share, one context for each utterance.

Audio is µ-law at 8 kHz from the vendor to the telephone. Each piece of text is flushed at once, so it is spoken before
the next is known; the next is asked for when the one before begins to be heard. So an interruption wastes at most two
pieces, and what waits for a slow listener is bounded by them. Closing `speak` closes the context.

The vendor's SDK has no asynchronous websocket; `elevenlabs_sockets` is what is needed of one.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Self
from urllib.parse import quote, urlencode, urlsplit

from providers.base import Progress, ProviderContext, SpeechChunk, SpeechEvent, UsageReported
from providers.errors import (
    ProviderMalformed,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderTimedOut,
    ProviderUnavailable,
)
from providers.tts.elevenlabs_errors import KEY_VARIABLE, NAME
from providers.tts.elevenlabs_sockets import Context, Event, Finished, Flushed, Inbox, Ordered, Sockets, Sound
from providers.tts.elevenlabs_words import WordTimes
from telephony.audio import TELEPHONE, AudioFormat
from telephony.tasks import TaskGroup

_BASE_URL = "https://api.elevenlabs.io"
_VOICE_ID = "JBFqnCBsd6RMkjVDRZzb"  # George, one of the vendor's own
_MODEL = "eleven_flash_v2_5"
_INACTIVITY_S = 180
"""After so long without a word the vendor closes a connection: its most, so that quiet hours cost few handshakes."""
_SCHEMES = {"https": "wss", "wss": "wss", "http": "ws", "ws": "ws"}

_PATIENCE_S = 10.0
"""Half of what a context bears without a message: then it is kept alive, or given up if speech is owed."""
_QUIET_S = 1.0
"""Without an alignment to tell, a piece of which something was heard counts as begun after so much quiet."""
_FORGIVEN_WORDS = 2
"""So many words at the very end may lack an alignment; if more do, they were not spoken."""


def create(context: ProviderContext) -> "ElevenLabs":
    """The voice that the `ELEVENLABS_…` variables describe.

    Raises `ProviderMisconfigured`, with the variable, when the key is missing or a value is of no use.
    """
    environment = context.environment
    key = environment.get(KEY_VARIABLE) or ""
    if not key.isascii() or not key.isprintable() or not key.strip():
        raise ProviderMisconfigured(NAME, KEY_VARIABLE, "set the API key of your ElevenLabs account")
    settings = {
        "stability": _number(environment, "ELEVENLABS_STABILITY", 0.0, 1.0),
        "similarity_boost": _number(environment, "ELEVENLABS_SIMILARITY", 0.0, 1.0),
        "speed": _number(environment, "ELEVENLABS_SPEED", 0.7, 1.2),
    }
    contexts = _number(environment, "ELEVENLABS_CONTEXTS", 1, 100) or 5
    if contexts != int(contexts):
        raise ProviderMisconfigured(NAME, "ELEVENLABS_CONTEXTS", "set a whole number")
    return ElevenLabs(
        _url(environment),
        key.strip(),
        voice_settings={name: value for name, value in settings.items() if value is not None},
        most_contexts=int(contexts),
        connect_timeout_s=_number(environment, "ELEVENLABS_CONNECT_TIMEOUT_S", 0.1, 60.0) or 3.0,
    )


def _number(environment: Mapping[str, str], variable: str, least: float, most: float) -> float | None:
    text = environment.get(variable)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        raise ProviderMisconfigured(NAME, variable, f"set a number from {least:g} to {most:g}, not {text!r}")
    return number


def _url(environment: Mapping[str, str]) -> str:
    """The address of the socket, with all that is fixed for a connection."""
    model = environment.get("ELEVENLABS_MODEL") or _MODEL
    if model.startswith("eleven_v3"):
        raise ProviderMisconfigured(NAME, "ELEVENLABS_MODEL", f"{model} does not stream text: set {_MODEL}, say")
    base = environment.get("ELEVENLABS_BASE_URL") or _BASE_URL
    try:
        parts = urlsplit(base)
        usable = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or a port that make no sense
        usable = False
    if not usable:
        raise ProviderMisconfigured(NAME, "ELEVENLABS_BASE_URL", f"set an address like {_BASE_URL}, not {base!r}")
    voice = quote(environment.get("ELEVENLABS_VOICE_ID") or _VOICE_ID, safe="")
    query = urlencode(
        {
            "model_id": model,
            "output_format": "ulaw_8000",
            "inactivity_timeout": _INACTIVITY_S,
            "auto_mode": "true",
            "sync_alignment": "true",
        }
    )
    path = f"{parts.path.rstrip('/')}/v1/text-to-speech/{voice}/multi-stream-input"
    return f"{_SCHEMES[parts.scheme]}://{parts.netloc}{path}?{query}"


class ElevenLabs:
    """`TextToSpeech` by ElevenLabs. Text is plain: the vendor parses no markup in it."""

    name = NAME

    def __init__(
        self,
        url: str,
        key: str,
        *,
        voice_settings: Mapping[str, float],
        most_contexts: int,
        connect_timeout_s: float,
    ) -> None:
        self._url = url
        self._key = key
        self._voice_settings = voice_settings
        self._most_contexts = most_contexts
        self._connect_timeout_s = connect_timeout_s
        self._stack = AsyncExitStack()
        self._feeding: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Nothing is connected yet: `warm` does that, or the first utterance."""
        self._group: TaskGroup = await self._stack.enter_async_context(TaskGroup())
        self._sockets = Sockets(
            self._group,
            self._url,
            self._key,
            voice_settings=self._voice_settings,
            most_contexts=self._most_contexts,
            connect_timeout_s=self._connect_timeout_s,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._feeding:
            task.cancel()
        self._sockets.close()
        await self._stack.aclose()

    def voice_key(self) -> str:
        """See `DistinctVoice`: the address names model and voice, and nothing secret."""
        return f"{NAME} {self._url} {sorted(self._voice_settings.items())}"

    async def warm(self) -> None:
        """See `Warmable`."""
        try:
            await self._sockets.warm()
        except ProviderRejected as refused:
            raise refused.as_misconfigured() from refused

    def formats(self) -> tuple[AudioFormat, ...]:
        return (TELEPHONE,)

    async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechEvent, None]:
        """Speech as it comes from the vendor. `audio` is the one of `formats()`; another raises `ValueError`.

        What `text` raises is raised here, after the speech that came before it.
        """
        if audio != TELEPHONE:
            raise ValueError(f"{NAME} speaks {TELEPHONE}, not {audio}")
        utterance = _Utterance(self._sockets)
        feeding = self._group.create_task(utterance.feed(text))
        self._feeding.add(feeding)
        feeding.add_done_callback(self._feeding.discard)
        try:
            async with aclosing(utterance.speech()) as speech:
                async for chunk in speech:
                    yield chunk
        finally:
            feeding.cancel()
            utterance.abandon()
            await asyncio.wait({feeding})


class _Utterance:
    """One `speak`: text goes in by `feed`, in a task of its own, and comes out of `speech`.

    A piece that was lost before anything of it was heard, because the vendor had closed an idle context or connection,
    is said once more in a new one.
    """

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._inbox = Inbox()
        self._words = WordTimes(TELEPHONE.rate_hz)
        self._context: Context | None = None
        self._piece = ""
        self._words_before = 0  # the present piece
        self._samples_before = 0
        self._may_repeat = False
        self._pieces = 0
        self._flushed = 0
        self._owed: int | None = None
        """The number of the piece that speech is owed for; None while we wait for more text."""
        self._complete = False
        """All text is given, and has begun to be spoken."""
        self._heard = asyncio.Event()

    # text

    async def feed(self, text: AsyncIterator[str]) -> None:
        """Send the text piece by piece. What goes wrong is for `speech` to raise."""
        silent = ""  # nothing to pronounce: of that alone the vendor may make no sound, and tell nothing
        try:
            async for piece in text:
                words = " ".join((silent + piece).split())
                if not any(map(str.isalnum, words)):
                    silent = f"{words} "
                    continue
                silent = ""
                self._owed = self._pieces
                await self._send(words)
                await self._begun()
                self._owed = None
            self._words.add(silent)
        except Exception as failure:  # noqa: BLE001 - foreign code: what the text raises belongs to its own speaker
            self._fail(failure)
        self._owed = self._pieces
        self._complete = True
        if self._context is None or self._context.finished:
            self._inbox.put(Finished(self._context))
        else:
            self._context.close()

    def abandon(self) -> None:
        """The speech is not wanted any more, or is at its end."""
        if self._context is not None:
            self._context.abandon()

    def _fail(self, failure: Exception) -> None:
        self._inbox.fail(lambda: failure)

    async def _send(self, piece: str) -> None:
        if self._context is None or self._context.finished:
            self._context = await self._sockets.open(self._inbox)
        self._words_before, self._samples_before = self._words.known, self._words.samples
        self._piece, self._may_repeat = f"{_encodable(piece)} ", True
        self._pieces += 1
        self._words.add(piece)
        self._order()

    def _order(self) -> None:
        assert self._context is not None, "because: a piece is sent in a context"
        self._inbox.put(Ordered(len(self._piece)))
        self._context.speak(self._piece)

    async def _begun(self) -> None:
        """Return when the present piece is being heard."""
        while not self._is_heard and self._flushed < self._pieces:
            self._heard.clear()
            guessing = not self._words.exact and self._words.samples > self._samples_before
            try:
                async with asyncio.timeout(_QUIET_S if guessing else None):
                    await self._heard.wait()
            except TimeoutError:
                if self._inbox.empty:
                    return

    @property
    def _is_heard(self) -> bool:
        return self._words.placed > self._words_before

    @property
    def _is_untouched(self) -> bool:
        """The present piece was sent, all before it was spoken, and nothing of it came."""
        return self._may_repeat and not self._complete and self._words.placed == self._words_before

    # speech

    async def speech(self) -> AsyncGenerator[SpeechEvent, None]:
        """All that the vendor says, in order; ends when it has nothing more to say."""
        while True:
            match await self._next():
                case Sound(audio, alignment):
                    yield SpeechChunk(audio, self._words.place(len(audio), alignment))
                    self._heard.set()  # the listener took it, and wants more
                case Ordered(characters):
                    yield Progress("connected")
                    yield UsageReported(NAME, {"characters": characters})
                case Flushed():
                    self._flushed += 1
                    self._heard.set()
                case Finished(context):
                    if context is not self._context:
                        continue
                    if self._is_untouched:
                        await self._repeat()
                        continue
                    self._check_spoken()
                    if self._complete:
                        break
        if self._words.unplaced:
            yield SpeechChunk(b"", self._words.rest())

    async def _next(self) -> Event:
        while True:
            owed = self._owed
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    return await self._inbox.get()
            except TimeoutError:
                if owed is not None and owed == self._owed:
                    stage = "gap" if self._words.samples else "first_result"
                    raise ProviderTimedOut(NAME, stage, _PATIENCE_S) from None
                if self._context is not None:
                    self._context.keep_alive()
            except ProviderUnavailable:
                idle = self._context is not None and self._context.on_used_connection and not self._words.samples
                if not idle or not self._may_repeat:
                    raise
                await self._repeat()

    async def _repeat(self) -> None:
        self._may_repeat = False
        self._inbox.reopen()
        self._context = await self._sockets.open(self._inbox)
        self._order()

    def _check_spoken(self) -> None:
        """Raise `ProviderMalformed` if the vendor ended the context before the text."""
        missing = [word for word in self._words.unplaced if any(map(str.isalnum, word))]
        if missing and (not self._words.samples or (self._words.exact and len(missing) > _FORGIVEN_WORDS)):
            raise ProviderMalformed(NAME, f"the speech ended {len(missing)} words before the text")


def _encodable(text: str) -> str:
    """`text` as it can be sent: half of a character pair, which a model may emit, cannot."""
    return text.encode("utf-8", "replace").decode()
