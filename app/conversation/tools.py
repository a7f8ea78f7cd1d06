"""Functions that the model may call: typed, each with a deadline, and with one result whatever happens.

A tool is a Python function under `@tool`. Its name, docstring and annotated parameters are what the model sees; a
parameter annotated `CallContext` is filled in by the bridge and stays unseen. Whatever it returns is told to the model
as JSON. A failure is a result too: the model is told, the caller hears an answer, the call goes on. A wait can be cut
off, by a deadline or by the caller; what the tool does meanwhile cannot, and nobody claims that it was not done.
"""

import asyncio
import importlib
import importlib.metadata
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pydantic
import structlog

from app.conversation.results import NOBODY_KNOWS, encoded
from app.conversation.threads import ToolThreads
from providers.base import ToolCall, ToolResult, ToolSpec
from telephony.clock import Clock, LoopClock

DEFAULT_DEADLINE_S = 8.0
MAX_LEFT_BEHIND = 4
"""A tool of which so many runs have outlived their deadline and still hang is not asked again until one is over."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a tool may know of the call it works for."""

    call_id: str
    caller: str
    called: str
    variables: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str = ""
    """The same each time this very tool call is run, also when the model repeats what was cut off before it had a
    result. Only a tool that is `idempotent` is ever run twice without the model being warned."""


@dataclass(frozen=True, slots=True)
class ToolSetup:
    """What tools may know when a process offers them: a folder to keep things in, and everything that was set."""

    state_dir: Path
    environment: Mapping[str, str]
    clock: Clock


class ToolSetupError(Exception):
    """A tool that cannot be offered (our user's fault): says which one and what to change."""


@dataclass(frozen=True)
class Tool:
    """A function as the model may call it. Made by `@tool`."""

    spec: ToolSpec
    deadline_s: float
    idempotent: bool
    """It may be run again with the same `CallContext.idempotency_key`, and does its work once all the same."""
    _function: Callable[..., Any]
    _arguments: type[pydantic.BaseModel]
    _context_parameter: str | None
    _threads: ToolThreads = field(compare=False)

    @property
    def hangs(self) -> bool:
        """So many of its runs hang that it is not to be asked."""
        return self._threads.left_behind() >= MAX_LEFT_BEHIND

    async def run(self, arguments: Mapping[str, Any], context: CallContext) -> Any:
        """The function's value. Synchronous functions run in threads of their own, so that they can hold up neither a
        call nor each other.

        Raises `pydantic.ValidationError` for arguments of the wrong type (the model's fault), `TimeoutError` at the
        deadline, and whatever the function raises.
        """
        valid = self._arguments.model_validate(dict(arguments))
        keywords = {name: getattr(valid, name) for name in type(valid).model_fields}
        if self._context_parameter:
            keywords[self._context_parameter] = context
        due_at = LoopClock().now() + self.deadline_s
        async with asyncio.timeout_at(due_at):
            if inspect.iscoroutinefunction(self._function):
                return await self._function(**keywords)
            value = await self._threads.run(partial(self._function, **keywords), due_at)
            return await value if inspect.isawaitable(value) else value


def tool(
    function: Callable[..., Any] | None = None, *, deadline_s: float = DEFAULT_DEADLINE_S, idempotent: bool = False
) -> Any:
    """Make a function a tool: `@tool`, or `@tool(deadline_s=2)`. Raises `ToolSetupError` when it cannot be one.

    A tool whose process dies while it works is run again by the next one if it is `idempotent`, and one that the caller
    interrupts may be called again; of any other the model is told that nobody knows whether it was done.
    """
    if function is None:
        return lambda decorated: tool(decorated, deadline_s=deadline_s, idempotent=idempotent)
    name = function.__name__
    description = inspect.getdoc(function)
    if not description:
        raise ToolSetupError(f"tool {name}: give it a docstring, the model knows it by nothing else")
    hints = typing.get_type_hints(function)
    fields: dict[str, Any] = {}
    context_parameter = None
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name not in hints:
            raise ToolSetupError(f"tool {name}: annotate the parameter {parameter.name!r} with its type")
        if hints[parameter.name] is CallContext:
            context_parameter = parameter.name
            continue
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    arguments = pydantic.create_model(name, **fields)
    schema = arguments.model_json_schema()
    schema.pop("title", None)
    spec, threads = ToolSpec(name, description, schema), ToolThreads(name)
    return Tool(spec, deadline_s, idempotent, function, arguments, context_parameter, threads)


