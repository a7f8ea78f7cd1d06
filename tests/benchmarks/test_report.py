"""What a benchmark says is what it measured."""

import json

import pytest

from benchmarks.report import Report, against, quantile


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 2.5), (0.9, 3.7), (1.0, 4.0)])
def test_quantiles_interpolate_between_neighbours(share: float, expected: float) -> None:
    assert quantile([4.0, 1.0, 3.0, 2.0], share) == pytest.approx(expected)


def test_nothing_has_no_quantile() -> None:
    assert quantile([], 0.5) is None


def test_a_goal_without_a_measurement_is_not_reached() -> None:
    assert against(None, 1.0) == "not measured"
    assert against(1.0, 1.0) == "reached"
    assert against(1.1, 1.0) == "missed"


def test_columns_are_aligned_and_figures_rounded() -> None:
    report = Report("one", machine="here")
    report.table("Times", "what", "ms").add("short", 1.234)
    report.tables[0].add("a longer name", 123.4)
    assert report.tables[0].text().splitlines() == [
        "Times",
        "what              ms",
        "-------------  -----",
        "short           1.23",
        "a longer name  123.4",
    ]


def test_the_json_holds_figures_unrounded() -> None:
    report = Report("one", machine="here")
    report.table("Times", "ms").add(1.23456)
    assert json.loads(report.json())["tables"][0]["rows"] == [[1.23456]]
