"""Every operation on listeners and streams, over real TCP on both families, and over pipes."""

from __future__ import annotations

import errno
import os
import socket
from typing import List

import pytest

import sideloop
from conftest import PATIENCE, Pair, connect
from sideloop import StreamOption
from sideloop.resources import AddressLike


def test_connect_accept_send_receive(loop: sideloop.Loop, host: str) -> None:
    client, server = connect(loop, host)
    with client, server:
        assert client.peer_address() == server.local_address()
        assert client.local_address() == server.peer_address()
        assert client.local_address().host == host
        assert client.send(b"hello").wait(PATIENCE) == 5
        assert server.receive(5, exact=True).wait(PATIENCE) == b"hello"
        buffer = bytearray(4)
        receiving = client.receive_into(buffer, exact=True)
        assert server.sendv([b"a", b"", b"bcd"]).wait(PATIENCE) == 4
        assert receiving.wait(PATIENCE) == 4 and buffer == b"abcd"
        assert client.shutdown().wait(PATIENCE) is None
        assert server.receive().wait(PATIENCE) == b""
        assert server.send(b"still").wait(PATIENCE) == 5
        assert client.receive(100).wait(PATIENCE) == b"still"


def test_the_order_of_a_direction(loop: sideloop.Loop, pair: Pair) -> None:
    client, server = pair
    receiving = [server.receive(1, exact=True) for _ in range(100)]
    with loop.batch():
        for number in range(100):
            client.send(bytes([number])).forget()
    assert b"".join(op.wait(PATIENCE) for op in receiving) == bytes(range(100))


def test_much_data(loop: sideloop.Loop, pair: Pair) -> None:
    """More than the system buffers, so that both sides must wait for each other."""
    client, server = pair
    data = os.urandom(8_000_000)
    sending = client.send(data)
    assert server.receive(len(data), exact=True).wait(PATIENCE) == data
    assert sending.wait(PATIENCE) == len(data)


def test_multishot_receive_is_iterable(loop: sideloop.Loop, pair: Pair) -> None:
    client, server = pair
    with pytest.raises(ValueError):
        server.receive(5, exact=True, multishot=True)  # type: ignore[call-overload]
    pieces = server.receive(multishot=True)
    client.send(b"one").wait(PATIENCE)
    assert next(pieces) == b"one"
    client.send(b"two").wait(PATIENCE)
    assert pieces.wait(PATIENCE) == b"two"
    assert not pieces.done()
    client.shutdown().wait(PATIENCE)
    assert list(pieces) == []
    assert pieces.done() and pieces.result() == b""
    assert list(pieces) == []


def test_multishot_accept_is_iterable(loop: sideloop.Loop) -> None:
    with loop.listen(("127.0.0.1", 0)) as listener:
        accepting = listener.accept(multishot=True)
        clients = [loop.connect(listener.local_address()).wait(PATIENCE) for _ in range(5)]
        servers: List[sideloop.Stream] = []
        for stream in accepting:
            servers.append(stream)
            if len(servers) == 5:
                accepting.cancel()
        assert {server.peer_address() for server in servers} == {client.local_address() for client in clients}
        assert isinstance(accepting.exception(), sideloop.Cancelled)
        for stream in clients + servers:
            stream.close().wait(PATIENCE)


def test_a_closed_multishot_raises(loop: sideloop.Loop) -> None:
    """Where it is not the program that cancelled it, its end is a failure."""
    listener = loop.listen(("127.0.0.1", 0))
    accepting = listener.accept(multishot=True)
    listener.close().wait(PATIENCE)
    with pytest.raises(sideloop.Cancelled):
        next(accepting)


def test_options(loop: sideloop.Loop, pair: Pair) -> None:
    client, _ = pair
    assert client.get(StreamOption.NO_DELAY) == 1
    client.set(StreamOption.NO_DELAY, 0)
    assert client.get(StreamOption.NO_DELAY) == 0
    client.set(StreamOption.KEEP_ALIVE, 1)
    assert client.get(StreamOption.KEEP_ALIVE) == 1
    client.set(StreamOption.SEND_BUFFER, 30_000)
    assert client.get(StreamOption.SEND_BUFFER) >= 30_000
    assert client.get(StreamOption.LINGER) == -1
    for option, value in ((99, 0), (StreamOption.NO_DELAY, 2**40)):
        with pytest.raises(ValueError):
            client.set(option, value)  # type: ignore[arg-type]


def test_reset(loop: sideloop.Loop, pair: Pair) -> None:
    client, server = pair
    client.set(StreamOption.LINGER, 0)
    receiving = server.receive()
    client.close().wait(PATIENCE)
    with pytest.raises(ConnectionResetError) as caught:
        receiving.wait(PATIENCE)
    assert caught.value.errno == errno.ECONNRESET
    assert isinstance(caught.value, sideloop.ConnectionReset)


