"""Who may call whom: the arrows of the house, read from the imports.

    app ──► telephony, providers        providers ──► telephony.audio, .clock, .tasks       telephony ──► itself

What joins several voices or recognisers (`providers.resilience`) may also transcode, and tell speech from silence.
Carriers know no other carrier, vendors no other vendor; only the application knows its web framework. Time, sleep and
the environment have one owner each, tasks belong to groups, and every file says what it is for.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from providers import registry

ROOT = Path(__file__).parents[1]
FOLDERS = ("app", "telephony", "providers")
ALLOWED = {
    "app": ("app", "telephony", "providers"),
    "telephony": ("telephony",),
    "providers": ("providers", "telephony.audio", "telephony.clock", "telephony.tasks"),
}
WEB = ("fastapi", "starlette", "uvicorn")
KNOW_THE_WEB = ("app.main", "app.serving", "app.web")
OWNER_OF_TIME = "telephony.clock"
OWNER_OF_TASKS = "telephony.tasks"
OWNER_OF_THE_ENVIRONMENT = "app.settings"


@dataclass(frozen=True)
class Module:
    """A source file of the house."""

    name: str
    source: str

    @property
    def folder(self) -> str:
        return self.name.partition(".")[0]

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    def imports(self) -> Iterator[str]:
        """Full names of what is imported: `from a import b` is `a.b`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}: imports are absolute"
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def calls(self) -> Iterator[tuple[str, str]]:
        """(receiver, name) of every call: `self._group.create_task(...)` is ("self._group", "create_task")."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                match node.func:
                    case ast.Attribute(value, name):
                        yield ast.unparse(value), name
                    case ast.Name(name):
                        yield "", name

    def task_groups(self) -> set[str]:
        """Names that are bound to a `TaskGroup`, or annotated as one."""
        found = set()
        for node in ast.walk(self.tree):
            match node:
                case ast.withitem(expression, ast.expr() as name) if "TaskGroup" in ast.unparse(expression):
                    found.add(ast.unparse(name))
                case ast.Assign([name], value) if "TaskGroup" in ast.unparse(value):
                    found.add(ast.unparse(name))
                case ast.AnnAssign(name, annotation) if "TaskGroup" in ast.unparse(annotation):
                    found.add(ast.unparse(name))
                case ast.arg(name, ast.expr() as annotation) if "TaskGroup" in ast.unparse(annotation):
                    found.add(name)
        return found

    def reads(self) -> set[str]:
        """Every dotted name in the source."""
        return {ast.unparse(node) for node in ast.walk(self.tree) if isinstance(node, ast.Attribute)}


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found.append(Module(name, path.read_text(encoding="utf-8")))
    return tuple(found)


def inside(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def wrong_arrows(module: Module) -> set[str]:
    """Imports that the plan of the house does not allow."""
    own = {name for name in module.imports() if inside(name, *FOLDERS)}
    allowed = ALLOWED[module.folder]
    if inside(module.name, "providers.resilience"):
        allowed += ("telephony.codecs.transcode", "telephony.codecs.g711")
    wrong = {name for name in own if not inside(name, *allowed)}
    if not inside(module.name, *KNOW_THE_WEB):
        wrong |= {name for name in module.imports() if inside(name, *WEB)}
    if module.name.startswith("telephony.carriers."):
        wrong |= {name for name in own if inside(name, "telephony.carriers") and not inside(name, module.name)}
    vendors = {path.partition(":")[0] for of_kind in registry.PROVIDERS.values() for path in of_kind.values()}
    home = next((vendor for vendor in vendors if inside(module.name, vendor)), None)
    if module.folder == "providers":
        others = vendors - {home}
        wrong |= {name for name in own if inside(name, *others) and not (home and inside(name, home))}
    return wrong


def loose_tasks(module: Module) -> set[str]:
    """Tasks that nobody waits for."""
    if module.name == OWNER_OF_TASKS:
        return set()
    wrong = set()
    for receiver, name in module.calls():
        if name == "create_task" and receiver not in module.task_groups():
            wrong.add(f"{receiver}.{name}")
        if name in ("ensure_future", "run_coroutine_threadsafe") or (receiver == "asyncio" and name == "gather"):
            wrong.add(f"{receiver}.{name}")
    return wrong


def own_clocks(module: Module) -> set[str]:
    """Time that does not come from the clock."""
    if module.name == OWNER_OF_TIME:
        return set()
    wrong = {name for name in module.imports() if inside(name, "time", "asyncio.sleep")}
    wrong |= module.reads() & {"asyncio.sleep", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
    return wrong


def own_environments(module: Module) -> set[str]:
    """The environment, read past the settings."""
    if module.name == OWNER_OF_THE_ENVIRONMENT:
        return set()
    names = ("os.environ", "os.environb", "os.getenv", "os.putenv", "dotenv")
    return {name for name in (*module.imports(), *module.reads()) if inside(name, *names)}


ids = [module.name for module in modules()]


@pytest.mark.parametrize("module", modules(), ids=ids)
def test_imports_follow_the_plan_of_the_house(module: Module) -> None:
    assert wrong_arrows(module) == set()


@pytest.mark.parametrize("module", modules(), ids=ids)
def test_tasks_belong_to_a_group(module: Module) -> None:
    assert loose_tasks(module) == set()


@pytest.mark.parametrize("module", modules(), ids=ids)
def test_time_comes_from_the_clock(module: Module) -> None:
    assert own_clocks(module) == set()


@pytest.mark.parametrize("module", modules(), ids=ids)
def test_the_environment_is_read_by_the_settings(module: Module) -> None:
    assert own_environments(module) == set()


@pytest.mark.parametrize("module", modules(), ids=ids)
def test_every_file_says_what_it_is_for(module: Module) -> None:
    text = ast.get_docstring(module.tree)
    assert text and text.splitlines()[0].endswith((".", ":", "!", "?")), "the first line is a sentence"


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("telephony.leg", "from app.settings import Settings", "app.settings.Settings"),
        ("telephony.vad", "import providers.base", "providers.base"),
        ("telephony.leg", "import fastapi", "fastapi"),
        ("providers.tts.acme", "from telephony.codecs.g711 import decode_mulaw", "telephony.codecs.g711.decode_mulaw"),
        ("providers.tts.acme", "from telephony import vad", "telephony.vad"),
        ("providers.tts.acme", "from providers.scripted import Fault", "providers.scripted.Fault"),
        ("telephony.carriers.acme", "from telephony.carriers.twilio import TWILIO", "telephony.carriers.twilio.TWILIO"),
        ("app.conversation.ear", "def f():\n    from starlette.types import Send", "starlette.types.Send"),
    ],
)
def test_a_wrong_arrow_is_seen(name: str, source: str, wrong: str) -> None:
    assert wrong_arrows(Module(name, source)) == {wrong}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("app.conversation.turn", "from telephony.codecs.transcode import Transcoder"),
        ("providers.tts.acme", "from telephony.audio import TELEPHONE\nfrom providers.base import TextToSpeech"),
        ("providers.scripted", "from providers.scripted import Fault"),
        ("providers.resilience.voices", "from telephony.codecs.transcode import Transcoder"),
        ("providers.resilience.replay", "from telephony.codecs import g711"),
        ("telephony.vad", "from telephony.codecs.g711 import mulaw_to_float"),
        ("app.web.media", "from starlette.types import Send"),
        ("telephony.carriers", "from telephony.carriers.twilio import TWILIO"),
    ],
)
def test_a_right_arrow_is_let_be(name: str, source: str) -> None:
    assert wrong_arrows(Module(name, source)) == set()


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (loose_tasks, "asyncio.create_task(work())"),
        (loose_tasks, "loop.create_task(work())"),
        (loose_tasks, "asyncio.ensure_future(work())"),
        (loose_tasks, "await asyncio.gather(a(), b())"),
        (own_clocks, "import time"),
        (own_clocks, "from time import perf_counter"),
        (own_clocks, "await asyncio.sleep(1)"),
        (own_clocks, "from asyncio import sleep"),
        (own_clocks, "now = datetime.now(UTC)"),
        (own_environments, "import os\nkey = os.environ['KEY']"),
        (own_environments, "from os import getenv"),
        (own_environments, "from dotenv import load_dotenv"),
    ],
)
def test_a_broken_rule_is_seen(rule: object, source: str) -> None:
    assert rule(Module("app.web.media", source))  # type: ignore[operator]


@pytest.mark.parametrize(
    "source",
    [
        "async with asyncio.TaskGroup() as tasks:\n    tasks.create_task(work())",
        "def f(group: asyncio.TaskGroup):\n    group.create_task(work())",
        "self._group: asyncio.TaskGroup | None = None\nself._group.create_task(work())",
        "group = await stack.enter_async_context(asyncio.TaskGroup())\ngroup.create_task(work())",
    ],
)
def test_a_task_of_a_group_is_let_be(source: str) -> None:
    assert loose_tasks(Module("app.web.media", source)) == set()
