"""Whole files of sideloop.aio, and many of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from conftest import Run, run_on_asyncio
from sideloop import aio


def test_write_and_read(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        assert await aio.write_file(path, b"one") == 3
        assert await aio.write_file(path, bytearray(b"two"), "ab") == 3
        assert await aio.read_file(str(path)) == b"onetwo"
        with pytest.raises(FileExistsError):
            await aio.write_file(path, b"", "xb")
        assert await aio.write_text(path, "ä\nö\n", "latin-1", newline="\r\n") == 4
        assert path.read_bytes() == b"\xe4\r\n\xf6\r\n"
        assert await aio.read_text(path, "latin-1") == "ä\nö\n"
        await aio.write_file(path, b"")
        assert await aio.read_file(path) == b""
        with pytest.raises(FileNotFoundError, match="nowhere"):
            await aio.read_file(tmp_path / "nowhere")
        with pytest.raises(IsADirectoryError):
            await aio.read_file(tmp_path)
        with pytest.raises(ValueError, match="NUL"):
            await aio.read_file("a\0b")

    run(main)


def test_replace(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    inode = path.stat().st_ino

    async def main() -> None:
        await aio.write_file(path, b"new", replace=True, sync=True)
        with pytest.raises(ValueError, match="'wb'"):
            await aio.write_file(path, b"more", "ab", replace=True)
        with pytest.raises(NotADirectoryError):
            await aio.write_text(path / "below", "more", replace=True)

    run(main)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o640)
    assert path.stat().st_ino != inode
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def folder(tmp_path: Path) -> Dict[Path, bytes]:
    """Files of all sizes."""
    files = {tmp_path / str(number): bytes([number % 256]) * (number * 37 % 5000) for number in range(500)}
    for path, data in files.items():
        path.write_bytes(data)
    return files


@pytest.mark.parametrize("width", [1, 7, 64])
@pytest.mark.parametrize("ordered", [False, True])
def test_read_many(run: Run, folder: Dict[Path, bytes], width: int, ordered: bool) -> None:
    async def main() -> List[Tuple[Path, Any]]:
        return [found async for found in aio.read_many(folder, width=width, max_bytes=10000, ordered=ordered)]

    found = run(main)
    assert dict(found) == folder
    assert len(found) == len(folder)
    if ordered:
        assert [path for path, _ in found] == list(folder)


def test_read_many_begins_no_more_than_it_may(folder: Dict[Path, bytes]) -> None:
    """What waits is bounded by the width; nothing is taken from the paths before it is begun."""
    taken = 0

    def paths() -> Any:
        nonlocal taken
        for path in folder:
            taken += 1
            yield path

    async def main() -> None:
        reads = aio.read_many(paths(), width=8)
        for count in range(1, 101):
            await reads.__anext__()
            await asyncio.sleep(0)
            assert taken <= count + 8

    run_on_asyncio(main)


def test_read_many_with_errors(run: Run, folder: Dict[Path, bytes], tmp_path: Path) -> None:
    paths = [*list(folder)[:10], tmp_path / "nowhere", *list(folder)[10:20]]

    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            async for _ in aio.read_many(paths, ordered=True):
                pass
        found = {path: data async for path, data in aio.read_many(paths, return_exceptions=True)}
        assert isinstance(found.pop(tmp_path / "nowhere"), FileNotFoundError)
        assert found == {path: folder[path] for path in list(folder)[:20]}
        with pytest.raises(ValueError, match="width"):
            aio.read_many(paths, width=0)

    run(main)


def test_read_many_left_early(run: Run, folder: Dict[Path, bytes]) -> None:
    """What was begun for nobody is dropped."""

    async def main() -> None:
        for _ in range(5):
            async for path, data in aio.read_many(folder):
                assert folder[path] == data
                break

    run(main)
