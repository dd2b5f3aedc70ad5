"""What is open: files, streams and listeners.

Made by the events of `Loop.open`, `Loop.connect` and `Listener.accept`, or by `Loop.listen` and the adopt functions.
Each method that does I/O submits one operation and returns it at once. Any thread may call any method.
"""

from __future__ import annotations

import ctypes
import enum
import os
import struct
import warnings
from typing import (
    TYPE_CHECKING,
    Any,
    Iterable,
    List,
    Literal,
    NamedTuple,
    Optional,
    Tuple,
    Type,
    TypeVar,
    Union,
    overload,
)

from . import _abi, buffers, errors
from ._abi import Stat
from ._library import library
from .operations import Convert, Multishot, Operation

if TYPE_CHECKING:
    from .buffers import Buffer
    from .loop import Loop

Self = TypeVar("Self", bound="Resource")

_ENTRY = struct.Struct(_abi.Entry.FORMAT)


class FileType(enum.IntEnum):
    """The kinds of file that `Stat.type` and `DirectoryEntry.type` tell apart."""

    # Only of an entry: the directory does not say which.
    UNKNOWN = _abi.SL_TYPE_UNKNOWN
    FILE = _abi.SL_TYPE_FILE
    DIRECTORY = _abi.SL_TYPE_DIRECTORY
    LINK = _abi.SL_TYPE_LINK
    OTHER = _abi.SL_TYPE_OTHER


class DirectoryEntry(NamedTuple):
    """What a directory says of one of its entries. inode: 0 on Windows."""

    name: str
    type: FileType
    inode: int


class StreamOption(enum.IntEnum):
    """What `Stream.set` and `Stream.get` know."""

    # 1: small pieces leave at once; 0: they may wait to be joined. New streams have 1.
    NO_DELAY = _abi.SL_STREAM_NO_DELAY
    # 1: ask a silent peer now and then whether it lives.
    KEEP_ALIVE = _abi.SL_STREAM_KEEP_ALIVE
    # Bytes of the system's buffers.
    RECEIVE_BUFFER = _abi.SL_STREAM_RECEIVE_BUFFER
    SEND_BUFFER = _abi.SL_STREAM_SEND_BUFFER
    # What closing does with bytes not yet sent: -1 sends them, 0 throws them away and resets the connection.
    LINGER = _abi.SL_STREAM_LINGER


class Address(NamedTuple):
    """An IP address, as text (with a scope, where it has one: "fe80::1%2"), and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


# How programs may say an address: ("127.0.0.1", 80), ("::1", 80), "127.0.0.1:80" or "[::1]:80".
AddressLike = Union[Address, Tuple[str, int], str]


def parse_address(address: AddressLike) -> _abi.Address:
    """An address as the library has it. Names are not looked up."""
    text = address
    if not isinstance(text, str):
        host, port = text
        text = str(Address(host, port))
    result = _abi.Address()
    errors.check(library.sl_address_parse(text.encode(), ctypes.byref(result)))
    return result


def format_address(address: _abi.Address) -> Address:
    """An address of the library's."""
    text = ctypes.create_string_buffer(64)
    errors.check(library.sl_address_format(ctypes.byref(address), text, len(text)))
    host, _, port = text.value.decode().rpartition(":")
    return Address(host.strip("[]"), int(port))


def _ask_address(question: Any, resource: Resource) -> Address:
    """What sl_local_address or sl_peer_address say."""
    address = _abi.Address()
    resource._check(question(resource._id, ctypes.byref(address)))
    return format_address(address)


# What results become (see operations.Convert).


def integer(result: int, data: Optional[int]) -> int:
    """A count."""
    return result


def nothing(result: int, data: Optional[int]) -> None:
    """Success."""


def lent(result: int, data: Optional[int]) -> bytes:
    """A copy of lent memory, so that it can go back at once."""
    return buffers.copy(data, result)


def decoded(name: bytes) -> str:
    """A name or path of the library's: the system's bytes, and UTF-8 on Windows."""
    return name.decode() if os.name == "nt" else os.fsdecode(name)


