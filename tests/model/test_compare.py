"""Two models on the same items: the gain is counted, its bounds hold, and groups that fall are named."""

from __future__ import annotations

import numpy as np
import pytest

from model.compare import Pair, change, changes, fallen


def pairs(won: int, lost: int, both: int, neither: int, group: str = "") -> list[Pair]:
    groups = (group,) if group else ()
    counts = ((False, True, won), (True, False, lost), (True, True, both), (False, False, neither))
    return [Pair(before, after, groups) for before, after, n in counts for _ in range(n)]


def test_the_gain_is_what_was_won_less_what_was_lost() -> None:
    found = change(pairs(won=30, lost=10, both=40, neither=20))
    assert (found.items, found.before, found.after) == (100, 0.5, 0.7)
    assert found.gain == pytest.approx(0.2)
    assert found.low < 0.2 < found.high


def test_no_item_that_changed_is_no_gain_and_no_doubt() -> None:
    found = change(pairs(won=0, lost=0, both=7, neither=3))
    assert (found.gain, found.low, found.high) == (0.0, 0.0, 0.0)


def test_the_bounds_hold_the_true_gain_about_as_often_as_they_say() -> None:
    rng, true, held = np.random.default_rng(3), 0.06, 0
    for _ in range(200):
        won, lost, _ = rng.multinomial(400, [0.16, 0.10, 0.74])
        found = change(pairs(int(won), int(lost), 400 - int(won + lost), 0))
        held += found.low <= true <= found.high
    assert 0.90 <= held / 200 <= 0.99


def test_it_is_paired_items_that_both_answer_alike_narrow_the_bounds() -> None:
    alike, apart = change(pairs(10, 0, 45, 45)), change(pairs(50, 40, 5, 5))
    assert alike.gain == apart.gain == pytest.approx(0.1)
    assert alike.low > 0 > apart.low


def test_groups_are_told_apart_and_those_that_fall_too_far_are_named() -> None:
    found = changes([*pairs(90, 0, 0, 10, "en"), *pairs(0, 6, 50, 44, "fr"), *pairs(0, 9, 0, 0, "rare")])
    assert found["all"].items == 209 and found["en"].gain == pytest.approx(0.9)
    assert set(fallen(found, 0.05, {}, 10)) == {"fr"}
    assert set(fallen(found, 0.05, {}, 5)) == {"fr", "rare"}
    assert not fallen(found, 0.05, {"fr": 0.06}, 10)
    assert not fallen(found, 0.10, {}, 10)
