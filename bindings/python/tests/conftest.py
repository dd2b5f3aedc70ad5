"""What all tests share: a loop that must be at rest afterwards, and a check that no test leaves anything open."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Tuple

import pytest

import sideloop

PACKAGE = Path(__file__).resolve().parent.parent
# No test waits this long for what must happen; a test that does not pass shall fail rather than hang.
PATIENCE = 30.0

# A shell starts what runs in its background with Ctrl-C ignored, which Python and all its children would then inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def count(folder: str) -> int:
    """How many descriptors ("fd") or threads ("task") the process has; 0 where the system does not say."""
    try:
        return len(os.listdir(f"/proc/self/{folder}"))
    except OSError:
        return 0


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    """Every test gives back all descriptors and threads."""
    before = count("fd"), count("task")
    yield
    gc.collect()
    assert count("fd") == before[0]
    # A thread that has been joined takes a moment more to leave the system's list.
    deadline = time.monotonic() + PATIENCE
    while count("task") > before[1] and time.monotonic() < deadline:
        time.sleep(0)
    assert count("task") <= before[1]


def settle(loop: sideloop.Loop) -> None:
    """Ends all that is under way, and checks that the library's account and the package's agree."""
    for operation in list(loop._table.values()):
        operation.cancel()
    loop._wait_until(lambda: not loop._table, PATIENCE)
    # What woke somebody may be still on its way.
    loop._wait_until(lambda: loop.counters().in_flight == 0, PATIENCE)
    loop.poll()
    counters = loop.counters()
    assert counters.accepted == counters.ended
    assert counters.taken == counters.ended + counters.more
    assert (counters.in_flight, counters.unclaimed, counters.lent_buffers, counters.lent_bytes) == (0, 0, 0, 0)


@pytest.fixture
def loop() -> Iterator[sideloop.Loop]:
    """A loop that is at rest when the test is over."""
    with sideloop.Loop() as loop:
        yield loop
        settle(loop)


@pytest.fixture(params=["127.0.0.1", "::1"])
def host(request: pytest.FixtureRequest) -> str:
    """A local address of each family."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.bind((request.param, 0))
    except OSError:
        pytest.skip(f"{request.param} cannot be had on this machine")
    return str(request.param)


Pair = Tuple[sideloop.Stream, sideloop.Stream]


def connect(loop: sideloop.Loop, host: str = "127.0.0.1") -> Pair:
    """Both ends of a TCP connection: the one that connected, and the one that accepted."""
    with loop.listen((host, 0)) as listener:
        accepting = listener.accept(timeout=PATIENCE)
        client = loop.connect(listener.local_address(), timeout=PATIENCE).wait()
        return client, accepting.wait()


@pytest.fixture
def pair(loop: sideloop.Loop) -> Iterator[Pair]:
    """Both ends of a TCP connection."""
    client, server = connect(loop)
    with client, server:
        yield client, server


@pytest.fixture(scope="session")
def compile_c(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compiles C with the system's compiler: compile_c(source, *options) -> path."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("there is no C compiler on this machine")

    def compile_c(source: str, *options: str) -> Path:
        folder = tmp_path_factory.mktemp("c")
        (folder / "source.c").write_text(source)
        output = folder / "output"
        command = [str(compiler), "source.c", "-o", str(output), *options]
        subprocess.run(command, cwd=folder, check=True)
        return output

    return compile_c


def environment() -> Dict[str, str]:
    """The environment of an interpreter that has this package and library."""
    path = os.pathsep.join([str(Path(sideloop.__file__).parent.parent), str(PACKAGE / "tests")])
    return {**os.environ, "PYTHONPATH": path}


def run_python(source: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a program in an interpreter of its own, with this package and library."""
    env = {**environment(), **options.pop("env", {})}
    command = [sys.executable, "-W", "error", "-c", source, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=env, **options)
