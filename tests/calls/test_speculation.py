"""Replies that are begun before the caller's turn is confirmed: sooner if they were right, unheard of if not."""

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from app.calls.journal import AnomalyHeard, JournalEvent, ReplyStarted, SpeculationMeasured, TurnMeasured, UsageCounted
from app.conversation.ear import Hint
from app.conversation.speculation import Depth, SpeculationSettings
from app.conversation.state import Floor
from app.conversation.tools import Toolbox, tool
from providers.base import CallerMessage, ReplyEvent, ReplyRequest, TextDelta, ToolCall, ToolResult
from providers.errors import ProviderUnavailable
from providers.scripted import Fault
from tests.calls.world import Call, World
from tests.doubles import NOISE
from tests.virtual import run

OFF = SpeculationSettings(depth=Depth.OFF)
EAGER = SpeculationSettings(depth=Depth.SPEECH, least=Hint.STABLE, apart_s=0.1, most_per_turn=20, most_per_minute=200)
TEXTS = ("please book a table", "what are your opening hours", "cancel everything today", "nothing else")
LONG = "Certainly. Tomorrow everything remains available throughout afternoon opening intervals, including weekends."


def words_of(request: ReplyRequest) -> str:
    last = request.messages[-1] if request.messages else None
    return last.text if isinstance(last, CallerMessage) else ""


def answers(request: ReplyRequest) -> str | list[ReplyEvent]:
    last = request.messages[-1] if request.messages else None
    if isinstance(last, ToolResult):
        return f"Reservation completed, confirmation {last.content}."
    if "book" in words_of(request):
        return [TextDelta("Certainly, "), TextDelta("gladly. "), ToolCall(f"c{len(request.messages)}", "book", {})]
    return f"{LONG} Understood: {words_of(request)}."


def world(speculation: SpeculationSettings, booked: list[float] | None = None) -> World:
    made = World(texts=TEXTS).with_manners(speculation=speculation, greeting="Hello.")

    @tool
    async def book() -> str:
        """Book."""
        await asyncio.sleep(0.2)
        if booked is not None:
            booked.append(made.clock.now())
        return "done"

    made.toolbox = Toolbox([book])
    made.llm.answer = answers
    return made


def onset_s(speculation: SpeculationSettings) -> float:
    async def scene() -> float:
        async with world(speculation).call() as call:
            await call.greeting()
            call.line.speak(1.6)
            await call.until_heard_out()
            return call.events(TurnMeasured)[-1].onset_s or 0.0

    return run(scene())


@pytest.mark.parametrize(("depth", "sooner_s"), [(Depth.TEXT, 0.3), (Depth.SPEECH, 0.4)])
def test_a_reply_that_was_begun_on_the_right_words_is_heard_sooner(depth: Depth, sooner_s: float) -> None:
    early = SpeculationSettings(depth=depth, least=Hint.PAUSE)
    assert onset_s(early) <= onset_s(OFF) - sooner_s


def test_wrong_words_cost_what_is_counted_and_leave_no_other_trace() -> None:
    async def scene() -> None:
        scenery = world(EAGER)
        async with scenery.call() as call:
            await call.greeting()
            call.line.speak(1.0)  # its partials are beginnings of what the recogniser says in the end
            await call.until_heard_out()
            begun = scenery.llm.asked
        cost = call.events(SpeculationMeasured)[0]
        assert cost.started == begun - 2 + cost.used  # beside them: the answer, and the one to the tool's result
        assert cost.discarded == cost.started - cost.used > 0
        counted = scenery.metrics.exposition().decode()
        assert f'sidetone_speculations_total{{outcome="discarded"}} {cost.discarded:.1f}' in counted
        assert len(call.events(ReplyStarted)) == 2

    run(scene())


def test_a_tool_runs_when_the_turn_is_confirmed_and_not_before() -> None:
    booked: list[float] = []

    async def scene() -> None:
        scenery = world(EAGER, booked)
        scenery.stt.finalize_s = 0.7  # the draft has asked for its tool long before
        async with scenery.call() as call:
            await call.greeting()
            call.line.speak(1.6)
            await call.until(lambda: bool(call.said))
            assert not booked
            await call.until_heard_out()
            assert len(booked) == 1
            assert "done" in call.replies[-1][1]

    run(scene())


def test_a_draft_that_fails_is_no_failure_of_the_reply() -> None:
    async def scene() -> None:
        scenery = world(SpeculationSettings(depth=Depth.SPEECH, least=Hint.PAUSE))
        scenery.llm.faults = {1: Fault(0, ProviderUnavailable("scripted", "busy"))}
        async with scenery.call() as call:
            await call.greeting()
            call.line.speak(1.6)
            await call.until_heard_out()
            assert call.replies[-1][0] == "completed"
            assert not [event for event in call.session.record.journal.events if "Failed" in type(event).__name__]

    run(scene())


