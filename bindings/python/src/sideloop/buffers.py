"""Pins objects with memory of their own (bytes, bytearray, memoryview, array, mmap, ...) and says where that memory is.

A memoryview is taken of every buffer and held by the operation until its last event: while it is held, the object can
neither be freed nor moved (a bytearray cannot be resized, an mmap not closed). Any thread; holds no state.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from ctypes import POINTER, c_char_p, c_int, c_ssize_t, c_void_p, py_object
from typing import TYPE_CHECKING, Any, Iterable, List, Optional, Tuple, Union

from . import _abi

if TYPE_CHECKING:
    import array
    import mmap

    # What the static types say; at run time everything with the buffer protocol is taken.
    Buffer = Union[bytes, bytearray, memoryview, "array.array[Any]", mmap.mmap, ctypes.Array[Any]]


class _PyBuffer(ctypes.Structure):
    """Py_buffer, as the interpreter's C API lays it out (the same since 3.0; part of its stable ABI since 3.11)."""

    _fields_ = [
        ("buf", c_void_p),
        ("obj", c_void_p),
        ("len", c_ssize_t),
        ("itemsize", c_ssize_t),
        ("readonly", c_int),
        ("ndim", c_int),
        ("format", c_char_p),
        ("shape", POINTER(c_ssize_t)),
        ("strides", POINTER(c_ssize_t)),
        ("suboffsets", POINTER(c_ssize_t)),
        ("internal", c_void_p),
    ]


if sys.implementation.name != "cpython":
    raise ImportError(f"sideloop needs CPython; this is {sys.implementation.name}")

# ctypes itself can only tell where writable memory is. Called with the interpreter's lock held, as PyDLL does.
_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes, _get_buffer.restype = (py_object, POINTER(_PyBuffer), c_int), c_int
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes, _release_buffer.restype = (POINTER(_PyBuffer),), None
_SIMPLE = 0
_pack_slice = struct.Struct(_abi.Slice.FORMAT).pack
# All the memory that a process can have: a slice of it is a copy, for which no foreign function need be called. Where
# addresses have 32 bits, half of it has no index.
_memory: Any = (ctypes.c_char * sys.maxsize).from_address(0)
_MEMORY_HAS_INDICES = sys.maxsize > 1 << 32


def address(view: Union[memoryview, bytes]) -> int:
    """Where the memory of a contiguous object is, never 0; valid for as long as the caller holds the object."""
    raw = _PyBuffer()
    _get_buffer(view, ctypes.byref(raw), _SIMPLE)
    # NULL would ask the library to lend a buffer; what is empty may have no address, and none is touched.
    where: int = raw.buf or 1
    _release_buffer(ctypes.byref(raw))
    return where


def copy(where: Optional[int], length: int) -> bytes:
    """What stands in memory that is not Python's; nothing where the address is NULL."""
    if not where:
        return b""
    copied: bytes = _memory[where : where + length] if _MEMORY_HAS_INDICES else ctypes.string_at(where, length)
    return copied


def pin(buffer: Buffer, writable: bool) -> memoryview:
    """A view that holds the memory in place until it is released; TypeError where the object will not do."""
    try:
        view = memoryview(buffer)
    except TypeError:
        raise TypeError(f"a bytes-like object is needed, not {type(buffer).__name__}") from None
    if writable and view.readonly:
        view.release()
        raise TypeError(f"a writable buffer is needed; this {type(buffer).__name__} is read-only")
    if not view.c_contiguous:
        view.release()
        raise TypeError(f"a contiguous buffer is needed; this {type(buffer).__name__} is not")
    return view


def pin_all(buffers: Iterable[Buffer], writable: bool) -> Tuple[List[memoryview], bytes]:
    """Views of all buffers, and the array of sl_slice that names their memory."""
    views: List[memoryview] = []
    try:
        for buffer in buffers:
            views.append(pin(buffer, writable))
    except BaseException:
        release(views)
        raise
    slices = b"".join(_pack_slice(address(view), view.nbytes) for view in views)
    return views, slices


def release(views: Iterable[memoryview]) -> None:
    """Gives the memory back to its owner."""
    for view in views:
        view.release()


def signed(where: int) -> int:
    """An address as the signed 64-bit number of the same bits, for fields that are signed."""
    return where - 2**64 if where >= 2**63 else where
