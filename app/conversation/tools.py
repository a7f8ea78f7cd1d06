"""Functions that the model may call: typed, each with a deadline, and with one result whatever happens.

A tool is a Python function under `@tool`. Its name, docstring and annotated parameters are what the model sees; a
parameter annotated `CallContext` is filled in by the bridge and stays unseen. Whatever it returns is told to the model
as JSON. A failure is a result too: the model is told, the caller hears an answer, the call goes on.
"""

import asyncio
import importlib
import importlib.metadata
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pydantic

from providers.base import ToolCall, ToolResult, ToolSpec
from telephony.clock import Clock

DEFAULT_DEADLINE_S = 8.0


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a tool may know of the call it works for."""

    call_id: str
    caller: str
    called: str
    variables: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str = ""
    """The same each time this very tool call is run; only a tool that is `idempotent` is ever run twice."""


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

    async def run(self, arguments: Mapping[str, Any], context: CallContext) -> Any:
        """The function's value. Synchronous functions run in a thread, so that they cannot hold up a call.

        Raises `pydantic.ValidationError` for arguments of the wrong type (the model's fault), `TimeoutError` at the
        deadline, and whatever the function raises.
        """
        valid = self._arguments.model_validate(dict(arguments))
        keywords = {name: getattr(valid, name) for name in type(valid).model_fields}
        if self._context_parameter:
            keywords[self._context_parameter] = context
        async with asyncio.timeout(self.deadline_s):
            if inspect.iscoroutinefunction(self._function):
                return await self._function(**keywords)
            return await asyncio.to_thread(self._function, **keywords)


def tool(
    function: Callable[..., Any] | None = None, *, deadline_s: float = DEFAULT_DEADLINE_S, idempotent: bool = False
) -> Any:
    """Make a function a tool: `@tool`, or `@tool(deadline_s=2)`. Raises `ToolSetupError` when it cannot be one.

    A tool whose process dies while it works is run again by the next one if it is `idempotent`; of any other the model
    is told that nobody knows whether it was done.
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
    return Tool(ToolSpec(name, description, schema), deadline_s, idempotent, function, arguments, context_parameter)


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

    async def run(self, call: ToolCall, context: CallContext) -> ToolResult:
        """The one result of a call. Never raises but for cancellation: a failing tool is a failed result."""
        tool = self._tools.get(call.name)
        if tool is None:
            return ToolResult(call.call_id, f"there is no tool named {call.name}", failed=True)
        try:
            value = await tool.run(call.arguments, context)
            return ToolResult(call.call_id, msgspec.json.encode(value).decode())
        except TimeoutError:
            return ToolResult(call.call_id, f"{call.name} took longer than {tool.deadline_s:g} s", failed=True)
        except pydantic.ValidationError as error:
            return ToolResult(call.call_id, f"wrong arguments: {error}", failed=True)
        except Exception as error:  # noqa: BLE001 - foreign code: whatever it raises is its result, not our crash
            return ToolResult(call.call_id, f"{call.name} failed: {error}", failed=True)


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
