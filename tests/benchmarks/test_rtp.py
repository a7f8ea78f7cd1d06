"""What a benchmark says of RTP is what was on the wire."""

import pytest

from benchmarks.rtp import Sender, Stream, share_over, sounds

LOUD, QUIET = b"\x1f" * 160, b"\xff" * 160


def stream(*heard: tuple[int, bytes, float]) -> tuple[Stream, list[float | None]]:
    """Packets by their number, what is in them, and how long after their time they arrive."""
    packets = [b""]
    sender, taken = Sender(7), Stream()
    packets += [sender.packet(LOUD) for _ in range(max(number for number, _, _ in heard))]
    found = [taken.arrived(packets[number][:12] + sound, number * 0.02 + late) for number, sound, late in heard]
    return taken, found


def test_a_packet_is_as_late_as_it_comes_after_the_least_late_one() -> None:
    taken, _ = stream((1, LOUD, 0.007), (2, LOUD, 0.005), (3, LOUD, 0.045), (4, LOUD, 0.025))
    assert taken.late_s() == pytest.approx([0.002, 0.0, 0.040, 0.020])
    assert share_over(taken.late_s(), 0.030) == 0.25


def test_an_even_delay_is_not_late() -> None:
    taken, _ = stream(*((number, LOUD, 0.5) for number in range(1, 50)))
    assert max(taken.late_s()) < 1e-9


def test_packets_that_never_came_are_counted_and_those_in_the_wrong_order_are_not() -> None:
    taken, _ = stream((1, LOUD, 0), (2, LOUD, 0), (5, LOUD, 0), (4, LOUD, 0), (6, LOUD, 0))
    assert taken.lost == 1


def test_silence_before_a_sound_is_measured_by_the_wire_not_by_the_arrival() -> None:
    _, found = stream((1, QUIET, 0), (2, LOUD, 0), (3, LOUD, 0.015), (4, QUIET, 0), (5, QUIET, 0), (6, LOUD, 0.010))
    assert found == [None, float("inf"), 0.0, None, None, pytest.approx(0.040)]


def test_what_came_before_the_measurement_is_forgotten() -> None:
    taken, _ = stream((1, LOUD, 0), (3, LOUD, 0))
    taken.forget()
    assert (taken.lost, taken.late_s(), share_over(taken.late_s(), 0.03)) == (0, [], None)


def test_timestamps_and_numbers_may_begin_again() -> None:
    sender, taken = Sender(7), Stream()
    sender._count = 0xFFFF_FFFF // 160 - 1
    for number in range(1, 4):
        taken.arrived(sender.packet(LOUD), number * 0.02)
    assert max(taken.late_s()) < 1e-6
    assert taken.lost == 0


def test_keys_and_noise_are_no_sound() -> None:
    _, found = stream((1, LOUD, 0))
    assert Stream().arrived(bytes([0x80, 101]) + bytes(14), 1.0) is None
    assert Stream().arrived(b"junk", 1.0) is None
    assert found == [float("inf")]
    assert sounds(LOUD)
    assert not sounds(b"\xff" * 100 + b"\x7f" * 50 + LOUD[:10])
