"""Charts: axes that fit, figures that people read, and no value that breaks out of its element."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dashboards import charts
from dashboards.charts import Bar, Interval, Segment

NUMBER = st.floats(-1e9, 1e9)


@given(NUMBER, st.floats(1e-6, 1e9), st.integers(2, 10))
def test_ticks_span_the_range_evenly(low: float, width: float, about: int) -> None:
    assume(width > 1e-6 * abs(low))  # else the range is below the precision of a float
    found = charts.ticks(low, low + width, about)
    step = found[1] - found[0]
    assert found[0] <= low + 1e-6 * step and found[-1] >= low + width - 1e-6 * step
    assert len(found) <= 2 * about + 2
    assert all(math.isclose(b - a, step, rel_tol=1e-3) for a, b in pairwise(found))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (12345, "12,345"),
        (0.12345, "0.123"),
        (1.0, "1"),
        (float("nan"), "–"),
        (None, "–"),
        (54321.4, "54,321"),
    ],
)
def test_figures(value: float | None, shown: str) -> None:
    assert charts.figure(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1, "100%"), (0, "0%"), (0.9999, ">99.9%"), (0.0001, "<0.1%"), (0.7512, "75.1%"), (None, "–")],
)
def test_percentages_round_neither_to_all_nor_to_nothing(value: float | None, shown: str) -> None:
    assert charts.percent(value) == shown


def test_shares_fill_the_width_in_proportion() -> None:
    drawn = charts.stacked(
        [
            Bar("a", [Segment("kept", "kept", 3), Segment("x", "c0", 1)]),
            Bar("b", [Segment("kept", "kept", 9)]),
        ],
        "s",
        share=True,
    )
    track, kept, other, _, whole = [
        float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', drawn)
    ]
    assert math.isclose(kept, 3 * other, rel_tol=0.01) and math.isclose(kept + other, track, rel_tol=0.01)
    assert whole == track


def test_beyond_the_colours_there_are_names_share_one() -> None:
    found = charts.colours([f"reason {i}" for i in range(12)], {"kept": "kept"})
    assert found["kept"] == "kept" and found["reason 7"] == "c7"
    assert {found[f"reason {i}"] for i in range(8, 12)} == {"rest"}


@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"), max_size=60)
)
def test_any_name_gives_well_formed_svg(name: str) -> None:
    for drawn in (
        charts.stacked([Bar(name, [Segment(name, "c0", 1)], name)], name),
        charts.lines({name: [(0, 1), (1, 2)]}, name),
        charts.lines({name: [(5, 1)]}, name),
        charts.intervals([Interval(name, 0.5, 0.4, 0.6, 0.1, 0.0, 0.2)], name),
    ):
        root = ElementTree.fromstring(drawn)
        assert root.get("aria-label") == name


def test_no_data_draws_nothing() -> None:
    assert (
        charts.stacked([], "s")
        == charts.lines({}, "s")
        == charts.lines({"a": []}, "s")
        == charts.intervals([], "s")
        == ""
    )
