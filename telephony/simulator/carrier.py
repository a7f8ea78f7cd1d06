"""The carrier's part of one call: follows the bridge's TwiML, speaks its `<Say>`, opens and ends the media streams.

Sources: https://www.twilio.com/docs/voice/twiml and https://www.twilio.com/docs/voice/twiml/connect
"""

import asyncio
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, assert_never
from urllib.parse import urlsplit

from telephony.clock import Clock
from telephony.simulator.callbacks import Callbacks
from telephony.simulator.calllog import CallLog
from telephony.simulator.errors import DocumentRejected, HandshakeFailed, WebhookFailed
from telephony.simulator.faults import Fault
from telephony.simulator.line import Line
from telephony.simulator.mediapath import MediaPath
from telephony.simulator.playout import Run
from telephony.simulator.report import EndedBy, StreamReport
from telephony.simulator.rest import CallUpdate
from telephony.simulator.signature import HEADER, sign
from telephony.simulator.sound import FRAME_SAMPLES, hum, seconds
from telephony.simulator.stream import MediaStream
from telephony.simulator.twiml import (
    STREAM_SCHEME_NOT_WSS,
    Connect,
    Dial,
    Document,
    Hangup,
    Pause,
    Redirect,
    Reject,
    Say,
    Stream,
    Verb,
    Warned,
    parse_twiml,
)
from telephony.simulator.webhook import USER_AGENT
from telephony.simulator.websocket import HANDSHAKE_NOT_101, NO_CLOSE_FRAME, SocketClosed

