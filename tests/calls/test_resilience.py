"""Calls in which a vendor fails while somebody else is there: the caller hears a conversation, the journal why."""

import asyncio

import pytest

from app.calls.journal import ProviderFailed, ProviderReplaced
from providers.base import LanguageModel, ProviderContext, ReplyRequest, TextToSpeech
from providers.errors import ProviderError, ProviderUnavailable
from providers.resilience.models import ModelChain
from providers.resilience.voices import VoiceChain
from providers.scripted import Fault, ScriptedLanguageModel, ScriptedTextToSpeech
from tests.calls.world import Call, World
from tests.virtual import run

ANSWER = "We are open from nine to five. On Saturday we are open in the morning only. On Sunday nobody is here."
GONE = ProviderUnavailable("scripted", "gone")


def answer(request: ReplyRequest) -> str:
    """The answer, or what is missing of it."""
    if not request.messages:
        return "Hello."
    begun = request.messages[-2].text if len(request.messages) > 3 else ""
    return " ".join(ANSWER.split()[len(begun.split()) :])


async def ask(world: World) -> Call:
    """A call with one question, whose answer was heard out."""
    world.llm.answer = answer
    context = ProviderContext({}, world.clock, instruments=world.metrics)
    second_model = ScriptedLanguageModel(world.clock, answer, name="second")
    models: list[LanguageModel] = [world.llm, second_model]
    voices: list[TextToSpeech] = [world.tts, ScriptedTextToSpeech(world.clock, name="second")]
    async with ModelChain(models, context) as model, VoiceChain(voices, context) as voice:
        world.llm, world.tts = model, voice  # type: ignore[assignment]
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until_heard_out()
            await asyncio.sleep(0.1)
    return call


@pytest.mark.parametrize("error", [GONE, None], ids=["broken", "stalled"])
@pytest.mark.parametrize("after", [0, 3, 9, 15])
def test_an_answer_whose_model_fails_is_heard_whole(after: int, error: ProviderError | None) -> None:
    async def scene() -> None:
        world = World()
        world.llm.faults[2] = Fault(after, error)
        call = await ask(world)
        assert call.replies[-1] == ("completed", ANSWER)
        (replaced,) = call.events(ProviderReplaced)
        assert replaced.provider == "scripted"
        assert replaced.error == ("ProviderUnavailable" if error else "ProviderTimedOut")
        assert not call.events(ProviderFailed)

    run(scene())


@pytest.mark.parametrize("error", [GONE, None], ids=["broken", "stalled"])
@pytest.mark.parametrize("after", [0, 3, 30])
def test_an_answer_whose_voice_fails_is_heard_whole(after: int, error: ProviderError | None) -> None:
    async def scene() -> None:
        world = World()
        world.tts.faults[2] = Fault(after, error)
        call = await ask(world)
        assert call.replies[-1] == ("completed", ANSWER)
        assert len(call.events(ProviderReplaced)) == 1
        exposition = world.metrics.exposition().decode()
        assert 'sidetone_provider_failures_total{error="Provider' in exposition
        assert 'sidetone_provider_breaker{kind="tts",provider="second"} 0.0' in exposition

    run(scene())
