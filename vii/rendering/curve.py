"""How learning went, as an SVG picture: the loss of every update, and the loss on the probe set."""

import html
import math
from collections.abc import Sequence

from ..inversion import Step

WIDTH, PANEL, LEFT, RIGHT, TOP, GAP = 720, 180, 76, 20, 50, 44
INK, FAINT, BLUE, RED = "#333", "#ddd", "#2b6cb0", "#c0392b"
# How many lines an axis has at most, and one more where it starts and ends on one.
TICKS = 6

Points = Sequence[tuple[float, float]]


def learning_curve(steps: Sequence[Step], title: str) -> str:
    """SVG of a run: above, the loss that each update minimised; below, the loss on the fixed probe set.

    Two panels, for the two are not the same quantity: the upper one is of other noise at every update and may hold the
    edit-direction term. What is not finite is left out. The run need not have ended; the title is any text.
    """
    reach = steps[-1].steps if steps else 1
    told = f"{title}: explained {steps[-1].explained:.0%} after {steps[-1].step} steps" if steps else title
    losses = _finite([(step.step, step.loss) for step in steps])
    probes = _finite([(step.step, step.probe) for step in steps if step.probe is not None])
    height = TOP + 2 * PANEL + 2 * GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
            f'font-size="12" fill="{INK}">',
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            f'<text x="{LEFT}" y="22" font-size="14">{html.escape(told)}</text>',
            *_panel("loss of the update", losses, reach, TOP, BLUE, dots=False),
            *_panel("loss on the probe set", probes, reach, TOP + PANEL + GAP, RED, dots=True),
            "</svg>\n",
        ]
    )


def _panel(name: str, points: Points, reach: int, top: float, colour: str, dots: bool) -> list[str]:
    """One set of axes with its lines, values and curve; x runs from 0 to `reach` updates."""
    values = [value for _, value in points] or [0.0, 1.0]
    low, high = min(values), max(values)
    if high - low < 1e-12 * max(abs(low), abs(high), 1e-300):
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * x / reach
        return across, top + PANEL - PANEL * (y - low) / (high - low)

    drawn = [f'<text x="{LEFT}" y="{top - 5}" fill="{colour}">{name}</text>']
    for value in _ticks(low, high):
        _, y = place(0, value)
        drawn.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="{FAINT}"/>')
        drawn.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for step in _ticks(0, reach):
        x, y = place(step, low)
        drawn.append(f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{step:g}</text>')
    places = [place(*point) for point in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    if dots or len(places) == 1:
        drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    return drawn


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from low to high: multiples of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    unit = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    return [index * unit for index in range(math.ceil(low / unit), math.floor(high / unit * (1 + 1e-12)) + 1)]


def _finite(points: Points) -> Points:
    return [(x, y) for x, y in points if math.isfinite(y)]
