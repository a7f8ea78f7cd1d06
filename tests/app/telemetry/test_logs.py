"""One line per state change, with the call on it and without what nobody may read."""

import json
import logging
from collections.abc import Callable, Iterator

import pytest
import structlog

from app.telemetry.logs import configure, masked


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Tells what was logged; everything about logging is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    structlog.contextvars.clear_contextvars()
    yield lambda: capsys.readouterr().err
    root.handlers, root.level = handlers, level
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def test_a_json_line_holds_the_event_its_level_its_time_and_the_call(logged: Callable[[], str]) -> None:
    configure("info", "json")
    structlog.contextvars.bind_contextvars(call_id="CA1")
    structlog.get_logger().info("call answered", carrier="twilio")
    line = json.loads(logged())
    assert line.pop("timestamp")
    assert line == {"event": "call answered", "level": "info", "call_id": "CA1", "carrier": "twilio"}


def test_a_librarys_record_takes_the_same_road(logged: Callable[[], str]) -> None:
    configure("info", "json")
    structlog.contextvars.bind_contextvars(call_id="CA1")
    logging.getLogger("some.library").warning("careful: %s", "hot")
    line = json.loads(logged())
    assert (line["event"], line["level"], line["call_id"]) == ("careful: hot", "warning", "CA1")


@pytest.mark.parametrize("style", ["json", "console"])
def test_what_is_below_the_level_is_not_written(logged: Callable[[], str], style: str) -> None:
    configure("warning", style)  # type: ignore[arg-type]
    structlog.get_logger().info("quiet")
    logging.getLogger("some.library").info("quiet")
    structlog.get_logger().warning("loud")
    text = logged()
    assert "quiet" not in text
    assert "loud" in text


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_crash_is_logged_with_its_trace(logged: Callable[[], str], style: str) -> None:
    configure("info", style)  # type: ignore[arg-type]
    try:
        raise ZeroDivisionError("by nothing")
    except ZeroDivisionError:
        structlog.get_logger().exception("call crashed")
    text = logged()
    assert "by nothing" in text
    assert "test_logs.py" in text
    assert (len(text.splitlines()) == 1) == (style == "json")


def test_a_console_that_is_a_file_gets_no_colours(logged: Callable[[], str]) -> None:
    configure("info", "console")
    structlog.get_logger().info("call answered")
    text = logged()
    assert "call answered" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    "library",
    [
        *("httpx", "httpx2", "httpcore.http11", "httpcore2.http11", "anthropic._base_client", "openai._base_client"),
        *("websockets.client", "uvicorn.error", "asyncio"),
    ],
)
def test_chatty_libraries_are_heard_only_when_it_matters(logged: Callable[[], str], library: str) -> None:
    configure("debug", "json")
    logging.getLogger(library).info("GET https://vendor.example/?key=secret")
    logging.getLogger(library).debug("Request options: my card is 4111")
    assert logged() == ""
    logging.getLogger(library).warning("careful")
    assert json.loads(logged())["event"] == "careful"


@pytest.mark.parametrize(
    ("number", "shown"), [("+15550100001", "…01"), ("sip:alice@example.com", "…om"), ("911", "911"), ("", "")]
)
def test_a_number_is_shown_by_its_last_two_digits(number: str, shown: str) -> None:
    assert masked(number) == shown
