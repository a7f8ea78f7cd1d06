"""Deepgram's variables: what they default to, what is refused, and by which name."""

import pytest

from providers.errors import ProviderMisconfigured
from providers.stt.deepgram.settings import read

KEY = {"DEEPGRAM_API_KEY": "s3cr3t"}


def test_a_key_is_enough() -> None:
    settings = read(KEY)
    assert (settings.base_url, settings.model, settings.flux) == ("wss://api.deepgram.com", "nova-3", False)
    assert (settings.eot_threshold, settings.eager_eot_threshold, settings.eot_timeout_ms) == (None, None, None)


@pytest.mark.parametrize("environment", [{}, {"DEEPGRAM_API_KEY": ""}, {"DEEPGRAM_API_KEY": " "}])
def test_a_missing_key_is_named(environment: dict[str, str]) -> None:
    with pytest.raises(ProviderMisconfigured) as refused:
        read(environment)
    assert refused.value.variable == "DEEPGRAM_API_KEY"


def test_the_key_never_prints() -> None:
    assert "s3cr3t" not in repr(read(KEY)) + str(read(KEY))


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://eu.deepgram.example/", "wss://eu.deepgram.example"),
        ("http://127.0.0.1:9000", "ws://127.0.0.1:9000"),
        ("wss://proxy.example/deepgram/", "wss://proxy.example/deepgram"),
        ("ws://127.0.0.1:9000", "ws://127.0.0.1:9000"),
    ],
)
def test_the_address_may_be_of_either_kind(given: str, used: str) -> None:
    assert read({**KEY, "DEEPGRAM_BASE_URL": given}).base_url == used


def test_keyterms_are_separated_by_commas() -> None:
    assert read({**KEY, "DEEPGRAM_KEYTERMS": " Acme, New York ,"}).keyterms == ("Acme", "New York")


@pytest.mark.parametrize("model", ["nova-2", "nova-2-phonecall", "nova", "enhanced-general", "base", "whisper-large"])
def test_keyterms_for_a_model_that_knows_none_are_refused(model: str) -> None:
    assert read({**KEY, "DEEPGRAM_MODEL": model}).model == model
    with pytest.raises(ProviderMisconfigured, match="nova-3") as refused:
        read({**KEY, "DEEPGRAM_MODEL": model, "DEEPGRAM_KEYTERMS": "Acme"})
    assert refused.value.variable == "DEEPGRAM_KEYTERMS"


@pytest.mark.parametrize("model", ["nova-3", "nova-3-medical", "flux-general-multi", "one-of-our-own"])
def test_keyterms_for_a_model_that_may_know_them_are_taken(model: str) -> None:
    assert read({**KEY, "DEEPGRAM_MODEL": model, "DEEPGRAM_KEYTERMS": "Acme"}).keyterms == ("Acme",)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DEEPGRAM_BASE_URL", "api.deepgram.com"),
        ("DEEPGRAM_BASE_URL", "ftp://api.deepgram.com"),
        ("DEEPGRAM_BASE_URL", "https://"),
        ("DEEPGRAM_ENDPOINTING_MS", "soon"),
        ("DEEPGRAM_ENDPOINTING_MS", "0"),
        ("DEEPGRAM_EOT_THRESHOLD", "0.4"),
        ("DEEPGRAM_EOT_THRESHOLD", "1.1"),
        ("DEEPGRAM_EAGER_EOT_THRESHOLD", "nan"),
        ("DEEPGRAM_EAGER_EOT_THRESHOLD", "0.8"),  # above the vendor's own 0.7
        ("DEEPGRAM_EOT_TIMEOUT_MS", "499"),
        ("DEEPGRAM_CONNECT_TIMEOUT_S", "-1"),
        ("DEEPGRAM_GAP_TIMEOUT_S", "inf"),
    ],
)
def test_a_wrong_value_is_named(variable: str, value: str) -> None:
    with pytest.raises(ProviderMisconfigured) as refused:
        read({**KEY, variable: value})
    assert refused.value.variable == variable
    assert "s3cr3t" not in str(refused.value)


def test_an_eager_threshold_below_the_sure_one_is_taken() -> None:
    settings = read({**KEY, "DEEPGRAM_EAGER_EOT_THRESHOLD": "0.8", "DEEPGRAM_EOT_THRESHOLD": "0.9"})
    assert (settings.eager_eot_threshold, settings.eot_threshold) == (0.8, 0.9)


def test_a_language_that_the_model_does_not_hear_is_refused() -> None:
    with pytest.raises(ProviderMisconfigured, match="flux-general-multi"):
        read({**KEY, "DEEPGRAM_MODEL": "flux-general-en", "DEEPGRAM_LANGUAGE": "es"})
    assert read({**KEY, "DEEPGRAM_MODEL": "flux-general-en", "DEEPGRAM_LANGUAGE": "en-GB"}).flux
