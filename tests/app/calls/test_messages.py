"""What processes tell each other."""

import pytest

from app.calls.books import Left
from app.calls.journal import CallerSaid, FloorChanged
from app.calls.messages import (
    Answer,
    CarrierSaid,
    GiveUp,
    HandedOver,
    HandOver,
    HangUpCall,
    Inquire,
    Known,
    Message,
    PressKeys,
    TransferCall,
    decode,
    decode_answer,
    encode,
)


@pytest.mark.parametrize(
    "message",
    [
        GiveUp("CA1", 3),
        CarrierSaid("CA1", "completed"),
        HangUpCall("CA1", "enough"),
        Inquire("CA1", stream_lost=True),
        HandOver("CA1", "its stream came here"),
        TransferCall("CA1", "+15550100009", "angry", attended=True),
        PressKeys("CA1", "12#"),
    ],
)
def test_a_message_arrives_as_it_was_sent(message: Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize("answer", [None, Known("CA1", live=True), Known("CA1", live=False, transfer=True)])
def test_so_does_an_answer(answer: Answer | None) -> None:
    assert decode_answer(encode(answer)) == answer


def test_a_call_that_is_handed_over_arrives_with_its_journal() -> None:
    past, left = (
        [CallerSaid(1.0, "hello"), FloorChanged(1.5, "THINKING", "live")],
        Left(7, (CallerSaid(1.0, "hello"),), 3, frozenset({"a", "b"}), anew=True),
    )
    answer = decode_answer(encode(HandedOver.of("CA1", past, left)))
    assert isinstance(answer, HandedOver)
    assert answer.read() == (past, left)


@pytest.mark.parametrize("content", [b'{"kind":"SomethingNew","call_id":"CA1"}', b"", b"\xff"])
def test_what_a_later_version_says_is_passed_over(content: bytes) -> None:
    assert decode(content) is None
    assert decode_answer(content) is None
