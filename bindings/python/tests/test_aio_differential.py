"""Files of sideloop.aio against the built-in ones: the same steps on both, chosen by a seed, and everything compared.

`SIDELOOP_DIFFERENTIAL=FIRST:COUNT` chooses the seeds; a failure names its seed and its steps.
"""

from __future__ import annotations

import builtins
import inspect
import io
import os
import random
from pathlib import Path
from typing import Any, List, Tuple

import pytest

from conftest import Run, run_python
from sideloop import aio

FIRST, COUNT = map(int, os.environ.get("SIDELOOP_DIFFERENTIAL", "0:40").split(":"))
BINARY_MODES = ["rb", "r+b", "wb", "w+b", "ab", "a+b", "xb", "x+b"]
TEXT_MODES = [mode.replace("b", "") for mode in BINARY_MODES]
ENCODINGS = ["utf-8", "utf-16-le", "latin-1", "cp1252", "shift_jis"]
MARKED = ["utf-16", "utf-32", "utf-8-sig"]
ERRORS = ["strict", "replace", "ignore", "backslashreplace"]
LETTERS = "abc xyz 0123456789"
MORE_LETTERS = {"latin-1": "äöüß", "cp1252": "€äöü", "shift_jis": "日本語ソ", "iso2022_jp": "日本語", "ascii": ""}
NEWLINES = ["\n", "\r\n", "\r", "\n\n", "\r\r\n"]
# What is done, and how often.
KINDS = {"read": 3, "line": 2, "lines": 1, "next": 2, "write": 3, "seek": 2, "tell": 1, "told": 1, "other": 1}
# The built-in text files read so many bytes at a time. Where a write lands after a read depends on it, so larger files
# are not written to without a seek.
CHUNK = 8192

# What a step gives after which there are no more.
END = UnicodeError
Step = Tuple[str, Tuple[Any, ...]]


def random_text(random: random.Random, encoding: str, length: int) -> str:
    """Text that the encoding has, with newlines of all kinds."""
    letters = LETTERS + MORE_LETTERS.get(encoding, "äß€日本𝄞")
    pieces: List[str] = []
    while length > 0:
        size = min(length, int(random.expovariate(1 / 12)))
        pieces.append("".join(random.choices(letters, k=size)) + random.choice(NEWLINES))
        length -= size + 1
    return "".join(pieces)