class Toolbox:
    """The tools of a process, by name."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools = {tool.spec.name: tool for tool in tools}

    @classmethod
    def load(cls, modules: Iterable[str], setup: ToolSetup) -> "Toolbox":
        """All tools of these modules (`package.module`): those that stand in them, and those that their
        `create_tools(setup)` makes, if there is one. Entry points in the group `sidetone.tools` name modules too.

        Raises `ToolSetupError` for a module that cannot be imported.
        """
        found: list[Tool] = []
        foreign = (point.value for point in importlib.metadata.entry_points(group="sidetone.tools"))
        modules = (*modules, *foreign)
        for name in modules:
            try:
                module = importlib.import_module(name)
            except ImportError as error:
                raise ToolSetupError(f"TOOLS names {name!r}, which cannot be imported: {error}") from error
            found += [value for value in vars(module).values() if isinstance(value, Tool)]
            if hasattr(module, "create_tools"):
                found += module.create_tools(setup)
        return cls(found)

    def specs(self) -> tuple[ToolSpec, ...]:
        """What the model is offered."""
        return tuple(tool.spec for tool in self._tools.values())

    def idempotent(self, name: str) -> bool:
        """The tool may be run twice for one call of it."""
        tool = self._tools.get(name)
        return tool is not None and tool.idempotent

    def deadline_s(self, name: str) -> float:
        """How long the tool may take; one that there is not takes no time."""
        tool = self._tools.get(name)
        return 0.0 if tool is None else tool.deadline_s

    def hangs(self, name: str) -> bool:
        """The tool is not available: too many of its runs hang."""
        tool = self._tools.get(name)
        return tool is not None and tool.hangs

    async def run(self, call: ToolCall, context: CallContext) -> ToolResult:
        """The one result of a call. Never raises but for cancellation: a failing tool is a failed result."""
        tool = self._tools.get(call.name)
        if tool is None:
            return ToolResult(call.call_id, f"there is no tool named {call.name}", failed=True)
        if tool.hangs:
            _log.warning("tool hangs", tool=call.name, call_id=context.call_id, runs=MAX_LEFT_BEHIND)
            return ToolResult(call.call_id, f"{call.name} is not available right now; nothing was done", failed=True)
        try:
            value = await tool.run(call.arguments, context)
        except TimeoutError:
            overdue = f"{call.name} took longer than {tool.deadline_s:g} s, so {NOBODY_KNOWS}"
            return ToolResult(call.call_id, overdue, failed=True)
        except pydantic.ValidationError as error:
            return ToolResult(call.call_id, f"wrong arguments: {error}", failed=True)
        except Exception as error:  # noqa: BLE001 - foreign code: whatever it raises is its result, not our crash
            return ToolResult(call.call_id, f"{call.name} failed: {error}", failed=True)
        return ToolResult(call.call_id, encoded(value))


END_CALL = ToolSpec(
    "end_call",
    "Hang up, once the goodbye that was just spoken has been heard. Say goodbye first.",
    {"type": "object", "properties": {}},
)
TRANSFER_CALL = ToolSpec(
    "transfer_call",
    "Hand the caller over to a human, once what was just spoken has been heard. Say so first.",
    {"type": "object", "properties": {"reason": {"type": "string"}}},
)
"""Tools that the session itself performs: they change the call, not the world."""
