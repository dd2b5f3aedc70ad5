"""Loops from beginning to end: closing, forgetting to close, forking, interrupting, leaving the interpreter."""

from __future__ import annotations

import gc
import itertools
import signal
import subprocess
import sys
import threading
import types
from typing import Any, List

import pytest

import sideloop
from conftest import PATIENCE, connect, environment, run_python

unix = pytest.mark.skipif(sys.platform == "win32", reason="this is for Unix")


def test_closing_ends_every_operation_and_runs_its_callbacks() -> None:
    ended: List[sideloop.Operation[Any]] = []
    with sideloop.Loop() as loop:
        listener = loop.listen("127.0.0.1:0")
        client, server = connect(loop)
        buffer = bytearray(10)
        operations: List[sideloop.Operation[Any]] = [
            listener.accept(),
            listener.accept(multishot=True),
            client.receive_into(buffer),
            server.receive(),
            loop.timer(3600),
            loop.timer(3600, 1),
        ]
        for operation in operations:
            operation.add_done_callback(ended.append)
    assert loop.closed and sorted(map(id, ended)) == sorted(map(id, operations))
    assert all(isinstance(operation.exception(), sideloop.Cancelled) for operation in operations)
    buffer.append(0)
    loop.close()


def test_whats_closed_with_its_loop_says_so() -> None:
    with sideloop.Loop() as loop:
        client, server = connect(loop)
        listener = loop.listen("127.0.0.1:0")
    for use in (
        loop.nop,
        loop.poll,
        loop.wait,
        loop.dispatch,
        loop.counters,
        loop.fileno,
        lambda: loop.driver,
        lambda: loop.listen("127.0.0.1:0"),
        lambda: loop.adopt_stream(0),
        lambda: loop.run(iter_nothing()),
        client.receive,
        client.fileno,
        client.local_address,
        lambda: server.send(b"x"),
        lambda: server.get(sideloop.StreamOption.NO_DELAY),
        server.close,
        listener.accept,
    ):
        with pytest.raises(sideloop.ShutDownError, match="the loop is closed"):
            use()
    assert client.closed and "closed" in repr(loop)
    with client, listener:
        pass


def iter_nothing() -> Any:
    yield sideloop.current_loop().nop()


def test_closing_wakes_threads_that_wait() -> None:
    outcomes: List[object] = []

    def waits(what: Any) -> None:
        try:
            outcomes.append(what())
        except sideloop.Error as error:
            outcomes.append(type(error))

    loop = sideloop.Loop()
    listener = loop.listen("127.0.0.1:0")
    accepting = listener.accept()
    dispatching = [lambda: loop.dispatch(None)] * 2
    threads = [threading.Thread(target=waits, args=(what,)) for what in (accepting.wait, *dispatching)]
    for thread in threads:
        thread.start()
    while loop._reaper is None:
        pass
    loop.close()
    for thread in threads:
        thread.join()
    assert outcomes.count(sideloop.Cancelled) == 1
    assert outcomes.count(sideloop.ShutDownError) == 2


def test_closing_in_a_callback(leaves_nothing: None) -> None:
    with sideloop.Loop() as loop:
        loop.post(1).add_done_callback(lambda op: loop.close())
        loop.dispatch(PATIENCE)
        assert loop.closed


def test_many_loops() -> None:
    loops = [sideloop.Loop() for _ in range(20)]
    operations = [loop.post(n) for n, loop in enumerate(loops)]
    assert [operation.wait(PATIENCE) for operation in operations] == list(range(20))
    for loop in loops:
        loop.close()


def test_a_loop_that_nobody_closed_warns_and_closes() -> None:
    def forget_one() -> None:
        loop = sideloop.Loop()
        loop.timer(3600)
        loop.timer(3600, 1)

    with pytest.warns(ResourceWarning, match="unclosed <sideloop.Loop"):
        forget_one()
        gc.collect()


