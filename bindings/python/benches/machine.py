"""The machine under the benchmarks: how busy it is, what a hypervisor takes of it, and whether its processors are as
many as it says. Whoever reads the figures shall know, and a run begins when two processors do the work of two.
"""

from __future__ import annotations

import hashlib
import os
import platform
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, Tuple

# Two virtual processors may be two threads of one core for a while, and then do hardly more together than one of them.
# From which ratio on they count as two.
TWO = 1.6
# For how many seconds a run waits for that, and all runs of a round together.
PATIENCE = 5.0
PATIENCE_OF_A_ROUND = 90.0
# How many seconds it takes to look, twice.
LOOK = 0.03


def load() -> str:
    """How many threads wanted a processor, on average of a minute."""
    return f"{os.getloadavg()[0]:.1f}"


def processor_time() -> Tuple[int, int]:
    """For how long the processors have worked since the system's start, and for how long they had work while a
    hypervisor gave them to others (proc_stat(5): user, nice, system, irq and softirq; steal). Zeros where nobody says.
    """
    try:
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return 0, 0
    user, nice, system, _, _, irq, softirq, steal = fields
    return user + nice + system + irq + softirq, steal


def _work(seconds: float) -> int:
    """Does something that needs neither memory nor the interpreter's lock, and says how often."""
    block, done, until = bytes(1 << 16), 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        hashlib.sha256(block).digest()
        done += 1
    return done


def parallelism() -> float:
    """How many times the work of one thread two do in the same time."""
    with ThreadPoolExecutor(2) as pool:
        together = sum(pool.map(_work, [LOOK] * 2))
    return together / max(_work(LOOK), 1)


class Machine:
    """What has become of it since the benchmarks began."""

    def __init__(self, rounds: int) -> None:
        self.load_before = load()
        self._time_before = processor_time()
        self._patience = PATIENCE_OF_A_ROUND * rounds
        # What was found now, and at the beginning of each run.
        self._parallelism: List[float] = [parallelism()]

    def settle(self) -> None:
        """Waits until two processors are two, but not for long: perhaps they never are."""
        begun = time.perf_counter()
        until = begun + min(PATIENCE, self._patience)
        found = parallelism()
        while found < TWO and time.perf_counter() < until:
            found = parallelism()
        self._patience -= time.perf_counter() - begun
        self._parallelism.append(found)

    def facts(self) -> Dict[str, Any]:
        """For the head of the tables."""
        worked, stolen = (after - before for after, before in zip(processor_time(), self._time_before))
        return {
            "processors": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "load": [self.load_before, load()],
            "stolen": stolen / max(worked + stolen, 1),
            "parallelism": statistics.median(self._parallelism),
            "not parallel": sum(found < TWO for found in self._parallelism) / len(self._parallelism),
        }
