"""The first two styles: polling (also with select), and callbacks."""

from __future__ import annotations

import os
import select
import selectors
import socket
import threading
from typing import Any, Dict, List, cast

import pytest

import sideloop
from conftest import PATIENCE, Pair, connect


def test_poll_never_blocks_and_returns_each_event_once(loop: sideloop.Loop, pair: Pair) -> None:
    client, server = pair
    receiving = server.receive()
    assert loop.poll() == []
    client.send(b"x").wait(PATIENCE)
    events = loop.wait(PATIENCE)
    assert [event.operation for event in events] == [receiving]
    assert (events[0].result(), events[0].exception(), events[0].more) == (b"x", None, False)
    assert loop.poll() == [] and loop.wait(0) == []


def test_many_events_at_a_time(loop: sideloop.Loop) -> None:
    """More than one call takes."""
    with loop.batch():
        expected: Dict[sideloop.Operation[Any], int] = {loop.post(n): n for n in range(3000)}
    while expected:
        for event in loop.wait(PATIENCE):
            assert expected.pop(event.operation) == event.result()
    assert loop.wait(0) == []


def test_failures_are_events_too(loop: sideloop.Loop) -> None:
    loop.read_file("/no/such/file")
    (event,) = loop.wait(PATIENCE)
    assert isinstance(event.exception(), FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        event.result()
    assert "path_read: failed" in repr(event)


def test_what_an_operation_was_asked_for_is_not_polled(loop: sideloop.Loop) -> None:
    first, second, third = loop.post(1), loop.post(2), loop.post(3)
    assert second.wait(PATIENCE) == 2
    while not (first.done() and third.done()):
        pass
    assert first.result() == 1
    assert [event.result() for event in loop.poll()] == [3]


def test_forget(loop: sideloop.Loop) -> None:
    forgotten = loop.post(1)
    forgotten.forget()
    assert loop.post(2).wait(PATIENCE) == 2
    while not forgotten.done():
        pass
    assert loop.poll() == []


def test_multishot_events_can_be_polled(loop: sideloop.Loop) -> None:
    ticks = loop.timer(0, 0.001)
    seen: List[sideloop.Event[Any]] = []
    while len(seen) < 3:
        seen += loop.wait(PATIENCE)
    ticks.cancel()
    while seen[-1].more:
        seen += loop.wait(PATIENCE)
    assert all(event.operation is ticks and event.result() >= 1 for event in seen[:-1])
    assert isinstance(seen[-1].exception(), sideloop.Cancelled)
    assert loop.poll() == []


def readable(loop: sideloop.Loop) -> bool:
    return bool(select.select([loop.fileno()], [], [], 0)[0])


@pytest.mark.parametrize("wake_socket", [False, True])
def test_the_descriptor_says_whether_events_wait(wake_socket: bool) -> None:
    with sideloop.Loop(wake_socket=wake_socket) as loop, selectors.DefaultSelector() as selector:
        selector.register(loop, selectors.EVENT_READ)
        assert selector.select(0) == []
        loop.post(5)
        assert selector.select(PATIENCE)
        assert [event.result() for event in loop.poll()] == [5]
        assert selector.select(0) == []
        if wake_socket:
            with socket.socket(fileno=os.dup(loop.fileno())) as probe:
                assert probe.type == socket.SOCK_STREAM


def test_the_descriptor_does_not_hide_what_a_wait_took(loop: sideloop.Loop) -> None:
    """`wait` on one operation takes the events of others too: they must not stay unseen."""
    assert not readable(loop)
    other = loop.post(1)
    assert select.select([loop.fileno()], [], [], PATIENCE)[0]
    assert loop.timer(0.001).wait(PATIENCE) == 1
    assert select.select([loop.fileno()], [], [], PATIENCE)[0]
    assert [event.operation for event in loop.poll()] == [other]
    assert not readable(loop)


def test_the_descriptor_does_not_hide_what_a_question_took(loop: sideloop.Loop) -> None:
    """`done` looks, and takes the events of others too."""
    assert not readable(loop)
    other, later = loop.post(1), loop.timer(PATIENCE)
    assert select.select([loop.fileno()], [], [], PATIENCE)[0]
    assert not later.done()
    assert select.select([loop.fileno()], [], [], PATIENCE)[0]
    assert [event.operation for event in loop.poll()] == [other]
    later.cancel()


def test_the_descriptor_does_not_hide_what_a_broken_callback_leaves(loop: sideloop.Loop) -> None:
    def broken(operation: object) -> None:
        raise ZeroDivisionError

    assert not readable(loop)
    called, polled = loop.post(1), loop.post(2)
    called.add_done_callback(broken)
    while not (called.done() and polled.done()):
        pass
    with pytest.raises(ZeroDivisionError):
        loop.poll()
    assert select.select([loop.fileno()], [], [], PATIENCE)[0]
    assert [event.operation for event in loop.poll()] == [polled]


def test_a_callback_may_run_the_main_loop(loop: sideloop.Loop) -> None:
    """As a modal dialog does: what came together with its event goes on meanwhile."""
    ran: List[str] = []

    def dialog(operation: object) -> None:
        ran.append("opened")
        while "answered" not in ran:
            assert select.select([loop.fileno()], [], [], PATIENCE)[0]
            loop.poll()
        ran.append("closed")

    assert not readable(loop)
    first, second = loop.post(1), loop.post(2)
    first.add_done_callback(dialog)
    second.add_done_callback(lambda op: ran.append("answered"))
    while not (first.done() and second.done()):
        pass
    loop.poll()
    assert ran == ["opened", "answered", "closed"]


def test_done_callbacks_run_where_dispatch_is_called(loop: sideloop.Loop) -> None:
    ran: List[Any] = []
    operation = loop.post(9)
    operation.add_done_callback(lambda op: ran.append((op, op.result(), threading.get_ident())))
    assert ran == []
    assert loop.dispatch(PATIENCE) == 1
    assert ran == [(operation, 9, threading.get_ident())]
    assert loop.dispatch() == 0 and loop.poll() == []
    operation.add_done_callback(ran.append)
    assert len(ran) == 1
    assert loop.dispatch(PATIENCE) == 1
    assert ran[1] is operation
    with pytest.raises(TypeError):
        operation.add_done_callback(cast(Any, None))


def test_callbacks_of_multishot_operations(loop: sideloop.Loop, pair: Pair) -> None:
    client, server = pair
    events: List[sideloop.Event[bytes]] = []
    ended: List[object] = []
    pieces = server.receive(multishot=True)
    pieces.add_callback(events.append)
    pieces.add_done_callback(ended.append)
    client.send(b"abc").wait(PATIENCE)
    while not events:
        loop.dispatch(PATIENCE)
    client.shutdown().wait(PATIENCE)
    while not ended:
        loop.dispatch(PATIENCE)
    assert b"".join(event.result() for event in events) == b"abc"
    assert [event.more for event in events] == [True] * (len(events) - 1) + [False]
    assert ended == [pieces]
    assert loop.poll() == [] and list(pieces) == []


def test_an_echo_server_of_callbacks(loop: sideloop.Loop) -> None:
    """Callbacks submit what comes next."""
    listener = loop.listen("127.0.0.1:0")
    served: List[sideloop.Stream] = []

    def accepted(event: sideloop.Event[sideloop.Stream]) -> None:
        if event.exception() is None:
            stream = event.result()
            served.append(stream)
            stream.receive().add_done_callback(lambda op: received(stream, op))

    def received(stream: sideloop.Stream, operation: sideloop.Operation[bytes]) -> None:
        data = operation.result()
        if data:
            stream.send(data).add_done_callback(lambda op: op.result())
            stream.receive().add_done_callback(lambda op: received(stream, op))
        else:
            stream.close().add_done_callback(lambda op: op.result())

    listener.accept(multishot=True).add_callback(accepted)
    with socket.create_connection(listener.local_address()) as peer:
        for message in (b"one", b"two", b"three"):
            peer.sendall(message)
            echo = b""
            peer.setblocking(False)
            while len(echo) < len(message):
                loop.dispatch(0.001)
                try:
                    echo += peer.recv(100)
                except BlockingIOError:
                    pass
            assert echo == message
            peer.setblocking(True)
    while not all(stream.closed for stream in served):
        loop.dispatch(PATIENCE)
    listener.close().wait(PATIENCE)
    assert len(served) == 1


def test_what_a_callback_raises_reaches_the_caller_and_loses_nothing(loop: sideloop.Loop) -> None:
    ran: List[int] = []

    def broken(operation: object) -> None:
        raise ZeroDivisionError

    first, second, polled = loop.post(1), loop.post(2), loop.post(3)
    first.add_done_callback(broken)
    second.add_done_callback(lambda op: ran.append(op.result()))
    while not (first.done() and second.done() and polled.done()):
        pass
    with pytest.raises(ZeroDivisionError):
        loop.poll()
    assert [event.operation for event in loop.poll()] == [polled]
    assert ran == [2]


def test_a_callback_added_by_another_thread_wakes_who_waits(loop: sideloop.Loop) -> None:
    ran: List[object] = []
    operation = loop.post(1)
    assert operation.wait(PATIENCE) == 1
    waiting = threading.Thread(target=lambda: loop.wait(PATIENCE))
    waiting.start()
    while loop._reaper is None:
        pass
    operation.add_done_callback(ran.append)
    waiting.join()
    assert ran == [operation]


def test_the_styles_mix(loop: sideloop.Loop) -> None:
    client, server = connect(loop)
    with client, server:
        ran: List[bytes] = []
        called = server.receive(1, exact=True)
        called.add_done_callback(lambda op: ran.append(op.result()))
        waited = server.receive(1, exact=True)
        polled = server.receive(1, exact=True)
        client.send(b"abc").wait(PATIENCE)
        assert waited.wait(PATIENCE) == b"b"
        events: List[sideloop.Event[Any]] = []
        while not events or not ran:
            events += loop.wait(PATIENCE)
        assert ran == [b"a"]
        assert [(event.operation, event.result()) for event in events] == [(polled, b"c")]
