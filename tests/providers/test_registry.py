"""From names to providers: chosen, built, found in other packages, and blamed by the variable to change."""

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from providers import registry
from providers.base import (
    Grammar,
    ProviderContext,
    SpeechChunk,
    TextToSpeech,
)
from providers.errors import ProviderMisconfigured
from providers.scripted import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech
from telephony.audio import TELEPHONE
from telephony.clock import LoopClock
from tests.virtual import run

KINDS = ("stt", "llm", "tts")
SCRIPTED = dict.fromkeys(KINDS, "scripted")

TOY_VOICE = '''
"""A voice that beeps once a word: the whole adapter."""

from providers.base import SpeechChunk, SpokenWord
from telephony.audio import TELEPHONE


class ToyVoice:
    name = "toy"

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    def formats(self):
        return (TELEPHONE,)

    async def speak(self, text, audio):
        async for piece in text:
            for word in piece.split():
                yield SpeechChunk(bytes([0x20]) * 800, (SpokenWord(word, 0, 800),))


def create(context):
    return ToyVoice()
'''


def context(**environment: str) -> ProviderContext:
    return ProviderContext(environment, LoopClock())


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which other people's packages are imported; forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    known = set(sys.modules)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path  # type: ignore[misc]
    for name in set(sys.modules) - known:
        del sys.modules[name]


def install(folder: Path, kind: str, name: str, path: str) -> None:
    """What installing a package with an entry point leaves behind."""
    metadata = folder / f"{name}_provider-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-provider\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[sidetone.{kind}]\n{name} = {path}\n")


async def words_of(voice: TextToSpeech, text: str) -> list[str]:
    async def once() -> AsyncIterator[str]:
        yield text

    async with voice:
        return [
            word.text
            async for chunk in voice.speak(once(), TELEPHONE)
            if isinstance(chunk, SpeechChunk)
            for word in chunk.words
        ]


def test_a_toy_provider_is_one_file_and_one_line(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (packages / "toy_voice.py").write_text(TOY_VOICE)
    monkeypatch.setitem(registry.PROVIDERS["tts"], "toy", "toy_voice:create")
    _, _, voice, chosen = registry.build_all({**SCRIPTED, "tts": "toy"}, context())
    assert chosen["tts"] == "toy (TTS_PROVIDER=toy)"
    assert run(words_of(voice, "one two")) == ["one", "two"]


def test_a_toy_provider_of_another_package_is_found_by_its_entry_point(packages: Path) -> None:
    (packages / "toy_voice.py").write_text(TOY_VOICE)
    install(packages, "tts", "toy", "toy_voice:create")
    assert "toy" in registry.names("tts")
    assert "toy" not in registry.names("stt")
    assert run(words_of(registry.build("tts", "toy", context()), "one two")) == ["one", "two"]


def test_our_own_provider_is_not_replaced_by_a_package_that_takes_its_name(packages: Path) -> None:
    install(packages, "tts", "scripted", "toy_voice:create")
    assert registry.names("tts").count("scripted") == 1
    assert isinstance(registry.build("tts", "scripted", context()), ScriptedTextToSpeech)


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_nobody_knows_is_blamed_on_its_variable_with_those_that_are_known(kind: str) -> None:
    with pytest.raises(ProviderMisconfigured) as refused:
        registry.build(kind, "nobody", context())
    assert refused.value.variable == f"{kind.upper()}_PROVIDER"
    assert "scripted" in refused.value.remedy


@pytest.mark.parametrize("foreign", [True, False])
def test_a_missing_package_is_named_with_the_remedy(
    foreign: bool, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (packages / "acme_voice.py").write_text("import acme_sdk\n\ndef create(context): ...\n")
    if foreign:
        install(packages, "tts", "acme", "acme_voice:create")
    else:
        monkeypatch.setitem(registry.PROVIDERS["tts"], "acme", "acme_voice:create")
    with pytest.raises(ProviderMisconfigured) as refused:
        registry.build("tts", "acme", context())
    assert refused.value.variable == "TTS_PROVIDER"
    assert "'acme_sdk'" in refused.value.remedy


def test_a_missing_package_hurts_nobody_else(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.PROVIDERS["tts"], "acme", "no_such_module:create")
    assert isinstance(registry.build("tts", "scripted", context()), ScriptedTextToSpeech)


def test_what_is_asked_for_is_taken_whatever_keys_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.KEYS["tts"], "acme", "ACME_API_KEY")
    assert registry.choose("tts", "scripted", context(ACME_API_KEY="k")) == ("scripted", "TTS_PROVIDER=scripted")


def test_a_key_switches_to_its_vendor_and_the_first_key_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.KEYS["tts"], "acme", "ACME_API_KEY")
    monkeypatch.setitem(registry.KEYS["tts"], "zenith", "ZENITH_API_KEY")
    assert registry.choose("tts", "", context(ZENITH_API_KEY="k")) == ("zenith", "ZENITH_API_KEY is set")
    both = context(ZENITH_API_KEY="k", ACME_API_KEY="k")
    assert registry.choose("tts", "", both) == ("acme", "ACME_API_KEY is set")
    assert registry.choose("tts", "", context(ACME_API_KEY=""))[0] == registry.EMBEDDED["tts"]


