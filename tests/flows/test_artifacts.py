"""Tables for the Prefect UI: what a person reads there is what was counted, whatever a value holds."""

from __future__ import annotations

from flows import artifacts


def test_a_table_has_a_line_for_each_row_and_numbers_to_the_right() -> None:
    rows = [
        {"source": "a", "came_in": 1234, "adds_up": True},
        {"source": "b", "came_in": None, "adds_up": False},
    ]
    assert artifacts.table(rows).splitlines() == [
        "| source | came in | adds up |",
        "| --- | ---: | --- |",
        "| a | 1,234 | yes |",
        "| b |  | no |",
    ]
    assert artifacts.table([]) == "(no rows)"


def test_no_value_breaks_out_of_its_cell() -> None:
    assert artifacts.cell("a|b\n<img src=x> *c* [d](e)") == r"a\|b \<img src=x\> \*c\* \[d\](e)"
    assert artifacts.cell(0.123456) == "0.1235"
