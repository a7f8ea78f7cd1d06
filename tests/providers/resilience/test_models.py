"""Several models as one: the caller waits little, hears every sentence once, and no tool is called twice."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.base import AgentMessage, ReplyEvent, ReplyRequest, TextDelta, ToolCall, ToolResult
from providers.errors import (
    ProviderError,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimedOut,
    ProviderUnavailable,
)
from providers.scripted import Fault, ScriptedLanguageModel
from tests.providers.resilience.scripts import ASKED, CLOCK, Gauges, Reply, ask, models
from tests.virtual import run

TEXT = "We are open on Monday. On Tuesday we are open as well, from nine in the morning. Never on Sunday."
WORDS = TEXT.split()
HANGS = None
GARBAGE = ProviderMalformed("one", "garbage")
HEALTHY_S = 0.3


def gone(name: str = "one") -> ProviderError:
    return ProviderUnavailable(name, "gone")


@dataclass
class Careful(ScriptedLanguageModel):
    """Says `TEXT`, and goes on where it is told that the line broke, with what is missing of it."""

    name: str = "one"
    closed: int = 0

    def __post_init__(self) -> None:
        self.answer = self._answer

    @staticmethod
    def _answer(request: ReplyRequest) -> str:
        said = request.messages[-2].text if len(request.messages) > 1 else ""
        return " ".join(WORDS[len(said.split()) :])

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyEvent, None]:
        try:
            async for event in super().reply(request):
                yield event
        finally:
            self.closed += 1


class Forgetful(Careful):
    """Begins anew, whatever it is told."""

    @staticmethod
    def _answer(request: ReplyRequest) -> str:
        return TEXT


def model(name: str = "one", fault: Fault | None = None, *, kind: type[Careful] = Careful, **knobs: Any) -> Careful:
    return kind(CLOCK, name=name, faults={1: fault} if fault else {}, **knobs)


def replied(*members: ScriptedLanguageModel, gauges: Gauges | None = None, request: ReplyRequest = ASKED) -> Reply:
    async def scene() -> Reply:
        async with models(*members, gauges=gauges) as chain:
            return await ask(chain, request)

    return run(scene())


def test_a_healthy_model_is_heard_as_it_speaks() -> None:
    reply = replied(model())
    assert reply.text == TEXT
    assert reply.times[0] == pytest.approx(HEALTHY_S)
    assert not reply.switches
    assert reply.completed is not None and reply.completed.provider == "one"


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize(
    "error",
    [
        gone(),
        ProviderMalformed("one", "garbage"),
        ProviderTimedOut("one", "connect", 1.0),
        ProviderRateLimited("one", "full"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("after", [0, 1, 7, len(WORDS)])
def test_a_model_that_breaks_is_gone_on_with(after: int, error: ProviderError, others: int) -> None:
    """By another one, or if there is none by itself."""
    first, second = model(fault=Fault(after, error)), model("two")
    reply = replied(first, *[second][:others])
    assert reply.text.split() == WORDS
    assert [switched.error for switched in reply.switches] == [error]
    assert reply.longest_wait_s < 1.5 + HEALTHY_S


def speechless(name: str = "one") -> ScriptedLanguageModel:
    """Has nothing to say at first, and is done with it."""
    model = ScriptedLanguageModel(CLOCK, name=name)
    model.answer = lambda _: "" if model.asked == 1 else TEXT
    return model


@pytest.mark.parametrize("others", [0, 1])
def test_a_reply_without_a_word_is_none(others: int) -> None:
    reply = replied(speechless(), *[model("two")][:others])
    assert reply.text == TEXT
    (switched,) = reply.switches
    assert isinstance(switched.error, ProviderMalformed)
    assert switched.successor == ("two" if others else "one")
    assert reply.longest_wait_s < 1.5 + HEALTHY_S


def test_a_model_has_nothing_to_add_to_what_a_tool_returned() -> None:
    call = ToolCall("1", "look", {})
    messages = (*ASKED.messages, AgentMessage("Let me see.", tool_calls=(call,)), ToolResult("1", "it is done"))
    reply = replied(speechless(), request=ReplyRequest(messages))
    assert (reply.text, reply.switches) == ("", [])
    assert reply.completed is not None


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("after", [0, 1, 7, len(WORDS)])
def test_a_model_that_stalls_is_gone_on_with(after: int, others: int) -> None:
    gauges = Gauges()
    reply = replied(model(fault=Fault(after, HANGS)), *[model("two")][:others], gauges=gauges)
    assert reply.text.split() == WORDS
    (switched,) = reply.switches
    assert isinstance(switched.error, ProviderTimedOut)
    assert switched.error.stage == ("gap" if after else "first_result")
    assert reply.longest_wait_s <= 1.5 + HEALTHY_S
    assert gauges.total("provider_hedges") == 1


def test_a_slow_model_may_still_win_and_the_other_is_closed() -> None:
    slow, hedge, gauges = model(first_token_s=1.3), model("two"), Gauges()
    reply = replied(slow, hedge, gauges=gauges)
    assert reply.text == TEXT
    assert not reply.switches
    assert reply.times[0] == pytest.approx(1.3)
    assert hedge.asked == hedge.closed == 1
    assert gauges.counted["provider_hedges", "llm", "two", "lost"] == 1


def test_the_slow_one_is_closed_when_the_other_wins() -> None:
    slow, hedge = model(first_token_s=5.0), model("two")
    reply = replied(slow, hedge)
    assert reply.times[0] == pytest.approx(1.2 + HEALTHY_S)
    assert slow.closed == 1
    assert reply.completed is not None and reply.completed.provider == "two"


@pytest.mark.parametrize("of_request", [False, True])
def test_a_refused_request_goes_to_another_and_never_back(of_request: bool) -> None:
    first, no = model(), ProviderRejected("one", "no", of_request=of_request)
    first.faults = {1: Fault(0, no)}
    assert replied(first, model("two", fault=Fault(7, gone("two")))).text == TEXT
    assert first.asked == 1
    lonely = model(fault=Fault(0, no))
    with pytest.raises(ProviderRejected):
        replied(lonely)
    assert lonely.asked == 1


def test_a_full_vendor_is_asked_again_when_it_said_if_there_is_time() -> None:
    lonely = model(fault=Fault(0, ProviderRateLimited("one", "full", retry_after_s=2.0)))
    assert 2.0 + HEALTHY_S < replied(lonely).times[0] < 2.5
    lonely = model(fault=Fault(0, ProviderRateLimited("one", "full", retry_after_s=20.0)))
    with pytest.raises(ProviderRateLimited):
        replied(lonely)


def test_what_nobody_can_answer_fails_in_time() -> None:
    async def scene() -> None:
        first, second = model(), model("two")
        first.faults = second.faults = {n: Fault(0, HANGS) for n in range(1, 99)}
        async with models(first, second) as chain:
            began = CLOCK.now()
            with pytest.raises(ProviderTimedOut):
                await ask(chain)
            assert CLOCK.now() - began < 6.5
        assert first.closed == first.asked
        assert second.closed == second.asked

    run(scene())


@pytest.mark.parametrize("kind", [Careful, Forgetful])
@given(cuts=st.lists(st.integers(0, 12), max_size=4), hang=st.integers(0, 3))
def test_no_word_is_lost_or_doubled_wherever_it_breaks(kind: type[Careful], cuts: list[int], hang: int) -> None:
    first, second = model(kind=kind), model("two", kind=kind)
    for number, cut in enumerate(cuts):
        member = (first, second)[number % 2]
        member.faults[number // 2 + 1] = Fault(cut, HANGS if number == hang else gone())
    assert replied(first, second).text.split() == WORDS


def test_an_unfinished_word_is_withdrawn() -> None:
    def broken(request: ReplyRequest) -> Sequence[ReplyEvent]:
        return [TextDelta("We are open on Mon")]

    first = ScriptedLanguageModel(CLOCK, answer=broken, faults={1: Fault(1, GARBAGE)}, name="one")
    reply = replied(first, model("two"))
    assert reply.text.split() == WORDS
    assert reply.switches[0].withdrawn == "Mon"


def test_the_next_model_is_told_what_was_said() -> None:
    second = model("two")
    replied(model(fault=Fault(7, GARBAGE)), second)
    told = second.requests[0].messages
    assert told[: len(ASKED.messages)] == ASKED.messages
    assert told[len(ASKED.messages)] == AgentMessage("We are open on Monday. On")


@dataclass
class WithTool(ScriptedLanguageModel):
    """Says something and asks for a tool."""

    said: list[ReplyEvent] = field(default_factory=lambda: [TextDelta("I look. "), ToolCall("c1", "find", {})])

    def __post_init__(self) -> None:
        self.answer = lambda request: self.said


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_tool_is_called_once_whatever_breaks(after: int) -> None:
    first = WithTool(CLOCK, name="one", faults={1: Fault(after, gone())})
    second = WithTool(CLOCK, name="two")
    reply = replied(first, second)
    assert reply.calls == [ToolCall("c1", "find", {})]
    assert reply.text == "I look. "


class Whole(Careful):
    """Cannot go on with another's words."""

    continues = False


