"""Settings: typed, named in errors, silent about secrets, and all of them in `.env.example`."""

import ast
import re
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from app.conversation.manners import Manners
from app.settings import Settings, SettingsError
from app.sip.settings import variables as sip_variables
from app.telemetry.latency import STRICT
from providers import registry
from telephony.carriers import CARRIERS
from telephony.carriers.twilio import TWILIO

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / ".env.example"
VARIABLES = {name.upper() for name in Settings.model_fields} - {"ENVIRONMENT"}
NUMBERS = sorted(name.upper() for name, field in Settings.model_fields.items() if field.annotation in (int, float))


def load(**environment: str) -> Settings:
    return Settings.load(environment, env_file=None)


def test_nothing_set_is_a_working_configuration() -> None:
    settings = load()
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.base_url == "http://127.0.0.1:8080"
    assert settings.secrets_of(TWILIO) == ()


def test_the_environment_is_typed() -> None:
    settings = load(PORT="9000", SILENCE_S="4.5", STATE_DIR="/tmp/calls", GREETING="Hello.")
    assert (settings.port, settings.silence_s, settings.state_dir) == (9000, 4.5, Path("/tmp/calls"))
    assert settings.environment["GREETING"] == settings.greeting == "Hello."


def test_an_empty_variable_counts_as_unset() -> None:
    assert load(PORT="", REPROMPT="") == load()


