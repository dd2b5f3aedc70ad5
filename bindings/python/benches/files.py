"""Measures asynchronous files in Python side by side: sideloop.aio and its peers, on asyncio, uvloop and trio.

This file is the order of things: arguments, input, rounds, tables, files. Every run is a process of its own
(measure.py); in each round everybody has one turn at each work, in a new order. scripts/bench-python.sh starts it, with
what it needs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Sequence

import plot
import report
import sideloop
from machine import Machine
from peers import OURS, PEERS, missing, version
from report import Key, Results
from works import EVENT_LOOPS, LARGE_FILE, LARGE_FILE_QUICK, LATENESS, LINE_SIZE, NO_LOOP, SMALL_SIZE, WORKS

HERE = Path(__file__).resolve().parent
DOCUMENTATION = HERE.parent / "docs"
# No run takes that many seconds.
PATIENCE = 300.0


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small works: that it runs, not how fast")
    parser.add_argument("--work", help="only these, with commas between")
    parser.add_argument("--peers", help="likewise")
    parser.add_argument("--hosts", help="likewise: " + ", ".join((NO_LOOP, *EVENT_LOOPS)))
    parser.add_argument("--budget", type=float, default=4.0, help="seconds for a run; what is slower does a part")
    parser.add_argument("--out", type=Path, required=True, help="where the input lies meanwhile, and the results go")
    parser.add_argument("--publish", action="store_true", help="put the results into the documentation as well")
    parser.add_argument("--list", action="store_true", help="say what there is")
    return parser.parse_args()


def runs(options: argparse.Namespace) -> List[Key]:
    """What is to be measured; says of what is left out why."""

    def chosen(option: str, names: Sequence[str]) -> List[str]:
        wanted = getattr(options, option)
        wanted = list(names) if wanted is None else wanted.split(",")
        unknown = sorted(set(wanted) - set(names))
        if unknown:
            raise SystemExit(f"no such {option}: {', '.join(unknown)} (there are: {', '.join(names)})")
        return wanted

    hosts = chosen("hosts", (NO_LOOP, *EVENT_LOOPS))
    reasons = {name: missing(name) for name in hosts if name != NO_LOOP}
    peers = chosen("peers", list(PEERS))
    reasons.update({name: missing(PEERS[name].package) for name in peers if PEERS[name].package})
    for name, reason in reasons.items():
        if reason:
            print(f"-- left out: {name}: {reason}")
    return [
        (work.name, peer, host)
        for work in WORKS
        if work.name in chosen("work", [work.name for work in WORKS])
        for peer in peers
        for host in PEERS[peer].hosts
        if host in hosts
        and not reasons.get(peer)
        and not reasons.get(host)
        and any(getattr(PEERS[peer], method, None) is not None for method in work.methods)
        and not (work.unit == LATENESS and host == NO_LOOP)
    ]


def make_input(folder: Path, quick: bool) -> None:
    """Writes what is read, which also puts it into the system's cache."""
    small = folder / "small"
    small.mkdir()
    for number in range(
        max(work.quick if quick else work.operations for work in WORKS if "open_and_read" in work.methods)
    ):
        (small / f"{number:05}").write_bytes(os.urandom(SMALL_SIZE))
    piece = os.urandom(1 << 20)
    with open(folder / "large", "wb") as file:
        for _ in range((LARGE_FILE_QUICK if quick else LARGE_FILE) // len(piece)):
            file.write(piece)
    count = next(work.quick if quick else work.operations for work in WORKS if work.name == "lines")
    with open(folder / "lines", "w", encoding="utf-8") as text:
        for number in range(count):
            text.write(f"{number:09} ".ljust(LINE_SIZE - 1, "x") + "\n")
    # What is written back later would be in the way of what is measured.
    os.sync()


def run(key: Key, folder: Path, options: argparse.Namespace) -> Dict[str, float]:
    """One run. RuntimeError where it fails."""
    command = [sys.executable, str(HERE / "measure.py"), *key, str(folder), str(options.budget)]
    command += ["--quick"] if options.quick else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"not done after {PATIENCE:.0f} s") from None
    if done.returncode != 0:
        # Below the errors of groups there is a frame.
        lines = [line.strip(" |+-") for line in done.stderr.splitlines()]
        raise RuntimeError(next(filter(None, reversed(lines)), f"exit status {done.returncode}"))
    figures: Dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def rounds(keys: Sequence[Key], folder: Path, options: argparse.Namespace, machine: Machine) -> Results:
    """All rounds. Who fails once is left out from then on, and has no figures."""
    results: Results = {key: [] for key in keys}
    left = list(keys)
    for number in range(options.rounds):
        random.Random(number).shuffle(left)
        for place, key in enumerate(list(left)):
            if sys.stderr.isatty():
                print(f"\rround {number + 1} of {options.rounds}: {place} of {len(left)}", end=" ", file=sys.stderr)
            machine.settle()
            try:
                results[key].append(run(key, folder, options))
            except RuntimeError as error:
                print(f"-- left out: {' '.join(key)}: {error}")
                left.remove(key)
                del results[key]
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return results


def facts(options: argparse.Namespace, keys: Sequence[Key], machine: Machine) -> Dict[str, Any]:
    """What was measured where."""
    with sideloop.Loop() as loop:
        driver = loop.driver
    return {
        **machine.facts(),
        "driver": driver,
        "rounds": options.rounds,
        "quick": options.quick,
        "versions": {peer: version(PEERS[peer].package) for _, peer, _ in keys if PEERS[peer].package},
        "hosts": {host: version(host) for _, _, host in keys if host not in (NO_LOOP, "asyncio")},
    }


def main() -> int:
    """The whole."""
    options = arguments()
    if options.list:
        for work in WORKS:
            print(f"{work.name}: {work.title}")
        for peer in PEERS.values():
            print(f"{peer.name} ({', '.join(peer.hosts)}): {peer.how}")
        return 0
    # The input is removed also where this is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    keys = runs(options)
    machine = Machine(0 if options.quick else options.rounds)
    print(f"-- {len(keys)} runs a round, {options.rounds} rounds, load {machine.load_before}", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="input-", dir=options.out) as folder:
        make_input(Path(folder), options.quick)
        results = rounds(keys, Path(folder), options, machine)
    known = facts(options, list(results), machine)
    text = report.markdown(results, known)
    print("\n" + text)
    (options.out / "results.md").write_text(text, encoding="utf-8")
    report.write_json(options.out / "results.json", results, known)
    no_picture = plot.write(options.out / "results.svg", results)
    if no_picture:
        print(f"-- no picture: {no_picture}")
    if options.publish:
        if not no_picture:
            text = "![A bar for each peer](benchmarks.svg)\n\n" + text
            shutil.copy(options.out / "results.svg", DOCUMENTATION / "benchmarks.svg")
        shutil.copy(options.out / "results.json", DOCUMENTATION / "benchmarks.json")
        report.publish(DOCUMENTATION / "benchmarks.md", text)
    # Of ours, nothing may be missing.
    return 1 if any(key[1] in OURS and key not in results for key in keys) else 0


if __name__ == "__main__":
    sys.exit(main())