def text(result: int, data: Optional[int]) -> str:
    """Lent memory with a path."""
    return decoded(lent(result, data))


def entries(result: int, data: Optional[int]) -> List[DirectoryEntry]:
    """Lent memory with the entries of a directory."""
    listing = lent(result, data)
    found = []
    at = 0
    while at < len(listing):
        inode, length, name_length, kind = _ENTRY.unpack_from(listing, at)
        name = listing[at + _ENTRY.size : at + _ENTRY.size + name_length]
        found.append(DirectoryEntry(decoded(name), FileType(kind), inode))
        at += length
    return found


def own(length: int) -> Tuple[bytearray, Convert]:
    """Memory of ours for an exact read, which the library lends none for, and what makes bytes of what came."""
    buffer = bytearray(length)
    return buffer, lambda result, data: bytes(memoryview(buffer)[:result])


def opened(make: Type[Self], loop: Loop, name: object) -> Convert:
    """A resource of this kind."""
    return lambda result, data: make(loop, result, name)


class Resource:
    """Something open. A context manager: leaving it closes it and waits for that (in coroutines, use `async with`)."""

    __slots__ = ("loop", "name", "_id", "_closing", "__weakref__")

    def __init__(self, loop: Loop, resource_id: int, name: object) -> None:
        self.loop = loop
        # The path or address that it was opened with, where that is known.
        self.name = name
        self._closing: Optional[Operation[None]] = None
        self._id = resource_id

    @property
    def closed(self) -> bool:
        """Says whether it has been told to close, or its loop has."""
        return self._closing is not None or self.loop._closed

    def close(self) -> Operation[None]:
        """Closes it: its operations end, as cancelled where they have not succeeded. Closing again changes nothing."""
        if self._closing is None:
            self._closing = self.loop._submit(_abi.SL_CLOSE, self._id, nothing)
        return self._closing

    def fileno(self) -> int:
        """The system's descriptor. It stays sideloop's: do not close it, nor use it after `close`."""
        descriptor = ctypes.c_ssize_t()
        self._check(library.sl_descriptor_of(self._id, ctypes.byref(descriptor)))
        return descriptor.value

    def _check(self, status: int) -> None:
        if status < 0:
            raise self.loop._refusal(status, None)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if not self.loop._closed:
            closing = self.close()
            # The coroutines of this thread must not wait for one that cannot.
            if not self.loop._runs_here():
                closing.wait()

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        if not self.loop._closed:
            await self.close()

    def __repr__(self) -> str:
        name = "" if self.name is None else f" {self.name!r}"
        return f"<sideloop.{type(self).__name__}{name}{' closed' if self.closed else ''}>"

    def __del__(self) -> None:
        # Where __init__ did not end there is nothing to close, and a forked child has nothing of its parent's.
        if getattr(self, "_id", 0) and not self.closed and not self.loop._forked:
            warning = f"unclosed {self!r}"
            try:
                self.close().forget()
            except errors.Error:
                pass  # The loop is full or closing; closing it closes this too.
            # Last, for where warnings are errors it raises.
            warnings.warn(warning, ResourceWarning, source=self)


def _offset(offset: Optional[int]) -> int:
    if offset is None:
        return _abi.SL_OFFSET_CURRENT
    if offset < 0:
        raise ValueError(f"offset is negative: {offset}")
    return offset


