"""What an endpoint needs before it can start."""

import builtins
import resource
import sys
from typing import Any

import pytest

from telephony.sip.endpoint import check_descriptors, load_library
from telephony.sip.errors import SipUnavailable, TooFewDescriptors


@pytest.fixture
def file_limit(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what the process is told about its limit of open files."""
    return lambda limit: monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))


def test_too_few_descriptors_are_told_with_the_number_that_is_needed(file_limit: Any) -> None:
    file_limit(1024)
    check_descriptors(300)
    with pytest.raises(TooFewDescriptors, match="ulimit -n 1256") as refused:
        check_descriptors(500)
    assert (refused.value.needed, refused.value.allowed) == (1256, 1024)


def test_no_limit_is_enough(file_limit: Any) -> None:
    file_limit(resource.RLIM_INFINITY)
    check_descriptors(1000)


def test_without_the_wheel_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "pjsua2":
            raise ImportError("No module named 'pjsua2'")
        return real(name, *arguments, **named)

    for name in [name for name in sys.modules if name.startswith(("telephony.sip.library", "telephony.sip.pjsua"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "telephony.sip.account", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SipUnavailable, match="make sip"):
        load_library()
