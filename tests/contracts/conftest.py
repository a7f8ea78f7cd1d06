"""Vendors on loopback, so that the contract suites run over their adapters as well."""

from collections.abc import Iterator

import pytest

from tests.contracts.registered import ENVIRONMENT
from tests.fakes import deepgram


@pytest.fixture(scope="session", autouse=True)
def vendors() -> Iterator[None]:
    """Running for as long as any contract is checked; no process is started, and one thread for each."""
    with deepgram.in_a_thread() as url:
        ENVIRONMENT.update(DEEPGRAM_API_KEY=deepgram.KEY, DEEPGRAM_BASE_URL=url)
        yield