def test_sending_to_a_closed_peer(loop: sideloop.Loop, pair: Pair) -> None:
    client, server = pair
    server.close().wait(PATIENCE)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        while True:
            client.send(b"x" * 1000).wait(PATIENCE)


def test_nobody_listens(loop: sideloop.Loop, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as bound:
        # Nobody else can listen there either.
        bound.bind((host, 0))
        with pytest.raises(ConnectionRefusedError) as caught:
            loop.connect((host, bound.getsockname()[1])).wait(PATIENCE)
    assert caught.value.errno == errno.ECONNREFUSED


def test_address_in_use(loop: sideloop.Loop, host: str) -> None:
    with loop.listen((host, 0)) as listener, pytest.raises(OSError) as caught:
        loop.listen(listener.local_address())
    assert caught.value.errno == errno.EADDRINUSE


def test_listen_options(loop: sideloop.Loop) -> None:
    with loop.listen("127.0.0.1:0", reuse_port=True, backlog=1) as first:
        with loop.listen(first.local_address(), reuse_port=True) as second:
            assert first.local_address() == second.local_address()
            assert str(first.local_address()).startswith("127.0.0.1:")


def test_ipv6_only(loop: sideloop.Loop) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        try:
            listener = loop.listen(("::", port), ipv6_only=True)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise
            pytest.skip("IPv6 cannot be had on this machine")
        with listener:
            assert listener.local_address().port == port
            with pytest.raises(ConnectionRefusedError):
                loop.connect(("127.0.0.1", port)).wait(PATIENCE)
        assert str(sideloop.Address("::1", port)) == f"[::1]:{port}"


@pytest.mark.parametrize(
    "address", ["localhost:80", "127.0.0.1", ("127.0.0.1", -1), ("127.0.0.1", 65536), ("300.0.0.1", 1), ("", 1)]
)
def test_bad_addresses(loop: sideloop.Loop, address: AddressLike) -> None:
    accepted = loop.counters().accepted
    with pytest.raises(ValueError):
        loop.connect(address)
    with pytest.raises(ValueError):
        loop.listen(address)
    assert loop.counters().accepted == accepted


def test_adopted_sockets(loop: sideloop.Loop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        address = theirs.getsockname()
        listener = loop.adopt_listener(theirs)
        assert theirs.fileno() == -1
    with listener, socket.create_connection(address) as peer:
        server = listener.accept().wait(PATIENCE)
        with server:
            peer.sendall(b"from a plain socket")
            assert server.receive().wait(PATIENCE) == b"from a plain socket"
    left, right = socket.socketpair()
    with loop.adopt_stream(left) as one, loop.adopt_stream(right.detach()) as other:
        assert one.send(b"pair").wait(PATIENCE) == 4
        assert other.receive().wait(PATIENCE) == b"pair"
        with pytest.raises(OSError):
            one.peer_address()


@pytest.mark.skipif(os.name == "nt", reason="pipes are for Unix")
def test_adopted_pipes(loop: sideloop.Loop) -> None:
    out, into = os.pipe()
    with loop.adopt_stream(out) as reader:
        with loop.adopt_stream(into) as writer:
            assert writer.send(b"through a pipe").wait(PATIENCE) == 14
            with pytest.raises(sideloop.UnsupportedError):
                writer.shutdown().wait(PATIENCE)
        assert reader.receive().wait(PATIENCE) == b"through a pipe"
        assert reader.receive().wait(PATIENCE) == b""
    with pytest.raises(OSError) as caught:
        loop.adopt_stream(-1)
    assert caught.value.errno == errno.EBADF


def test_a_refused_descriptor_stays_the_programs(loop: sideloop.Loop) -> None:
    descriptor = os.open(__file__, os.O_RDONLY)
    try:
        with pytest.raises(sideloop.UnsupportedError):
            loop.adopt_stream(descriptor)
        assert os.read(descriptor, 3) == b'"""'
    finally:
        os.close(descriptor)
    with sideloop.Loop() as closed:
        pass
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        with pytest.raises(sideloop.ShutDownError):
            closed.adopt_listener(theirs)
        assert theirs.fileno() != -1


def test_close_ends_operations(loop: sideloop.Loop, pair: Pair) -> None:
    client, _ = pair
    receiving = client.receive()
    client.close().wait(PATIENCE)
    with pytest.raises(sideloop.Cancelled):
        receiving.wait(PATIENCE)
    with pytest.raises(sideloop.StaleError):
        client.receive()
