"""Charts, drawn here as SVG that stretches with the page; their words are HTML, so that these do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

HEIGHT = 100
BAR = 0.8
SHORTEST = 0.001
"""Seconds; what is shorter is drawn as this."""
TICKS = 4
"""Steps of a scale at the most, while each is a power of ten."""


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


def decades(seconds: Iterable[float]) -> list[float]:
    """Return the ticks of a logarithmic scale around these, the highest first: powers of ten, or of a hundred."""
    known = [max(value, SHORTEST) for value in seconds] or [SHORTEST]
    low = math.floor(math.log10(min(known)) + 1e-9)
    high = max(low + 1, math.ceil(math.log10(max(known)) - 1e-9))
    step = 1 if high - low <= TICKS else 2
    low -= (high - low) % step
    return [10.0**power for power in range(high, low - 1, -step)]


def bars(series: Sequence[Series]) -> tuple[SafeString, list[float]]:
    """Return stacked bars, and the ticks of their scale."""
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
    return format_html_join("", '<path class="djqueue-fill djqueue-of-{}" d="{}"/>', shapes), [top, top / 2, 0]


def lines(series: Sequence[Series]) -> tuple[SafeString, list[float]]:
    """Return a line for each series of seconds, broken where one is missing, and the ticks of their scale.

    That is logarithmic, because 95 % may take a thousand times as long as half, and both are to be read.
    """
    ticks = decades(value for one in series for value in one.values if value is not None)
    top, height = math.log10(ticks[0]), math.log10(ticks[0] / ticks[-1])
    shapes = []
    for one in series:
        path, drawing = [], False
        for place, value in enumerate(one.values):
            if value is None:
                drawing = False
                continue
            y = (top - math.log10(max(value, ticks[-1]))) / height * HEIGHT
            # A point that stands alone would be a line without length, which is not drawn.
            path.append(f"{'L' if drawing else 'M'}{place + 0.1:g} {y:.2f}H{place + 0.9:g}")
            drawing = True
        shapes.append((one.kind, "".join(path)))
    shape = '<path class="djqueue-line djqueue-of-{}" d="{}" fill="none" vector-effect="non-scaling-stroke"/>'
    return format_html_join("", shape, shapes), ticks


def chart(
    title: Any,
    series: Sequence[Series],
    draw: Callable[[Sequence[Series]], tuple[SafeString, list[float]]],
    *,
    labels: Sequence[str],
    shown: Callable[[Any], str],
    ticked: Callable[[float], str],
    summary: str,
) -> SafeString:
    """Return a figure: title, legend, drawing with the words of each point to be hovered over, and its edges.

    ``labels`` say when a point is, ``shown`` how a value is written, ``ticked`` how it is on the scale; ``summary``
    stands for the drawing where it cannot be seen.
    """
    drawing, ticks = draw(series)
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
    scale = format_html_join("", "<span>{}</span>", ((ticked(tick),) for tick in ticks))
    grid = mark_safe(  # noqa: S308 - numbers of our own
        "".join(
            f'<line class="djqueue-grid" x1="0" x2="{points}" y1="{y}" y2="{y}" vector-effect="non-scaling-stroke"/>'
            for y in (place * HEIGHT / (len(ticks) - 1) for place in range(len(ticks)))
        )
    )
    return format_html(
        '<figure class="djqueue-chart"><figcaption><h3>{}</h3><ul class="djqueue-legend">{}</ul></figcaption>'
        '<div class="djqueue-plot"><div class="djqueue-scale" aria-hidden="true">{}</div>'
        '<svg viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}{}{}</svg></div>'
        '<div class="djqueue-ends" aria-hidden="true"><span>{}</span><span>{}</span></div></figure>',
        title, legend, scale, points, HEIGHT, summary, grid, drawing, hovers,
        labels[0] if labels else "", labels[-1] if labels else "",
    )  # fmt: skip
