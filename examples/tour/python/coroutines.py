"""Style (f) of the tour: sideloop's coroutines in Python.

`read_all` is the whole program: many readers take one file after the other, and each reads straight on. The rest measures
it, like c/tour.c and meter.rs do. All of it runs on the main thread; the tour starts it with the list of files, and reads
what it prints (see protocol.rs).
"""

import sys
import time
import zlib
from typing import Dict, Iterator, List, Tuple

import sideloop

# How many reads are in flight at a time.
WINDOW = 64
# How long a main thread with nothing to do waits before it looks again, and how often it reports.
WAIT_NS = 1_000_000
REPORT_NS = 25_000_000

MASK = (1 << 64) - 1


async def read_all(paths: List[bytes], tally: "Tally") -> None:
    """Reads every file, WINDOW of them at a time."""
    files = iter(enumerate(paths))
    await sideloop.gather(*[reader(files, tally) for _ in range(WINDOW)])


async def reader(files: Iterator[Tuple[int, bytes]], tally: "Tally") -> None:
    """Reads one file after the other. All readers share the files."""
    loop = sideloop.current_loop()
    for index, path in files:
        try:
            data = await loop.read_file(path)
        except (OSError, sideloop.Error) as error:
            tally.failed[index] = error
        else:
            tally.add(index, data)


async def main(paths: List[bytes], tally: "Tally") -> None:
    """Reads, and lets the main thread tick meanwhile."""
    loop = sideloop.current_loop()
    sideloop.spawn(tick(tally))
    await read_all(paths, tally)
    tally.finish()
    tally.count_threads(loop.counters().threads + 1)
    tally.driver = loop.driver


async def tick(tally: "Tally") -> None:
    """Stands for whatever else the program has to do every millisecond, and sees how late it gets to it."""
    while True:
        await sideloop.sleep(WAIT_NS / 1e9)
        tally.waited()


def mix(value: int) -> int:
    """The finaliser of splitmix64: sums of its results show any one changed bit."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


class Tally:
    """How much has been read, and how free the main thread was."""

    def __init__(self) -> None:
        self.files = self.bytes = self.hash = 0
        self.failed: Dict[int, Exception] = {}
        self.threads = 1
        self.longest = 0
        self.driver = ""
        self.time = self.cpu = 0
        self.cpu_at_start = time.thread_time_ns()
        self.start = self.free_at = self.reported = time.monotonic_ns()

    def add(self, index: int, data: bytes) -> None:
        """Counts a file. Its place goes in, so that the bytes of two files mistaken for one another show."""
        self.files += 1
        self.bytes += len(data)
        self.hash += mix(mix(index) ^ (zlib.crc32(data) << 32) ^ len(data))

    def waited(self) -> None:
        """The main thread comes back from a wait of WAIT_NS: what it took longer counts as blocked."""
        now = time.monotonic_ns()
        self.longest = max(self.longest, now - min(now, self.free_at + WAIT_NS))
        self.free_at = now
        if now - self.reported >= REPORT_NS:
            self.reported = now
            print("progress", self.files, self.bytes, sep="\t", flush=True)
            self.count_threads(status_field("Threads:"))

    def count_threads(self, threads: int) -> None:
        """Keeps the peak."""
        self.threads = max(self.threads, threads)

    def finish(self) -> None:
        """The work is done; closing the loop is not part of it."""
        now = time.monotonic_ns()
        self.longest = max(self.longest, now - min(now, self.free_at + WAIT_NS))
        self.time = now - self.start
        self.cpu = time.thread_time_ns() - self.cpu_at_start

    def report(self) -> None:
        """Prints what was measured."""
        for index, error in sorted(self.failed.items()):
            print("failed", index, reason(error), sep="\t")
        fields = {
            "files": self.files,
            "bytes": self.bytes,
            "hash": f"{self.hash & MASK:016x}",
            "time": self.time,
            "blocked": self.longest,
            "cpu": self.cpu,
            "started": self.threads,
            "at_once": self.threads,
            "memory": peak_memory() or "-",
            "driver": "io_uring" if self.driver == "uring" else self.driver,
        }
        print("result", *[f"{name}={value}" for name, value in fields.items()], sep="\t", flush=True)


def reason(error: Exception) -> str:
    """Why a file could not be read, in the words that all styles use."""
    if isinstance(error, FileNotFoundError):
        return "vanished"
    if isinstance(error, PermissionError):
        return "permission denied"
    return (getattr(error, "strerror", None) or str(error)).replace("\n", " ")


def status_field(name: str) -> int:
    """A number of /proc/self/status (Linux); 0 elsewhere."""
    try:
        with open("/proc/self/status", "rb") as status:
            for line in status:
                if line.startswith(name.encode()):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def peak_memory() -> int:
    """In bytes; 0 where the system does not say. getrusage counts what the parent process had, too, on Linux."""
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return status_field("VmHWM:") * 1024


def read_list(path: str) -> List[bytes]:
    """The list has a NUL after each name. Names are bytes: not all of them are text."""
    with open(path, "rb") as file:
        return file.read().split(b"\0")[:-1]


if __name__ == "__main__":
    listed = read_list(sys.argv[1])
    total = Tally()
    try:
        sideloop.run(main(listed, total))
    except sideloop.Error as failure:
        print("stop", failure, sep="\t", flush=True)
        sys.exit(1)
    total.report()