def test_a_reply_that_nobody_can_finish_ends_behind_a_sentence() -> None:
    reply = replied(model(fault=Fault(18, ProviderRejected("one", "no"))), Whole(CLOCK, name="two"))
    assert reply.text.strip() == TEXT.removesuffix(" Never on Sunday.")
    assert reply.completed is not None and reply.completed.stop_reason == "broken_off"
    assert [(switched.successor, switched.withdrawn) for switched in reply.switches] == [("", "Never")]


def test_a_reply_of_which_next_to_nothing_was_said_fails() -> None:
    with pytest.raises(ProviderRejected):
        replied(model(fault=Fault(6, ProviderRejected("one", "no"))), Whole(CLOCK, name="two"))


def test_a_model_that_cannot_go_on_gives_the_whole_reply_if_nothing_was_said() -> None:
    assert replied(model(fault=Fault(0, gone())), Whole(CLOCK, name="two")).text == TEXT


def test_a_sick_model_is_left_alone_and_probed_and_taken_back() -> None:
    async def scene() -> None:
        first, second, gauges = model(), model("two"), Gauges()
        first.faults = {n: Fault(0, gone()) for n in range(1, 4)}
        async with models(first, second, gauges=gauges) as chain:
            for _ in range(3):
                assert (await ask(chain)).text == TEXT
            assert chain.roster.health() == {"one": "open", "two": "closed"}
            assert gauges.levels["provider_breaker", "llm", "one"] == 2
            assert (await ask(chain)).completed.provider == "two"  # type: ignore[union-attr]
            assert first.asked == 3
            await CLOCK.sleep_until(CLOCK.now() + 5.0)
            assert chain.roster.health()["one"] == "half_open"
            assert (await ask(chain)).completed.provider == "one"  # type: ignore[union-attr]
            assert chain.roster.health() == {"one": "closed", "two": "closed"}

    run(scene())