class File(Resource):
    """An open file. `offset` counts from the start; without it operations go on where the last one ended, in order."""

    __slots__ = ()

    def read(
        self, length: int, offset: Optional[int] = None, *, exact: bool = False, timeout: Optional[float] = None
    ) -> Operation[bytes]:
        """Reads at most `length` bytes; b"" at the end. exact: fewer only where the file ends."""
        if exact:
            buffer, convert = own(length)
            return self._transfer(_abi.SL_FILE_READ, buffer, True, offset, True, timeout, convert)
        return self.loop._submit(
            _abi.SL_FILE_READ,
            self._id,
            lent,
            timeout,
            length=length,
            offset=_offset(offset),
            filename=self.name,
        )

    def read_into(
        self, buffer: Buffer, offset: Optional[int] = None, *, exact: bool = False, timeout: Optional[float] = None
    ) -> Operation[int]:
        """Reads into a writable buffer and says how many bytes. The buffer is in use until the operation has ended."""
        return self._transfer(_abi.SL_FILE_READ, buffer, True, offset, exact, timeout)

    def write(self, data: Buffer, offset: Optional[int] = None, *, timeout: Optional[float] = None) -> Operation[int]:
        """Writes all of a buffer and says how many bytes. The buffer is in use until the operation has ended."""
        return self._transfer(_abi.SL_FILE_WRITE, data, False, offset, False, timeout)

    def readv(
        self,
        buffers: Iterable[Buffer],
        offset: Optional[int] = None,
        *,
        exact: bool = False,
        timeout: Optional[float] = None,
    ) -> Operation[int]:
        """Reads into several buffers, one after the other; otherwise like `read_into`."""
        return self._transfer_all(_abi.SL_FILE_READV, buffers, True, offset, exact, timeout)

    def writev(
        self, buffers: Iterable[Buffer], offset: Optional[int] = None, *, timeout: Optional[float] = None
    ) -> Operation[int]:
        """Writes several buffers, one after the other; otherwise like `write`."""
        return self._transfer_all(_abi.SL_FILE_WRITEV, buffers, False, offset, False, timeout)

    def sync(self, *, data_only: bool = False, timeout: Optional[float] = None) -> Operation[None]:
        """Makes what was written safe on the device. data_only: without the times."""
        flags = _abi.SL_DATA_ONLY if data_only else 0
        return self.loop._submit(_abi.SL_FILE_SYNC, self._id, nothing, timeout, flags=flags, filename=self.name)

    def stat(self, *, timeout: Optional[float] = None) -> Operation[Stat]:
        """Says what is known of the file."""
        stat = Stat()
        return self.loop._submit(
            _abi.SL_FILE_STAT,
            self._id,
            lambda result, data: stat,
            timeout,
            buffer=ctypes.addressof(stat),
            keep=(stat,),
            filename=self.name,
        )

    def truncate(self, length: int, *, timeout: Optional[float] = None) -> Operation[None]:
        """Makes the file `length` bytes long: cuts it, or adds zeros."""
        return self.loop._submit(_abi.SL_FILE_TRUNCATE, self._id, nothing, timeout, length=length, filename=self.name)

    def _transfer(
        self,
        kind: int,
        buffer: Buffer,
        writable: bool,
        offset: Optional[int],
        exact: bool,
        timeout: Optional[float],
        convert: Convert = integer,
    ) -> Operation[Any]:
        position = _offset(offset)
        view = buffers.pin(buffer, writable)
        return self.loop._submit(
            kind,
            self._id,
            convert,
            timeout,
            buffer=buffers.address(view),
            length=view.nbytes,
            offset=position,
            flags=_abi.SL_EXACT if exact else 0,
            keep=(view,),
            filename=self.name,
        )

    def _transfer_all(
        self,
        kind: int,
        pieces: Iterable[Buffer],
        writable: bool,
        offset: Optional[int],
        exact: bool,
        timeout: Optional[float],
    ) -> Operation[int]:
        position = _offset(offset)
        views, slices = buffers.pin_all(pieces, writable)
        return self.loop._submit(
            kind,
            self._id,
            integer,
            timeout,
            buffer=buffers.address(slices),
            length=len(views),
            offset=position,
            flags=_abi.SL_EXACT if exact else 0,
            keep=(*views, slices),
            filename=self.name,
        )


