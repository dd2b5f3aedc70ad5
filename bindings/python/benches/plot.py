"""The picture: a panel for each work, a bar for each peer on each event loop, with how far the rounds were apart."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import report
from peers import OURS
from report import Results
from works import LATENESS, RATE, WORKS, Work

OURS_COLOUR, BASELINE_COLOUR, COLOUR = "#b03060", "#444444", "#9fb4c7"


def write(place: Path, results: Results) -> str:
    """Writes the picture; says why there is none."""
    try:
        importlib.import_module("matplotlib").use("svg")
        pyplot: Any = importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        return str(error)
    # So that the same figures give the same file.
    pyplot.rcParams["svg.hashsalt"] = "sideloop"
    works = [work for work in WORKS if report.rows(results, work)]
    heights = [len(report.rows(results, work)) + 3 for work in works]
    figure, panels = pyplot.subplots(
        len(works), 1, figsize=(9, 0.24 * sum(heights)), squeeze=False, height_ratios=heights, layout="constrained"
    )
    for work, (panel,) in zip(works, panels):
        draw(panel, results, work)
    figure.savefig(place, metadata={"Date": None})
    pyplot.close(figure)
    return ""


def draw(panel: Any, results: Results, work: Work) -> None:
    """The panel of one work, the fastest on top."""
    rows = report.rows(results, work)
    middles = [value(work, row.median) for row in rows]
    ends = [sorted((value(work, row.least), value(work, row.most))) for row in rows]
    apart = [
        [middle - low for middle, (low, _) in zip(middles, ends)],
        [high - middle for middle, (_, high) in zip(middles, ends)],
    ]
    colours = [
        OURS_COLOUR if row.peer in OURS else BASELINE_COLOUR if row.peer == work.baseline else COLOUR for row in rows
    ]
    panel.barh([report.name(row) for row in rows], middles, xerr=apart, color=colours, error_kw={"linewidth": 0.8})
    panel.set_xscale("log")
    panel.invert_yaxis()
    panel.tick_params(labelsize=7)
    panel.set_title(work.title.replace("`", ""), fontsize=8, loc="left")
    unit = {RATE: "operations a second", LATENESS: "ms late, 99 of 100"}.get(work.unit, "µs")
    panel.set_xlabel(f"{unit} (logarithmic)", fontsize=7)


def value(work: Work, seconds: float) -> float:
    """What the bar is long."""
    return 1 / seconds if work.unit == RATE else seconds * (1e3 if work.unit == LATENESS else 1e6)
