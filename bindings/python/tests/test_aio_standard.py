"""sideloop.aio.stdin and the like."""

from __future__ import annotations

import asyncio
import io
import sys

import pytest

from conftest import Run, run_python
from sideloop import aio


def test_what_is_in_their_place_is_used(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        assert await aio.stdout.write("out") == 3
        await aio.stderr.writelines(["e", "rr"])
        await aio.stdout.flush()

    run(main)
    assert capsys.readouterr() == ("out", "err")


def test_their_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "utf-16", "replace"))
    assert (aio.stdout.encoding, aio.stdout.errors, aio.stdout.closed) == ("utf-16", "replace", False)
    assert repr(aio.stdin_bytes) == "<sideloop.aio.stdin_bytes>"
    with pytest.raises(AttributeError):
        aio.stdout.nothing_like_this  # noqa: B018

    async def main() -> None:
        await aio.stdout_bytes.write(b"bytes")
        assert await aio.stdout.writable()
        await aio.stdout.close()

    asyncio.run(main())
    assert aio.stdout.closed


PROGRAM = """
import asyncio
from sideloop import aio

async def main():
    assert await aio.stdin.readline() == "first\\n"
    lines = [line async for line in aio.stdin]
    await aio.stdout.write(repr(lines))
    await aio.stdout.flush()
    await aio.stderr_bytes.write(b"bytes")
    assert not await aio.stdin.isatty()

asyncio.run(main())
"""


def test_of_a_process() -> None:
    ended = run_python(PROGRAM, input="first\nsecond\nthird")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "['second\\n', 'third']", "bytes")
