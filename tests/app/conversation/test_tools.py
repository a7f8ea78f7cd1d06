"""Tools: what the model sees of a function, and one result for every call, whatever happens."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import pydantic
import pytest

from app.conversation.results import encoded
from app.conversation.tools import MAX_LEFT_BEHIND, CallContext, Tool, Toolbox, ToolSetup, ToolSetupError, tool
from providers.base import ToolCall, ToolResult
from telephony.clock import LoopClock
from tests.virtual import run

CONTEXT = CallContext("CA1", "+15550100001", "+15550100002", {"plan": "gold"})


@tool
def add(first: int, second: int = 2) -> int:
    """Add two numbers."""
    return first + second


@tool
async def who_calls(context: CallContext, greeting: str) -> dict[str, str]:
    """Greet the caller."""
    return {"text": f"{greeting}, {context.caller}", "plan": context.variables["plan"]}


@tool(deadline_s=2.0)
async def slow() -> str:
    """Take too long."""
    await asyncio.sleep(60)
    return "never"


@tool
def broken() -> None:
    """Fail."""
    raise LookupError("no such day")


@tool
def leaves() -> None:
    """Try to end the process."""
    sys.exit("bye")


TOOLBOX = Toolbox([add, who_calls, slow, broken, leaves])


def result(name: str, **arguments: object) -> ToolResult:
    return run(TOOLBOX.run(ToolCall("1", name, arguments), CONTEXT))


def test_the_model_sees_name_docstring_and_typed_parameters() -> None:
    spec = add.spec
    assert (spec.name, spec.description) == ("add", "Add two numbers.")
    assert spec.parameters["properties"]["first"]["type"] == "integer"
    assert spec.parameters["properties"]["second"]["default"] == 2
    assert spec.parameters["required"] == ["first"]


def test_the_call_context_is_filled_in_and_stays_unseen() -> None:
    assert set(who_calls.spec.parameters["properties"]) == {"greeting"}
    assert result("who_calls", greeting="Hi") == ToolResult("1", '{"text":"Hi, +15550100001","plan":"gold"}')


def test_a_tools_value_is_told_as_json() -> None:
    assert result("add", first=1) == ToolResult("1", "3")
    assert result("add", first="4", second=5) == ToolResult("1", "9")


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("add", {"first": "many"}, "wrong arguments"),
        ("add", {}, "first"),
        ("broken", {}, "broken failed: no such day"),
        ("leaves", {}, "leaves failed: SystemExit('bye')"),
        ("nobody", {}, "there is no tool named nobody"),
        ("slow", {}, "slow took longer than 2 s, so it is not known whether it was done"),
    ],
)
def test_a_failure_is_a_result_too(name: str, arguments: dict[str, object], says: str) -> None:
    failed = result(name, **arguments)
    assert failed.failed and failed.call_id == "1"
    assert says in failed.content


# what it returns


class Slot(pydantic.BaseModel):
    day: str
    at: datetime


@dataclass
class Booking:
    slot: Slot
    price: Decimal


class Row:
    def __str__(self) -> str:
        return "row 7"


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("detached from its session")


AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Slot(day="Monday", at=AT), '{"day":"Monday","at":"2026-03-02T09:00:00Z"}'),
        (
            Booking(Slot(day="Monday", at=AT), Decimal("1.50")),
            '{"slot":{"day":"Monday","at":"2026-03-02T09:00:00Z"},"price":"1.50"}',
        ),
        ([Slot(day="Monday", at=AT)], '[{"day":"Monday","at":"2026-03-02T09:00:00Z"}]'),
        ({Decimal("1")}, '["1"]'),
        (AT, '"2026-03-02T09:00:00Z"'),
        (MappingProxyType({"a": Row()}), '{"a":"row 7"}'),
        (Row(), '"row 7"'),
        ({(1, 2): "a tuple as key"}, '{"(1, 2)":"a tuple as key"}'),
        ("half \ud83d", '"done, but the result cannot be told"'),
        (Broken(), '"done, but the result cannot be told"'),
        (None, "null"),
    ],
)
def test_what_was_done_is_told_whatever_its_value_looks_like(value: Any, told: str) -> None:
    @tool
    async def work() -> Any:
        """Work."""
        return value

    assert run(Toolbox([work]).run(ToolCall("1", "work", {}), CONTEXT)) == ToolResult("1", told)


def test_a_value_that_contains_itself_is_told_as_text() -> None:
    ring: list[Any] = []
    ring.append(ring)
    assert encoded(ring) == '"[[...]]"'


def test_a_function_that_turns_out_to_be_asynchronous_is_waited_for() -> None:
    @tool
    def disguised() -> Any:
        """Answer with a coroutine."""

        async def work() -> str:
            return "done"

        return work()

    assert run(Toolbox([disguised]).run(ToolCall("1", "disguised", {}), CONTEXT)) == ToolResult("1", '"done"')


# threads


class Hanging:
    """Two tools that are plain functions: one hangs, one does not."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.runs = 0

        @tool(deadline_s=0.2)
        def hang() -> str:
            """Hang until set free."""
            self.runs += 1
            self.free.wait()
            return "late"

        @tool(deadline_s=1.0)
        def quick() -> str:
            """Answer."""
            return "here"

        self.toolbox = Toolbox([hang, quick])

    async def ask(self, name: str) -> ToolResult:
        return await self.toolbox.run(ToolCall("1", name, {}), CONTEXT)

    async def hang(self, times: int) -> list[ToolResult]:
        """So many at the same time."""
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self.ask("hang")) for _ in range(times)]
        return [task.result() for task in asked]


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    tools = Hanging()
    yield tools
    tools.free.set()


