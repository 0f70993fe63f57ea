"""Charts as inline SVG: stacked bars, lines, intervals. Every value is escaped by `Markup.format`.

A chart carries its summary as an accessible name; the page shows its figures in a table beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

COLOURS = 8
"""Classes `c0` … `c7` in the style sheet; `kept`, `rest` and `line` have their own."""
FULL, HALF = 960.0, 470.0
"""Widths of a chart in its own units; the page scales it."""


@dataclass(frozen=True)
class Segment:
    """A stretch of a bar: what it stands for, its class in the style sheet, its value."""

    name: str
    colour: str
    value: float


@dataclass(frozen=True)
class Bar:
    """A bar of stretches with a label before it and a note behind it."""

    label: str
    segments: Sequence[Segment]
    note: str = ""

    @property
    def total(self) -> float:
        return sum(segment.value for segment in self.segments)


def colours(names: Sequence[str], special: Mapping[str, str] | None = None) -> dict[str, str]:
    """A class for each name: the first ones get colours of their own, the others share one."""
    found = dict(special or {})
    free = [name for name in dict.fromkeys(names) if name not in found]
    return {**found, **{name: f"c{i}" if i < COLOURS else "rest" for i, name in enumerate(free)}}


def stacked(bars: Sequence[Bar], summary: str, *, share: bool = False, label_width: float = 170) -> Markup:
    """Horizontal bars on a common scale; with `share`, each fills the width."""
    if not bars:
        return Markup("")
    height, gap, note_width = 24.0, 12.0, 120.0
    room, longest = FULL - label_width - note_width, max((bar.total for bar in bars), default=0) or 1
    parts, y = [], 4.0
    for bar in bars:
        scale = room / ((bar.total or 1) if share else longest)
        parts.append(
            _text(label_width - 12, y + height / 2, bar.label, "end", "label", most=round(label_width / 7.7))
        )
        parts.append(
            Markup('<rect class="track" x="{}" y="{}" width="{}" height="{}" rx="3"/>').format(
                label_width, _n(y), _n(room), height
            )
        )
        x = label_width
        for segment in bar.segments:
            width = segment.value * scale
            if width > 0:
                parts.append(
                    Markup(
                        '<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}: {}</title></rect>'
                    ).format(
                        segment.colour,
                        _n(x),
                        _n(y),
                        _n(max(width, 0.6)),
                        height,
                        segment.name,
                        figure(segment.value),
                    )
                )
            x += width
        parts.append(_text(FULL - note_width + 10, y + height / 2, bar.note, "start", "value"))
        y += height + gap
    return _svg(parts, y, summary)


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]],
    summary: str,
    *,
    unit: str = "step",
    width: float = FULL,
) -> Markup:
    """A line for each name over a common x axis; y starts at zero unless values are negative."""
    points = [point for line in series.values() for point in line]
    if not points:
        return Markup("")
    left, right, top, bottom, height = 58.0, 16.0, 12.0, 42.0, 290.0 if width == FULL else 210.0
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1e-9)
    y_axis = ticks(min(0.0, *ys), max(ys), 5)
    place_x = _scale(x_low, x_high, left, width - right)
    place_y = _scale(y_axis[0], y_axis[-1], height - bottom, top)
    parts = []
    for value in y_axis:
        parts.append(_rule(left, place_y(value), width - right, place_y(value)))
        parts.append(_text(left - 8, place_y(value), figure(value), "end", "tick"))
    for value in (v for v in ticks(min(xs), max(xs), 7 if width == FULL else 5) if x_low <= v <= x_high):
        parts.append(_text(place_x(value), height - bottom + 16, figure(value), "middle", "tick"))
    parts.append(_text(width - right, height - 10, unit, "end", "tick"))
    for (name, line), colour in zip(series.items(), colours(list(series)).values(), strict=True):
        parts.append(_line(name, colour, [(_n(place_x(x)), _n(place_y(y))) for x, y in line]))
    return _svg(parts, height, summary, width)


def _line(name: str, colour: str, places: Sequence[tuple[str, str]]) -> Markup:
    if len(places) == 1:
        return Markup('<circle class="point {}" cx="{}" cy="{}" r="4"><title>{}</title></circle>').format(
            colour, *places[0], name
        )
    return Markup('<polyline class="{}" points="{}"><title>{}</title></polyline>').format(
        colour, " ".join(map(",".join, places)), name
    )


@dataclass(frozen=True)
class Interval:
    """A score between its bounds, and the baseline's beside it."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    baseline_low: float | None = None
    baseline_high: float | None = None