class Stream(Resource):
    """A connection. Receives complete in the order submitted, and so do sends; the two directions are independent."""

    __slots__ = ()

    @overload
    def receive(
        self,
        length: int = 0,
        *,
        exact: bool = False,
        multishot: Literal[False] = False,
        timeout: Optional[float] = None,
    ) -> Operation[bytes]: ...

    @overload
    def receive(
        self, length: int = 0, *, multishot: Literal[True], timeout: Optional[float] = None
    ) -> Multishot[bytes]: ...

    def receive(
        self, length: int = 0, *, exact: bool = False, multishot: bool = False, timeout: Optional[float] = None
    ) -> Operation[bytes]:
        """Receives at most `length` bytes (0: as many as a receive buffer of the loop holds); b"" at the stream's end.

        exact: goes on until `length` bytes or the end. multishot: gives every piece that comes, to iterate over.
        """
        if exact and not multishot:
            buffer, convert = own(length)
            return self._transfer(_abi.SL_STREAM_RECEIVE, buffer, True, _abi.SL_EXACT, timeout, convert)
        if exact:
            raise ValueError("exact and multishot do not go together")
        return self.loop._submit(
            _abi.SL_STREAM_RECEIVE,
            self._id,
            lent,
            timeout,
            length=length,
            flags=_abi.SL_MULTISHOT if multishot else 0,
            make=Multishot if multishot else Operation,
        )

    def receive_into(self, buffer: Buffer, *, exact: bool = False, timeout: Optional[float] = None) -> Operation[int]:
        """Receives into a writable buffer and says how many bytes. It is in use until the operation has ended."""
        return self._transfer(_abi.SL_STREAM_RECEIVE, buffer, True, _abi.SL_EXACT if exact else 0, timeout)

    def send(self, data: Buffer, *, timeout: Optional[float] = None) -> Operation[int]:
        """Sends all of a buffer and says how many bytes. The buffer is in use until the operation has ended."""
        return self._transfer(_abi.SL_STREAM_SEND, data, False, 0, timeout)

    def sendv(self, pieces: Iterable[Buffer], *, timeout: Optional[float] = None) -> Operation[int]:
        """Sends several buffers, one after the other; otherwise like `send`."""
        views, slices = buffers.pin_all(pieces, False)
        return self.loop._submit(
            _abi.SL_STREAM_SENDV,
            self._id,
            integer,
            timeout,
            buffer=buffers.address(slices),
            length=len(views),
            keep=(*views, slices),
        )

    def shutdown(self, *, timeout: Optional[float] = None) -> Operation[None]:
        """Ends this side's sending, after the sends submitted before: the other side then receives b""."""
        return self.loop._submit(_abi.SL_STREAM_SHUTDOWN, self._id, nothing, timeout)

    def set(self, option: StreamOption, value: int) -> None:
        """Sets an option, at once."""
        self._check(library.sl_stream_set(self._id, option, value))

    def get(self, option: StreamOption) -> int:
        """Reads an option, at once."""
        value = ctypes.c_int64()
        self._check(library.sl_stream_get(self._id, option, ctypes.byref(value)))
        return value.value

    def local_address(self) -> Address:
        """The address of this side."""
        return _ask_address(library.sl_local_address, self)

    def peer_address(self) -> Address:
        """The address of the other side."""
        return _ask_address(library.sl_peer_address, self)

    def _transfer(
        self,
        kind: int,
        buffer: Buffer,
        writable: bool,
        flags: int,
        timeout: Optional[float],
        convert: Convert = integer,
    ) -> Operation[Any]:
        view = buffers.pin(buffer, writable)
        return self.loop._submit(
            kind,
            self._id,
            convert,
            timeout,
            buffer=buffers.address(view),
            length=view.nbytes,
            flags=flags,
            keep=(view,),
        )


class Listener(Resource):
    """A listening socket."""

    __slots__ = ()

    @overload
    def accept(self, *, multishot: Literal[False] = False, timeout: Optional[float] = None) -> Operation[Stream]: ...

    @overload
    def accept(self, *, multishot: Literal[True], timeout: Optional[float] = None) -> Multishot[Stream]: ...

    def accept(self, *, multishot: bool = False, timeout: Optional[float] = None) -> Operation[Stream]:
        """Accepts a connection. multishot: an operation to iterate over, with every connection that comes."""
        return self.loop._submit(
            _abi.SL_TCP_ACCEPT,
            self._id,
            opened(Stream, self.loop, None),
            timeout,
            flags=_abi.SL_MULTISHOT if multishot else 0,
            make=Multishot if multishot else Operation,
        )

    def local_address(self) -> Address:
        """The address that it listens at, with the port that the system chose."""
        return _ask_address(library.sl_local_address, self)
