"""What is sealed opens with the key, at its place, untouched; and not otherwise."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.calls.seal import Seal
from app.calls.store.errors import JournalUnreadable, StoreMisconfigured

OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


@given(st.binary(max_size=200), st.text(max_size=30))
def test_what_is_sealed_opens_as_it_was(plain: bytes, place: str) -> None:
    seal = Seal([OLD])
    sealed = seal.close(place, plain)
    assert seal.open(place, sealed) == plain
    assert seal.close(place, plain) != sealed


def test_sealed_bytes_do_not_tell_what_they_hold() -> None:
    assert b"opening hours" not in Seal([OLD]).close("entry 1", b'{"text":"opening hours"}')


def test_another_key_does_not_open_it() -> None:
    sealed = Seal([OLD]).close("entry 1", b"text")
    for keys in ([NEW], []):
        with pytest.raises(JournalUnreadable, match="entry 1 is sealed with a key that is not among JOURNAL_KEYS"):
            Seal(keys).open("entry 1", sealed)


@given(st.integers(0, 60), st.integers(1, 255))
def test_changed_bytes_do_not_open(at: int, by: int) -> None:
    sealed = bytearray(Seal([OLD]).close("entry 1", b"some words of a caller, 61 bytes"))
    at = 1 + at % (len(sealed) - 1)  # the first byte says that it is sealed at all
    sealed[at] ^= by
    with pytest.raises(JournalUnreadable):
        Seal([OLD]).open("entry 1", bytes(sealed))


def test_cut_bytes_do_not_open() -> None:
    sealed = Seal([OLD]).close("entry 1", b"text")
    for length in range(1, len(sealed)):
        with pytest.raises(JournalUnreadable):
            Seal([OLD]).open("entry 1", sealed[:length])


def test_bytes_that_were_moved_do_not_open() -> None:
    sealed = Seal([OLD]).close("entry 1 of call CA1", b"text")
    with pytest.raises(JournalUnreadable, match="changed"):
        Seal([OLD]).open("entry 2 of call CA1", sealed)


def test_a_key_is_replaced_by_putting_the_new_one_in_front() -> None:
    before, during, after = Seal([OLD]), Seal([NEW, OLD]), Seal([NEW])
    old, new = before.close("x", b"old"), during.close("x", b"new")
    assert during.open("x", old) == b"old"
    assert after.open("x", new) == b"new"
    with pytest.raises(JournalUnreadable):
        before.open("x", new)


def test_without_a_key_everything_stays_as_it_is_and_is_read_with_one_too() -> None:
    assert Seal().close("x", b'{"kind":"x"}') == b'{"kind":"x"}'
    assert Seal([NEW]).open("x", b'{"kind":"x"}') == b'{"kind":"x"}'


@pytest.mark.parametrize("key", ["", "secret", base64.b64encode(b"short").decode(), "ä" * 44, OLD + "A"])
def test_what_is_no_key_is_refused_with_what_to_do(key: str) -> None:
    with pytest.raises(StoreMisconfigured, match="JOURNAL_KEYS: give 32 random bytes"):
        Seal([key])


def test_a_key_may_be_written_for_addresses_too() -> None:
    secret = b"\xfb\xff" * 16
    standard, for_urls = base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode()
    assert standard != for_urls
    assert Seal([for_urls]).open("x", Seal([standard]).close("x", b"text")) == b"text"


def test_a_caller_is_the_same_under_the_same_key_and_unknown_under_another() -> None:
    (ours,) = Seal([OLD]).caller_keys("+15550100001")
    assert Seal([NEW, OLD]).caller_keys("+15550100001")[1] == ours
    assert Seal([NEW]).caller_keys("+15550100001") != (ours,)
    assert Seal([OLD]).caller_keys("+15550100002") != (ours,)
    assert "5550100001" not in ours
    assert Seal([OLD]).caller_keys("") == ()