def intervals(rows: Sequence[Interval], summary: str, *, label_width: float = 250) -> Markup:
    """Scores from 0 to 1 with their confidence intervals: a dot for ours, a diamond for the baseline."""
    if not rows:
        return Markup("")
    step, top = 30.0, 26.0
    height = top + step * len(rows) + 6
    place = _scale(0, 1, label_width, FULL - 80)
    parts = []
    for tenth in range(0, 11, 2):
        x = place(tenth / 10)
        parts.append(_rule(x, top - 6, x, height - 6))
        parts.append(_text(x, 10, f"{tenth * 10}%", "middle", "tick"))
    for index, row in enumerate(rows):
        y = top + step * (index + 0.5)
        parts.append(_text(label_width - 14, y, row.label, "end", "label", most=36))
        if row.baseline is not None:
            parts.append(_whisker("base", y + 5, place, row.baseline_low, row.baseline_high))
            x = place(row.baseline)
            parts.append(
                Markup(
                    '<path class="base mark" d="M{} {}l5 5l-5 5l-5 -5z"><title>baseline {}</title></path>'
                ).format(_n(x), _n(y), percent(row.baseline))
            )
        y -= 3 if row.baseline is not None else 0
        parts.append(_whisker("ours", y, place, row.low, row.high))
        parts.append(
            Markup('<circle class="ours mark" cx="{}" cy="{}" r="5"><title>{}</title></circle>').format(
                _n(place(row.value)), _n(y), percent(row.value)
            )
        )
        parts.append(_text(FULL - 64, top + step * (index + 0.5), percent(row.value), "start", "value"))
    return _svg(parts, height, summary)


def _whisker(
    colour: str, y: float, place: Callable[[float], float], low: float | None, high: float | None
) -> Markup:
    if low is None or high is None:
        return Markup("")
    return Markup('<line class="{} whisker" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
        colour, _n(place(low)), _n(y), _n(place(high)), _n(y)
    )


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round values that span a range."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    raw = (high - low) / max(about - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def figure(value: float | None) -> str:
    """A number as people read it: 12,345 or 0.123."""
    if value is None or not math.isfinite(value):
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percent(value: float | None) -> str:
    """A share as percent with one decimal, of which 100 and 0 are exact."""
    if value is None or not math.isfinite(value):
        return "–"
    shown = f"{100 * value:.1f}"
    if shown == "100.0":
        return "100%" if value == 1 else ">99.9%"
    if shown == "0.0":
        return "0%" if value == 0 else "<0.1%"
    return f"{shown}%"


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (min(max(value, low), high) - low) / span * (end - start)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _rule(x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="rule" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
        _n(x1), _n(y1), _n(x2), _n(y2)
    )


def _text(x: float, y: float, words: str, anchor: str, kind: str, most: int = 60) -> Markup:
    shown = words if len(words) <= most else words[: most - 1] + "…"
    full = Markup("<title>{}</title>").format(words) if shown != words else ""
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}" dy=".35em">{}{}</text>').format(
        kind, _n(x), _n(y), anchor, full, shown
    )


def _svg(parts: Sequence[Markup], height: float, summary: str, width: float = FULL) -> Markup:
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        "full" if width == FULL else "half", _n(width), _n(height), summary, Markup("\n").join(parts)
    )


@dataclass(frozen=True)
class Bin:
    """What lies between two values, as stretches one above the other."""

    low: float
    high: float
    segments: Sequence[Segment]


@dataclass(frozen=True)
class Marker:
    """A line across a histogram: a threshold."""

    at: float
    label: str
    colour: str = "marker"


def histogram(bins: Sequence[Bin], summary: str, *, unit: str = "", markers: Sequence[Marker] = ()) -> Markup:
    """Upright bars over an axis of values."""
    if not bins:
        return Markup("")
    left, right, top, bottom, height = 58.0, 16.0, 22.0, 42.0, 250.0
    low, high = bins[0].low, max(bins[-1].high, bins[0].low + 1e-9)
    y_axis = ticks(0, max((sum(s.value for s in one.segments) for one in bins), default=0) or 1, 4)
    place_x, place_y = (
        _scale(low, high, left, FULL - right),
        _scale(0, y_axis[-1], height - bottom, top),
    )
    parts = []
    for value in y_axis:
        parts.append(_rule(left, place_y(value), FULL - right, place_y(value)))
        parts.append(_text(left - 8, place_y(value), figure(value), "end", "tick"))
    for value in (v for v in ticks(low, high, 9) if low <= v <= high):
        parts.append(_text(place_x(value), height - bottom + 16, figure(value), "middle", "tick"))
    parts.append(_text(FULL - right, height - 10, unit, "end", "tick"))
    for one in bins:
        parts.extend(_column(one, place_x, place_y))
    for marker in markers:
        x = place_x(marker.at)
        parts.append(
            Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"><title>{}</title></line>').format(
                marker.colour, _n(x), _n(top - 6), _n(x), _n(height - bottom), marker.label
            )
        )
        end = "end" if x > FULL / 2 else "start"
        parts.append(_text(x + (-6 if end == "end" else 6), top - 8, marker.label, end, "tick"))
    return _svg(parts, height, summary)


def _column(one: Bin, place_x: Callable[[float], float], place_y: Callable[[float], float]) -> list[Markup]:
    x, width = place_x(one.low), max(place_x(one.high) - place_x(one.low) - 1, 0.8)
    parts, below = [], 0.0
    for segment in one.segments:
        if segment.value > 0:
            y, foot = place_y(below + segment.value), place_y(below)
            told = f"{figure(one.low)} to {figure(one.high)}: {figure(segment.value)} {segment.name}"
            parts.append(
                Markup(
                    '<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>'
                ).format(segment.colour, _n(x), _n(y), _n(width), _n(max(foot - y, 0.5)), told)
            )
            below += segment.value
    return parts
