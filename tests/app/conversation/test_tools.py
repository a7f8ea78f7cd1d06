"""Tools: what the model sees of a function, and one result for every call, whatever happens."""

import asyncio
import sys
from pathlib import Path
from types import ModuleType

import pytest

from app.conversation.tools import CallContext, Tool, Toolbox, ToolSetup, ToolSetupError, tool
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
def unspeakable() -> object:
    """Return what no JSON can say."""
    return object()


TOOLBOX = Toolbox([add, who_calls, slow, broken, unspeakable])


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
        ("unspeakable", {}, "unspeakable failed"),
        ("nobody", {}, "there is no tool named nobody"),
        ("slow", {}, "slow took longer than 2 s"),
    ],
)
def test_a_failure_is_a_result_too(name: str, arguments: dict[str, object], says: str) -> None:
    failed = result(name, **arguments)
    assert failed.failed and failed.call_id == "1"
    assert says in failed.content


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
