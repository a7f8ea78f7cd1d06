"""One call between a library that may be anywhere and an application that may ask anything, any time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.carrier import DigitPressed
from telephony.clock import LoopClock
from telephony.sip.call import Call
from telephony.sip.contracts import Direction
from telephony.sip.errors import CallRefused, CommandFailed
from telephony.sip.events import (
    CallAnswered,
    CallEnded,
    CallEvent,
    CallHeld,
    CallProgressed,
    CallResumed,
    Cause,
    MediaOpened,
    MediaStatistics,
    Party,
    TransferEnded,
    TransferProgressed,
)
from telephony.sip.leg import Ring, SipLeg
from telephony.sip.quality import StreamCounts
from telephony.sip.signals import (
    CallSignal,
    DialogState,
    DigitSignalled,
    MediaSignalled,
    MediaState,
    StateSignalled,
    StreamEnded,
    TransferSignalled,
)
from tests.legs import listening
from tests.telephony.sip.doubles import ToyDialog, ToyRing
from tests.virtual import run

T = TypeVar("T")


class Owner:
    """The endpoint, as a call sees it."""

    media_timeout_s = 60.0
    slow_s = 0.0
    """How long the library takes for a command."""

    def __init__(self) -> None:
        self.ended: list[Call] = []

    def carry_out(self, command: Callable[[], T]) -> "asyncio.Future[T]":
        """At once, but told of as late as the library's thread would, where that is slow."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self.slow_s:
            asyncio.get_running_loop().call_later(self.slow_s, self._carry_out, command, done)
        else:
            self._carry_out(command, done)
        return done

    @staticmethod
    def _carry_out(command: Callable[[], T], done: "asyncio.Future[T]") -> None:
        try:
            done.set_result(command())
        except CommandFailed as failure:
            done.set_exception(failure)

    def open_leg(self, ring: Ring, key: int) -> SipLeg:
        return SipLeg(ring, LoopClock())

    def transfer_uri(self, trunk: str, target: str) -> str:
        if " " in target:
            raise CallRefused(target)
        return f"sip:{target}@{trunk}"

    def call_ended(self, call: Call) -> None:
        self.ended.append(call)


class Scene:
    """A call, its two sides, and what the application was told."""

    def __init__(self, direction: Direction) -> None:
        self.dialog = ToyDialog()
        self.owner = Owner()
        self.call = Call(self.owner, self.dialog, "t", direction, Party("sip:1@x", "1"))

    def signal(self, *signals: CallSignal) -> None:
        for signal in signals:
            self.call.signalled(signal)

    def told(self) -> list[CallEvent]:
        """Everything that the application was told since the last time."""
        inbox = self.call._inbox
        events = []
        while len(inbox):
            events.append(inbox._items.popleft())
        return events

    def ends(self, status: int = 200, message: str = "") -> CallEnded:
        """The library says that it is over; what the application is told of it."""
        self.signal(state(DialogState.DISCONNECTED, status, message=message))
        last = self.told()[-1]
        assert isinstance(last, CallEnded)
        return last


def state(to: DialogState, status: int = 0, reason: str = "", message: str = "") -> StateSignalled:
    return StateSignalled(to, status, reason, "c-1", message)


ACTIVE = MediaSignalled(MediaState.ACTIVE, ToyRing(), 1)
HELD = MediaSignalled(MediaState.HELD_BY_PEER, ToyRing(), 1)
CONFIRMED = state(DialogState.CONFIRMED, 200)