def test_what_one_request_is_refused_for_says_nothing_of_others() -> None:
    async def scene() -> None:
        first, second, gauges = model(), model("two"), Gauges()
        first.faults = {n: Fault(7, ProviderRejected("one", "refusal", of_request=True)) for n in range(1, 6)}
        async with models(first, second, gauges=gauges) as chain:
            for _ in range(5):
                assert (await ask(chain)).completed.provider == "two"  # type: ignore[union-attr]
            assert first.asked == gauges.total("provider_failures") == 5
            assert chain.roster.health()["one"] == "closed"
            assert (await ask(chain)).completed.provider == "one"  # type: ignore[union-attr]

    run(scene())


def test_a_probe_whose_request_is_refused_leaves_the_place_to_another() -> None:
    async def scene() -> None:
        first = model()
        first.faults = {n: Fault(0, gone()) for n in range(1, 4)}
        first.faults[4] = Fault(0, ProviderRejected("one", "refusal", of_request=True))
        async with models(first, model("two")) as chain:
            for _ in range(3):
                await ask(chain)
            await CLOCK.sleep_until(CLOCK.now() + 5.0)
            assert (await ask(chain)).completed.provider == "two"  # type: ignore[union-attr]
            assert chain.roster.health()["one"] == "half_open"
            assert (await ask(chain)).completed.provider == "one"  # type: ignore[union-attr]
            assert chain.roster.health()["one"] == "closed"

    run(scene())


def test_when_all_are_sick_the_least_bad_is_asked() -> None:
    async def scene() -> None:
        first, second = model(), model("two")
        first.faults = {n: Fault(0, gone()) for n in range(1, 9)}
        second.faults = {n: Fault(0, gone("two")) for n in range(1, 9)}
        async with models(first, second) as chain:
            while set(chain.roster.health().values()) != {"open"}:
                with pytest.raises(ProviderUnavailable):
                    await ask(chain)
            first.faults, second.faults = {}, {}
            assert (await ask(chain)).text == TEXT

    run(scene())


def test_a_closed_reply_closes_every_attempt() -> None:
    async def scene() -> None:
        first, second = model(first_token_s=9.0), model("two", first_token_s=9.0)
        async with models(first, second) as chain:
            waiting = asyncio.ensure_future(ask(chain))
            await CLOCK.sleep_until(CLOCK.now() + 2.0)
            assert (first.asked, second.asked) == (1, 1)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert (first.closed, second.closed) == (1, 1)
            assert chain.roster.health() == {"one": "closed", "two": "closed"}

    run(scene())


def test_a_bug_in_an_adapter_is_no_vendor_failure() -> None:
    def broken(request: ReplyRequest) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        replied(ScriptedLanguageModel(CLOCK, answer=broken, name="one"), model("two"))
