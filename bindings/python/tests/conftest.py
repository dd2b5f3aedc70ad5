"""What all tests share: a loop that must be at rest afterwards, and a check that no test leaves anything open."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Awaitable, Callable, Dict, Iterator, List, Tuple

import pytest

import sideloop
from sideloop._library import library
from sideloop.aio import _engine, _hosts

PACKAGE = Path(__file__).resolve().parent.parent
# No test waits this long for what must happen; a test that does not pass shall fail rather than hang.
PATIENCE = 30.0

# A shell starts what runs in its background with Ctrl-C ignored, which Python and all its children would then inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

with contextlib.suppress(ImportError):
    # Its first event loop makes a pipe for signals that the process keeps.
    import uvloop

    uvloop.new_event_loop().close()


def count(folder: str) -> int:
    """How many descriptors ("fd") or threads ("task") the process has; 0 where the system does not say."""
    try:
        return len(os.listdir(f"/proc/self/{folder}"))
    except OSError:
        return 0


async def engine_rests() -> None:
    """Takes events until the engine of sideloop.aio has nothing under way, also of event loops that are gone."""
    host = _hosts.current()
    counters = sideloop.Counters()
    deadline = time.monotonic() + PATIENCE
    while True:
        for other in list(host.engine.hosts.values()):
            if other.is_gone():
                other.disown()
        host.take()
        library.sl_loop_counters(host.engine.id, ctypes.byref(counters))
        if counters.in_flight == 0 and counters.unclaimed == 0:
            break
        assert time.monotonic() < deadline, "operations are left under way"
        await asyncio.sleep(0)
    assert [other.table for other in host.engine.hosts.values() if other.table] == []
    assert counters.accepted == counters.ended
    assert (counters.lent_buffers, counters.lent_bytes) == (0, 0)


def settle_engine() -> None:
    """Checks that the engine of sideloop.aio, where a test has used it, is at rest, and ends it."""
    if _engine._engine is not None:
        asyncio.run(engine_rests())
        _engine.shut_down()


@pytest.fixture(scope="session", autouse=True)
def quick_collections() -> None:
    """What is there before the first test stays, and need not be looked through after each of them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    """Every test gives back all descriptors and threads."""
    before = count("fd"), count("task")
    yield
    gc.collect()
    settle_engine()
    # A thread takes a moment more to leave the system's list, or to let go of what its last work was about.
    deadline = time.monotonic() + PATIENCE
    while (count("fd") > before[0] or count("task") > before[1]) and time.monotonic() < deadline:
        time.sleep(0)
        gc.collect()
    assert count("fd") == before[0]
    assert count("task") <= before[1]


# How the tests of sideloop.aio run a coroutine: on each kind of event loop that is installed.

Run = Callable[[Callable[[], Awaitable[Any]]], Any]


def run_on_asyncio(main: Callable[[], Awaitable[Any]]) -> Any:
    """asyncio.run, for a function."""

    async def patient() -> Any:
        return await asyncio.wait_for(main(), PATIENCE)

    return asyncio.run(patient())


def run_on_uvloop(main: Callable[[], Awaitable[Any]]) -> Any:
    """Likewise on uvloop."""
    import uvloop

    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(asyncio.wait_for(main(), PATIENCE))
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def run_on_trio(main: Callable[[], Awaitable[Any]]) -> Any:
    """Likewise on trio."""
    import trio

    # Its threads would wait for more work for ten seconds, and count as left behind.
    trio._core._thread_cache.IDLE_TIMEOUT = 0

    async def patient() -> Any:
        with trio.fail_after(PATIENCE):
            return await main()

    return trio.run(patient)


async def turn() -> None:
    """Lets the others have a turn, on whichever event loop."""
    if on_trio():
        import trio

        await trio.lowlevel.checkpoint()
    else:
        await asyncio.sleep(0)


async def cancelled_after(turns: int, function: Callable[[], Awaitable[Any]]) -> bool:
    """Runs a function in a task of its own, and cancels that after so many turns; says whether that was in time."""
    if not on_trio():
        task = asyncio.ensure_future(function())
        for _ in range(turns):
            await turn()
            if task.done():
                break
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return task.cancelled()
    import trio

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(function)
            for _ in range(turns):
                await turn()
            scope.cancel()
    return scope.cancelled_caught


def on_trio() -> bool:
    """Whether it is trio that runs this code."""
    return getattr(getattr(sys.modules.get("sniffio"), "thread_local", None), "name", None) == "trio"


RUNS = {"asyncio": run_on_asyncio, "uvloop": run_on_uvloop, "trio": run_on_trio}


class Tasks:
    """Runs coroutines at the same time, on whichever event loop; leaving it waits for them."""

    def __init__(self) -> None:
        self._tasks: List[asyncio.Task[Any]] = []
        self._nursery: Any = None
        self._manager: Any = None

    async def __aenter__(self) -> Tasks:
        if on_trio():
            import trio

            self._manager = trio.open_nursery()
            self._nursery = await self._manager.__aenter__()
        return self

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if self._manager is not None:
            await self._manager.__aexit__(kind, error, traceback)
            return
        if error is not None:
            for task in self._tasks:
                task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    def start(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Callable[[], object]:
        """Begins one, and says how to cancel it."""
        if self._nursery is not None:
            import trio

            scope = trio.CancelScope()

            async def within() -> None:
                with scope:
                    await function(*arguments)

            self._nursery.start_soon(within)
            return scope.cancel

        async def whole() -> None:
            await function(*arguments)

        task = asyncio.get_running_loop().create_task(whole())
        self._tasks.append(task)
        return task.cancel


@pytest.fixture(params=list(RUNS))
def run(request: pytest.FixtureRequest) -> Run:
    """How a coroutine is run: on each kind of event loop."""
    # Before the test has opened anything.
    pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return RUNS[request.param]


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
