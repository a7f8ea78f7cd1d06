"""Each refusal of the vendor as the error that says what to do about it."""

import pytest

from providers.errors import (
    ProviderError,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
)
from providers.tts.elevenlabs_errors import Refusal, refused_upgrade
from tests.fakes.elevenlabs import detail


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (Refusal(401, "invalid_api_key", "Invalid API key"), ProviderRejected),
        (Refusal(401, "missing_permissions"), ProviderRejected),
        (Refusal(403), ProviderRejected),
        (Refusal(400, "voice_not_found"), ProviderRejected),
        (Refusal(400, "max_character_limit_exceeded"), ProviderRejected),
        (Refusal(404), ProviderRejected),
        (Refusal(422), ProviderRejected),
        (Refusal(401, "quota_exceeded", "This request exceeds your quota."), ProviderRateLimited),
        (Refusal(429, "too_many_concurrent_requests"), ProviderRateLimited),
        (Refusal(429, "system_busy"), ProviderRateLimited),
        (Refusal(429), ProviderRateLimited),
        (Refusal(408), ProviderUnavailable),
        (Refusal(500), ProviderUnavailable),
        (Refusal(503), ProviderUnavailable),
        (Refusal(200), ProviderMalformed),
        (Refusal(1008, "max_active_conversations", "Too many."), ProviderRateLimited),
        (Refusal(1008, "input_timeout_exceeded", "No input."), ProviderUnavailable),
        (Refusal(1008, "detected_unusual_activity"), ProviderRejected),
        (Refusal(1008, "invalid_api_key"), ProviderRejected),
        (Refusal(0, "quota_exceeded"), ProviderRateLimited),
        (Refusal(0, "something_new"), ProviderRejected),
        (Refusal(1008, "", "You have exceeded your quota of 10000 charact"), ProviderRateLimited),
        (Refusal(1008, "", "Input timeout exceeded"), ProviderUnavailable),
        (Refusal(1008, "", "A voice with voice_id xyz does not ex"), ProviderRejected),
        (Refusal(1008), ProviderRejected),
        (Refusal(1000), ProviderUnavailable),
        (Refusal(1001), ProviderUnavailable),
        (Refusal(1011, "", "internal error"), ProviderUnavailable),
        (Refusal(1012), ProviderUnavailable),
        (Refusal(1013), ProviderRateLimited),
        (Refusal(1002), ProviderMalformed),
        (Refusal(1007), ProviderMalformed),
        (Refusal(1009), ProviderMalformed),
        (Refusal(4003), ProviderRejected),
        (Refusal(0, "", "the connection broke"), ProviderUnavailable),
    ],
)
def test_each_refusal_has_its_error(refusal: Refusal, error: type[ProviderError]) -> None:
    raised = refusal.error()
    assert type(raised) is error
    assert raised.provider == "elevenlabs"


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_key_names_the_variable(code: int) -> None:
    assert "ELEVENLABS_API_KEY" in Refusal(code).error().detail


def test_a_key_that_the_vendor_quotes_is_not_repeated() -> None:
    said = Refusal(401, "invalid_api_key", "The key sk_0123456789abcdef is unknown.").error().detail
    assert "0123456789abcdef" not in said
    assert "is unknown" in said


@pytest.mark.parametrize(
    ("after", "seconds"), [("7", 7.0), ("", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None), ("²", None)]
)
def test_retry_after_is_told_where_it_is_in_seconds(after: str, seconds: float | None) -> None:
    raised = refused_upgrade(429, {"retry-after": after}, detail("system_busy")).error()
    assert isinstance(raised, ProviderRateLimited)
    assert raised.retry_after_s == seconds


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (detail("voice_not_found", "No such voice."), "voice_not_found No such voice. (400)"),
        (b'{"detail": "Nope"}', "Nope (400)"),
        (b'{"detail": [{"loc": ["body"], "msg": "field required", "type": "missing"}]}', "field required (400)"),
        (b'{"detail": {"status": null}}', "no reason given (400)"),
        (b"<html>", "no reason given (400)"),
        (b"\xff\xfe\xfa", "no reason given (400)"),
        (b"[1]", "no reason given (400)"),
        (b"", "no reason given (400)"),
    ],
)
def test_the_vendors_words_are_kept_whatever_shape_they_come_in(body: bytes, said: str) -> None:
    raised = refused_upgrade(400, {}, body).error()
    assert type(raised) is ProviderRejected
    assert raised.detail == said