@pytest.mark.parametrize("variable", NUMBERS)
def test_a_number_that_is_none_is_named(variable: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{variable}: "):
        load(**{variable: "plenty"})


@given(st.dictionaries(st.sampled_from(NUMBERS), st.sampled_from(("plenty", "-1", "1e99", "nan")), min_size=1))
def test_every_variable_that_is_wrong_is_named_at_once(wrong: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as refused:
        load(**wrong)
    assert {line.partition(":")[0] for line in str(refused.value).splitlines()} == set(wrong)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "65536"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("LATENCY_PROFILE", "dreamy"),
        ("PUBLIC_URL", "bridge.example.net"),
        ("MAX_CALLS", "0"),
        ("LEAD_MS", "20"),
        ("CALL_LIMIT_S", "0"),
    ],
)
def test_a_value_out_of_range_is_named_and_the_remedy_said(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{variable}: \S+ .*"):
        load(**{variable: value})


def test_what_our_own_checks_say_stands_as_it_is() -> None:
    with pytest.raises(SettingsError, match=r"^PUBLIC_URL: give the whole address.*\nREDACT_SHOWN: word: give any of"):
        load(PUBLIC_URL="bridge.example.net", REDACT_SHOWN="word")


def test_a_variable_called_environment_is_somebody_elses() -> None:
    assert load(ENVIRONMENT="production").environment["ENVIRONMENT"] == "production"


def test_secrets_never_print() -> None:
    settings = load(API_TOKEN="s3cr3t-api", TWILIO_AUTH_TOKEN="s3cr3t-twilio", PUBLIC_URL="https://x.example")
    assert settings.secrets_of(TWILIO) == ("s3cr3t-twilio",)
    for text in (repr(settings), str(settings), f"{settings!r}"):
        assert "s3cr3t" not in text
    with pytest.raises(SettingsError) as refused:
        load(API_TOKEN="s3cr3t-api", TWILIO_AUTH_TOKEN="s3cr3t-twilio", PORT="s3cr3t-port")
    assert "s3cr3t" not in str(refused.value)


def test_secrets_of_a_carrier_come_in_the_order_of_rotation() -> None:
    settings = load(TWILIO_AUTH_TOKEN_SECONDARY="new", TWILIO_AUTH_TOKEN="old", PUBLIC_URL="https://x.example")
    assert settings.secrets_of(TWILIO) == ("old", "new")


def test_a_secret_without_the_address_that_it_signs_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^PUBLIC_URL: TWILIO_AUTH_TOKEN is set.*set PUBLIC_URL"):
        load(TWILIO_AUTH_TOKEN="secret").secrets_of(TWILIO)


def test_a_trailing_slash_of_the_public_address_is_dropped() -> None:
    assert load(PUBLIC_URL="https://bridge.example.net/").base_url == "https://bridge.example.net"


def test_the_env_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PORT=9000\nGREETING='Hello there.'\nDEEPGRAM_API_KEY=abc\nREPROMPT=\n")
    settings = Settings.load({"PORT": "9001", "GREETING": ""}, env_file=file)
    assert (settings.port, settings.greeting) == (9001, "Hello there.")
    assert settings.environment["DEEPGRAM_API_KEY"] == "abc"
    assert settings.reprompt == Manners().reprompt


def test_a_missing_env_file_is_no_error(tmp_path: Path) -> None:
    assert Settings.load({}, env_file=tmp_path / ".env") == load()


def test_settings_become_the_manners_of_calls() -> None:
    manners = load(
        SILENCE_S="3", CALL_LIMIT_S="60", ENDPOINT_MS="700", TRANSFER_TO="+15550100009", LATENCY_PROFILE="strict"
    ).manners()
    assert (manners.silence_s, manners.limit_s, manners.transfer_to) == (3.0, 60.0, "+15550100009")
    assert manners.ear.endpoint_ms == 700
    assert manners.budgets is STRICT


def test_without_settings_calls_behave_as_the_manners_say() -> None:
    settings, manners = load(), Manners()
    assert settings.manners() == Manners(instructions=settings.instructions)
    assert manners.instructions == ""


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().port = 1  # type: ignore[misc]


# .env.example


def explained() -> dict[str, str]:
    """Each variable of the example with the comment line right above it."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    return {
        match[1]: above
        for above, line in zip(["", *lines], lines, strict=False)
        if (match := re.match(r"#? ?([A-Z][A-Z0-9_]*)=", line))
    }


def uncommented() -> dict[str, str]:
    """The example as it is when every line is taken into use."""
    return {
        match[1]: match[2]
        for line in EXAMPLE.read_text(encoding="utf-8").splitlines()
        if (match := re.match(r"#? ?([A-Z][A-Z0-9_]*)=(.*)", line))
    }


def variables_named_in(folder: str) -> set[str]:
    """Every string in a folder's sources that is written like a variable of more than one word."""
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / folder).rglob("*.py"))
    strings = (
        node.value for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)
    )
    return {text for text in strings if isinstance(text, str) and re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", text)}


def test_the_example_lists_every_variable_that_anything_reads() -> None:
    secrets = {name for carrier in CARRIERS.values() for name in carrier.secret_variables}
    keys = {key for of_kind in registry.KEYS.values() for key in of_kind.values()}
    words_of_file_formats = {"START_STATE", "FINAL_STATE"}  # of an automaton as the recogniser writes it
    wanted = VARIABLES | set(sip_variables()) | secrets | keys | variables_named_in("providers") - words_of_file_formats
    assert wanted - set(explained()) == set()


def test_off_means_none_where_empty_means_unset() -> None:
    manners = load(FILLER="off", ASK_AGAIN="off", BACKCHANNELS=" OFF ", SPECULATION="off").manners()
    assert (manners.filler, manners.ask_again) == ("", "")
    assert manners.ear.backchannels == frozenset()
    assert manners.speculation.depth == "off"
    assert load(FILLER="", BACKCHANNELS="").manners().filler == Manners().filler


def test_the_example_explains_every_variable_in_a_line() -> None:
    for variable, comment in explained().items():
        assert re.match(r"# \S.{10,}", comment), f"{variable} has no line of explanation above it"
        assert not re.match(r"#? ?[A-Z][A-Z0-9_]*=", comment), variable


def test_the_example_shows_every_default() -> None:
    file, defaults = uncommented(), load()
    example = Settings.load(dict(dotenv_of(file)), env_file=None)
    assert example.model_copy(update={"environment": {}}) == defaults.model_copy(update={"environment": {}})


def dotenv_of(lines: dict[str, str]) -> dict[str, str]:
    text = "".join(f"{name}={value}\n" for name, value in lines.items())
    return {name: value or "" for name, value in dotenv_values(stream=StringIO(text)).items()}


def test_the_example_as_it_is_changes_nothing() -> None:
    assert Settings.load({}, env_file=EXAMPLE).model_copy(update={"environment": {}}) == load()
