"""sideloop.aio.tempfile: what is made, who may see it, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from conftest import Run, cancelled_after, run_python
from sideloop import aio

ours = aio.tempfile
MODES = ["w+b", "r+b", "wb", "a+b", "w+", "r+", "w", "x+"]


@pytest.mark.parametrize("mode", MODES)
def test_a_file_with_a_name_is_there_until_it_is_closed(mode: str, run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        data: Any = b"data\n" if "b" in mode else "data\n"
        async with ours.NamedTemporaryFile(mode, dir=tmp_path, prefix="before", suffix="after") as file:
            path = Path(file.name)
            assert path.parent == tmp_path and path.name.startswith("before") and path.name.endswith("after")
            assert os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == 0o600
            assert file.delete and (file.mode == mode)
            assert await file.write(data) == 5
            await file.flush()
            assert path.read_bytes() == b"data\n"
            if "+" in mode:
                await file.seek(0)
                assert [line async for line in file] == [data]
        assert file.closed
        assert os.listdir(tmp_path) == []

    run(main)


@pytest.mark.parametrize("mode", ["w+b", "w+"])
def test_when_a_file_with_a_name_is_removed(mode: str, tmp_path: Path) -> None:
    async def main() -> None:
        file = await ours.NamedTemporaryFile(mode, dir=tmp_path)
        await file.close()
        await file.close()
        assert os.listdir(tmp_path) == []
        async with ours.NamedTemporaryFile(mode, dir=tmp_path, delete_on_close=False) as file:
            await file.close()
            assert os.listdir(tmp_path) == [os.path.basename(file.name)]
        assert os.listdir(tmp_path) == []
        async with ours.NamedTemporaryFile(mode, dir=tmp_path) as file:
            os.unlink(file.name)
        async with ours.NamedTemporaryFile(mode, dir=tmp_path, delete=False) as file:
            assert not file.delete
        assert os.listdir(tmp_path) == [os.path.basename(file.name)]

    asyncio.run(main())


def test_a_file_that_is_forgotten_is_removed(tmp_path: Path) -> None:
    async def main() -> None:
        file = await ours.NamedTemporaryFile(dir=tmp_path)
        with pytest.warns(ResourceWarning, match="unclosed"):
            del file
            gc.collect()
        assert os.listdir(tmp_path) == []
        file = await ours.NamedTemporaryFile(dir=tmp_path, delete_on_close=False)
        await file.close()
        del file
        gc.collect()
        assert os.listdir(tmp_path) == []

    asyncio.run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed on Windows")
def test_a_file_without_a_name(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with ours.TemporaryFile(dir=tmp_path) as file:
            assert os.listdir(tmp_path) == []
            assert file.name == file.fileno()
            await file.write(b"data")
            await file.seek(0)
            assert await file.read() == b"data"
        async with ours.TemporaryFile("w+", encoding="utf-16", newline="\r\n", dir=tmp_path) as file:
            await file.write("a\n")
            await file.seek(0)
            assert await file.buffer.read() == "a\r\n".encode("utf-16")

    run(main)


def test_names_are_of_the_kind_of_what_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def main() -> None:
        async with ours.NamedTemporaryFile() as file:
            assert os.path.dirname(file.name) == str(tmp_path)
            assert os.path.basename(file.name).startswith(tempfile.gettempprefix())
        async with ours.NamedTemporaryFile(suffix=b"x") as file:
            assert os.path.dirname(file.name) == os.fsencode(tmp_path) and file.name.endswith(b"x")
        async with ours.TemporaryDirectory(dir=os.fsencode(tmp_path)) as name:
            assert isinstance(name, bytes)
        with pytest.raises(TypeError, match="mix"):
            await ours.NamedTemporaryFile(suffix=b"x", prefix="y")
        monkeypatch.chdir(tmp_path)
        async with ours.NamedTemporaryFile(dir=".") as file:
            assert os.path.dirname(file.name) == str(tmp_path)

    asyncio.run(main())


def test_a_name_that_is_taken_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["taken", "taken", "free"]
    monkeypatch.setattr("secrets.token_hex", lambda size: names.pop(0) if len(names) > 1 else names[0])
    (tmp_path / "tmptaken").write_bytes(b"somebody else's")

    async def main() -> None:
        async with ours.NamedTemporaryFile(dir=tmp_path) as file:
            assert file.name == str(tmp_path / "tmpfree")
            with pytest.raises(FileExistsError, match="No usable"):
                await ours.TemporaryDirectory(dir=tmp_path)
        assert (tmp_path / "tmptaken").read_bytes() == b"somebody else's"

    asyncio.run(main())


@pytest.mark.parametrize("function", ["NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile"])
def test_what_cannot_be_is_raised(function: str, tmp_path: Path) -> None:
    make = getattr(ours, function)

    async def main() -> None:
        for arguments in ({"mode": "w+b", "encoding": "utf-8"}, {"mode": "z"}, {"mode": "w", "newline": "x"}):
            with pytest.raises(ValueError):
                await make(**arguments)
        if function != "SpooledTemporaryFile":
            with pytest.raises(FileNotFoundError):
                await make(dir=tmp_path / "missing")

    asyncio.run(main())


def test_a_directory_goes_with_all_that_is_in_it(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with ours.TemporaryDirectory("after", "before", tmp_path) as name:
            assert isinstance(name, str) and os.path.basename(name).startswith("before") and name.endswith("after")
            assert os.name == "nt" or stat.S_IMODE(os.stat(name).st_mode) == 0o700
            os.makedirs(os.path.join(name, "a", "b"))
            Path(name, "a", "file").touch()
        assert os.listdir(tmp_path) == []
        directory = await ours.TemporaryDirectory(dir=tmp_path)
        assert os.listdir(tmp_path) == [os.path.basename(directory.name)]
        await directory.cleanup()
        await directory.close()
        assert os.listdir(tmp_path) == []
        async with ours.TemporaryDirectory(dir=tmp_path) as name:
            os.rmdir(name)

    run(main)


def test_a_directory_that_is_forgotten_is_removed(tmp_path: Path) -> None:
    async def main() -> None:
        directory = await ours.TemporaryDirectory(dir=tmp_path)
        with pytest.warns(ResourceWarning, match="not cleaned up"):
            del directory
            gc.collect()
        assert os.listdir(tmp_path) == []

    asyncio.run(main())


async def use(kind: str, folder: Path) -> None:
    """What is cancelled below, at whichever point."""
    if kind == "directory":
        async with ours.TemporaryDirectory(dir=folder) as name:
            async with aio.open(os.path.join(name, "file"), "w") as file:
                await file.write("data")
    else:
        make: Any = {"named": ours.NamedTemporaryFile, "unnamed": ours.TemporaryFile}.get(kind)
        async with make(dir=folder) if make else ours.SpooledTemporaryFile(2, dir=folder) as file:
            await file.write(b"data")
            await file.flush()
            await file.seek(0)
            await file.read()


@pytest.mark.parametrize("kind", ["named", "unnamed", "spooled", "directory"])
def test_nothing_stays_behind_where_a_task_is_cancelled(kind: str, run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        turns, in_time = 0, True
        while in_time or turns < 5:
            in_time = await cancelled_after(turns, lambda: use(kind, tmp_path))
            assert os.listdir(tmp_path) == [], turns
            # At each of the first turns; while a thread is at work there are many.
            turns += max(1, (turns - 30) // 2)

    run(main)


FAULTY = """
import asyncio, os, pathlib, sys
import test_aio_tempfile as test

