"""The ring: what is not settled is kept or counted as lost, never both, never neither."""

from hypothesis import given
from hypothesis import strategies as st

from providers.resilience.replay import ReplayRing

KEEP = 50
Steps = st.lists(
    st.tuples(st.sampled_from(["add", "settle", "lose"]), st.integers(0, 60)),
    max_size=60,
)


@given(Steps)
def test_every_byte_is_settled_kept_or_counted_as_lost(steps: list[tuple[str, int]]) -> None:
    ring = ReplayRing(KEEP)
    call = b""
    done = lost = 0  # settled or lost: all before `done`
    for what, amount in steps:
        if what == "add":
            audio = bytes((len(call) + n) % 251 for n in range(amount))
            ring.add(audio)
            call += audio
        elif what == "settle":
            ring.settle(amount)
            done = max(done, min(amount, len(call)))
        else:
            count = ring.take_lost()
            lost += count
            assert count == max(0, ring.begin - done)
            done = max(done, ring.begin)
        assert ring.end == len(call)
        assert ring.between(ring.begin, ring.end) == call[ring.begin :]
        assert len(call) - ring.begin <= KEEP
    assert ring.begin >= done


def test_audio_that_was_settled_late_was_not_lost() -> None:
    ring = ReplayRing(4)
    ring.add(b"abcdefg")
    ring.settle(3)
    assert ring.take_lost() == 0
    assert ring.between(0, 5) == b"de"


def test_a_loss_is_counted_once() -> None:
    ring = ReplayRing(4)
    ring.add(b"abcdefg")
    assert (ring.take_lost(), ring.take_lost()) == (3, 0)