def act(direction: Direction, play: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        scene = Scene(direction)
        await play(scene)
        scene.call.fail(Cause())

    run(main())


def test_an_inbound_call_is_answered_and_hung_up_by_the_caller() -> None:
    async def play(scene: Scene) -> None:
        scene.call.answer({"X-Session": "7"})
        scene.signal(ACTIVE, state(DialogState.CONNECTING, 200), CONFIRMED)
        opened, answered = scene.told()
        assert isinstance(opened, MediaOpened) and not opened.early
        assert answered == CallAnswered() and scene.call.call_id == "c-1"
        assert scene.dialog.told == [("answer", 200, {"X-Session": "7"})]
        scene.signal(StreamEnded(StreamCounts("PCMU", received=50, sent=50)))
        ended = scene.ends(message="BYE x SIP/2.0\r\nReason: Q.850;cause=16\r\n\r\n")
        assert (ended.cause, ended.by_peer) == (Cause(0, 16), True)
        assert ended.statistics.packets_received == 50
        assert opened.leg.closed and scene.owner.ended == [scene.call]  # type: ignore[attr-defined]
        assert [event async for event in scene.call] == []

    act(Direction.INBOUND, play)


def test_a_call_keeps_the_name_that_its_invitation_had() -> None:
    async def play(scene: Scene) -> None:
        scene.call.call_id = "known"
        scene.signal(CONFIRMED)
        assert scene.call.call_id == "known"

    act(Direction.INBOUND, play)


def test_early_media_comes_before_the_answer_and_says_so() -> None:
    async def play(scene: Scene) -> None:
        scene.call.open_early_media()
        scene.signal(state(DialogState.EARLY, 183), ACTIVE)
        (opened,) = scene.told()
        assert isinstance(opened, MediaOpened) and opened.early
        scene.call.answer()
        scene.signal(ACTIVE, CONFIRMED)
        assert scene.told() == [CallAnswered()]

    act(Direction.INBOUND, play)


def test_an_offer_that_nobody_decides_on_is_refused() -> None:
    async def play(scene: Scene) -> None:
        scene.call.decide_within(10)
        await asyncio.sleep(9.9)
        assert scene.dialog.told == []
        await asyncio.sleep(0.2)
        assert scene.dialog.told == [("hang up", 500, {})]

    act(Direction.INBOUND, play)


@pytest.mark.parametrize("decide", [Call.ring, Call.answer, Call.open_early_media])
def test_a_decision_ends_the_wait_for_one(decide: Callable[[Call], None]) -> None:
    async def play(scene: Scene) -> None:
        scene.call.decide_within(10)
        decide(scene.call)
        await asyncio.sleep(20)
        assert len(scene.dialog.told) == 1

    act(Direction.INBOUND, play)


def test_a_refusal_says_what_the_application_says() -> None:
    async def play(scene: Scene) -> None:
        with pytest.raises(CallRefused):
            scene.call.reject(Cause(200))
        scene.call.reject(Cause(486, 17, "busy"), {"Retry-After": "60"})
        assert scene.dialog.told == [("hang up", 486, {"Retry-After": "60", "Reason": 'Q.850;cause=17;text="busy"'})]
        ended = scene.ends(486)
        assert (ended.cause, ended.by_peer) == (Cause(486, 17, "busy"), False)

    act(Direction.INBOUND, play)


def test_an_outgoing_call_rings_and_is_answered() -> None:
    async def play(scene: Scene) -> None:
        scene.owner.media_timeout_s = 0.0
        scene.call.answer_within(60)
        scene.signal(state(DialogState.CALLING), state(DialogState.EARLY, 180, "Ringing"), ACTIVE, CONFIRMED)
        ringing, opened, answered = scene.told()
        assert (ringing, answered) == (CallProgressed(180, "Ringing"), CallAnswered())
        assert isinstance(opened, MediaOpened) and opened.early
        await asyncio.sleep(61)
        assert scene.dialog.told == []

    act(Direction.OUTBOUND, play)


def test_an_outgoing_call_that_is_not_answered_is_cancelled_with_a_reason() -> None:
    async def play(scene: Scene) -> None:
        scene.call.answer_within(5)
        scene.signal(state(DialogState.CALLING), state(DialogState.EARLY, 180))
        await asyncio.sleep(5.1)
        assert scene.dialog.told == [("hang up", 408, {"Reason": 'Q.850;cause=19;text="no answer"'})]
        ended = scene.ends(487)
        assert (ended.cause.status, ended.by_peer) == (408, False)

    act(Direction.OUTBOUND, play)


def test_a_refused_call_tells_the_peers_status_and_words() -> None:
    async def play(scene: Scene) -> None:
        scene.signal(
            state(DialogState.DISCONNECTED, 404, "No such number", "SIP/2.0 404 x\r\nReason: Q.850;cause=1\r\n")
        )
        assert scene.told() == [CallEnded(Cause(404, 1, "No such number"), True, MediaStatistics())]

    act(Direction.OUTBOUND, play)


def test_a_hang_up_before_the_invite_left_is_done_when_it_has() -> None:
    async def play(scene: Scene) -> None:
        scene.call.hang_up()
        scene.dialog.told.clear()  # nothing was there to hear it
        scene.call.dialled()
        assert scene.dialog.told == [("hang up", 0, {"Reason": "Q.850;cause=16"})]

    act(Direction.OUTBOUND, play)


def test_a_library_that_is_busy_is_asked_again_to_answer_and_to_hang_up() -> None:
    async def play(scene: Scene) -> None:
        scene.dialog.busy = 3
        scene.call.answer()
        assert scene.dialog.told == []
        await asyncio.sleep(2)
        assert scene.dialog.told == [("answer", 200, {})]
        scene.signal(CONFIRMED)
        scene.dialog.busy = 3
        scene.call.hang_up()
        await asyncio.sleep(2)
        assert scene.dialog.told[1:] == [("hang up", 0, {"Reason": "Q.850;cause=16"})]

    act(Direction.INBOUND, play)


def test_a_call_is_not_answered_late_that_is_to_end_or_has_ended() -> None:
    async def play(scene: Scene) -> None:
        scene.dialog.busy = 1
        scene.call.answer()
        scene.call.hang_up()
        await asyncio.sleep(2)
        assert [command for command, *_ in scene.dialog.told] == ["hang up"]

    async def gone(scene: Scene) -> None:
        scene.dialog.busy = 1
        scene.call.answer()
        scene.signal(state(DialogState.DISCONNECTED, 487))
        await asyncio.sleep(2)
        assert scene.dialog.told == []

    act(Direction.INBOUND, play)
    act(Direction.INBOUND, gone)


def test_commands_that_take_their_time_come_one_after_the_other() -> None:
    async def play(scene: Scene) -> None:
        scene.owner.slow_s = 10.0
        scene.call.answer()
        scene.call.hold()
        scene.call.resume()
        assert scene.dialog.told == []
        await asyncio.sleep(15)
        assert [command for command, *_ in scene.dialog.told] == ["answer"]
        await asyncio.sleep(20)
        assert [command for command, *_ in scene.dialog.told] == ["answer", "hold", "resume"]

    act(Direction.INBOUND, play)


def test_a_slow_library_that_turns_out_to_be_busy_is_asked_again() -> None:
    async def play(scene: Scene) -> None:
        scene.owner.slow_s, scene.dialog.busy = 2.0, 1
        scene.call.hang_up()
        await asyncio.sleep(5)
        assert [command for command, *_ in scene.dialog.told] == ["hang up"]

    async def overtaken(scene: Scene) -> None:
        scene.owner.slow_s, scene.dialog.busy = 2.0, 1
        scene.call.answer()
        scene.call.hang_up()
        await asyncio.sleep(10)
        assert [command for command, *_ in scene.dialog.told] == ["hang up"]

    act(Direction.INBOUND, play)
    act(Direction.INBOUND, overtaken)


def test_commands_that_wait_are_not_too_many() -> None:
    async def play(scene: Scene) -> None:
        scene.owner.slow_s = 1.0
        for _ in range(100):
            scene.call.press("1")
        await asyncio.sleep(200)
        assert len(scene.dialog.told) == 65

    act(Direction.INBOUND, play)


def test_an_end_does_not_wait_for_what_is_of_no_use_any_more() -> None:
    async def play(scene: Scene) -> None:
        scene.owner.slow_s = 10.0
        scene.call.hold()
        for _ in range(10):
            scene.call.press("1")
        scene.call.hang_up()
        scene.call.answer()  # too late
        await asyncio.sleep(100)
        assert [command for command, *_ in scene.dialog.told] == ["hold", "hang up"]

    act(Direction.INBOUND, play)


def test_a_transfer_that_could_not_be_sent_does_not_end_the_next_one() -> None:
    async def play(scene: Scene) -> None:
        scene.owner.slow_s, scene.dialog.refuses = 10.0, True
        scene.call.transfer("5502", within_s=2)
        await asyncio.sleep(5)
        scene.call.transfer("5503", within_s=30)
        await asyncio.sleep(6)  # the first has failed by now
        assert scene.told() == [TransferEnded(False, 408, "no outcome in time")]
        await asyncio.sleep(10)
        assert scene.told() == [TransferEnded(False, 481, "the call cannot be transferred now")]

    act(Direction.INBOUND, play)


def test_a_library_that_never_says_it_is_done_does_not_keep_the_call() -> None:
    async def play(scene: Scene) -> None:
        scene.signal(CONFIRMED)
        scene.dialog.refuses = True
        scene.call.hang_up()
        await asyncio.sleep(41)
        assert isinstance(scene.told()[-1], CallEnded)
        scene.signal(state(DialogState.DISCONNECTED))
        assert scene.told() == []

    act(Direction.INBOUND, play)


def test_the_peer_holds_and_resumes_and_our_own_hold_is_no_news() -> None:
    async def play(scene: Scene) -> None:
        scene.signal(ACTIVE, CONFIRMED)
        scene.told()
        scene.signal(HELD, HELD, ACTIVE, ACTIVE)
        assert scene.told() == [CallHeld(), CallResumed()]
        scene.call.hold()
        scene.signal(MediaSignalled(MediaState.HELD_BY_US, ToyRing(), 1))
        scene.call.resume()
        scene.signal(ACTIVE)
        assert scene.told() == [] and scene.dialog.told == [("hold",), ("resume",)]

    act(Direction.INBOUND, play)


def test_keys_go_both_ways() -> None:
    async def play(scene: Scene) -> None:
        scene.signal(DigitSignalled("1"))  # before there is a leg: nobody listens
        scene.signal(ACTIVE, CONFIRMED, DigitSignalled("5"))
        opened = scene.told()[0]
        assert isinstance(opened, MediaOpened)
        async with listening(opened.leg) as heard:
            assert await heard.next() == [DigitPressed("5")]
        scene.call.press("12#d")
        assert scene.dialog.told == [("press", "12#D")]
        for nonsense in ("", "x", "1 2"):
            with pytest.raises(CallRefused):
                scene.call.press(nonsense)

    act(Direction.INBOUND, play)


def test_a_transfer_tells_its_progress_and_one_outcome() -> None:
    async def play(scene: Scene) -> None:
        scene.signal(ACTIVE, CONFIRMED)
        scene.told()
        scene.call.transfer("5502")
        with pytest.raises(CallRefused):
            scene.call.transfer("5503")
        scene.signal(TransferSignalled(180, "Ringing", False), TransferSignalled(486, "Busy", True))
        scene.signal(TransferSignalled(200, "OK", True))  # a word too much
        assert scene.told() == [TransferProgressed(180, "Ringing"), TransferEnded(False, 486, "Busy")]
        scene.call.transfer("5503")
        assert scene.dialog.told == [("refer", "sip:5502@t", {}), ("refer", "sip:5503@t", {})]

    act(Direction.INBOUND, play)


@pytest.mark.parametrize(("accepted", "succeeded"), [(True, True), (False, False)])
def test_a_peer_that_takes_the_call_over_may_hang_up_without_a_word(accepted: bool, succeeded: bool) -> None:
    async def play(scene: Scene) -> None:
        scene.signal(ACTIVE, CONFIRMED)
        scene.call.transfer("5502")
        if accepted:
            scene.signal(TransferSignalled(100, "Trying", False))
        scene.told()
        scene.signal(state(DialogState.DISCONNECTED, 200))
        over, ended = scene.told()
        assert isinstance(over, TransferEnded) and over.succeeded is succeeded
        assert isinstance(ended, CallEnded)

    act(Direction.INBOUND, play)


def test_a_transfer_has_its_time() -> None:
    async def play(scene: Scene) -> None:
        scene.signal(ACTIVE, CONFIRMED)
        scene.told()
        scene.call.transfer("5502", within_s=2)
        await asyncio.sleep(2.1)
        assert scene.told() == [TransferEnded(False, 408, "no outcome in time")]

    act(Direction.INBOUND, play)


def test_a_transfer_the_library_cannot_send_fails_at_once() -> None:
    async def play(scene: Scene) -> None:
        scene.dialog.refuses = True
        scene.call.transfer("5502")
        assert scene.told() == [TransferEnded(False, 481, "the call cannot be transferred now")]

    act(Direction.INBOUND, play)


def test_an_attended_transfer_names_the_other_dialog() -> None:
    async def play(scene: Scene) -> None:
        other = Scene(Direction.OUTBOUND)
        scene.call.transfer_to(other.call)
        assert scene.dialog.told == [("refer to", other.dialog)]
        other.call.fail(Cause())

    act(Direction.INBOUND, play)


def test_a_call_without_a_packet_for_a_minute_is_over() -> None:
    async def play(scene: Scene) -> None:
        scene.signal(ACTIVE, CONFIRMED)
        for _ in range(20):  # packets come
            scene.dialog.received += 50
            await asyncio.sleep(5)
        scene.signal(HELD)
        await asyncio.sleep(600)  # on hold nothing has to come
        scene.signal(ACTIVE)
        await asyncio.sleep(50)
        assert scene.dialog.told == []
        await asyncio.sleep(30)
        assert scene.dialog.told == [("hang up", 0, {"Reason": 'Q.850;cause=102;text="no media"'})]

    act(Direction.INBOUND, play)


COMMANDS: list[Callable[[Call], None]] = [
    Call.ring,
    Call.open_early_media,
    Call.answer,
    Call.hang_up,
    Call.hold,
    Call.resume,
    lambda call: call.press("1"),
    lambda call: call.reject(Cause(486)),
]
SIGNALS: list[CallSignal] = [
    *(state(to, 200) for to in DialogState),
    ACTIVE,
    HELD,
    MediaSignalled(MediaState.NONE, None, 0),
    DigitSignalled("1"),
    TransferSignalled(200, "OK", True),
    StreamEnded(StreamCounts("PCMU")),
]


@given(
    st.sampled_from(Direction),
    st.lists(st.one_of(st.sampled_from(COMMANDS), st.sampled_from(SIGNALS), st.just(None)), max_size=30),
)
def test_whatever_happens_a_call_ends_exactly_once_and_last(direction: Direction, happenings: list[Any]) -> None:
    async def play(scene: Scene) -> None:
        for happening in happenings:
            if happening is None:
                scene.dialog.refuses = not scene.dialog.refuses
            elif callable(happening):
                happening(scene.call)
            else:
                scene.signal(happening)
        scene.signal(state(DialogState.DISCONNECTED, 200))
        events = scene.told()
        assert [isinstance(event, CallEnded) for event in events] == [False] * (len(events) - 1) + [True]
        assert sum(isinstance(event, CallAnswered) for event in events) <= 1
        assert sum(isinstance(event, MediaOpened) for event in events) <= 1
        assert scene.owner.ended == [scene.call]

    act(direction, play)
