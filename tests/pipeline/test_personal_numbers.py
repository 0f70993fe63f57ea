"""Bank accounts, cards and IP addresses in texts: planted by rules of their own, between numbers that are none."""

from __future__ import annotations

import random
from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.annotators.personal_numbers import PersonalNumbers, count_all
from pipeline.filters.personal_numbers import KINDS
from pipeline.filters.personal_numbers import PersonalNumbers as Keeping

NOTHING = {"ibans": 0, "cards": 0, "ip_addresses": 0}


def digits(draw: random.Random, count: int) -> str:
    return "".join(draw.choice("0123456789") for _ in range(count))


def iban(draw: random.Random) -> str:
    """Check digits by the rule of the standard: 98 less what is left of the number with 00 in their place."""
    country, length = draw.choice(
        [("DE", 22), ("FR", 27), ("GB", 22), ("NL", 18), ("NO", 15), ("MT", 31), ("PL", 28)]
    )
    letters = draw.choice(["", "", "ABCD", "WXYZ"]) if length > 20 else ""
    account = letters + digits(draw, length - 4 - len(letters))
    left = 0
    for one in account + country + "00":
        value = ord(one) - 55 if one.isalpha() else int(one)
        left = (left * (100 if value > 9 else 10) + value) % 97
    whole = f"{country}{98 - left:02d}{account}"
    if draw.random() < 0.5:
        return whole
    return " ".join(whole[at : at + 4] for at in range(0, length, 4))


def card(draw: random.Random) -> str:
    """The last digit makes the sum of the digits, every second one doubled and its digits added, end in 0."""
    start, length = draw.choice(
        [("4", 16), ("51", 16), ("55", 16), ("37", 15), ("6011", 16), ("2221", 16), ("36", 14)]
    )
    body = start + digits(draw, length - 1 - len(start))
    total = 0
    for place, one in enumerate(reversed(body)):
        total += sum(map(int, str(2 * int(one)))) if place % 2 == 0 else int(one)
    whole = body + str(-total % 10)
    separator = draw.choice(["", " ", "-"])
    return separator.join(whole[at : at + 4] for at in range(0, length, 4))


def ip_address(draw: random.Random) -> str:
    if draw.random() < 0.6:
        return ".".join(str(draw.randrange(1, 255)) for _ in range(4)).replace("127.", "128.")
    groups = [f"{draw.randrange(1, 65536):x}" for _ in range(8)]
    return ":".join(groups) if draw.random() < 0.5 else f"2001:{groups[0]}::{groups[1]}:{groups[2]}"


def ordinary(draw: random.Random) -> str:
    """A number that is none of them, but looks a little like one."""
    wrong = [  # one digit of a right one changed: no check digit finds it right
        lambda: (lambda n: n[:-1] + str((int(n[-1]) + 1) % 10))(card(draw)),
        lambda: (lambda n: n[:2] + f"{(int(n[2:4]) + 1) % 97 + 2:02d}" + n[4:])(iban(draw)),
    ]
    plain = [
        lambda: f"{draw.randrange(1, 29)}.{draw.randrange(1, 12)}.{draw.randrange(1900, 2030)}",
        lambda: f"{draw.randrange(0, 24):02d}:{draw.randrange(0, 60):02d}:{draw.randrange(0, 60):02d}",
        lambda: f"version {draw.randrange(9)}.{draw.randrange(9)}.{draw.randrange(99)}.{draw.randrange(99)}",
        lambda: f"ISBN 978-{draw.randrange(10)}-{digits(draw, 4)}-{digits(draw, 4)}-{draw.randrange(10)}",
        lambda: (
            f"{draw.randrange(1, 999)},{digits(draw, 3)},{digits(draw, 3)},{digits(draw, 3)},{digits(draw, 3)}"
        ),
        lambda: f"IMG_{digits(draw, 14)}.jpg",
        lambda: f"{draw.random() * 100:.12f}",
        lambda: f"{draw.randrange(300, 999)}.{draw.randrange(300, 999)}.1.1",
        lambda: f"+49 30 {digits(draw, 8)}",
        lambda: f"order {digits(draw, 10)}",
    ]
    return draw.choice(wrong + plain)()


SENTENCES = (
    "Send it to {} please.",
    "{}",
    "My number is {}, as ever",
    "see ({})",
    "a photo\n{}\non a wall",
    "号码 {}。",
)


@pytest.mark.parametrize(("kind", "made"), [("ibans", iban), ("cards", card), ("ip_addresses", ip_address)])
def test_what_is_planted_is_found(kind: str, made: Callable[[random.Random], str]) -> None:
    draw, found, wrong = random.Random(kind), 0, []
    for _ in range(2_000):
        text = draw.choice(SENTENCES).format(made(draw))
        counts = count_all(text)
        found += counts[kind] == 1
        if counts != {**NOTHING, kind: 1}:
            wrong.append((text, counts))
    assert found >= 0.98 * 2_000, wrong[:10]
    assert len(wrong) <= 0.02 * 2_000, wrong[:10]


def test_what_only_looks_like_one_is_left_alone() -> None:
    draw, wrong = random.Random(5), []
    for _ in range(5_000):
        text = draw.choice(SENTENCES).format(ordinary(draw))
        if any(count_all(text).values()):
            wrong.append(text)
    assert len(wrong) <= 0.002 * 5_000, wrong[:20]


def test_a_row_is_counted_with_its_prompt_and_kept_only_without() -> None:
    rows = pa.table(
        {
            "sample_id": ["a", "b", "c"],
            "prompt": [None, "whose is DE89 3704 0044 0532 0130 00?", None],
            "text": ["a red star", "mine", "from 203.0.113.9 and 203.0.113.10, card 4111111111111111"],
        }
    )
    found = PersonalNumbers().annotate(rows, {})
    assert found.select(KINDS).to_pylist() == [
        NOTHING, {**NOTHING, "ibans": 1}, {"ibans": 0, "cards": 1, "ip_addresses": 2}
    ]  # fmt: skip
    named = found.rename_columns(["sample_id", *(f"personal_numbers.{kind}" for kind in KINDS)])
    assert Keeping().keep(named).to_pylist() == [True, False, False]
    assert Keeping(ip_addresses=2, cards=1).keep(named).to_pylist() == [True, False, True]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789 .:-/ABCDEFabcdefGBDE+(),\n", max_size=80))
def test_any_text_is_counted(text: str) -> None:
    assert all(count >= 0 for count in count_all(text).values())
