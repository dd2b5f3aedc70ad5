"""sideloop.aio.os against os: the same calls in two folders that are alike, and what comes of them compared."""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import Any, List, Tuple

import pytest

from conftest import Run, run_python
from sideloop import aio
from sideloop.aio import _paths

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and permissions are others on Windows")

# A function and its arguments; paths are of what `populate` makes.
Call = Tuple[Any, ...]

CALLS: List[Call] = [
    ("mkdir", "new"),
    ("mkdir", "new/below", 0o700),
    ("mkdir", "folder"),
    ("mkdir", "missing/new"),
    ("mkdir", "file/new"),
    ("makedirs", "a/b/c"),
    ("makedirs", "folder"),
    ("makedirs", "folder", 0o777, True),
    ("makedirs", "file", 0o777, True),
    ("makedirs", "file/below"),
    ("makedirs", "deep/."),
    ("makedirs", "deep/er/", 0o750),
    ("rmdir", "empty"),
    ("rmdir", "folder"),
    ("rmdir", "file"),
    ("rmdir", "missing"),
    ("removedirs", "nested/one/two"),
    ("removedirs", "folder"),
    ("remove", "file"),
    ("remove", "link"),
    ("remove", "dangling"),
    ("remove", "empty"),
    ("remove", "missing"),
    ("unlink", "file"),
    ("unlink", "file/below"),
    ("rename", "file", "new"),
    ("rename", "file", "other"),
    ("rename", "file", "empty"),
    ("rename", "empty", "file"),
    ("rename", "empty", "folder"),
    ("rename", "folder", "empty"),
    ("rename", "folder", "folder/below"),
    ("rename", "missing", "new"),
    ("rename", "link", "new"),
    ("replace", "file", "other"),
    ("replace", "missing", "file"),
    ("renames", "nested/one/two", "p/q/r"),
    ("renames", "missing", "p/q/r"),
    ("link", "file", "new"),
    ("link", "file", "other"),
    ("link", "missing", "new"),
    ("link", "folder", "new"),
    ("link", "link", "new"),
    ("readlink", "relative"),
    ("readlink", "dangling"),
    ("readlink", "file"),
    ("readlink", "missing"),
    ("access", "file", os.R_OK),
    ("access", "missing", os.F_OK),
    ("listdir", "file"),
    ("listdir", "missing"),
    ("scandir", "file"),
    ("scandir", "missing"),
    ("stat", "missing"),
    ("stat", "dangling"),
    ("stat", "round"),
    ("stat", "file/below"),
    ("stat", "x" * 300),
    ("lstat", "missing"),
]


def populate(folder: Path) -> Path:
    """One of the two folders."""
    (folder / "folder" / "inner").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "nested" / "one" / "two").mkdir(parents=True)
    (folder / "file").write_bytes(b"contents")
    (folder / "other").write_bytes(b"more")
    (folder / "folder" / "in the folder").write_bytes(b"")
    (folder / "folder" / os.fsdecode(b"\xff\xfe")).write_bytes(b"")
    os.symlink("file", folder / "relative")
    os.symlink("folder", folder / "link")
    os.symlink("nowhere", folder / "dangling")
    os.symlink("round", folder / "round")
    return folder


def contents(folder: Path) -> List[Tuple[str, int, Any]]:
    """What is in a folder, all the way down."""
    found: List[Tuple[str, int, Any]] = []
    for path in sorted(folder.rglob("*")):
        data = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found.append((str(path.relative_to(folder)), path.lstat().st_mode, data))
    return found


async def outcome(function: Any, *arguments: Any, **options: Any) -> Any:
    """What a call gives, or what its exception says."""
    try:
        value = function(*arguments, **options)
        return await value if inspect.isawaitable(value) else value
    except OSError as error:
        return error.errno, error.filename, error.filename2, str(error)
    except (ValueError, TypeError) as error:
        return [kind for kind in (ValueError, TypeError) if isinstance(error, kind)]


