"""Charts, drawn here as SVG that stretches with the page; their words are HTML, so that these do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

HEIGHT = 100
BAR = 0.8
ROUND = tuple(60.0 * minutes for minutes in (1, 2, 5, 10, 20, 30, 60, 120, 240, 480, 720, 1440))
"""Seconds that are round as lengths of time, from a minute to a day."""


class Series(NamedTuple):
    """Values by point, None where there is none; ``kind`` becomes a class of the drawing."""

    kind: str
    title: Any
    values: Sequence[float | None]


def nice_top(highest: float) -> float:
    """Return the least of 1, 2, 5, 10, 20 … (or 0.1, 0.2 …) that is not below ``highest``."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(top for factor in (1, 2, 5, 10) if (top := factor * power) >= highest * 0.999999)


def nice_time(highest: float) -> float:
    """Return the least round length of time, in seconds, that is not below ``highest``; its half is round too."""
    if highest <= ROUND[0] * 5 / 6:
        return nice_top(highest)
    longer = next((top for top in ROUND if top >= highest), None)
    return longer or ROUND[-1] * nice_top(highest / ROUND[-1])


def bars(series: Sequence[Series]) -> tuple[SafeString, float]:
    """Return stacked bars, and the value of their upper edge."""
    totals = [sum(value or 0 for value in column) for column in zip(*(s.values for s in series), strict=True)]
    top = nice_top(max(totals, default=0))
    top = max(top, 1.0)
    below = [0.0] * len(totals)
    shapes = []
    for one in series:
        path = []
        for place, value in enumerate(one.values):
            if value:
                low, below[place] = below[place], below[place] + value
                y, height = HEIGHT - below[place] / top * HEIGHT, (below[place] - low) / top * HEIGHT
                path.append(f"M{place + (1 - BAR) / 2:g} {y:.2f}h{BAR}v{height:.2f}h-{BAR}z")
        shapes.append((one.kind, "".join(path)))
    return format_html_join("", '<path class="djqueue-fill djqueue-of-{}" d="{}"/>', shapes), top


def lines(series: Sequence[Series]) -> tuple[SafeString, float]:
    """Return a line for each series of seconds, broken where one is missing, and the seconds of their upper edge."""
    top = nice_time(max((value for one in series for value in one.values if value is not None), default=0))
    shapes = []
    for one in series:
        path, drawing = [], False
        for place, value in enumerate(one.values):
            if value is None:
                drawing = False
                continue
            y = HEIGHT - min(value / top, 1) * HEIGHT
            # A point that stands alone would be a line without length, which is not drawn.
            path.append(f"{'L' if drawing else 'M'}{place + 0.1:g} {y:.2f}H{place + 0.9:g}")
            drawing = True
        shapes.append((one.kind, "".join(path)))
    shape = '<path class="djqueue-line djqueue-of-{}" d="{}" fill="none" vector-effect="non-scaling-stroke"/>'
    return format_html_join("", shape, shapes), top


def chart(
    title: Any,
    series: Sequence[Series],
    draw: Callable[[Sequence[Series]], tuple[SafeString, float]],
    *,
    labels: Sequence[str],
    shown: Callable[[Any], str],
    summary: str,
) -> SafeString:
    """Return a figure: title, legend, drawing with the words of each point to be hovered over, and its edges.

    ``labels`` say when a point is, ``shown`` how a value is written; ``summary`` stands for the drawing where it
    cannot be seen.
    """
    drawing, top = draw(series)
    points = len(labels)
    words = [
        "\n".join([label, *(f"{one.title}: {shown(one.values[place])}" for one in series)])
        for place, label in enumerate(labels)
    ]
    hovers = format_html_join(
        "",
        '<rect class="djqueue-hover" x="{}" y="0" width="1" height="{}"><title>{}</title></rect>',
        ((place, HEIGHT, text) for place, text in enumerate(words)),
    )
    legend = format_html_join(
        "", '<li class="djqueue-of-{}"><span>{}</span></li>', ((one.kind, one.title) for one in series)
    )
    grid = mark_safe(  # noqa: S308 - numbers of our own
        "".join(
            f'<line class="djqueue-grid" x1="0" x2="{points}" y1="{y}" y2="{y}" vector-effect="non-scaling-stroke"/>'
            for y in (0, HEIGHT / 2, HEIGHT)
        )
    )
    return format_html(
        '<figure class="djqueue-chart"><figcaption><h3>{}</h3><ul class="djqueue-legend">{}</ul></figcaption>'
        '<div class="djqueue-plot"><div class="djqueue-scale" aria-hidden="true"><span>{}</span><span>{}</span>'
        "<span>{}</span></div>"
        '<svg viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}{}{}</svg></div>'
        '<div class="djqueue-ends" aria-hidden="true"><span>{}</span><span>{}</span></div></figure>',
        title, legend, shown(top), shown(top / 2), shown(0), points, HEIGHT, summary, grid, drawing, hovers,
        labels[0] if labels else "", labels[-1] if labels else "",
    )  # fmt: skip
