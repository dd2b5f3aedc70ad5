"""Work: a function in C runs on sideloop's worker threads, and Python has its results as they come.

    python primes.py [LIMIT]

The function takes one pointer and returns a number of 64 bits. Neither it nor the waiting holds the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import sideloop

# How many numbers a worker looks at before it says what it has found.
STEP = 10_000


def compile_c(folder: str) -> ctypes.CDLL:
    """Makes a library of primes.c; a program would have its own, or one of the system's."""
    library = Path(folder) / "primes.so"
    source = Path(__file__).with_suffix(".c")
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-O2", "-fPIC", "-shared", str(source), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


async def main(limit: int, library: ctypes.CDLL) -> None:
    loop = sideloop.current_loop()
    ranges = [(ctypes.c_uint64 * 2)(start, min(start + STEP, limit)) for start in range(0, limit, STEP)]
    counts = await sideloop.gather(*(loop.work(library.count_primes, numbers) for numbers in ranges))
    print(f"{sum(counts)} primes below {limit}, from {len(counts)} pieces of work")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sideloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, compile_c(folder)))
