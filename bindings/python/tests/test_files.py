"""Every operation on files and paths, against real files."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Callable, List

import pytest

import sideloop
from conftest import PATIENCE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of ten bytes."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    return path


def test_read_at_offsets_and_at_the_current_position(loop: sideloop.Loop, path: Path) -> None:
    with loop.open(path).wait(PATIENCE) as file:
        assert file.read(4, 2).wait(PATIENCE) == b"2345"
        assert file.read(4).wait(PATIENCE) == b"0123"
        assert file.read(4).wait(PATIENCE) == b"4567"
        assert file.read(4, exact=True).wait(PATIENCE) == b"89"
        assert file.read(4).wait(PATIENCE) == b""
        assert file.read(4, 100).wait(PATIENCE) == b""
        assert file.read(0).wait(PATIENCE) == b""


def test_write_truncate_and_sync(loop: sideloop.Loop, path: Path) -> None:
    with loop.open(path, "r+b").wait(PATIENCE) as file:
        assert file.write(b"ab", 8).wait(PATIENCE) == 2
        assert file.write(b"XY").wait(PATIENCE) == 2
        assert file.write(b"Z").wait(PATIENCE) == 1
        assert file.sync().wait(PATIENCE) is None
        assert file.sync(data_only=True).wait(PATIENCE) is None
        assert path.read_bytes() == b"XYZ34567ab"
        assert file.truncate(3).wait(PATIENCE) is None
        assert path.read_bytes() == b"XYZ"
        file.truncate(5).wait(PATIENCE)
    assert path.read_bytes() == b"XYZ\0\0"


def test_vectors(loop: sideloop.Loop, path: Path) -> None:
    with loop.open(path, "r+").wait(PATIENCE) as file:
        first, second = bytearray(3), bytearray(4)
        assert file.readv([first, second], 1, exact=True).wait(PATIENCE) == 7
        assert first == b"123" and second == b"4567"
        assert file.writev([b"ab", b"", memoryview(b"cdef")[1:3]], 2).wait(PATIENCE) == 4
        assert file.writev([]).wait(PATIENCE) == 0
        assert path.read_bytes() == b"01abde6789"
        with pytest.raises(ValueError, match="1024"):
            file.writev([b"x"] * 1025)


def test_read_into(loop: sideloop.Loop, path: Path) -> None:
    with loop.open(path).wait(PATIENCE) as file:
        buffer = bytearray(b"............")
        assert file.read_into(buffer, 6).wait(PATIENCE) == 4
        assert buffer == b"6789........"
        assert file.read_into(memoryview(buffer)[8:], exact=True).wait(PATIENCE) == 4
        assert buffer == b"6789....0123"


def test_stat(loop: sideloop.Loop, path: Path) -> None:
    link = path.parent / "link"
    link.symlink_to(path)
    truth = path.stat()
    with loop.open(path).wait(PATIENCE) as file:
        for seen in (file.stat().wait(PATIENCE), loop.stat(path).wait(PATIENCE), loop.stat(link).wait(PATIENCE)):
            assert seen.type == sideloop.FileType.FILE
            assert (seen.length, seen.inode, seen.device) == (10, truth.st_ino, truth.st_dev)
            assert (seen.modified_ns, seen.mode) == (truth.st_mtime_ns, stat.S_IMODE(truth.st_mode))
            assert "length=10" in repr(seen)
    assert loop.stat(link, follow=False).wait(PATIENCE).type == sideloop.FileType.LINK
    assert loop.stat(path.parent).wait(PATIENCE).type == sideloop.FileType.DIRECTORY


def test_whole_files(loop: sideloop.Loop, tmp_path: Path) -> None:
    path = tmp_path / "new"
    data = os.urandom(3_000_000)
    assert loop.write_file(path, data).wait(PATIENCE) == len(data)
    assert path.read_bytes() == data
    assert loop.read_file(path).wait(PATIENCE) == data
    assert loop.write_file(path, b"tail", "ab").wait(PATIENCE) == 4
    assert path.read_bytes() == data + b"tail"
    assert loop.write_file(path, b"").wait(PATIENCE) == 0
    assert loop.read_file(path).wait(PATIENCE) == b""
    with pytest.raises(FileExistsError):
        loop.write_file(path, b"x", "xb").wait(PATIENCE)
    loop.write_file(tmp_path / "private", b"", permissions=0o600).wait(PATIENCE)
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600


def test_modes(loop: sideloop.Loop, path: Path) -> None:
    with loop.open(path, "a+").wait(PATIENCE) as file:
        file.write(b"end", 0).wait(PATIENCE)
        assert file.read(3, 10).wait(PATIENCE) == b"end"
    with loop.open(path, "wb").wait(PATIENCE) as file:
        assert path.read_bytes() == b""
        with pytest.raises(OSError) as caught:
            file.read(1).wait(PATIENCE)
        assert caught.value.errno == errno.EBADF
    with pytest.raises(FileExistsError):
        loop.open(path, "x").wait(PATIENCE)
    for mode in ("", "q", "rt", "rw", "r++", "rbb", "br"):
        with pytest.raises(ValueError, match="mode"):
            loop.open(path, mode)


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_kinds_of_path(loop: sideloop.Loop, tmp_path: Path, kind: type) -> None:
    path = kind(str(tmp_path / "snäck ☃"))
    loop.write_file(path, b"x").wait(PATIENCE)
    assert loop.read_file(path).wait(PATIENCE) == b"x"
    assert (tmp_path / "snäck ☃").read_bytes() == b"x"


def test_errors_are_the_ones_that_python_users_know(loop: sideloop.Loop, path: Path) -> None:
    missing = path.parent / "missing"
    with pytest.raises(FileNotFoundError) as caught:
        loop.read_file(missing).wait(PATIENCE)
    assert isinstance(caught.value, sideloop.NotFound)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, str(missing))
    assert caught.value.name == "SL_ERR_NOT_FOUND"
    assert str(missing) in str(caught.value)
    with pytest.raises(NotADirectoryError):
        loop.stat(path / "below").wait(PATIENCE)
    with pytest.raises(IsADirectoryError) as wrong:
        loop.write_file(path.parent, b"").wait(PATIENCE)
    assert wrong.value.filename == str(path.parent)
    with pytest.raises(OSError) as long:
        loop.open("x" * 5000).wait(PATIENCE)
    assert long.value.errno == errno.ENAMETOOLONG
    (path.parent / "circle").symlink_to("circle")
    with pytest.raises(OSError) as circle:
        loop.open(path.parent / "circle").wait(PATIENCE)
    assert circle.value.errno == errno.ELOOP


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_failed_write_has_the_systems_errno(loop: sideloop.Loop) -> None:
    with loop.open("/dev/full", "wb").wait(PATIENCE) as file:
        with pytest.raises(OSError) as caught:
            file.write(b"x").wait(PATIENCE)
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == "/dev/full"


def test_bad_arguments(loop: sideloop.Loop, path: Path) -> None:
    accepted = loop.counters().accepted
    with pytest.raises(TypeError):
        loop.open(3.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="NUL"):
        loop.open("a\0b")
    with pytest.raises(ValueError, match="timeout is out of range"):
        loop.read_file(path, timeout=-1)
    assert loop.counters().accepted == accepted
    with loop.open(path, "r+").wait(PATIENCE) as file:
        wrong: List[Callable[[], object]] = [
            lambda: file.read(-1),
            lambda: file.read(1, -1),
            lambda: file.read(2**64),
            lambda: file.read(1, 2**63),
        ]
        for use in wrong:
            with pytest.raises(ValueError):
                use()
        with pytest.raises(TypeError):
            file.read("x")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            file.write("text")  # type: ignore[arg-type]
        with pytest.raises(ValueError):
            file.truncate(-1)
        with pytest.raises(ValueError):
            loop.open(path, flags=1 << 30)


def test_a_closed_file_is_refused(loop: sideloop.Loop, path: Path) -> None:
    file = loop.open(path).wait(PATIENCE)
    assert not file.closed
    closing = file.close()
    assert file.closed and file.close() is closing
    assert closing.wait(PATIENCE) is None
    with pytest.raises(sideloop.StaleError):
        file.read(1)
    with pytest.raises(ValueError):
        file.fileno()
    assert "closed" in repr(file) and str(path) in repr(file)


def test_descriptors(loop: sideloop.Loop, path: Path) -> None:
    with loop.adopt_file(os.open(path, os.O_RDWR)) as file:
        assert os.fstat(file.fileno()).st_ino == path.stat().st_ino
        assert file.read(3).wait(PATIENCE) == b"012"
    with pytest.raises(OSError) as caught:
        loop.adopt_file(-1)
    assert caught.value.errno == errno.EBADF
    with loop.adopt_file(os.open(path, os.O_RDONLY)) as file:
        wrong = sideloop.Stream(loop, file._id, None)
        with pytest.raises(sideloop.WrongKindError) as refused:
            wrong.receive()
        assert isinstance(refused.value, TypeError)
        wrong._closing = file.close()


def names_in(folder: Path) -> List[str]:
    """All names there, so that what was made beside a file and is still there shows."""
    return sorted(os.listdir(folder))


def test_replace_a_file(loop: sideloop.Loop, path: Path) -> None:
    path.chmod(0o640)
    assert loop.write_file(path, b"new", replace=True, sync=True).wait(PATIENCE) == 3
    assert path.read_bytes() == b"new"
    if os.name != "nt":
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    fresh = path.parent / "fresh"
    assert loop.write_file(fresh, b"", replace=True).wait(PATIENCE) == 0
    assert fresh.read_bytes() == b""
    with pytest.raises(sideloop.IsADirectory):
        loop.write_file(path.parent, b"x", replace=True).wait(PATIENCE)
    with pytest.raises(ValueError, match="wb"):
        loop.write_file(path, b"x", "ab", replace=True)
    assert names_in(path.parent) == ["file", "fresh"]


def test_what_cannot_be_replaced_stays(path: Path) -> None:
    for faults in ("write, copy: ENOSPC", "rename: EIO", "close: EIO"):
        with sideloop.Loop(faults=faults) as loop:
            for operation in (loop.write_file(path, b"new", replace=True), loop.copy(__file__, path)):
                with pytest.raises(OSError):
                    operation.wait(PATIENCE)
        assert path.read_bytes() == b"0123456789"
        assert names_in(path.parent) == ["file"]


def test_copy(loop: sideloop.Loop, path: Path) -> None:
    target = path.parent / "target"
    assert loop.copy(path, target, replace=False, sync=True).wait(PATIENCE) == 10
    assert target.read_bytes() == b"0123456789"
    with pytest.raises(FileExistsError) as raised:
        loop.copy(path, target, replace=False).wait(PATIENCE)
    assert raised.value.filename == os.fspath(path)
    target.write_bytes(b"x" * 100)
    assert loop.copy(os.fsencode(path), os.fsencode(target)).wait(PATIENCE) == 10
    assert target.read_bytes() == b"0123456789"
    with pytest.raises(FileNotFoundError):
        loop.copy(path.parent / "missing", target).wait(PATIENCE)
    assert names_in(path.parent) == ["file", "target"]


def test_directories(loop: sideloop.Loop, tmp_path: Path) -> None:
    folder = tmp_path / "d\u00e9p\u00f4t"
    assert loop.make_directory(folder).wait(PATIENCE) is None
    with pytest.raises(FileExistsError):
        loop.make_directory(folder).wait(PATIENCE)
    assert loop.list_directory(folder).wait(PATIENCE) == []
    (folder / "file").write_bytes(b"x")
    (folder / "\u65e5\u672c").mkdir()
    found = sorted(loop.list_directory(folder).wait(PATIENCE))
    assert [(entry.name, entry.type) for entry in found] == [
        ("file", sideloop.FileType.FILE),
        ("\u65e5\u672c", sideloop.FileType.DIRECTORY),
    ]
    if os.name != "nt":
        assert found[0].inode == (folder / "file").stat().st_ino
    with pytest.raises(OSError) as raised:
        loop.remove(folder, directory=True).wait(PATIENCE)
    assert raised.value.errno in (errno.ENOTEMPTY, errno.EEXIST)
    loop.remove(folder / "file").wait(PATIENCE)
    loop.remove(folder / "\u65e5\u672c", directory=True).wait(PATIENCE)
    loop.remove(folder, directory=True).wait(PATIENCE)
    assert names_in(tmp_path) == []
    with pytest.raises(NotADirectoryError):
        loop.list_directory(__file__).wait(PATIENCE)


def test_rename(loop: sideloop.Loop, path: Path) -> None:
    other = path.parent / "other"
    other.write_bytes(b"other")
    # Not every file system can rename like that.
    with pytest.raises((FileExistsError, sideloop.UnsupportedError)):
        loop.rename(path, other, replace=False).wait(PATIENCE)
    assert loop.rename(path, other).wait(PATIENCE) is None
    assert other.read_bytes() == b"0123456789"
    with pytest.raises(FileNotFoundError):
        loop.rename(path, other).wait(PATIENCE)


@pytest.mark.skipif(os.name == "nt", reason="Windows lets not everybody make symbolic links")
def test_links(loop: sideloop.Loop, path: Path) -> None:
    hard, symbolic = path.parent / "hard", path.parent / "symbolic"
    assert loop.link(path, hard).wait(PATIENCE) is None
    assert hard.samefile(path)
    loop.link("no\udcffwhere", symbolic, symbolic=True).wait(PATIENCE)
    assert loop.read_link(symbolic).wait(PATIENCE) == "no\udcffwhere" == os.readlink(symbolic)
    with pytest.raises(FileExistsError):
        loop.link(path, symbolic, symbolic=True).wait(PATIENCE)
    with pytest.raises(sideloop.InvalidError):
        loop.read_link(path).wait(PATIENCE)


def test_paths_are_copied_by_batches(loop: sideloop.Loop, path: Path) -> None:
    with loop.batch():
        copies = [loop.copy(path, path.parent / str(i)) for i in range(50)]
    assert [copy.wait(PATIENCE) for copy in copies] == [10] * 50
    assert len(names_in(path.parent)) == 51
