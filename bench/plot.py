"""The plot of delay against requests: the contestants' results, and the least delay that single polls can have."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.results import Result
from bench.tables import SHORT_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "sdk": "#b45309",
    "half-second": "#be123c",
    "celery": "#7c3aed",
    "rushes": "#15803d",
    "rushes-webhooks": "#0e7490",
}
INK = "#1f2937"


@dataclass(frozen=True, slots=True)
class Curve:
    """A schedule of checks: its requests per render and its mean delay in seconds, for each of several prices."""

    label: str
    requests: Sequence[float]
    delays: Sequence[float]
    style: str = "--"


def draw_plot(results: Sequence[Result], curves: Sequence[Curve], path: Path) -> None:
    """Write a PNG. Both axes are logarithmic; closer to the lower left corner is better."""
    from matplotlib.figure import Figure as Picture  # noqa: PLC0415 - a second of imports, which only this needs

    picture = Picture(figsize=(8, 5), dpi=120, layout="constrained")
    axes = picture.subplots()
    for number, curve in enumerate(curves):
        axes.plot(curve.requests, curve.delays, curve.style, color=INK, alpha=0.5 if number else 1, label=curve.label)
    for number, result in enumerate(results):
        _mark(axes, result, above=number % 2 == 0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.margins(x=0.1)  # names are to the right of their marks
    axes.set_xlabel("watching requests per render")
    axes.set_ylabel("mean delay from completion to knowing, seconds")
    axes.grid(visible=True, which="both", alpha=0.2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    if curves:
        axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, metadata={"Software": None})


def _mark(axes: "Axes", result: Result, *, above: bool) -> None:
    figures = result.figures
    if figures.mean_delay is None or figures.mean_delay <= 0 or figures.watching_requests <= 0:
        return
    colour = COLOURS.get(result.contestant, INK)
    axes.plot([figures.watching_requests], [figures.mean_delay], "o", color=colour, markersize=9)
    axes.annotate(
        SHORT_NAMES.get(result.contestant, result.contestant),
        (figures.watching_requests, figures.mean_delay),
        xytext=(8, 8 if above else -16),
        textcoords="offset points",
        color=colour,
        weight="bold",
    )
