"""The contract of every voice, kept by ElevenLabs' adapter against its vendor on loopback."""

import inspect
from collections.abc import Iterator

import pytest

from providers.base import ProviderContext
from providers.tts.elevenlabs import ElevenLabs, create
from telephony.clock import MonotonicClock
from tests.contracts import test_tts as contract
from tests.fakes.elevenlabs import KEY, VOICE, in_a_thread

PROMISES = [name for name in vars(contract) if name.startswith("test_")]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with in_a_thread() as fake:
        yield fake.url
        assert fake.violations == []


@pytest.mark.parametrize("promise", PROMISES)
def test_keeps_the_contract(promise: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def provider(kind: str, name: str) -> ElevenLabs:
        environment = {"ELEVENLABS_API_KEY": KEY, "ELEVENLABS_BASE_URL": url, "ELEVENLABS_VOICE_ID": VOICE}
        return create(ProviderContext(environment, MonotonicClock()))

    monkeypatch.setattr(contract, "provider", provider)
    run = getattr(contract, promise)
    if "texts" not in inspect.signature(run).parameters:
        run(name="elevenlabs")
        return
    (cases,) = (mark.args[1] for mark in run.pytestmark if mark.args[0] == "texts")
    for texts in cases:
        run(name="elevenlabs", texts=texts)