async def main():
    folder = pathlib.Path(sys.argv[1])
    failed = 0
    for _ in range(30):
        for kind in ("named", "unnamed", "spooled", "directory"):
            try:
                await test.use(kind, folder)
            except (OSError, MemoryError):
                failed += 1
            assert os.listdir(folder) == [], kind
    assert failed > 20, failed

asyncio.run(main())
"""


def test_nothing_stays_behind_where_anything_fails(tmp_path: Path) -> None:
    ended = run_python(FAULTY, str(tmp_path), env={"SIDELOOP_FAULTS": "all: error@0.2"})
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("mode", ["w+b", "w+"])
@pytest.mark.parametrize("max_size", [0, 3, 20])
def test_a_spooled_file_is_in_memory_until_it_is_large(mode: str, max_size: int, run: Run, tmp_path: Path) -> None:
    def of(text: str) -> Any:
        return text if mode == "w+" else text.encode()

    async def main() -> None:
        async with ours.SpooledTemporaryFile(max_size, mode, dir=tmp_path) as file:
            make: Any = tempfile.SpooledTemporaryFile
            with make(max_size, mode, dir=tmp_path) as theirs:
                for text in ("ab", "cd\nef", "ghi" * 10, "\n"):
                    assert await file.write(of(text)) == theirs.write(of(text))
                    assert (file.name is None) == (not theirs._rolled)
                    assert await file.tell() == theirs.tell()
                assert await file.seek(1) == theirs.seek(1)
                assert await file.readline() == theirs.readline()
                assert await file.read(4) == theirs.read(4)
                position = await file.tell()
                await file.rollover()
                await file.rollover()
                assert isinstance(file.name, int) and await file.fileno() == file.name
                assert await file.tell() == position
                theirs.rollover()
                assert await file.readlines() == theirs.readlines()
                assert file.mode == mode and not file.closed and not await file.isatty()
                await file.writelines([of("x\n"), of("y\n")])
                assert await file.truncate(3) == 3
                await file.seek(0)
                assert [line async for line in file] == [of("abc")]
        assert file.closed
        with pytest.raises(ValueError):
            await file.read()
        assert os.listdir(tmp_path) == []

    run(main)


def test_a_spooled_file_of_text(tmp_path: Path) -> None:
    async def main() -> None:
        async with ours.SpooledTemporaryFile(mode="w+", encoding="utf-16", newline="", dir=tmp_path) as file:
            assert (file.encoding, file.errors, file.newlines) == ("utf-16", "strict", None)
            await file.write("ä\r\n日本\n")
            await file.seek(0)
            assert await file.read(2) == "ä\r"
            await file.rollover()
            assert await file.readlines() == ["\n", "日本\n"]
            assert file.encoding == "utf-16"

    asyncio.run(main())


def test_all_arguments_of_the_standard_library_s_are_taken() -> None:
    for name in ("NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile", "TemporaryDirectory"):
        known, taken = (inspect.signature(getattr(module, name)).parameters.keys() for module in (tempfile, ours))
        missing = known - taken
        # Of directories: aiofiles does not take them either.
        assert missing <= {"ignore_cleanup_errors", "delete"} if name == "TemporaryDirectory" else not missing
