"""Figures as SVG, without a plotting library: lines over a cost, and points of two scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

Line = Sequence[tuple[float, float]]
"""(x, y) in the order of x."""

COLOURS = (
    *("#777777", "#d62728", "#e377c2", "#8c564b", "#1f77b4", "#9467bd", "#2ca02c"),
    *("#98df8a", "#ff7f0e", "#17becf", "#aec7e8", "#9edae5", "#bcbd22", "#393b79"),
)
WIDTH, HEIGHT, MARGIN = 360, 300, 48
_LEGEND_ROW, _LEGEND_COLUMNS = 18, 4


def panels(axes: Sequence[tuple[str, Mapping[str, Sequence[Line]]]], y_label: str, names: Sequence[str]) -> str:
    """Panels side by side, one for each (x label, lines of each name); a name's seeds are lines of one colour.

    y: shares in [0, 1], drawn in percent. A line of one point is a dot.
    """
    rows = -(-len(names) // _LEGEND_COLUMNS)
    width, height = WIDTH * len(axes), HEIGHT + 16 + rows * _LEGEND_ROW
    parts = [_open(width, height)]
    values = [y for _, lines in axes for of_name in lines.values() for line in of_name for _, y in line]
    low, high = _range(values)
    for place, (x_label, lines) in enumerate(axes):
        most = max((x for of_name in lines.values() for line in of_name for x, _ in line), default=0.0) or 1.0
        parts += _frame(place * WIDTH, x_label, y_label if place == 0 else "", most, low, high)
        for name, of_name in lines.items():
            for line in of_name:
                points = [(_x(place * WIDTH, x, most), _y(y, low, high)) for x, y in line]
                parts += _line(points, COLOURS[list(names).index(name) % len(COLOURS)], name)
    parts += _legend(names, width)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _open(width: int, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11" role="img">\n'
        f'<rect width="{width}" height="{height}" fill="white"/>'
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Tens of percent around the values."""
    if not values:
        return 0.0, 1.0
    low, high = int(min(values) * 10) / 10, min(1.0, (int(max(values) * 10) + 1) / 10)
    return (low, high) if high > low else (low - 0.1, high)


def _x(left: float, value: float, most: float) -> float:
    return left + MARGIN + value / most * (WIDTH - MARGIN - 24)


def _y(value: float, low: float, high: float) -> float:
    return HEIGHT - MARGIN - (value - low) / (high - low) * (HEIGHT - MARGIN - 16)


def _frame(left: float, x_label: str, y_label: str, most: float, low: float, high: float) -> list[str]:
    right, bottom = _x(left, most, most), _y(low, low, high)
    parts = [f'<path d="M{_x(left, 0, most)} {_y(high, low, high)} V{bottom} H{right}" fill="none" stroke="black"/>']
    for tick in range(round(low * 10), round(high * 10) + 1):
        y = _y(tick / 10, low, high)
        parts.append(f'<text x="{left + MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{tick * 10} %</text>')
        parts.append(f'<path d="M{left + MARGIN} {y:.1f} H{right:.1f}" stroke="#dddddd"/>')
    for share in (0, 0.5, 1):
        x = _x(left, share * most, most)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{_short(share * most)}</text>')
    middle = _x(left, most / 2, most)
    parts.append(f'<text x="{middle:.1f}" y="{bottom + 34}" text-anchor="middle">{escape(x_label)}</text>')
    if y_label:
        parts.append(f'<text x="{left + MARGIN + 6}" y="11">{escape(y_label)}</text>')
    return parts


def _short(value: float) -> str:
    """1.5 M, 24 k, 310."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _line(points: Sequence[tuple[float, float]], colour: str, name: str) -> list[str]:
    title = f"<title>{escape(name)}</title>"
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}">{title}</circle>' for x, y in points]
    if len(points) < 2:
        return dots
    path = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return [f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5">{title}</path>', *dots]


def _legend(names: Sequence[str], width: int) -> list[str]:
    parts: list[str] = []
    for place, name in enumerate(names):
        x = 12 + place % _LEGEND_COLUMNS * (width - 12) / _LEGEND_COLUMNS
        y = HEIGHT + 12 + place // _LEGEND_COLUMNS * _LEGEND_ROW
        colour = COLOURS[place % len(COLOURS)]
        parts.append(f'<rect x="{x:.0f}" y="{y - 8:.0f}" width="12" height="8" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18:.0f}" y="{y:.0f}">{escape(name)}</text>')
    return parts