def test_tools_that_hang_hold_up_no_others(hanging: Hanging) -> None:
    async def scene() -> None:
        given_up = await hanging.hang(40)
        assert all(result.failed and "took longer than 0.2 s" in result.content for result in given_up)
        assert hanging.runs == 40
        assert await hanging.ask("quick") == ToolResult("1", '"here"')
        async with asyncio.timeout(1.0):
            assert await asyncio.to_thread(lambda: "for whoever shares the loop's threads")

    asyncio.run(scene())


def test_a_tool_of_which_too_many_runs_hang_is_refused_until_they_are_over(hanging: Hanging) -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        await hanging.hang(MAX_LEFT_BEHIND - 1)
        assert "took longer" in (await hanging.ask("hang")).content
        began = loop.time()
        refused = await hanging.ask("hang")
        assert loop.time() - began < 0.1
        assert refused.failed and "not available right now" in refused.content
        assert hanging.runs == MAX_LEFT_BEHIND
        hanging.free.set()
        async with asyncio.timeout(5.0):
            while (result := await hanging.ask("hang")).failed:
                await asyncio.sleep(0.01)
        assert result == ToolResult("1", '"late"')

    asyncio.run(scene())


def test_runs_within_their_deadline_are_not_held_against_a_tool(hanging: Hanging) -> None:
    async def scene() -> None:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(hanging.ask("hang")) for _ in range(MAX_LEFT_BEHIND + 1)]
            await asyncio.sleep(0.05)
            hanging.free.set()
        assert {task.result() for task in asked} == {ToolResult("1", '"late"')}

    asyncio.run(scene())


def test_a_run_that_was_cancelled_counts_as_hanging_once_its_deadline_has_passed(hanging: Hanging) -> None:
    async def scene() -> None:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(hanging.ask("hang")) for _ in range(MAX_LEFT_BEHIND)]
            await asyncio.sleep(0.05)
            for task in asked:
                task.cancel()
        assert not hanging.toolbox.hangs("hang")
        await asyncio.sleep(0.25)
        assert hanging.toolbox.hangs("hang")

    asyncio.run(scene())


def test_a_tool_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    program = """
import asyncio, threading
from app.conversation.tools import CallContext, Toolbox, tool
from providers.base import ToolCall

@tool(deadline_s=0.05)
def hang() -> None:
    "Hang."
    threading.Event().wait()

print(asyncio.run(Toolbox([hang]).run(ToolCall("1", "hang", {}), CallContext("", "", ""))).failed)
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=30.0, capture_output=True, text=True, check=True)
    assert ended.stdout == "True\n"


# time


def test_a_slow_tool_is_given_up_at_its_deadline() -> None:
    async def scene() -> float:
        began = asyncio.get_running_loop().time()
        await TOOLBOX.run(ToolCall("1", "slow", {}), CONTEXT)
        return asyncio.get_running_loop().time() - began

    assert run(scene()) == pytest.approx(2.0)


def test_cancelling_a_tool_is_no_result() -> None:
    async def scene() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(TOOLBOX.run(ToolCall("1", "slow", {}), CONTEXT))
            await asyncio.sleep(1.0)
            task.cancel()
        assert task.cancelled()

    run(scene())


def test_a_tool_without_docstring_is_refused() -> None:
    def nameless(day: str) -> str:
        return day

    with pytest.raises(ToolSetupError, match="nameless: give it a docstring"):
        tool(nameless)


def test_a_parameter_without_a_type_is_refused_by_name() -> None:
    def untyped(day):  # type: ignore[no-untyped-def]
        """Look."""

    with pytest.raises(ToolSetupError, match="untyped: annotate the parameter 'day'"):
        tool(untyped)


SETUP = ToolSetup(Path("var"), {"DESK": "open"}, LoopClock())


def test_a_module_may_make_its_tools_of_what_the_process_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_tools(setup: ToolSetup) -> tuple[Tool, ...]:
        return (add,) if setup.environment["DESK"] == "open" else ()

    module = ModuleType("desk_tools")
    module.create_tools = create_tools  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "desk_tools", module)
    assert Toolbox.load(["desk_tools"], SETUP).specs() == (add.spec,)


def test_all_tools_of_a_module_are_loaded_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("desk_tools")
    module.add, module.other, module.Tool = add, 42, Tool  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "desk_tools", module)
    assert Toolbox.load(["desk_tools"], SETUP).specs() == (add.spec,)


def test_a_module_that_cannot_be_imported_is_named_with_its_variable() -> None:
    with pytest.raises(ToolSetupError, match=r"TOOLS names 'no\.such\.module'"):
        Toolbox.load(["no.such.module"], SETUP)
