"""Names to providers. One line here makes a provider known; a package of somebody else's uses an entry point.

The import path is only followed for the one who asks, so a missing SDK hurts nobody else. A third party registers
``[project.entry-points."sidetone.tts"] acme = "acme_voice:create"``.
"""

import importlib.metadata
from collections.abc import Callable
from typing import Any

from providers.base import Grammar, LanguageModel, ProviderContext, SpeechToText, TextToSpeech
from providers.errors import ProviderMisconfigured

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


def build_all(
    wanted: dict[str, str], context: ProviderContext
) -> tuple[SpeechToText, LanguageModel, TextToSpeech, dict[str, str]]:
    """The three providers of a process, and why each was chosen.

    The model is built first: a recogniser that must be told what to expect gets the model's grammar, if it has one.
    """
    chosen = {kind: choose(kind, wanted.get(kind, ""), context) for kind in ("stt", "llm", "tts")}
    llm = build("llm", chosen["llm"][0], context)
    grammar: Grammar | None = llm.grammar() if hasattr(llm, "grammar") else None
    told = ProviderContext(context.environment, context.clock, grammar)
    stt = build("stt", chosen["stt"][0], told)
    tts = build("tts", chosen["tts"][0], told)
    return stt, llm, tts, {kind: f"{name} ({why})" for kind, (name, why) in chosen.items()}
