"""The table of aiofiles' names in the documentation: every name is in it, and what it says is there for it is."""

from __future__ import annotations

import asyncio
import re
from importlib import import_module
from pathlib import Path
from typing import Any, Dict, Set

import pytest

from conftest import PACKAGE
from sideloop import aio

PAGE = PACKAGE / "docs" / "how-to" / "aiofiles.md"
ROW = re.compile(r"^\| `([^`]+)` \| `([^`]+)` \| (\S.*) \|$", re.MULTILINE)

pytest.importorskip("aiofiles", reason="aiofiles is not installed")
# A type checker would take the package of tests/aiofiles_shim for it.
binary: Any = import_module("aiofiles.threadpool.binary")
text: Any = import_module("aiofiles.threadpool.text")
temporary: Any = import_module("aiofiles.tempfile.temptypes")


def rows() -> Dict[str, str]:
    """What stands for each name."""
    found = ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert len({name for name, _, _ in found}) == len(found)
    return {name: ours for name, ours, _ in found}


def public(thing: Any) -> Set[str]:
    """The names that a class offers."""
    return {name for name in dir(thing) if not name.startswith("_")}


def of_files() -> Set[str]:
    """What aiofiles' objects have."""
    kinds = {
        "file": (binary.AsyncFileIO, binary.AsyncBufferedIOBase, binary.AsyncBufferedReader, text.AsyncTextIOWrapper),
        "spooled": (temporary.AsyncSpooledTemporaryFile,),
        "directory": (temporary.AsyncTemporaryDirectory,),
    }
    return {f"{kind}.{name}" for kind, classes in kinds.items() for each in classes for name in public(each)}


def of_modules() -> Set[str]:
    """What aiofiles' modules offer."""
    modules = ("aiofiles", "aiofiles.os", "aiofiles.ospath", "aiofiles.tempfile", "aiofiles.threadpool")
    return {f"{module}.{name}" for module in modules for name in import_module(module).__all__}


def test_every_name_has_its_row() -> None:
    assert set(rows()) == of_files() | of_modules()


def test_what_stands_for_it_is_there(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "file").touch()
        async with aio.open(tmp_path / "file", "r+b") as bytes_file, aio.open(tmp_path / "file") as text_file:
            async with aio.tempfile.SpooledTemporaryFile(mode="w+") as spooled:
                directory = await aio.tempfile.TemporaryDirectory()
                things = {"aio": aio, "file": bytes_file, "spooled": spooled, "directory": directory}
                for name, ours in rows().items():
                    first, *rest = ours.split(".")
                    thing: Any = things[first]
                    if first == "file" and not hasattr(thing, rest[0]):
                        thing = text_file
                    for part in rest:
                        assert hasattr(thing, part), (name, ours)
                        thing = getattr(thing, part)
                await directory.cleanup()
            for theirs, file in (
                (binary.AsyncFileIO, bytes_file),
                (binary.AsyncBufferedReader, bytes_file),
                (text.AsyncTextIOWrapper, text_file),
            ):
                assert not {name for name in public(theirs) if not hasattr(file, name)}

    asyncio.run(main())
