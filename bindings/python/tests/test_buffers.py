"""Memory of the program: every kind is taken, kept alive and in place until the last event, and given back then."""

from __future__ import annotations

import array
import ctypes
import gc
import mmap
import weakref
from pathlib import Path
from typing import Any, Callable, Dict, Iterator

import pytest

import sideloop
from conftest import PATIENCE, Pair

KINDS: Dict[str, Callable[[], Any]] = {
    "bytearray": lambda: bytearray(8),
    "memoryview": lambda: memoryview(bytearray(16))[4:12],
    "array": lambda: array.array("H", [0] * 4),
    "ctypes": lambda: (ctypes.c_uint32 * 2)(),
    "mmap": lambda: mmap.mmap(-1, 8),
}


@pytest.fixture
def file(loop: sideloop.Loop, tmp_path: Path) -> Iterator[sideloop.File]:
    path = tmp_path / "file"
    path.write_bytes(b"01234567")
    with loop.open(path, "r+b").wait(PATIENCE) as file:
        yield file


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(file: sideloop.File, kind: str) -> None:
    buffer: Any = KINDS[kind]()
    assert file.read_into(buffer, 0).wait(PATIENCE) == 8
    assert bytes(memoryview(buffer).cast("B")) == b"01234567"
    assert file.write(buffer, 8).wait(PATIENCE) == 8
    assert file.read(16, 0).wait(PATIENCE) == b"0123456701234567"
    assert file.readv([buffer], 4).wait(PATIENCE) == 8
    assert file.writev([buffer, b"!"], 0).wait(PATIENCE) == 9
    assert file.read(9, 0).wait(PATIENCE) == b"45670123!"
    if kind == "mmap":
        buffer.close()


@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_read_only_kinds_can_be_written(file: sideloop.File, kind: Callable[[bytes], Any]) -> None:
    assert file.write(kind(b"abc"), 0).wait(PATIENCE) == 3
    assert file.read(4, 0).wait(PATIENCE) == b"abc3"


def test_a_map_of_a_file_can_be_written(file: sideloop.File, tmp_path: Path) -> None:
    with (tmp_path / "file").open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert file.write(mapped, 8).wait(PATIENCE) == 8
        assert file.read(8, 8).wait(PATIENCE) == b"01234567"
        with pytest.raises(TypeError, match="read-only"):
            file.read_into(mapped)


def test_what_will_not_do(loop: sideloop.Loop, file: sideloop.File) -> None:
    accepted = loop.counters().accepted
    data = bytearray(16)
    for wrong, message in (
        (b"immutable", "read-only"),
        (memoryview(b"immutable"), "read-only"),
        ("text", "bytes-like"),
        (None, "bytes-like"),
        (5, "bytes-like"),
        (memoryview(bytearray(4))[::2], "contiguous"),
    ):
        with pytest.raises(TypeError, match=message):
            file.read_into(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=message):
            file.readv([bytearray(1), wrong])  # type: ignore[list-item]
    with pytest.raises(ValueError):
        file.read_into(data, -5)
    with pytest.raises(TypeError):
        file.readv([data, b"immutable"])
    data.append(0)  # Nothing holds it.
    assert loop.counters().accepted == accepted


def test_empty_buffers(file: sideloop.File, pair: Pair) -> None:
    assert file.read_into(bytearray()).wait(PATIENCE) == 0
    assert file.write(b"").wait(PATIENCE) == 0
    assert file.readv([bytearray(), bytearray(2)], 0).wait(PATIENCE) == 2
    assert pair[0].send(b"").wait(PATIENCE) == 0
    assert pair[0].sendv([]).wait(PATIENCE) == 0


def test_a_buffer_is_held_until_the_operation_has_ended(pair: Pair) -> None:
    client, server = pair
    buffer = bytearray(4)
    receiving = server.receive_into(buffer)
    with pytest.raises(BufferError):
        buffer.append(0)
    with pytest.raises(BufferError):
        buffer.clear()
    client.send(b"data").wait(PATIENCE)
    assert receiving.wait(PATIENCE) == 4
    buffer.append(0)
    assert buffer == b"data\0"


def test_a_map_is_held_until_the_operation_has_ended(pair: Pair) -> None:
    mapped = mmap.mmap(-1, 4096)
    receiving = pair[0].receive_into(mapped)
    with pytest.raises(BufferError):
        mapped.close()
    receiving.cancel()
    with pytest.raises(sideloop.Cancelled):
        receiving.wait(PATIENCE)
    mapped.close()


class Traced(bytearray):
    """Memory that tells when it is gone."""


def test_memory_lives_as_long_as_the_operation_and_no_longer(pair: Pair) -> None:
    client, server = pair
    buffer = Traced(4)
    gone = weakref.ref(buffer)
    receiving = server.receive_into(buffer)
    del buffer
    gc.collect()
    assert gone() is not None
    client.send(b"data").wait(PATIENCE)
    receiving.wait(PATIENCE)
    gc.collect()
    assert gone() is None


def test_memory_of_a_forgotten_operation_lives_on(loop: sideloop.Loop, pair: Pair) -> None:
    """Nobody holds the operation or its buffer, and the bytes still come whole."""
    client, server = pair
    client.send(Traced(b"x" * 500_000)).forget()
    client.sendv([Traced(b"y" * 500_000), Traced(b"z")]).forget()
    gc.collect()
    data = server.receive(1_000_001, exact=True).wait(PATIENCE)
    assert data == b"x" * 500_000 + b"y" * 500_000 + b"z"


def test_a_refused_operation_lets_go_of_its_buffer(loop: sideloop.Loop, pair: Pair) -> None:
    client, _ = pair
    client.close().wait(PATIENCE)
    buffer = bytearray(4)
    with pytest.raises(sideloop.StaleError):
        client.receive_into(buffer)
    with loop.batch():
        refused = client.receive_into(buffer)
    assert isinstance(refused.exception(), sideloop.StaleError)
    buffer.append(0)


def test_lent_buffers_go_back_at_once(loop: sideloop.Loop, pair: Pair) -> None:
    client, server = pair
    for _ in range(100):
        client.send(b"x" * 1000).wait(PATIENCE)
        assert server.receive(1000).wait(PATIENCE).strip(b"x") == b""
        assert loop.counters().lent_buffers == 0