def test_a_voice_that_fails_behind_the_gate_is_asked_again() -> None:
    async def scene() -> None:
        scenery = world(SpeculationSettings(depth=Depth.SPEECH, least=Hint.PAUSE))
        scenery.stt.finalize_s = 0.7
        scenery.tts.faults = {2: Fault(1, ProviderUnavailable("scripted", "busy"))}
        async with scenery.call() as call:
            await call.greeting()
            call.line.speak(1.6)
            await call.until_heard_out()
            reason, heard = call.replies[-1]
            assert reason == "completed"
            assert heard.startswith("Certainly, gladly.")

    run(scene())


def test_drafts_are_bounded_in_a_turn_and_in_a_minute() -> None:
    async def scene(bounds: SpeculationSettings) -> int:
        scenery = world(bounds)
        async with scenery.call() as call:
            await call.greeting()
            for _ in range(3):
                call.line.speak(1.6)
                await call.until_heard_out()
        return call.events(SpeculationMeasured)[0].started

    loose = run(scene(EAGER))
    assert run(scene(SpeculationSettings(Depth.TEXT, Hint.STABLE, most_per_turn=2, most_per_minute=99))) <= 6 < loose
    assert run(scene(SpeculationSettings(Depth.TEXT, Hint.STABLE, most_per_turn=9, most_per_minute=4))) == 4


# The same call with speculation and without


@dataclass(frozen=True)
class Step:
    """Something that the caller does, at a moment that does not depend on how soon he is answered."""

    kind: str
    size: int

    async def act(self, call: Call) -> None:
        line = call.line
        match self.kind:
            case "speak":
                line.speak(0.9 + 0.3 * self.size)
            case "hesitate":
                line.speak(0.7 + 0.1 * self.size)
                await call.wait(1.0 + 0.1 * self.size)
                line.speak(0.7)
            case "key":
                for key in "42"[: 1 + self.size % 2]:
                    line.press(key)
            case "speak and key":
                line.speak(1.0)
                await call.wait(0.475 + 0.25 * (self.size % 3))  # halfway between two partials, whatever the pace
                line.press("7")
            case "cough":
                line.speak(0.16, NOISE)
                await call.wait(1.0)
                line.speak(1.2)
            case "lose the line":
                line.speak(1.2)
                await call.wait(0.4 + 0.3 * self.size)
                line.drop()
                await call.wait(1.0)
                call.connect()
            case "interrupt":
                line.speak(1.2)
                await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
                await call.until(lambda: len(heard_now(call)) > self.size)
                call.line.speak(1.2)
        await settled(call)


def heard_now(call: Call) -> tuple[str, ...]:
    return call.session._agent.mouth.ledger.peek(call.world.clock.now()).words


async def settled(call: Call) -> None:
    """Everybody is silent, and has been for a while."""
    quiet_since = call.world.clock.now()
    while call.world.clock.now() - quiet_since < 1.2:
        await asyncio.sleep(0.02)
        if call.session.state.floor is not Floor.LISTENING or call.session._agent.turn is not None:
            quiet_since = call.world.clock.now()


KINDS = ("speak", "hesitate", "key", "speak and key", "cough", "lose the line", "interrupt")
STEPS = st.lists(st.builds(Step, st.sampled_from(KINDS), st.integers(0, 4)), min_size=1, max_size=5)


_PACE = TurnMeasured | SpeculationMeasured | UsageCounted | AnomalyHeard
"""Times and costs; the anomaly is the tone that this caller's voice is, and when he sounds depends on the answers."""


def told(events: list[JournalEvent]) -> list[dict[str, Any]]:
    """What the journal says, apart from when, at which cost, and how far a reply was made that was cut short."""
    lasting = [event for event in events if not isinstance(event, _PACE)]
    plain = [msgspec.to_builtins(event) for event in lasting]
    for event in plain:
        del event["at"]
        event.pop("certainty", None)
        if event["kind"] == "reply_ended" and event["reason"] != "completed":
            del event["said"]
    return plain


def hasty(scenery: World) -> World:
    """A model fast enough to have said something before the recogniser changes its mind."""
    scenery.llm.first_token_s = scenery.tts.first_chunk_s = 0.05
    return scenery


def journal_of(steps: list[Step], speculation: SpeculationSettings) -> tuple[list[dict[str, Any]], int]:
    booked: list[float] = []

    async def scene() -> list[JournalEvent]:
        async with hasty(world(speculation, booked)).call() as call:
            await call.greeting()
            await settled(call)
            for step in steps:
                await step.act(call)
        return call.session.record.journal.events

    return told(run(scene())), len(booked)


@settings(max_examples=20, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(STEPS)
def test_a_call_is_the_same_with_speculation_and_without_but_for_its_pace(steps: list[Step]) -> None:
    assert journal_of(steps, EAGER) == journal_of(steps, OFF)


def test_the_conversations_compared_do_use_drafts_and_do_discard_some() -> None:
    async def scene() -> SpeculationMeasured:
        async with hasty(world(EAGER)).call() as call:
            await call.greeting()
            for kind in KINDS:
                await Step(kind, 2).act(call)
        return call.events(SpeculationMeasured)[0]

    cost = run(scene())
    assert cost.used >= 3
    assert cost.discarded >= 3
    assert cost.wasted_tokens > 0
    assert cost.wasted_characters > 0
