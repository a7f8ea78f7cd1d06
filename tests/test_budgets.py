"""A frame and an interruption pass no more of the project than was agreed. Counted, so the machine does not matter.

Agreed are about 8 files and 30 calls for a frame, 8 files, 40 calls and no queue for an interruption. Where more is
needed at present, it may not become more still.
"""

import pytest

from benchmarks.budgets import Budgets, count


@pytest.fixture(scope="module")
def budgets() -> Budgets:
    return count()


def test_an_inbound_frame_passes_about_eight_files_and_at_most_thirty_calls(budgets: Budgets) -> None:
    assert len(budgets.inbound.files) <= 9, sorted(budgets.inbound.files)
    assert 5 < budgets.inbound.calls <= 30


def test_an_outbound_frame_passes_thirty_calls(budgets: Budgets) -> None:
    assert 5 < budgets.outbound.calls <= 30


def test_an_outbound_frame_passes_no_more_files_than_it_did(budgets: Budgets) -> None:
    # Two of them look after the chunk that speech comes in, and count what it costs: once for a chunk, not for a frame.
    # One sees to it that the tasks of a reply leave nothing behind: once for a reply.
    assert len(budgets.outbound.files) <= 15, sorted(budgets.outbound.files)


def test_an_interruption_stops_the_sound_within_forty_calls_and_no_more_files_than_it_did(budgets: Budgets) -> None:
    assert len(budgets.stop.files) <= 14, sorted(budgets.stop.files)
    assert 5 < budgets.stop.calls <= 40


def test_an_interruption_is_on_the_socket_without_a_queue_and_no_more_calls_than_it_was(budgets: Budgets) -> None:
    assert budgets.stop.calls < budgets.hold.calls <= 62
    assert budgets.hold.queues == 0


def test_the_end_of_an_interrupted_reply_passes_no_more_calls_than_it_did(budgets: Budgets) -> None:
    assert 10 < budgets.commit.calls <= 85
    assert budgets.commit.queues == 0