def test_a_resource_that_nobody_closed_warns_and_closes(loop: sideloop.Loop) -> None:
    with pytest.warns(ResourceWarning, match="unclosed <sideloop.File '/dev/null'"):
        loop.open("/dev/null").wait(PATIENCE)
        gc.collect()
    while loop.counters().resources:
        loop.nop().wait(PATIENCE)
    assert loop.poll() == []


@pytest.mark.filterwarnings("error")
def test_what_nobody_closed_closes_where_warnings_are_errors(
    loop: sideloop.Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: List[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: raised.append(unraisable.exc_type))
    loop.open("/dev/null").wait(PATIENCE)
    sideloop.Loop().timer(3600)
    gc.collect()
    assert raised == [ResourceWarning, ResourceWarning]
    # It was opened, and is being closed.
    assert loop.counters().accepted == 2


def test_the_interpreters_end_closes_every_loop_where_warnings_are_errors() -> None:
    # The hook that is registered first runs last.
    source = """
import atexit
loops = []
atexit.register(lambda: print(*(loop.closed for loop in loops)))
import sideloop
loops += [sideloop.Loop(), sideloop.Loop()]
"""
    done = run_python(source)
    assert (done.returncode, done.stdout) == (0, "True True\n")
    assert "ResourceWarning: unclosed <sideloop.Loop" in done.stderr


def test_no_warning_for_what_its_loop_closed() -> None:
    with sideloop.Loop() as loop:
        file = loop.open("/dev/null").wait(PATIENCE)
    del file
    gc.collect()


@unix
def test_fork() -> None:
    """In the child the parent's loop is refused, and a new one works; the parent's goes on."""
    source = """
import os, warnings, sideloop
warnings.simplefilter("ignore", DeprecationWarning)
def refused(use):
    try:
        use()
    except sideloop.ForkedError:
        return
    raise AssertionError(use)
with sideloop.Loop() as loop:
    listener = loop.listen("127.0.0.1:0")
    accepting = listener.accept()
    child = os.fork()
    if child == 0:
        for use in (loop.nop, loop.poll, loop.wait, loop.counters, loop.dispatch, accepting.cancel, accepting.wait,
                    listener.accept, listener.fileno, listener.close, lambda: loop.read_file("x")):
            refused(use)
        loop.close()
        with sideloop.Loop() as other:
            assert other.post(5).wait(20) == 5
        del loop, listener, accepting
        print("child")
    else:
        assert os.waitpid(child, 0)[1] == 0
        client = loop.connect(listener.local_address()).wait(20)
        accepting.wait(20).close().wait(20)
        client.close().wait(20)
        listener.close().wait(20)
        print("parent")
"""
    done = run_python(source)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == ["child", "parent"]
    assert done.stderr == ""


@unix
def test_fork_while_another_thread_waits() -> None:
    """The locks that threads of the parent hold do not stop the child."""
    source = """
import os, threading, warnings, sideloop
warnings.simplefilter("ignore", DeprecationWarning)
loop = sideloop.Loop()
thread = threading.Thread(target=lambda: loop.dispatch(None), daemon=True)
operation = loop.timer(3600)
operation.add_done_callback(lambda op: None)
thread.start()
while loop._reaper is None:
    pass
for _ in range(20):
    child = os.fork()
    if child == 0:
        try:
            loop.poll()
        except sideloop.ForkedError:
            loop.close()
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
operation.cancel()
thread.join()
loop.close()
"""
    done = run_python(source)
    assert (done.returncode, done.stderr) == (0, "")


INTERRUPTED = {
    "operation.wait()": "operation.wait()",
    "operation.wait(timeout)": "operation.wait(1000)",
    "loop.wait()": "loop.wait()",
    "loop.dispatch()": "loop.dispatch(None)",
    "iteration": "next(listener.accept(multishot=True))",
    "coroutine": "loop.run(main())",
    "while another thread takes the events": """
thread = threading.Thread(target=lambda: loop._wait_for(operation, None))
thread.start()
while loop._reaper is None:
    pass
operation.wait()
""",
}


@unix
@pytest.mark.parametrize("name", INTERRUPTED)
def test_ctrl_c_interrupts_a_wait(name: str) -> None:
    body = "\n".join("    " + line for line in INTERRUPTED[name].strip().splitlines())
    source = f"""
import threading, warnings, sideloop
warnings.simplefilter("ignore")
async def main():
    await operation
loop = sideloop.Loop()
operation = loop.timer(3600)
listener = loop.listen("127.0.0.1:0")
try:
    print("ready", flush=True)
{body}
except KeyboardInterrupt:
    assert loop.post(3).wait(20) == 3
    loop.close()
    print("interrupted", flush=True)
"""
    command = [sys.executable, "-c", source]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        try:
            out, err = child.communicate(timeout=PATIENCE)
        finally:
            child.kill()
    assert (child.returncode, out, err) == (0, "interrupted\n", "")


@unix
def test_a_storm_of_signals_loses_no_operation() -> None:
    """A handler that raises anywhere in the package: every operation still ends, and the loop closes."""
    source = """
import signal, time, warnings, sideloop
warnings.simplefilter("ignore")
class Interrupt(BaseException):
    pass
armed = False
def handler(number, frame):
    if armed:
        raise Interrupt
signal.signal(signal.SIGALRM, handler)
interrupts = ended = 0
with sideloop.Loop() as loop:
    for turn in range(500):
        operations = []
        try:
            armed = True
            # At another moment every time, from the first submission to after the last wait.
            signal.setitimer(signal.ITIMER_REAL, 0.00002 * (turn + 1))
            for _ in range(20):
                operations.append(loop.read_file("/dev/null"))
                operations.append(loop.post(1))
            for operation in operations:
                operation.wait()
                ended += 1
            armed = False
        except Interrupt:
            armed = False
            interrupts += 1
        for operation in operations:
            try:
                operation.wait(20)
            except (sideloop.Error, Interrupt):
                pass
            assert operation.done(), operation
        signal.setitimer(signal.ITIMER_REAL, 0)
    loop.nop().wait(20)
    counters = loop.counters()
    assert counters.accepted == counters.ended, counters
    assert ended > 0 and interrupts > 0
print("all ended")
"""
    done = run_python(source)
    assert (done.returncode, done.stdout, done.stderr) == (0, "all ended\n", "")


class Interrupt(BaseException):
    """What a signal handler raises."""


@pytest.mark.parametrize("raises", [True, False])
def test_a_signal_anywhere_in_the_submission_of_a_batch(loop: sideloop.Loop, raises: bool) -> None:
    """Whether its handler raises or submits, nothing is lost, and nothing submitted twice."""
    left = 0
    # Python 3.12 reports no opcodes where no frame asks for them before tracing begins.
    sys._getframe().f_trace_opcodes = True

    def trace(frame: types.FrameType, event: str, argument: object) -> Any:
        nonlocal left
        frame.f_trace_opcodes = True
        left -= event == "opcode"
        if event == "opcode" and left == 0:
            if raises:
                raise Interrupt
            loop._flush(patient=False)
        return trace

    for moment in itertools.count(1):
        left = moment
        accepted = loop.counters().accepted
        with loop.batch():
            operations = [loop.post(number) for number in range(3)]
            sys.settrace(trace)
            try:
                loop._flush(patient=False)
            except Interrupt:
                pass
            finally:
                sys.settrace(None)
        assert [operation.wait(PATIENCE) for operation in operations] == [0, 1, 2]
        assert loop.counters().accepted == accepted + 3
        if left > 0:
            break
    assert moment > 100


def test_reference_cycles_do_not_keep_results(loop: sideloop.Loop) -> None:
    """What has ended is freed at once, without the garbage collector."""
    import weakref

    gc.disable()
    try:
        for operation in (loop.post(1), loop.timer(0.001), loop.read_file("/no/such/file")):
            try:
                operation.wait(PATIENCE)
            except FileNotFoundError:
                pass
        reference = weakref.ref(operation)
        del operation
        assert reference() is None
    finally:
        gc.enable()
