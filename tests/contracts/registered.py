"""The providers that the contract suites run over: everything in the registry that this machine can run.

A new provider is covered by being registered. One that needs a key or a package that is not here is skipped, with its
own words as the reason. A vendor whose fake is listed in `VENDORS` is asked there, on loopback.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol, Self

import pytest

from providers.base import ProviderContext
from providers.errors import ProviderMisconfigured
from providers.llm.dialogue import DEMO, load
from providers.llm.dialogue.grammar import grammar
from providers.registry import KEYS, PROVIDERS, build
from telephony.clock import MonotonicClock
from tests.fakes.anthropic import FakeAnthropic
from tests.fakes.deepgram import FakeDeepgram
from tests.fakes.openai import FakeOpenAI

ENVIRONMENT = {
    "SCRIPTED_TEXTS": "what are your opening hours|tomorrow at ten",
    "SCRIPTED_FIRST_TOKEN_S": "0.01",
    "SCRIPTED_TOKENS_PER_S": "10000",
    "SCRIPTED_FIRST_CHUNK_S": "0.01",
    "SCRIPTED_SPEED": "1000",
}
"""What the providers under test are told: no waits that only play a vendor's slowness."""


class Vendor(Protocol):
    """A fake vendor; `environment` is complete once it is entered, and holds the key before."""

    @property
    def environment(self) -> Mapping[str, str]: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...


VENDORS: dict[tuple[str, str], Callable[[], Vendor]] = {
    ("stt", "deepgram"): FakeDeepgram,
    ("llm", "anthropic"): FakeAnthropic,
    ("llm", "openai"): FakeOpenAI,
}
"""Kind and name of a provider, and the vendor that stands in for the real one."""

VARIANTS: dict[str, dict[str, tuple[str, Mapping[str, str]]]] = {
    "stt": {"deepgram-flux": ("deepgram", {"DEEPGRAM_MODEL": "flux-general-en"})}
}
"""Kind, a name of its own, and the provider it stands for with the settings that make it speak another protocol."""

WITHIN_S = 60.0
"""For one scene; only ever reached by a provider that hangs."""


def every(kind: str) -> pytest.MarkDecorator:
    """Run a test with the name of each provider of a kind."""
    return pytest.mark.parametrize("name", [*PROVIDERS[kind], *VARIANTS.get(kind, ())])


def registered_name(kind: str, name: str) -> str:
    """What the provider itself is called."""
    return VARIANTS.get(kind, {}).get(name, (name, {}))[0]


def provider(kind: str, name: str) -> Any:
    """The provider, not entered yet; skips the test if this machine lacks what it needs."""
    name, settings = VARIANTS.get(kind, {}).get(name, (name, {}))
    try:
        if (kind, name) in VENDORS:
            return _Hosted(kind, name, VENDORS[kind, name](), settings)
        return _build(kind, name, ENVIRONMENT)
    except ProviderMisconfigured as lacking:
        if lacking.variable in KEYS[kind].values() or "install" in lacking.remedy:
            pytest.skip(str(lacking))
        raise


def _build(kind: str, name: str, environment: Mapping[str, str]) -> Any:
    return build(kind, name, ProviderContext(environment, MonotonicClock(), grammar(load(DEMO))))


class _Hosted:
    """A provider together with its vendor: entered and left as one."""

    def __init__(self, kind: str, name: str, vendor: Vendor, settings: Mapping[str, str]) -> None:
        alone = _build(kind, name, {**vendor.environment, **settings})
        self._settings = settings
        self.name = alone.name
        if kind != "llm":
            self.formats = alone.formats
        self._registered = (kind, name)
        self._vendor = vendor
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Any:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._vendor)
            provider = _build(*self._registered, {**self._vendor.environment, **self._settings})
            entered = await stack.enter_async_context(provider)
            self._open = stack.pop_all()
        return entered

    async def __aexit__(self, *exc: object) -> None:
        await self._open.aclose()


def leaving_nothing(scene: Coroutine[Any, Any, None]) -> None:
    """Run a scene to its end; no task, thread or child process of it may be left."""
    threads, processes = set(threading.enumerate()), _children()
    asyncio.run(_without_tasks_left(scene))
    for thread in set(threading.enumerate()) - threads:
        thread.join(5.0)  # one that waits for an ended process notices soon
        assert not thread.is_alive(), f"a thread is left: {thread}"
    assert _children() <= processes, "processes are left"


async def _without_tasks_left(scene: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(WITHIN_S):
        await scene
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks are left: {left}"


def _children() -> set[int]:
    """Processes whose parent is this one, ended ones that nobody waited for included. None are seen without /proc."""
    ours = str(os.getpid())
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = status.read_text().rpartition(")")[2].split()
        except OSError:  # it ended while we looked
            continue
        if after_name[1] == ours:
            found.add(int(status.parent.name))
    return found
