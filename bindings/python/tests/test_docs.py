"""The programs in the package's documentation run: every block of Python that begins with an import."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator, Tuple

import pytest

from conftest import PACKAGE, run_python


def programs() -> Iterator[Tuple[str, str]]:
    """Every program, with the page and the line that it begins at."""
    for page in sorted((PACKAGE / "docs").rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        for block in re.finditer(r"^```python\n((?:import|from) .*?)^```$", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, block.start(1)) + 1
            yield f"{page.relative_to(PACKAGE / 'docs')}:{line}", block.group(1)


PROGRAMS = dict(programs())


@pytest.mark.parametrize("where", list(PROGRAMS))
def test_program(where: str, tmp_path: Path) -> None:
    done = run_python(PROGRAMS[where], cwd=tmp_path)
    assert (done.returncode, done.stderr) in ((0, ""), (1, "trio is not installed\n"))


def test_there_are_programs() -> None:
    assert len(PROGRAMS) >= 10
