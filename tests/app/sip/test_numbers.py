"""Numbers: what may be called here, and what from here. What is not allowed is refused, however it is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.sip.numbers import DEAR, DestinationRefused, Destinations, Numbers, masked


@pytest.mark.parametrize("called", ["+15550100002", "15550100002", "+1 555-010-0002"])
def test_a_number_is_the_same_however_it_is_written(called: str) -> None:
    assert called in Numbers(("+15550100002",))


@pytest.mark.parametrize("called", ["+15550100003", "", "+1555010000", "+155501000020", "anonymous"])
def test_another_number_is_not_ours(called: str) -> None:
    assert called not in Numbers(("+15550100002", "+49301234*"))


def test_a_beginning_stands_for_all_numbers_that_have_it() -> None:
    assert "+49301234567" in Numbers(("+49301234*",))


def test_without_a_list_every_number_that_the_trunk_brings_is_ours() -> None:
    assert "whatever" in Numbers()


@pytest.mark.parametrize("name", ["Reception", "reception"])
def test_a_name_is_a_number_too(name: str) -> None:
    assert name in Numbers(("reception",))


@pytest.mark.parametrize(
    ("target", "dialled"),
    [
        ("+49 (30) 123-45.67", "+49301234567"),
        ("tel:+4930123", "+4930123"),
        ("217", "217"),
        ("sip:ana@PBX.example", "sip:ana@pbx.example"),
        ("ana@pbx.example", "sip:ana@pbx.example"),
        ("sips:ana@pbx.example", "sips:ana@pbx.example"),
        ("+442079460000", "+442079460000"),
    ],
)
def test_what_is_allowed_is_dialled_in_its_plain_form(target: str, dialled: str) -> None:
    assert Destinations(("+49", "+44", "2", "@pbx.example")).admit(target) == dialled


@pytest.mark.parametrize(
    "target",
    [
        "+33123456789",
        "0049301234567",
        "49301234567",
        "317",
        "",
        "+",
        "sip:ana@evil.example",
        "sip:ana@pbx.example.evil.example",
        "sip:ana@pbx.example;transport=tcp",
        "sip:ana@pbx.example?Replaces=x",
        "sip:a<b>@pbx.example",
        "+4930123\r\nX-Y: z",
        "+49" + "1" * 30,
        "+4930p1",
    ],
)
def test_what_is_not_allowed_is_refused(target: str) -> None:
    with pytest.raises(DestinationRefused):
        Destinations(("+49", "2", "@pbx.example")).admit(target)


def test_nothing_may_be_called_where_nothing_is_allowed() -> None:
    with pytest.raises(DestinationRefused):
        Destinations().admit("+15550100003")


@pytest.mark.parametrize("prefix", DEAR)
def test_a_premium_number_takes_a_prefix_of_its_own(prefix: str) -> None:
    number = f"{prefix}1234567"
    with pytest.raises(DestinationRefused, match="premium"):
        Destinations(("+", prefix[:2])).admit(number)
    assert Destinations(("+", prefix)).admit(number) == number


@pytest.mark.parametrize("abroad", ["", "00", "011"])
@pytest.mark.parametrize("prefix", DEAR)
def test_a_premium_number_takes_a_prefix_of_its_own_however_it_is_dialled(prefix: str, abroad: str) -> None:
    begin = f"{abroad}{prefix[1:]}"
    number = f"{begin}1234567"
    for short in (begin[0], begin[:2], begin[:-1]):
        with pytest.raises(DestinationRefused, match="premium"):
            Destinations((short,)).admit(number)
    assert Destinations((begin[0], begin)).admit(number) == number
    assert Destinations((f"{begin}12",)).admit(number) == number


@pytest.mark.parametrize(
    "number", ["1900", "8081", "8821234", "15551234567", "0049301234", "011493012345", "18085551234"]
)
def test_what_only_looks_like_a_premium_number_is_none(number: str) -> None:
    assert Destinations(("0", "1", "8")).admit(number) == number


@given(st.text(max_size=40))
def test_only_what_fits_an_allowed_prefix_or_host_is_ever_dialled(target: str) -> None:
    try:
        dialled = Destinations(("+49", "@pbx.example")).admit(target)
    except DestinationRefused:
        return
    assert dialled.startswith("+49") or dialled.endswith("@pbx.example")
    assert dialled.isascii() and dialled.isprintable() and " " not in dialled


def test_logs_show_no_number() -> None:
    assert masked("+15550100003") == "…03"
    assert masked("217") == "…"