class Case:
    """What is done to a file, made from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        choose = self.random.choice
        self.text = self.random.random() < 0.6
        self.mode = choose(TEXT_MODES if self.text else BINARY_MODES)
        self.options: dict[str, Any] = {"buffering": choose([-1, -1, 2, 7, 100, 1000, 8192, 1 if self.text else 0])}
        # The built-in files write byte order marks and escape sequences too many where they go on after they have read.
        marked = [] if "+" in self.mode else MARKED
        encoding = choose(ENCODINGS + marked + (["iso2022_jp"] if self.mode == "r" else []))
        # Now and then larger than what is read at a time.
        length = int(self.random.expovariate(1 / choose([10, 200, 1500, 1500, 60000])))
        self.contents = random_text(self.random, encoding, length).encode(encoding)
        if self.text:
            self.options.update(
                encoding=encoding, errors=choose(ERRORS), newline=choose([None, "", "\n", "\r", "\r\n"])
            )
            if self.options["errors"] != "strict" and self.random.random() < 0.3:
                self.contents = self._damaged(self.contents)
        self.encoding = encoding
        self.steps = [self._step() for _ in range(self.random.randrange(1, 40))]

    def _damaged(self, data: bytes) -> bytes:
        damaged = bytearray(data)
        for _ in range(1 + len(data) // 50):
            damaged.insert(self.random.randrange(len(damaged) + 1), self.random.randrange(256))
        return bytes(damaged)

    def _size(self) -> int:
        return self.random.choice([0, 1, 2, 3, 10, 100, 1000, self.random.randrange(10000)])

    def _data(self) -> Any:
        text = random_text(self.random, self.encoding, self._size())
        return text if self.text else text.encode(self.encoding)

    def _step(self) -> Step:
        choose = self.random.choice
        kind = self.random.choices(list(KINDS), list(KINDS.values()))[0]
        if kind == "read":
            name = choose(["read", "read", "read1", "readinto", "peek"] if not self.text else ["read"])
            size = self._size()
            return name, (bytearray(size),) if name == "readinto" else (choose([size, size, -1]),)
        if kind == "line":
            return "readline", choose([(), (), (-1,), (self._size(),)])
        if kind == "lines":
            return "readlines", choose([(), (self._size(),), (None,)])
        if kind == "next":
            return "next", (self.random.randrange(1, 8),)
        if kind == "write":
            return choose([("write", (self._data(),)), ("writelines", ([self._data(), self._data()],))])
        if kind == "seek":
            whence = choose([0, 0, 1, 2])
            if self.text:
                return "seek", (choose([0, 0, 0, 3 if whence else 0]), whence)
            return "seek", (choose([0, self._size(), -self._size()]) if whence else self._size(), whence)
        if kind == "told":
            return "told", (self.random.random(),)
        if kind == "tell":
            return "tell", ()
        if self.random.random() < 0.02:
            return "close", ()
        return choose(
            [("flush", ()), ("truncate", (self._size(),)), ("seekable", ()), ("readable", ()), ("writable", ())]
        )


async def outcome(call: Any) -> Any:
    """What a call gives, or the kind of exception that it raises."""
    try:
        value = call()
        return await value if inspect.isawaitable(value) else value
    except StopAsyncIteration:
        return "end"
    except Exception as error:
        for kind in (io.UnsupportedOperation, UnicodeError, ValueError, OSError, TypeError):
            if isinstance(error, kind):
                return kind
        raise


class Pair:
    """The two files, and what has been told by each."""

    def __init__(self, case: Case, ours: Any, theirs: Any) -> None:
        self.case, self.ours, self.theirs = case, ours, theirs
        # Else a seek that fails would tell it that it has no positions.
        theirs.seekable()
        self.told: List[Tuple[Any, Any]] = []
        # Whether something has been read since the last seek, and whether there was a seek at all.
        self.has_read = self.has_sought = False

    async def both(self, name: str, *arguments: Any) -> Tuple[Any, Any]:
        """The same call on both."""
        ours = await outcome(lambda: getattr(self.ours, name)(*arguments))
        theirs = await outcome(lambda: getattr(self.theirs, name)(*arguments))
        return ours, theirs

    async def same(self, name: str, *arguments: Any) -> Any:
        """Likewise, and what comes of it must be equal."""
        ours, theirs = await self.both(name, *arguments)
        assert ours == theirs
        return ours

    async def step(self, name: str, arguments: Tuple[Any, ...]) -> bool:
        """Does a step on both; false where the sequence ends with it, as after text that cannot be decoded."""
        self.has_read |= name in ("read", "readline", "readlines", "next", "told")
        self.has_sought |= name in ("seek", "told")
        special = getattr(self, f"do_{name}", None)
        value = await (special(*arguments) if special else self.same(name, *arguments))
        return value is not END

    async def do_readinto(self, buffer: bytearray) -> Any:
        count = await self.same("readinto", buffer)
        if isinstance(count, int):
            again = bytearray(len(buffer))
            await self.same("seek", -count, 1)
            await self.same("readinto", again)
            assert again[:count] == buffer[:count]
        return count

    async def do_read1(self, size: int) -> Any:
        return await self._some("read1", size)

    async def do_peek(self, size: int) -> Any:
        if "a" in self.case.mode:
            await self.same("flush")
        where = await self.same("tell")
        value = await self._some("peek", max(size, 0))
        return await self.same("seek", where) if isinstance(value, bytes) else value

    async def _some(self, name: str, size: int) -> Any:
        """What reads as much as it likes: at least something, and the right thing."""
        if not hasattr(self.theirs, name):
            return None
        ours = await outcome(lambda: getattr(self.ours, name)(size))
        if not isinstance(ours, bytes):
            assert ours == await outcome(lambda: self.theirs.read(1))
            return ours
        assert name == "peek" or size < 0 or len(ours) <= size
        assert ours == self.theirs.read(len(ours))
        if not ours and (size != 0 or name == "peek"):
            assert self.theirs.read(1) == b""
        return ours

    async def do_next(self, count: int) -> Any:
        """Iterates; the built-in text files by lines, for iterating would forbid them to tell where they are."""
        for _ in range(count):
            ours = await outcome(lambda: self.ours.__aiter__().__anext__())
            theirs = await outcome(lambda: self.theirs.readline() or "end")
            assert ours == theirs
            if not isinstance(ours, (str, bytes)) or ours == "end":
                return ours
        return None

    async def do_write(self, data: Any, name: str = "write") -> Any:
        if self.case.text and self.has_read:
            await self.same("flush")
            if self.has_sought or os.fstat(self.theirs.fileno()).st_size >= CHUNK:
                await self.same("seek", 0, 2)
            self.has_read = False
        value = await self.same(name, data)
        if "+" in self.case.mode:
            # The built-in `read1`, by which text is read, does not look at what waits to be written.
            await self.same("flush")
        return value

    async def do_writelines(self, data: Any) -> Any:
        return await self.do_write(data, "writelines")

    async def do_readline(self, size: int = -1) -> Any:
        if size == 0 and not self.theirs.readable():
            return None
        return await self.same("readline", size)

    async def do_readlines(self, hint: Any = None) -> Any:
        if not self.case.text:
            return await self.same("readlines", hint)
        # The built-in text files could not tell where they are after that.
        ours = await outcome(lambda: self.ours.readlines(hint))
        lines: List[str] = []
        while True:
            line = await outcome(self.theirs.readline)
            if not isinstance(line, str):
                assert ours == line
                return line
            lines.append(line)
            if not line or (hint and sum(map(len, lines)) > hint):
                assert ours == [line for line in lines if line]
                return ours

    async def do_tell(self) -> Any:
        if "a" in self.case.mode:
            # Before, the built-in files may tell what they have pending from where they were.
            await self.same("flush")
        ours, theirs = await self.both("tell")
        if self.case.text and isinstance(ours, int) and isinstance(theirs, int):
            self.told.append((ours, theirs))
        else:
            assert ours == theirs
        return ours

    async def do_told(self, which: float) -> Any:
        """Goes where it was before: what each told is its own affair, and what is read there is not."""
        if self.told:
            ours, theirs = self.told[int(which * len(self.told))]
            arrived = await outcome(lambda: self.ours.seek(ours)), await outcome(lambda: self.theirs.seek(theirs))
            assert (arrived[0] == ours) == (arrived[1] == theirs), arrived
        return await self.same("read", self.case.random.choice([1, 20]))

    async def do_seek(self, offset: int, whence: int) -> Any:
        if not self.case.text or whence != 1:
            return await self.same("seek", offset, whence)
        ours, theirs = await self.both("seek", offset, whence)
        assert ours == theirs or (isinstance(ours, int) and isinstance(theirs, int))
        return ours

    async def do_close(self) -> Any:
        """The last step: after that nothing can be done."""
        await self.same("close")
        for name, arguments in [("read", (1,)), ("seek", (0,)), ("tell", ()), ("flush", ()), ("truncate", (1,))]:
            assert ValueError in await self.both(name, *arguments)
        return END

    async def do_truncate(self, size: int) -> Any:
        if self.case.text:
            # What was read ahead is the business of each.
            await self.same("seek", 0)
            self.told.clear()
        return await self.same("truncate", size)


async def compare(seed: int, folder: Path) -> None:
    """Carries out the case of a seed."""
    case = Case(seed)
    ours, theirs = folder / f"ours-{seed}", folder / f"theirs-{seed}"
    if "x" not in case.mode:
        for path in (ours, theirs):
            path.write_bytes(case.contents)
    done: List[Step] = []
    try:
        async with aio.open(ours, case.mode, **case.options) as our_file:
            with builtins.open(theirs, case.mode, **case.options) as their_file:
                pair = Pair(case, our_file, their_file)
                for name, arguments in case.steps:
                    done.append((name, arguments))
                    if not await pair.step(name, arguments):
                        break
        done.append(("close", ()))
        assert ours.read_bytes() == theirs.read_bytes()
    except BaseException:
        print(f"seed {seed}, mode {case.mode!r}, {case.options}, contents {case.contents[:2000]!r}, steps {done}")
        raise


def test_files_behave_like_the_built_in_ones(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        for seed in range(FIRST, FIRST + COUNT):
            await compare(seed, tmp_path)

    run(main)


FAULTY = """
import asyncio, pathlib, sys
import test_aio_differential as test

async def main():
    for seed in range(test.FIRST, test.FIRST + test.COUNT):
        await test.compare(seed, pathlib.Path(sys.argv[1]))

asyncio.run(main())
"""


def test_they_do_where_reads_and_writes_fall_short(tmp_path: Path) -> None:
    ended = run_python(FAULTY, str(tmp_path), env={"SIDELOOP_FAULTS": "read: short@0.4; write: short@0.4"})
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_openers(run: Run, tmp_path: Path) -> None:
    """They open the file; what is no path does not come to them, so that nothing is left open."""
    path = tmp_path / "file"
    path.write_bytes(b"known")
    asked: List[Any] = []

    def opener(name: Any, flags: int) -> int:
        asked.append(name)
        return os.open(path, flags)

    async def main() -> None:
        async with aio.open(path, "rb", opener=opener) as file:
            assert (await file.read(), file.name) == (b"known", str(path))
        none: Any = 1.5
        with pytest.raises(TypeError, match="PathLike"):
            await aio.open(none, "rb", opener=opener)
        assert asked == [path]

    run(main)
