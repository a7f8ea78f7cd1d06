"""Names to providers. One line here makes a provider known; a package of somebody else's uses an entry point.

Several names, separated by commas, are asked in this order when one fails: `elevenlabs,espeak`. One or several, the
providers of a kind are behind a chain (`providers.resilience`), which has the deadlines.

The import path is only followed for the one who asks, so a missing SDK hurts nobody else. A third party registers
``[project.entry-points."sidetone.tts"] acme = "acme_voice:create"``.
"""

import importlib.metadata
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from providers.base import ProviderContext
from providers.errors import ProviderMisconfigured
from providers.resilience.models import ModelChain
from providers.resilience.recognisers import RecogniserChain
from providers.resilience.voices import VoiceChain

Factory = Callable[[ProviderContext], Any]

PROVIDERS: dict[str, dict[str, str]] = {
    "stt": {
        "deepgram": "providers.stt.deepgram:create",
        "pocketsphinx": "providers.stt.pocketsphinx:create",
        "scripted": "providers.scripted:create_stt",
    },
    "llm": {
        "anthropic": "providers.llm.anthropic:create",
        "dialogue": "providers.llm.dialogue:create",
        "openai": "providers.llm.openai:create",
        "scripted": "providers.scripted:create_llm",
    },
    "tts": {
        "elevenlabs": "providers.tts.elevenlabs:create",
        "espeak": "providers.tts.espeak:create",
        "scripted": "providers.scripted:create_tts",
    },
}
"""Kind, name, and `module:factory` taking a `ProviderContext`."""

KEYS: dict[str, dict[str, str]] = {
    "stt": {"deepgram": "DEEPGRAM_API_KEY"},
    "llm": {"anthropic": "ANTHROPIC_API_KEY"},
    "tts": {"elevenlabs": "ELEVENLABS_API_KEY"},
}
"""Kind, and for each vendor the variable that holds its key: the first one set is chosen when nothing else is said."""

EMBEDDED = {"stt": "pocketsphinx", "llm": "dialogue", "tts": "espeak"}
"""What is taken when no key is set."""


def names(kind: str) -> tuple[str, ...]:
    """All providers of a kind, those of other packages included."""
    foreign = (point.name for point in importlib.metadata.entry_points(group=f"sidetone.{kind}"))
    return tuple(dict.fromkeys((*PROVIDERS[kind], *foreign)))


def choose(kind: str, wanted: str, context: ProviderContext) -> tuple[str, str]:
    """The name of the provider to use and why: `wanted`, else a vendor whose key is set, else the embedded one."""
    variable = f"{kind.upper()}_PROVIDER"
    if wanted:
        return wanted, f"{variable}={wanted}"
    for name, key in KEYS[kind].items():
        if context.environment.get(key):
            return name, f"{key} is set"
    return EMBEDDED[kind], "no key is set"


def build(kind: str, name: str, context: ProviderContext) -> Any:
    """The provider of this name. Raises `ProviderMisconfigured` for a name nobody knows or a missing package."""
    factory = _factory(kind, name)
    return factory(context)


def _factory(kind: str, name: str) -> Factory:
    variable = f"{kind.upper()}_PROVIDER"
    group = f"sidetone.{kind}"
    path = PROVIDERS[kind].get(name)
    if path is None:
        points = importlib.metadata.entry_points(group=group, name=name)
    else:
        points = importlib.metadata.EntryPoints([importlib.metadata.EntryPoint(name, path, group)])
    for point in points:
        try:
            factory: Factory = point.load()
        except ModuleNotFoundError as error:
            remedy = f"{name} needs the package {error.name!r}: install it, for instance by the extra named {name!r}"
            raise ProviderMisconfigured(name, variable, remedy) from error
        return factory
    raise ProviderMisconfigured(name, variable, f"nobody is called {name!r}; known are {', '.join(names(kind))}")


def named(kind: str, wanted: str) -> tuple[str, ...]:
    """The names in a setting. Raises `ProviderMisconfigured` for one that is given twice."""
    listed = tuple(name for part in wanted.split(",") if (name := part.strip()))
    if len(set(listed)) < len(listed):
        raise ProviderMisconfigured(wanted, f"{kind.upper()}_PROVIDER", "name each provider once")
    return listed


def build_all(
    wanted: dict[str, str], context: ProviderContext
) -> tuple[RecogniserChain, ModelChain, VoiceChain, dict[str, str]]:
    """The three providers of a process, and why each was chosen.

    The model is built first: a recogniser that must be told what to expect gets the grammar of the first model, if it
    has one.
    """
    chosen = {kind: choose(kind, wanted.get(kind, ""), context) for kind in ("stt", "llm", "tts")}

    def built(kind: str, told: ProviderContext) -> list[Any]:
        return [build(kind, name, told) for name in named(kind, chosen[kind][0])]

    llm = ModelChain(built("llm", context), context)
    stt = RecogniserChain(built("stt", replace(context, grammar=llm.grammar())), context)
    tts = VoiceChain(built("tts", context), context)
    return stt, llm, tts, {kind: f"{name} ({why})" for kind, (name, why) in chosen.items()}
