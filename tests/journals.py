"""Any event of a journal, for property tests."""

from typing import Any, get_args

import msgspec
from hypothesis import strategies as st

from app.calls.journal import KEPT, PASSING, JournalEvent

AT = st.floats(0, 1e6, allow_nan=False)
TEXT = st.text(max_size=30)
BY_TYPE = {
    float: AT,
    str: TEXT,
    int: st.integers(0, 10**6),
    bool: st.booleans(),
    int | None: st.none() | st.integers(0, 10**6),
    float | None: st.none() | AT,
    dict[str, Any]: st.dictionaries(TEXT, TEXT, max_size=3),
    dict[str, float | str]: st.dictionaries(TEXT, AT | TEXT, max_size=3),
    dict[str, str]: st.dictionaries(TEXT, TEXT, max_size=3),
    dict[str, float]: st.dictionaries(TEXT, AT, max_size=3),
    dict[str, float | None]: st.dictionaries(TEXT, st.none() | AT, max_size=3),
    dict[str, dict[str, int]]: st.dictionaries(
        TEXT, st.dictionaries(TEXT, st.integers(0, 10**6), max_size=3), max_size=3
    ),
    list[str]: st.lists(TEXT, max_size=3),
}


def any_of(kind: type[JournalEvent]) -> st.SearchStrategy[JournalEvent]:
    strategies = {field.name: BY_TYPE[field.type] for field in msgspec.structs.fields(kind)}
    return st.builds(kind, **strategies)


EVENTS = st.one_of(*map(any_of, get_args(KEPT | PASSING)))