DOCUMENT_LIMIT = 100
"""A bridge that redirects the call for ever is not followed for ever."""
SPOKEN_S_PER_CHARACTER = 0.065
"""The carrier's own voice is not synthesised: the caller hears a hum for as long as the text would take."""
DIALLED_PARTY_S = 1.0
"""The party that a `<Dial>` reaches says nothing, and hangs up after this."""
_GOODBYE_S = 0.3
"""How long a stream whose call was updated may take to close; the new document does not wait for a dead socket."""
RINGING, IN_PROGRESS = "ringing", "in-progress"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the documents came to their end, and the status that Twilio reports for it."""

    ended_by: EndedBy
    status: str = "completed"


class CarrierCall:
    """One answered call as the carrier sees it: `follow` runs beside `tick`, which is called each 20 ms."""

    def __init__(self, line: Line, callbacks: Callbacks, sid: str, clock: Clock, log: CallLog) -> None:
        self.streams: list[StreamReport] = []
        self.runs: list[tuple[Run, ...]] = []
        """What each stream's playout played without a break."""
        self._line = line
        self._callbacks = callbacks
        self._sid = sid
        self._clock = clock
        self._log = log
        self._path: MediaPath | None = None
        self._hum = hum()
        self._speaking = False
        self._hung_up = False
        self._dialled = 0
        self._frames = 0
        self._update: asyncio.Future[CallUpdate] = asyncio.get_running_loop().create_future()

    def tick(self, frame: bytes, now: float) -> bytes | None:
        """The caller's 20 ms out; returns the 20 ms that he hears, None for silence."""
        self._frames += 1
        if self._path is not None:
            return self._path.tick(frame, now)
        return self._hum if self._speaking else None

    def press(self, digit: str) -> None:
        if self._path is not None:
            self._path.press(digit)

    def hang_up(self) -> bool:
        """The caller has hung up; True if a stream is open, whose end `follow` awaits before it returns."""
        self._hung_up = True
        if self._path is None:
            return False
        self._path.hang_up()
        return True

    def update(self, update: CallUpdate) -> None:
        """The bridge has changed the live call over REST: what it was told before is over at once."""
        if not self._update.done():
            self._update.set_result(update)

    async def follow(self, document: Document) -> Outcome:
        """Do what the documents say, and updates in their place, until they are through or the caller has hung up."""
        while True:
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(self._follow(document))
                either: set[asyncio.Future[Any]] = {following, self._update}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    return following.result()
                if self._path is not None:  # a stream is told of its end, and its action is not asked
                    self._path.end()
                    await asyncio.wait({following}, timeout=_GOODBYE_S)
                following.cancel()
            update = self._update.result()
            self._update = asyncio.get_running_loop().create_future()
            following_document = await self._updated(update)
            if isinstance(following_document, Outcome):
                return following_document
            document = following_document

    async def _updated(self, update: CallUpdate) -> Document | Outcome:
        """The document that an update puts in place of the present one."""
        if update.ends:
            self._log.note_verb("Update: completed")
            return Outcome(EndedBy.AGENT)
        try:
            if update.url is None:
                self._log.note_verb("Update: TwiML")
                return parse_twiml(update.twiml or "", self._line.url)
            self._log.note_verb(f"Update {update.url}")
            return await self._callbacks.fetch("update", update.method, update.url, IN_PROGRESS)
        except (WebhookFailed, DocumentRejected) as error:
            self._log.warn(Warned(error.code, error.detail))
            return Outcome(EndedBy.CARRIER)

    async def _follow(self, document: Document) -> Outcome:
        try:
            for _ in range(DOCUMENT_LIMIT):
                for verb in document.verbs:
                    following = await self._perform(verb)
                    if self._update.done():
                        return Outcome(EndedBy.CARRIER)  # nobody asks: the update decides what follows
                    if self._hung_up or isinstance(following, Outcome):
                        return following if isinstance(following, Outcome) else Outcome(EndedBy.CALLER)
                    if following is not None:
                        document = following
                        break
                else:
                    self._log.note_verb("end of the document")
                    return Outcome(EndedBy.AGENT)
        except (WebhookFailed, DocumentRejected) as error:
            self._log.warn(Warned(error.code, error.detail))
            return Outcome(EndedBy.CARRIER)
        self._log.note_verb(f"gave up after {DOCUMENT_LIMIT} documents")
        return Outcome(EndedBy.CARRIER)

    async def _perform(self, verb: Verb) -> Document | Outcome | None:
        """None: go on with the next verb."""
        match verb:
            case Say():
                await self._say(verb)
            case Pause():
                self._log.note_verb(f"Pause {verb.length_s:g} s")
                await self._pass_time(verb.length_s)
            case Redirect():
                self._log.note_verb(f"Redirect {verb.url}")
                return await self._callbacks.fetch("redirect", verb.method, verb.url, IN_PROGRESS)
            case Dial():
                return await self._dial(verb)
            case Connect():
                return await self._connect(verb)
            case Hangup():
                self._log.note_verb("Hangup")
                return Outcome(EndedBy.AGENT)
            case Reject():
                self._log.note_verb(f"Reject {verb.reason}")
                return Outcome(EndedBy.AGENT, "busy" if verb.reason == "busy" else "no-answer")
            case _:
                assert_never(verb)
        return None

    async def _pass_time(self, length_s: float) -> None:
        await self._clock.sleep_until(self._clock.now() + length_s)

    async def _say(self, verb: Say) -> None:
        self._log.note_verb(f"Say {verb.text!r}")
        self._speaking = True
        try:
            await self._pass_time(len(verb.text) * SPOKEN_S_PER_CHARACTER * verb.times)
        finally:
            self._speaking = False

    async def _dial(self, verb: Dial) -> Document | None:
        self._log.note_verb(f"Dial {', '.join(verb.targets)}")
        await self._pass_time(DIALLED_PARTY_S)
        if verb.action is None:
            return None
        extra = {"DialCallStatus": "completed", "DialCallDuration": str(round(DIALLED_PARTY_S))}
        return await self._callbacks.fetch("dial action", verb.method, verb.action, IN_PROGRESS, extra)

    async def _connect(self, verb: Connect) -> Document | None:
        """Until the stream has ended. With an action the rest of the document is not used."""
        self._log.note_verb(f"Connect Stream {verb.stream.url}")
        sid = "MZ" + token_hex(16)
        try:
            path = await self._open(verb.stream)
        except HandshakeFailed as error:
            self._log.warn(Warned(error.code, error.detail))
            await self._tell(verb.stream, sid, "stream-error", error.detail)
        else:
            async with asyncio.TaskGroup() as tasks:
                started = tasks.create_task(self._tell(verb.stream, sid, "stream-started"))
                await self._run(verb.stream, path, sid)
                started.cancel()  # long done, unless the bridge lets its callback hang
            await self._tell(verb.stream, sid, "stream-stopped")
        if verb.action is None or self._hung_up or self._update.done():
            return None
        return await self._callbacks.fetch("connect action", verb.method, verb.action, IN_PROGRESS)

    async def _tell(self, verb: Stream, sid: str, event: str, error: str = "") -> None:
        if verb.status_callback is not None:
            target = (verb.status_method, verb.status_callback)
            await self._callbacks.tell_stream(target, (sid, verb.name), event, error)

    async def _open(self, verb: Stream) -> MediaPath:
        """The media websocket, connected; raises `HandshakeFailed`."""
        scheme = urlsplit(verb.url).scheme
        if scheme != "wss" and not (scheme == "ws" and self._line.allow_plain_ws):
            raise HandshakeFailed(STREAM_SCHEME_NOT_WSS, f"{verb.url}: the scheme is not wss")
        self._dialled += 1
        if self._dialled == 1 and Fault.HANDSHAKE_FAILS in self._line.faults:
            raise HandshakeFailed(HANDSHAKE_NOT_101, f"{verb.url}: refused on purpose")
        headers = {"User-Agent": USER_AGENT, "Host": urlsplit(verb.url).netloc}
        if self._line.auth_token:
            headers[HEADER] = sign(self._line.auth_token, verb.url)
        network = self._line.network if self._dialled == 1 else self._line.network.afterwards()
        path = MediaPath(self._clock, network, f"{self._sid}{self._dialled}")
        await path.open(self._line.address.reachable(verb.url), headers)
        return path

    async def _run(self, verb: Stream, path: MediaPath, stream_sid: str) -> None:
        """The stream from `start` to its end."""
        opened_s = self._log.now_s()
        sids = (stream_sid, self._sid, self._line.account_sid)
        position = self._frames * FRAME_SAMPLES
        stream = MediaStream(sids, self._log.origin, self._clock.now(), position, self._line.faults, self._log.warn)
        closed = SocketClosed(NO_CLOSE_FRAME, "given up")
        self._path = path
        try:
            closed = await path.run(stream, dict(verb.parameters))
        finally:
            self._path = None
            self.runs.append(tuple(stream.playout.runs))
            self.streams.append(self._report(verb, path, stream, closed, opened_s))
        self._log.note_verb(f"stream ended: {self.streams[-1].closed_by}, {closed.code} {closed.reason}".rstrip())

    def _closed_by(self, path: MediaPath, closed: SocketClosed) -> str:
        if path.hung_up:
            return "caller"
        if self._update.done():
            return "carrier"
        return "network" if closed.code == NO_CLOSE_FRAME else "agent"

    def _report(
        self, verb: Stream, path: MediaPath, stream: MediaStream, closed: SocketClosed, opened_s: float
    ) -> StreamReport:
        traffic = stream.traffic
        return StreamReport(
            stream_sid=stream.sid,
            url=verb.url,
            opened_s=opened_s,
            closed_s=self._log.now_s(),
            closed_by=self._closed_by(path, closed),
            close_code=closed.code,
            close_reason=closed.reason,
            frames_sent=traffic.frames_sent,
            media_received=traffic.media_received,
            heard_s=seconds(sum(run.end - run.start for run in stream.playout.runs)),
            unplayed_s=seconds(stream.playout.waiting_samples),
            clears=traffic.clears,
            foreign_stream=traffic.foreign_stream,
            marks=tuple(traffic.marks),
        )
