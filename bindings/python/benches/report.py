"""The tables, the goals, and what is written beside them: Markdown and JSON, from the figures of all rounds."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from machine import TWO
from peers import OURS, PEERS
from works import EVERY, GOALS, LATENESS, NO_LOOP, RATE, WORKS, Goal, Work

# A work, a peer, an event loop.
Key = Tuple[str, str, str]
Results = Dict[Key, List[Dict[str, float]]]

# Where the tables stand in benchmarks.md.
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"


class Row(NamedTuple):
    """What a peer has reached on an event loop."""

    peer: str
    host: str
    # Seconds: medians, and how far the rounds were apart.
    median: float
    least: float
    most: float
    # Medians of all figures.
    figures: Dict[str, float]


class Verdict(NamedTuple):
    """Whether a goal is met; None: what it is compared with was not measured."""

    text: str
    met: Optional[bool]


def rows(results: Results, work: Work) -> List[Row]:
    """All that was measured of a work, the fastest first."""
    found = []
    for (name, peer, host), rounds in results.items():
        if name == work.name:
            key = "p99" if work.unit == LATENESS else "time"
            values = [figures[key] for figures in rounds]
            medians = {key: statistics.median(figures[key] for figures in rounds) for key in rounds[0]}
            found.append(Row(peer, host, statistics.median(values), min(values), max(values), medians))
    return sorted(found, key=lambda row: row.median)


def beside(found: Sequence[Row], peer: Optional[str], host: str) -> Optional[Row]:
    """What a peer has reached on the same event loop, or without one."""
    return next((row for row in found if row.peer == peer and row.host in (host, NO_LOOP)), None)


def seconds(value: float) -> str:
    """For people."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}" if value < 1000 * size else f"{value / size:,.0f} {unit}"
    return f"{value / 1e-9:.0f} ns"


def written(work: Work, value: float) -> str:
    """A figure of a work, for people."""
    return f"{1 / value:,.0f}" if work.unit == RATE else seconds(value)


def name(row: Row) -> str:
    """A peer, with its event loop."""
    return row.peer if row.host == NO_LOOP else f"{row.peer} on {row.host}"


def markdown(results: Results, facts: Dict[str, Any]) -> str:
    """Everything, as text."""
    pieces = [
        f"{facts['processors']} processors, Linux {facts['kernel']}, Python {facts['python']}, sideloop on "
        f"{facts['driver']}; {facts['rounds']} rounds; load {facts['load'][0]} before, {facts['load'][1]} after; "
        f"{facts['stolen']:.0%} of the processors' time was stolen. When the runs began, two threads did "
        f"{facts['parallelism']:.1f} times the work of one; "
        f"less than {TWO} times before {facts['not parallel']:.0%} of them.\n"
    ]
    for work in WORKS:
        found = rows(results, work)
        if found:
            pieces.append(f"### {work.name}\n\n{work.title}.\n\n{table(work, found)}")
    pieces.append("### Goals\n\n| | |\n|---|---|\n")
    words = {True: "met", False: "**missed**", None: "not measured"}
    pieces[-1] += "".join(f"| {verdict.text} | {words[verdict.met]} |\n" for verdict in verdicts(results))
    used = [f"| {peer} | {facts['versions'].get(peer, '')} | {PEERS[peer].how} |\n" for peer in peers_of(results)]
    pieces.append("### How each is used\n\n| | version | |\n|---|---|---|\n" + "".join(used))
    return "\n".join(pieces)


def peers_of(results: Results) -> List[str]:
    """Who was measured."""
    measured = {peer for _, peer, _ in results}
    return [peer for peer in PEERS if peer in measured]


def table(work: Work, found: Sequence[Row]) -> str:
    """The table of one work."""
    if work.unit == LATENESS:
        head = ["", "p50", "p99", "max", "p99 of the rounds", "idle p50", "idle p99", "idle max"]
    else:
        head = ["", "median", f"times {work.baseline}'s", "best round", "worst round"]
    body = []
    for row in found:
        title = f"**{name(row)}**" if row.peer in OURS else name(row)
        if work.unit == LATENESS:
            figures = row.figures
            apart = f"{seconds(row.least)} to {seconds(row.most)}"
            shown = [seconds(figures[key]) for key in ("p50", "p99", "max", "idle_p50", "idle_p99", "idle_max")]
            body.append([title, *shown[:3], apart, *shown[3:]])
        else:
            against = beside(found, work.baseline, row.host)
            ratio = f"{row.median / against.median:.2f}" if against else ""
            body.append([title, written(work, row.median), ratio, written(work, row.least), written(work, row.most)])
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def verdicts(results: Results) -> Iterator[Verdict]:
    """Each goal, for each of ours and each event loop."""
    for goal in GOALS:
        work = next(work for work in WORKS if work.name == goal.work)
        found = rows(results, work)
        for row in found:
            if row.peer in OURS and row.host in goal.hosts:
                yield verdict(goal, work, found, row)


def verdict(goal: Goal, work: Work, found: Sequence[Row], row: Row) -> Verdict:
    """Whether what was measured is what is wanted."""
    begin = f"{work.name}: {name(row)}"
    if goal.against is None:
        wanted = f"at least {1 / goal.bound:,.0f}" if work.unit == RATE else f"p99 at most {seconds(goal.bound)}"
        return Verdict(f"{begin}: {written(work, row.median)}, {wanted}", row.median <= goal.bound)
    if goal.against == EVERY:
        other = next((other for other in found if other.peer not in OURS and other.host == row.host), None)
    else:
        other = beside(found, goal.against, row.host)
    if other is None:
        return Verdict(f"{begin} beside {goal.against}", None)
    ratio = row.median / other.median
    if goal.bound <= 0.5:
        text = f"{1 / ratio:.1f} times as fast as {name(other)}, at least {1 / goal.bound:.3g}"
    else:
        text = f"takes {ratio:.2f} times what {name(other)} does, at most {goal.bound:.3g}"
    return Verdict(f"{begin} {text}", ratio <= goal.bound)


def write_json(place: Path, results: Results, facts: Dict[str, Any]) -> None:
    """All rounds, for programs."""
    runs = [
        {"work": work, "peer": peer, "host": host, "rounds": rounds} for (work, peer, host), rounds in results.items()
    ]
    goals = [verdict._asdict() for verdict in verdicts(results)]
    place.write_text(json.dumps({"facts": facts, "runs": runs, "goals": goals}, indent=1) + "\n", encoding="utf-8")


def publish(page: Path, text: str) -> None:
    """Puts the tables into the documentation, in place of the last ones."""
    old = page.read_text(encoding="utf-8")
    before, rest = old.split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(before + BEGIN + text + END + after, encoding="utf-8")
