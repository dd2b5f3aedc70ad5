"""What is measured: the works, their sizes, what each is compared with, and what sideloop is to reach. All of it is
data; measure.py carries the works out.
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional, Tuple

# How many operations are under way at a time.
WIDTH = 64
SMALL_SIZE = 4096
LARGE_SIZE = 128 << 10
# A line of text, with its newline.
LINE_SIZE = 64
ASYNCIO = ("asyncio", "uvloop")
EVENT_LOOPS = (*ASYNCIO, "trio")
# Where a peer runs that needs no event loop.
NO_LOOP = "none"

# Seconds for each operation.
TIME = "time"
# Operations a second; what is kept is their time.
RATE = "rate"
# How late a ticker wakes.
LATENESS = "lateness"


class Work(NamedTuple):
    """One kind of work."""

    name: str
    title: str
    unit: str
    # How many operations, and how many in a quick run.
    operations: int
    quick: int
    # What a peer must have one of to do it.
    methods: Tuple[str, ...]
    # The peer that it is compared with.
    baseline: Optional[str] = None


EVERY = "every"


class Goal(NamedTuple):
    """What sideloop is to reach: a figure of at most `bound`, or of so many times that of a peer on the same event
    loop."""

    work: str
    bound: float
    # None: no peer. EVERY: each one that is asynchronous.
    against: Optional[str] = None
    hosts: Tuple[str, ...] = EVENT_LOOPS


WORKS = (
    Work(
        "whole",
        "Cached files of 4 KiB, read whole, 64 wide: time for each file",
        TIME,
        10_000,
        500,
        ("read_file", "read_files"),
        "serial",
    ),
    Work(
        "open",
        "The same by `async with open(...)` and `read()`: time for each file",
        TIME,
        10_000,
        500,
        ("open_and_read",),
        "serial",
    ),
    Work(
        "random",
        "Random reads of 128 KiB in a cached file of 1 GiB, 64 in flight: time for each read",
        TIME,
        8192,
        256,
        ("preader",),
        "serial",
    ),
    Work(
        "reads",
        "Cached positional reads of 4 KiB, 64 in flight: operations a second",
        RATE,
        200_000,
        2000,
        ("preader",),
        "serial",
    ),
    Work(
        "nop",
        "The cheapest operation there is, 64 in flight, submit to future resolved: operations a second",
        RATE,
        200_000,
        2000,
        ("nop",),
        "future",
    ),
    Work(
        "lines",
        "`async for line` over a file of 1,000,000 lines of text: time for each line",
        TIME,
        1_000_000,
        20_000,
        ("lines",),
        "serial",
    ),
    Work(
        "whole-late",
        "How late a ticker of 1 ms wakes during `whole`, and in an idle event loop",
        LATENESS,
        10_000,
        500,
        ("read_file", "read_files"),
    ),
    Work(
        "random-late",
        "How late a ticker of 1 ms wakes during `random`, and in an idle event loop",
        LATENESS,
        8192,
        256,
        ("preader",),
    ),
)

GOALS = (
    Goal("whole", 0.8, "serial"),
    Goal("whole", 1 / 20, "aiofiles", ASYNCIO),
    Goal("open", 1 / 5, "aiofiles", ASYNCIO),
    Goal("random", 1.2, "serial"),
    Goal("random", 1.0, EVERY),
    Goal("reads", 1 / 300_000, hosts=("asyncio",)),
    Goal("nop", 1 / 300_000, hosts=("asyncio",)),
    Goal("lines", 1 / 20, "aiofiles", ASYNCIO),
    Goal("whole-late", 1e-3),
    Goal("random-late", 1e-3),
)

BY_NAME: Dict[str, Work] = {work.name: work for work in WORKS}
# The size of the large file, and of that of a quick run.
LARGE_FILE, LARGE_FILE_QUICK = 1 << 30, 16 << 20
# For how many seconds a ticker ticks at least.
TICKING, TICKING_QUICK = 2.0, 0.2