@pytest.mark.parametrize("kind", KINDS)
def test_without_any_key_the_embedded_provider_is_taken(kind: str) -> None:
    assert registry.choose(kind, "", context()) == (registry.EMBEDDED[kind], "no key is set")


def test_every_name_in_the_tables_belongs_to_a_provider() -> None:
    for kind in KINDS:
        assert registry.EMBEDDED[kind] in registry.PROVIDERS[kind]
        assert set(registry.KEYS[kind]) <= set(registry.PROVIDERS[kind])


def test_several_names_are_one_provider_that_asks_them_in_order(packages: Path) -> None:
    (packages / "toy_voice.py").write_text(TOY_VOICE)
    install(packages, "tts", "toy", "toy_voice:create")
    _, _, voice, chosen = registry.build_all({**SCRIPTED, "tts": "toy, scripted"}, context())
    assert voice.name == "toy,scripted"
    assert chosen["tts"] == "toy, scripted (TTS_PROVIDER=toy, scripted)"
    assert run(words_of(voice, "one two")) == ["one", "two"]


@pytest.mark.parametrize("kind", ["llm", "tts"])
def test_naming_a_provider_twice_is_blamed_on_the_variable(kind: str) -> None:
    with pytest.raises(ProviderMisconfigured) as refused:
        registry.build_all({**SCRIPTED, kind: "scripted,scripted"}, context())
    assert refused.value.variable == f"{kind.upper()}_PROVIDER"


@pytest.mark.parametrize(
    ("variable", "value"), [("LLM_GAP_S", "soon"), ("TTS_CONNECT_S", "0"), ("TTS_GIVE_UP_S", "inf")]
)
def test_a_deadline_that_is_no_time_is_blamed_on_its_variable(variable: str, value: str) -> None:
    with pytest.raises(ProviderMisconfigured) as refused:
        registry.build_all(SCRIPTED, context(**{variable: value}))
    assert refused.value.variable == variable


@dataclass
class GrammaticalModel(ScriptedLanguageModel):
    def grammar(self) -> Grammar:
        return Grammar("#JSGF V1.0;", ("hello",))


def test_the_recogniser_is_told_the_grammar_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Grammar | None] = []

    def create_llm(context: ProviderContext) -> GrammaticalModel:
        return GrammaticalModel(context.clock)

    def create_stt(context: ProviderContext) -> ScriptedSpeechToText:
        told.append(context.grammar)
        return ScriptedSpeechToText(context.clock)

    module = type(sys)("grammatical")
    module.create_llm, module.create_stt = create_llm, create_stt  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "grammatical", module)
    monkeypatch.setitem(registry.PROVIDERS["llm"], "grammatical", "grammatical:create_llm")
    monkeypatch.setitem(registry.PROVIDERS["stt"], "told", "grammatical:create_stt")
    registry.build_all({"stt": "told", "llm": "grammatical", "tts": "scripted"}, context())
    registry.build_all({"stt": "told", "llm": "scripted", "tts": "scripted"}, context())
    assert told == [Grammar("#JSGF V1.0;", ("hello",)), None]
