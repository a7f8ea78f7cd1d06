"""A line: one SIP call and the session that it belongs to. It tells the session what happens, from first to last."""

import asyncio

import structlog

from app.conversation.services import Services
from app.conversation.session import CallSession
from app.sip import causes
from app.sip.announcement import announce, ignore
from app.sip.far_end import SipFarEnd
from telephony.leg import Leg
from telephony.sip.contracts import SipCall
from telephony.sip.events import (
    CallAnswered,
    CallEnded,
    CallEvent,
    CallHeld,
    CallProgressed,
    CallResumed,
    MediaOpened,
)
from telephony.tasks import TaskGroup

log = structlog.get_logger()


class Line:
    """`serve` is its life. Sound is handed to the session once both sides are there, never before the answer."""

    def __init__(
        self,
        call: SipCall,
        session: CallSession,
        far_end: SipFarEnd,
        services: Services,
        *,
        announcing: bool = False,
        leg: Leg | None = None,
    ) -> None:
        """`announcing`: what is to be said before the answer is said over early media. `leg`: of a call that is
        answered already."""
        self.session = session
        self._call = call
        self._far_end = far_end
        self._services = services
        self._announcing = announcing
        self._leg = leg
        self._before_answer: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Tell the session what happens, until the call is over. Raises nothing: a bug ends this call alone."""
        session = self.session
        structlog.contextvars.bind_contextvars(call_id=session.call_id)
        try:
            await session.running.wait()
            async with TaskGroup() as tasks:
                if self._leg is not None:
                    self._established()
                async for event in self._call:
                    self._far_end.take(event)
                    self._tell(event, tasks)
                if self._before_answer is not None:
                    self._before_answer.cancel()
        except Exception:
            self._services.counters.count("calls_crashed")
            log.exception("SIP call crashed")
            session.end(session.CRASHED)
            self._call.hang_up(causes.ours(session.CRASHED))

    def _tell(self, event: CallEvent, tasks: TaskGroup) -> None:
        session = self.session
        match event:
            case CallProgressed(status, reason):
                session.progressed(f"{status} {reason}".strip())
            case MediaOpened(leg, early):
                self._leg = leg
                if not early:
                    self._established()
                elif self._announcing:
                    self._before_answer = tasks.create_task(self._announce(leg))
                else:
                    self._before_answer = tasks.create_task(ignore(leg))
            case CallAnswered():
                self._established()
            case CallHeld():
                session.hold(True)
            case CallResumed():
                session.hold(False)
            case CallEnded(cause):
                if self._far_end.handed_over:
                    session.end("transferred")
                session.caller_gone(causes.words(cause))
            case _:  # a transfer's: the far end has taken it
                pass

    async def _announce(self, leg: Leg) -> None:
        manners = self._services.manners
        phrase = self._services.phrasebook.phrase(manners.announcement, leg.audio)
        await announce(leg, phrase, self._services.clock, manners.lead_ms)
        self._call.answer()
        self._before_answer = None
        self._established()

    def _established(self) -> None:
        """Both sides are there: the conversation begins, once there is sound too."""
        self.session.answered()
        if self._before_answer is not None:
            self._before_answer.cancel()
            self._before_answer = None
        if self._leg is not None:
            leg, self._leg = self._leg, None
            self.session.attach(leg, self._call.call_id)
