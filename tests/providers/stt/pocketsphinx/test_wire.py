"""Messages between the bridge and its workers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.stt.pocketsphinx import wire

numbers = st.integers(0, 2**63)
orders = st.one_of(
    st.builds(wire.Configure, st.text(), st.lists(st.text()).map(tuple), st.text()),
    st.builds(wire.Audio, numbers, st.binary()),
    st.builds(wire.Finalize, numbers),
    st.builds(wire.Close, numbers),
)
reports = st.one_of(
    st.builds(wire.Ready),
    st.builds(wire.Unusable, st.text()),
    st.builds(wire.Partial, numbers, st.text(), st.booleans(), st.booleans()),
    st.builds(wire.Final, numbers, st.text(), st.none() | st.floats(0, 1), st.booleans()),
    st.builds(wire.Lost, numbers, st.floats(0, 1e6)),
)


@given(st.lists(orders), st.integers(1, 50))
def test_orders_arrive_whole_however_the_pipe_cuts_them(sent: list[wire.Order], size: int) -> None:
    data = b"".join(map(wire.packed, sent))
    received = wire.Orders()
    assert [order for at in range(0, len(data), size) for order in received.receive(data[at : at + size])] == sent


@given(reports)
def test_reports_arrive_as_they_were_sent(sent: wire.Report) -> None:
    data = wire.packed(sent)
    assert wire.length(data[: wire.LENGTH_BYTES]) == len(data) - wire.LENGTH_BYTES
    assert wire.report(data[wire.LENGTH_BYTES :]) == sent


@given(st.binary(max_size=100))
def test_any_bytes_are_orders_or_malformed(data: bytes) -> None:
    orders: list[wire.Order] = []
    try:
        orders = wire.Orders().receive(data)
    except wire.Malformed:
        pass
    assert all(isinstance(order, wire.Order) for order in orders)


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x93\xa5Audio\x01\x02", b"\x91\xa4Nope"])
def test_a_message_that_is_none_is_malformed(body: bytes) -> None:
    with pytest.raises(wire.Malformed):
        wire.Orders().receive(len(body).to_bytes(4, "big") + body)
    with pytest.raises(wire.Malformed):
        wire.report(body)


def test_a_length_beyond_reason_is_malformed() -> None:
    with pytest.raises(wire.Malformed, match="4294967295 bytes"):
        wire.length(b"\xff\xff\xff\xff")