@pytest.mark.parametrize("kind", ["text", "bytes", "path"])
@pytest.mark.parametrize("call", CALLS, ids=lambda call: "-".join(map(str, call))[:40])
def test_calls_do_what_those_of_os_do(call: Call, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, *arguments = call
    make: Any = {"text": str, "bytes": os.fsencode, "path": Path}[kind]
    given = [make(argument) if isinstance(argument, str) else argument for argument in arguments]
    outcomes = []
    for module, folder in ((aio.os, tmp_path / "ours"), (os, tmp_path / "theirs")):
        folder.mkdir()
        monkeypatch.chdir(populate(folder))
        outcomes.append(asyncio.run(outcome(getattr(module, name), *given)))
    assert outcomes[0] == outcomes[1]
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")


def test_on_every_event_loop(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        folder = str(tmp_path / "a" / "b")
        await aio.os.makedirs(folder)
        await aio.write_file(folder + "/file", b"1234")
        await aio.os.symlink("file", folder + "/link")
        assert sorted(await aio.os.listdir(folder)) == ["file", "link"]
        assert (await aio.os.stat(folder + "/link")).st_size == 4
        assert await aio.os.path.ismount("/")
        assert [entry.name async for entry in await aio.os.scandir(tmp_path)] == ["a"]
        walked = [step async for step in aio.os.walk(str(tmp_path))]
        assert walked[0] == (str(tmp_path), ["a"], [])
        with pytest.raises(FileNotFoundError):
            await aio.os.remove(folder + "/none")

    run(main)


def test_stat_tells_what_os_does(tmp_path: Path) -> None:
    populate(tmp_path)
    os.utime(tmp_path / "file", ns=(1_234_567_890_123_456_789, -1))
    os.mkfifo(tmp_path / "pipe")

    async def main() -> None:
        with open(tmp_path / "file") as file:
            paths: List[Any] = [tmp_path / name for name in ("file", "link", "pipe", "folder")]
            for path in [*paths, "/dev/null", file.fileno()]:
                for follow in (True, False):
                    if follow or not isinstance(path, int):
                        ours = await aio.os.stat(path, follow_symlinks=follow)
                        check(ours, os.stat(path, follow_symlinks=follow))
        check(await aio.os.lstat(tmp_path / "link"), os.lstat(tmp_path / "link"))

    def check(ours: os.stat_result, theirs: os.stat_result) -> None:
        assert ours == theirs
        for name in dir(theirs):
            if name.startswith("st_") and name != "st_blksize":
                assert getattr(ours, name) == getattr(theirs, name), name

    asyncio.run(main())


@pytest.mark.parametrize("name", ["file", "folder", "link", "relative", "dangling", "missing", "round", "nul\0"])
def test_path_says_what_os_path_does(name: str, tmp_path: Path) -> None:
    path = str(populate(tmp_path) / name)
    names = ["exists", "lexists", "isfile", "isdir", "islink", "getsize", "getmtime", "getatime", "getctime", "abspath"]

    async def main() -> None:
        for function in names:
            ours = await outcome(getattr(aio.os.path, function), path)
            assert ours == await outcome(getattr(os.path, function), path), function
        for other in ("file", "folder"):
            arguments = path, str(tmp_path / other)
            assert await outcome(aio.os.path.samefile, *arguments) == await outcome(os.path.samefile, *arguments)

    asyncio.run(main())


def test_descriptors_in_place_of_paths(tmp_path: Path) -> None:
    populate(tmp_path)
    folder = os.open(tmp_path, os.O_RDONLY)

    async def main() -> None:
        assert sorted(await aio.os.listdir(folder)) == sorted(os.listdir(tmp_path))
        assert {entry.name for entry in await aio.os.scandir(folder)} == set(os.listdir(tmp_path))
        assert (await aio.os.stat("file", dir_fd=folder)).st_size == 8
        assert await aio.os.path.isdir(folder)
        assert await aio.os.path.sameopenfile(folder, folder)
        await aio.os.mkdir("new", dir_fd=folder)
        await aio.os.rename("new", "newer", src_dir_fd=folder, dst_dir_fd=folder)
        await aio.os.replace("newer", "new", src_dir_fd=folder, dst_dir_fd=folder)
        await aio.os.rmdir("new", dir_fd=folder)
        await aio.os.link("file", "second", src_dir_fd=folder, dst_dir_fd=folder)
        await aio.os.unlink("second", dir_fd=folder)
        await aio.os.symlink("file", "second", dir_fd=folder)
        assert await aio.os.readlink("second", dir_fd=folder) == "file"

    try:
        asyncio.run(main())
    finally:
        os.close(folder)


def test_what_runs_on_a_thread(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"contents")

    async def main() -> None:
        assert (await aio.os.statvfs(tmp_path)).f_bsize == os.statvfs(tmp_path).f_bsize
        assert await aio.os.getcwd() == os.getcwd()
        assert await aio.os.wrap(pow)(2, 3, mod=5) == 3
        async with aio.open(tmp_path / "file", "rb") as source, aio.open(tmp_path / "copy", "wb") as target:
            assert await aio.os.sendfile(target.fileno(), source.fileno(), 2, 4) == 4
        assert (tmp_path / "copy").read_bytes() == b"nten"

    asyncio.run(main())


def test_entries_say_what_those_of_os_do(tmp_path: Path) -> None:
    populate(tmp_path)

    async def main() -> None:
        for path in (str(tmp_path), os.fsencode(tmp_path), tmp_path / "folder"):
            with os.scandir(path) as found:
                theirs = {entry.name: entry for entry in found}
            ours = {entry.name: entry async for entry in await aio.os.scandir(path)}
            assert ours.keys() == theirs.keys()
            for name, entry in ours.items():
                other = theirs[name]
                assert (entry.path, entry.inode()) == (other.path, other.inode())
                assert os.fspath(entry) == other.path
                assert await outcome(aio.os.stat, entry) == await outcome(os.stat, other.path)
                for method in ("is_dir", "is_file", "stat"):
                    for follow in (True, False):
                        arguments = {"follow_symlinks": follow}
                        answer = await outcome(getattr(entry, method), **arguments)
                        assert answer == await outcome(getattr(other, method), **arguments), (name, method, follow)
                assert entry.is_symlink() == other.is_symlink()

    asyncio.run(main())


def test_a_scan_is_an_iterator_and_a_context_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        Path(name).touch()

    async def main() -> None:
        with await aio.os.scandir() as scan:
            first = next(scan)
            assert first.path == os.path.join(".", first.name)
        assert list(scan) == []
        async with await aio.os.scandir() as scan:
            entry = await scan.__anext__()
            assert len(list(scan)) == 2
        assert repr(entry) == f"<DirEntry {entry.name!r}>"

    asyncio.run(main())


def test_a_directory_that_is_larger_than_what_is_lent(tmp_path: Path) -> None:
    populate(tmp_path)
    program = (
        "import asyncio, os, sys; from sideloop import aio, errors, _abi; from sideloop.aio import _paths\n"
        "def told(entry): return entry.name, entry.is_dir(follow_symlinks=False), entry.is_symlink()\n"
        "async def refuse(*arguments, **options): raise errors.make(_abi.SL_ERR_NO_BUFFERS)\n"
        "_paths.on_path = refuse\n"
        "async def main():\n"
        "    found = [told(entry) async for entry in await aio.os.scandir(sys.argv[1])]\n"
        "    assert sorted(found) == sorted(map(told, os.scandir(sys.argv[1])))\n"
        "asyncio.run(main())"
    )
    ended = run_python(program, str(tmp_path))
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("followlinks", [False, True])
@pytest.mark.parametrize("topdown", [True, False])
def test_walk_goes_where_that_of_os_goes(topdown: bool, followlinks: bool, tmp_path: Path) -> None:
    populate(tmp_path)

    def known(steps: List[Any]) -> List[Any]:
        return sorted((folder, sorted(directories), sorted(files)) for folder, directories, files in steps)

    async def main() -> None:
        tops: List[Any] = [str(tmp_path), os.fsencode(tmp_path), tmp_path, tmp_path / "missing"]
        for top in tops:
            steps = [step async for step in aio.os.walk(top, topdown, None, followlinks)]
            assert known(steps) == known(list(os.walk(top, topdown, None, followlinks)))
            seen = [os.fsdecode(step[0]) for step in steps]
            for folder in seen[1 if topdown else 0 : None if topdown else -1]:
                before, after = seen.index(os.path.dirname(folder)), seen.index(folder)
                assert (before < after) == topdown

    asyncio.run(main())


def test_walk_goes_where_the_program_wants(tmp_path: Path) -> None:
    populate(tmp_path)
    errors: List[Any] = []

    async def main() -> None:
        seen = []
        async for folder, directories, _ in aio.os.walk(tmp_path, onerror=errors.append):
            seen.append(os.path.basename(folder))
            if folder == str(tmp_path):
                directories[:] = ["nested", "gone", "folder"]
                os.mkdir(tmp_path / "folder" / "late")
        assert seen[:4] == [tmp_path.name, "nested", "one", "two"]
        assert sorted(seen[4:]) == ["folder", "inner", "late"]

    asyncio.run(main())
    assert [(type(error).__mro__[2:], error.filename) for error in errors] == [
        (type(errors[0]).__mro__[2:], str(tmp_path / "gone"))
    ]
    assert isinstance(errors[0], FileNotFoundError)


def test_copyfile(run: Run, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "source").write_bytes(data)
    (tmp_path / "linked").symlink_to("source")
    (tmp_path / "old").write_bytes(b"old")
    os.chmod(tmp_path / "old", 0o640)

    async def main() -> None:
        target = tmp_path / "target"
        assert await aio.os.copyfile(tmp_path / "source", target) is target
        assert target.read_bytes() == data
        await aio.os.copyfile(tmp_path / "linked", tmp_path / "old")
        assert (tmp_path / "old").read_bytes() == data
        assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o640
        # Who has the old one open goes on with that.
        assert held.read() == b"old"
        await aio.os.copyfile(tmp_path / "linked", tmp_path / "second", follow_symlinks=False)
        assert os.readlink(tmp_path / "second") == "source"
        for other in ("source", "linked"):
            with pytest.raises(shutil.SameFileError):
                await aio.os.copyfile(tmp_path / "source", tmp_path / other)
        with pytest.raises(IsADirectoryError):
            await aio.os.copyfile(tmp_path / "source", tmp_path)
        with pytest.raises(FileNotFoundError):
            await aio.os.copyfile(tmp_path / "missing", target)

    with open(tmp_path / "old", "rb") as held:
        run(main)


def test_results_have_the_types_of_those_of_os(tmp_path: Path) -> None:
    async def main() -> None:
        found = await aio.os.stat(tmp_path)
        assert type(found) is os.stat_result
        assert found.st_blksize == _paths._BLOCK_SIZE
        assert isinstance(found.st_mtime, float) and isinstance(found[8], int)

    asyncio.run(main())
