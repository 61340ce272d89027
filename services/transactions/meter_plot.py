"""A plot of meter values as SVG, composed here: a panel for each measurand and unit, a line for each series. Pure."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from ocppcore.clock import to_rfc3339

WIDTH: Final = 900
PANEL: Final = 220
LEFT, RIGHT, TOP, BOTTOM = 90, 20, 34, 30
COLOURS: Final = ("#1f6feb", "#c9510c", "#1a7f37", "#8250df", "#bf3989", "#6e7781")
PANELS_MAX: Final = 12
GRID: Final = 4


class Line(NamedTuple):
    """A series to be drawn. `points`: (time in ms, value, least, most), sorted; least and most make a band."""

    measurand: str
    unit: str
    label: str
    points: Sequence[tuple[int, Decimal, Decimal, Decimal]]


def plot(title: str, since: int, until: int, lines: Iterable[Line]) -> str:
    """An SVG document; times run from `since` to `until` (ms)."""
    panels: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        panels.setdefault((line.measurand, line.unit), []).append(line)
    shown = list(panels.items())[:PANELS_MAX]
    height = TOP + PANEL * max(1, len(shown)) + 10
    body = [_text(LEFT, 20, title, "title")]
    if not shown:
        body.append(_text(LEFT, TOP + PANEL / 2, "no values", "label"))
    for place, ((measurand, unit), of) in enumerate(shown):
        named = f"{measurand} ({unit})" if unit else measurand
        body += _panel(named, TOP + PANEL * place, since, max(until, since + 1), of)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" aria-label={quoteattr(title)} font-family="sans-serif">'
        f"<title>{escape(title)}</title><style>.title{{font-size:15px;font-weight:600}}.label{{font-size:11px;"
        "fill:#57606a}.grid{stroke:#d0d7de;stroke-width:1}</style>"
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>{"".join(body)}</svg>\n'
    )


def _panel(named: str, top: float, since: int, until: int, lines: Sequence[Line]) -> Iterable[str]:
    low, high = _bounds(lines)
    inner, right, floor = PANEL - BOTTOM - 24, WIDTH - RIGHT, top + PANEL - BOTTOM

    def x(at: int) -> float:
        return LEFT + (right - LEFT) * (at - since) / (until - since)

    def y(value: Decimal) -> float:
        return floor - inner * float((value - low) / (high - low))

    yield _text(LEFT, top + 14, named, "label")
    for n in range(GRID + 1):
        value, at = low + (high - low) * n / GRID, since + (until - since) * n // GRID
        yield f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        yield _text(LEFT - 6, y(value) + 4, _number(value), "label", "end")
        yield _text(x(at), floor + 16, to_rfc3339(at)[5:16].replace("T", " "), "label", _anchor(n))
    for place, line in enumerate(lines):
        colour = COLOURS[place % len(COLOURS)]
        yield _drawn(line, colour, x, y)
        yield f'<text class="label" x="{right - 8}" y="{top + 14 + 13 * place:.1f}" text-anchor="end"' + (
            f' style="fill:{colour}">{escape(line.label)}</text>'
        )


def _drawn(line: Line, colour: str, x: object, y: object) -> str:
    assert callable(x)
    assert callable(y)
    path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value, _, _ in line.points)
    band = ""
    if any(least != most for _, _, least, most in line.points):
        above = [f"{x(at):.1f},{y(most):.1f}" for at, _, _, most in line.points]
        below = [f"{x(at):.1f},{y(least):.1f}" for at, _, least, _ in reversed(line.points)]
        band = f'<polygon points="{" ".join([*above, *below])}" fill="{colour}" fill-opacity="0.15"/>'
    if len(line.points) == 1:
        at, value, _, _ = line.points[0]
        return f'{band}<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="3" fill="{colour}"/>'
    return f'{band}<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _bounds(lines: Sequence[Line]) -> tuple[Decimal, Decimal]:
    """Of what is drawn; never the same twice."""
    low = min(least for line in lines for _, _, least, _ in line.points)
    high = max(most for line in lines for _, _, _, most in line.points)
    return (low, high) if low < high else (low - 1, high + 1)


def _anchor(n: int) -> str:
    return "start" if n == 0 else "end" if n == GRID else "middle"


def _number(value: Decimal) -> str:
    return f"{float(value):,.6g}"


def _text(x: float, y: float, said: str, of: str, anchor: str = "start") -> str:
    return f'<text class="{of}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'
