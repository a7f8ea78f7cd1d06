"""A frame and an interruption pass no more of the project than was agreed. Counted, so the machine does not matter."""

import pytest

from benchmarks.budgets import Budgets, count


@pytest.fixture(scope="module")
def budgets() -> Budgets:
    return count()


def test_an_inbound_frame_passes_eight_files_and_thirty_calls(budgets: Budgets) -> None:
    assert len(budgets.inbound.files) <= 8, sorted(budgets.inbound.files)
    assert 5 < budgets.inbound.calls <= 30


def test_an_outbound_frame_passes_eight_files_and_thirty_calls(budgets: Budgets) -> None:
    assert len(budgets.outbound.files) <= 8, sorted(budgets.outbound.files)
    assert 5 < budgets.outbound.calls <= 30


def test_an_interruption_passes_eight_files_and_forty_calls_and_no_queue(budgets: Budgets) -> None:
    assert len(budgets.hold.files) <= 8, sorted(budgets.hold.files)
    assert 10 < budgets.hold.calls <= 40
    assert budgets.hold.queues == 0
