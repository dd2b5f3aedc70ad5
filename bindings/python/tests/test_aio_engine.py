"""The engine under sideloop.aio: event loops that come and go, threads, forks, cancels, interpreters that end."""

from __future__ import annotations

import asyncio
import errno
import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any, Awaitable, Callable, List

import pytest

from conftest import PATIENCE, Run, count, engine_rests, run_on_asyncio, run_python
from sideloop import aio
from sideloop.aio import _engine, _hosts


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with known contents."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 400)
    return path


def test_an_event_loop_must_run(path: Path) -> None:
    with pytest.raises(RuntimeError, match="no event loop runs"):
        aio.read_file(path).send(None)


def test_one_after_the_other(run: Run, path: Path) -> None:
    """Event loops come and go, and files stay."""

    async def begin() -> aio.BinaryFile:
        file: aio.BinaryFile = await aio.open(path, "rb")
        assert await file.read(100) == path.read_bytes()[:100]
        return file

    file = run(begin)
    for _ in range(20):
        assert run(lambda: file.pread(3, 255)) == b"\xff\x00\x01"
    assert len(_engine.engine().hosts) <= 2
    run(file.close)


def test_event_loops_side_by_side(path: Path) -> None:
    """Whoever takes an event gives it to the event loop that waits for it."""
    expected = path.read_bytes()
    wrong: List[object] = []

    async def work() -> None:
        for _ in range(50):
            pieces = await asyncio.gather(*(aio.read_file(path) for _ in range(8)))
            wrong.extend(piece for piece in pieces if piece != expected)

    threads = [threading.Thread(target=run_on_asyncio, args=(work,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert wrong == []


def test_a_loop_without_add_reader(path: Path) -> None:
    """Like that of Windows which asyncio takes by default."""

    class Loop(asyncio.SelectorEventLoop):
        def add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:  # type: ignore[override]
            if fd == _engine.engine().descriptor:
                raise NotImplementedError
            return super().add_reader(fd, callback, *args)

    async def main() -> None:
        for _ in range(20):
            pieces = await asyncio.gather(*(aio.read_file(path) for _ in range(8)))
            assert [len(piece) for piece in pieces] == [102400] * 8

    loop = Loop()
    before = {thread.name for thread in threading.enumerate()}
    loop.run_until_complete(asyncio.wait_for(main(), PATIENCE))
    host: Any = _hosts._asyncio_hosts[id(loop)]
    assert {thread.name for thread in threading.enumerate()} - before == {"sideloop-watcher"}
    loop.call_soon(host.unwatch)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    for thread in threading.enumerate():
        if thread.name == "sideloop-watcher":
            thread.join(PATIENCE)


def test_what_is_left_when_a_loop_is_closed(tmp_path: Path, path: Path) -> None:
    """What was opened for nobody is closed, and what waits for ever is cancelled, once the event loop is gone."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    run_on_asyncio(lambda: aio.read_file(path))
    before = count("fd")

    async def begin() -> None:
        for _ in range(20):
            tasks.append(asyncio.ensure_future(aio.open(path, "rb").__aenter__()))
        reader, writer = os.pipe()
        ends.append(writer)
        tasks.append(asyncio.ensure_future(aio.wrap(reader).read(1)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    tasks: List[Any] = []
    ends: List[int] = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    loop.run_until_complete(begin())
    loop.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        tasks.clear()
        del loop
        gc.collect()
        os.close(ends[0])
        # The next event loop takes what is left.
        run_on_asyncio(engine_rests)
        gc.collect()
        run_on_asyncio(engine_rests)
    assert count("fd") == before


def test_refused_for_now(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library has no room for waits for room; and may be cancelled meanwhile."""
    from sideloop import _abi

    real, refusals = _engine._submit, [0]

    def submit(loop: int, requests: bytes, length: int, ops: int) -> int:
        refusals[0] += 1
        if refusals[0] % 3 == 1:
            return _abi.SL_ERR_AGAIN
        status: int = real(loop, requests, min(length, 2), ops)
        return status

    monkeypatch.setattr(_engine, "_submit", submit)

    async def main() -> None:
        tasks = [asyncio.ensure_future(aio.read_file(path)) for _ in range(100)]
        await asyncio.sleep(0)
        for task in tasks[::7]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in done[::7]] == [asyncio.CancelledError] * len(done[::7])
        assert sum(isinstance(outcome, bytes) for outcome in done) == 100 - len(done[::7])

    async def keep_turning() -> None:
        # Nothing else would bring a turn, where all was refused.
        work = asyncio.ensure_future(main())
        while not work.done():
            _hosts.current().take()
            await asyncio.sleep(0)
        await work

    run_on_asyncio(keep_turning)


def test_a_cancelled_read_of_a_pipe_loses_nothing(run: Run) -> None:
    """Whatever a cancelled read has taken out of the pipe comes with the next one."""
    reader, writer = os.pipe()
    sent = random.Random(7).randbytes(1 << 16)

    async def main() -> bytes:
        got = b""
        at = 0
        async with aio.wrap(reader) as file:
            while len(got) < len(sent):
                size = min(1 + at % 97, len(sent) - at)
                at += os.write(writer, sent[at : at + size])
                for _ in range(2):
                    piece = await give_up_soon(lambda: file.read1(64))
                    got += piece or b""
        return got

    assert run(main) == sent
    os.close(writer)


async def give_up_soon(function: Callable[[], Awaitable[bytes]]) -> Any:
    """What it returns; None where it has been cancelled, which happens after a turn or two of the event loop."""
    if _hosts.trio_runs():
        import trio

        results: List[Any] = []
        async with trio.open_nursery() as nursery:

            async def work() -> None:
                with scope:
                    results.append(await function())

            scope = trio.CancelScope()
            nursery.start_soon(work)
            for _ in range(3):
                await trio.lowlevel.checkpoint()
            scope.cancel()
        return results[0] if results else None
    task = asyncio.ensure_future(function())
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return None


def read_in_child(path: str) -> int:
    """In another process."""
    return len(asyncio.run(aio.read_file(path)))


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_multiprocessing(method: str, path: Path) -> None:
    """A child has an engine of its own, however it is started, also while the parent's is busy."""
    program = f"""
import asyncio, multiprocessing, sys
from test_aio_engine import read_in_child
from sideloop import aio

async def main(path):
    tasks = [asyncio.ensure_future(aio.read_file(path)) for _ in range(50)]
    await asyncio.sleep(0)
    context = multiprocessing.get_context({method!r})
    with context.Pool(2) as pool:
        print(set(pool.map(read_in_child, [path] * 20)))
    print({{len(data) for data in await asyncio.gather(*tasks)}})

if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
"""
    script = path.parent / "program.py"
    script.write_text(program)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
    assert (done.stdout, done.stderr) == ("{102400}\n{102400}\n", "")


def test_fork_with_files_open(path: Path) -> None:
    """In the child, the parent's files are refused by name, and new ones work."""
    done = run_python(
        """
import asyncio, os, sys
from sideloop import aio, ForkedError

async def child(file, path):
    try:
        await file.pread(1, 0)
    except ForkedError:
        print("refused", len(await aio.read_file(path)), flush=True)

async def main(path):
    file = await aio.open(path, "rb")
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(child(file, path))
        finally:
            os._exit(0)
    print((await asyncio.get_running_loop().run_in_executor(None, os.waitpid, pid, 0))[1])
    print(await file.pread(2, 254))
    await file.close()

asyncio.run(main(sys.argv[1]))
""",
        str(path),
    )
    assert (done.stdout, done.stderr) == ("refused 102400\n0\nb'\\xfe\\xff'\n", "")


ENDINGS = {
    "return": "return",
    "exit": "sys.exit(3)",
    "raise": "raise KeyError('it')",
    "kill": "os.kill(os.getpid(), signal.SIGINT); await asyncio.sleep(30)",
    "os": "os._exit(4)",
}


@pytest.mark.parametrize("ending", list(ENDINGS))
@pytest.mark.parametrize("bare", [False, True])
def test_the_interpreter_ends_with_work_under_way(ending: str, bare: bool, path: Path) -> None:
    """However it ends: with its own exit status, at once, and without a word of the engine's."""
    run = "asyncio.run(main())" if not bare else "asyncio.new_event_loop().run_until_complete(main())"
    done = run_python(
        f"""
import asyncio, os, signal, sys, warnings
from sideloop import aio
signal.signal(signal.SIGINT, signal.default_int_handler)
warnings.simplefilter("ignore")
reader, writer = os.pipe()

async def work(file, number):
    while True:
        await (aio.read_file({str(path)!r}) if number % 2 else file.read1(10))

async def main():
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    files = [aio.wrap(os.dup(reader)) for _ in range(8)]
    tasks = [asyncio.ensure_future(work(files[number % 8], number)) for number in range(16)]
    await asyncio.sleep(0.01)
    main.tasks = tasks
    {ENDINGS[ending]}

{run}
"""
    )
    expected = {"return": 0, "exit": 3, "raise": 1, "kill": -signal.SIGINT, "os": 4}[ending]
    assert done.returncode in (expected, 130 if ending == "kill" else expected), done.stderr
    words = done.stderr.strip().splitlines()
    if ending in ("return", "exit", "os"):
        assert words == []
    else:
        assert words[-1].startswith("KeyboardInterrupt" if ending == "kill" else "KeyError")


@pytest.mark.parametrize("faults", ["receive: ECONNRESET@1", "send: EPIPE@1", "read: EIO@1"])
def test_fault_plans_reach_everything(faults: str, path: Path) -> None:
    """Also what is otherwise done on the event loop's thread."""
    done = run_python(
        """
import asyncio, sys
from sideloop import aio

async def talk(stream):
    await stream.send_all(b"hello")
    await stream.receive()

async def main(path):
    async with aio.start_server(talk, "127.0.0.1", 0) as server:
        async with await aio.connect("127.0.0.1", server.port) as stream:
            try:
                await stream.send_all(b"hello")
                await stream.receive()
                await stream.receive()
            except OSError as error:
                print("stream", error.errno)
    try:
        async with aio.open(path, "rb") as file:
            await file.read()
    except OSError as error:
        print("file", error.errno)

asyncio.run(main(sys.argv[1]))
""",
        str(path),
        env={"SIDELOOP_FAULTS": faults},
    )
    kind = "file" if faults.startswith("read") else "stream"
    code = {"receive": errno.ECONNRESET, "send": errno.EPIPE, "read": errno.EIO}[faults.split(":")[0]]
    assert f"{kind} {code}\n" in done.stdout, done.stderr
