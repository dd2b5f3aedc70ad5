"""`aio.connect` and `aio.connect_unix`: streams to somebody who serves.

Called on the thread of an event loop. A host may have several addresses: they are tried one after the other, each a
quarter of a second after the one before or as soon as that has failed, and whichever answers first is taken (RFC 8305,
"Happy Eyeballs"). Names are looked up by the system, on a thread of Python's own.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import socket
import time
from typing import Any, List, Optional, Set, Tuple, Union, overload

from .. import _abi, errors
from .._library import library
from ..resources import Address, parse_address
from ._engine import discard, engine
from ._hosts import Waiter, current, in_thread
from ._streams import Stream

# How long each address gets before the next one is tried too, in nanoseconds.
STAGGER = 250_000_000
# How often a Unix socket whose queue is full is tried again, likewise.
_AGAIN = 10_000_000

UnixPath = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]


@overload
async def connect(host: str, port: int, *, timeout: Optional[float] = None) -> Stream: ...


@overload
async def connect(host: Tuple[str, int], *, timeout: Optional[float] = None) -> Stream: ...


async def connect(
    host: Union[str, Tuple[str, int]], port: Optional[int] = None, *, timeout: Optional[float] = None
) -> Stream:
    """Connects by TCP to a host, by name or address, or to a pair of host and port.

    timeout: in seconds, for looking up and connecting together; then it ends with TimedOut. Give one: the system's own
    may be minutes. Where no address answers, the error is that of the last one that was tried.
    """
    if not isinstance(host, str):
        host, port = host
    if port is None:
        raise TypeError("a port is needed")
    end = None if timeout is None else time.monotonic() + timeout
    addresses = await look_up(host, port, timeout)
    return await _Race(interleaved(addresses), end).run()


async def connect_unix(path: UnixPath, *, timeout: Optional[float] = None) -> Stream:
    """Connects to a Unix socket by its path. Where its queue is full, waits until there is room."""
    end = None if timeout is None else time.monotonic() + timeout
    plain = os.fspath(path)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.setblocking(False)
        while True:
            try:
                connection.connect(plain)
                break
            except BlockingIOError:
                if end is not None and time.monotonic() >= end:
                    raise errors.make(_abi.SL_ERR_TIMED_OUT, 0, "", plain) from None
            except OSError as error:
                raise errors.of_system(error, plain) from None
            await current().call(_abi.SL_TIMER, engine().id, length=_AGAIN)
        return adopt(connection)
    finally:
        connection.close()


def adopt(connection: socket.socket) -> Stream:
    """Makes a stream of a connected socket, which then is no more."""
    resource = ctypes.c_uint64()
    errors.check(library.sl_stream_adopt(engine().id, connection.fileno(), ctypes.byref(resource)))
    connection.detach()
    return Stream(resource.value)


async def look_up(host: Optional[str], port: int, timeout: Optional[float] = None, flags: int = 0) -> List[Address]:
    """The addresses of a host, best first."""
    if not 0 <= port <= 65535:
        raise ValueError(f"a port is a number from 0 to 65535: {port}")
    if host:
        try:
            parse_address((host, port))
            return [Address(host, port)]
        except errors.InvalidError:
            pass  # It is a name.
    found = await in_thread(_get_addresses, host or None, port, flags, abandon=True, timeout=timeout)
    return list(dict.fromkeys(found))


def _get_addresses(host: Optional[str], port: int, flags: int) -> List[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [_address(where) for family, *_, where in found if family in (socket.AF_INET, socket.AF_INET6)]


def _address(where: Tuple[Any, ...]) -> Address:
    """An address of the interpreter's; the library wants the number of a scope."""
    host, port, *more = where
    return Address(f"{host.partition('%')[0]}%{more[1]}" if more and more[1] else host, port)


def interleaved(addresses: List[Address]) -> List[Address]:
    """The families by turns, beginning with that of the first."""
    first = [address for address in addresses if (":" in address.host) == (":" in addresses[0].host)]
    rest = [address for address in addresses if address not in first]
    pairs = itertools.zip_longest(first, rest)
    return [address for pair in pairs for address in pair if address is not None]


class _Race:
    """Connects to several addresses, and takes the first stream that comes of it. Everything else is closed again."""

    def __init__(self, addresses: List[Address], end: Optional[float]) -> None:
        self._addresses = addresses
        self._end = end
        self._host = current()
        self._waiter: Waiter = self._host.waiter()
        self._under_way: Set[_Runner] = set()
        self._winner = 0
        self._error: Optional[BaseException] = None

    async def run(self) -> Stream:
        """Runs it."""
        try:
            self.go_on()
            await self._waiter
            winner, self._winner = self._winner, 0
            return Stream(winner)
        finally:
            self._drop_all()
            if self._winner:
                discard(self._winner)

    def _drop_all(self) -> None:
        while self._under_way:
            self._host.drop(self._under_way.pop().token)

    def go_on(self) -> None:
        """Tries the next address; and the one after that in a while."""
        if not self._addresses:
            return
        address = self._addresses.pop(0)
        left = None if self._end is None else max(self._end - time.monotonic(), 0)
        where = parse_address(address)
        self._begin(
            address,
            _abi.SL_TCP_CONNECT,
            buffer=ctypes.addressof(where),
            timeout=left,
            keep=where,
            name=str(address),
            salvage=discard,
        )
        if self._addresses:
            self._begin(None, _abi.SL_TIMER, length=STAGGER)

    def _begin(self, address: Optional[Address], kind: int, **more: Any) -> None:
        runner: _Runner = self._host.call(kind, engine().id, receiver=_Runner(self, address), **more)
        if not runner.done():
            self._under_way.add(runner)

    def ended(self, runner: _Runner, value: int, error: Optional[BaseException]) -> None:
        """A connection has been made or refused, or it is time to try another address."""
        self._under_way.discard(runner)
        if error is None and runner.address is not None:
            self._winner = value
            self._drop_all()
        else:
            if error is not None:
                self._error = error
                # Its successor need not wait any longer.
                for timer in [other for other in self._under_way if other.address is None]:
                    self._under_way.remove(timer)
                    self._host.drop(timer.token)
            self.go_on()
            if self._under_way:
                return
        if not self._waiter.done():
            if self._winner:
                self._waiter.set_result(None)
            else:
                assert self._error is not None
                self._waiter.set_exception(self._error)


class _Runner:
    """Receives the outcome of one connection, or of the timer where the address is None."""

    __slots__ = ("token", "_race", "address", "_done")

    token: int

    def __init__(self, race: _Race, address: Optional[Address]) -> None:
        self._race = race
        self.address = address
        self._done = False

    def set_result(self, value: int, /) -> None:
        """It has a value."""
        self._end(value, None)

    def set_exception(self, error: BaseException, /) -> None:
        """It has failed."""
        self._end(0, error)

    def done(self) -> bool:
        """Whether it has ended."""
        return self._done

    def cancelled(self) -> bool:
        """Never: it is dropped."""
        return False

    def _end(self, value: int, error: Optional[BaseException]) -> None:
        if self._done:
            raise RuntimeError("it has ended already")
        self._done = True
        self._race.ended(self, value, error)
