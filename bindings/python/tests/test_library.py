"""Finding and loading the shared library."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable

from conftest import run_python
from sideloop._library import file_name
from sideloop._library import library as loaded


def import_with(library: str) -> str:
    """What `import sideloop` says with this library."""
    done = run_python(
        "try:\n import sideloop\nexcept ImportError as error:\n print(error.path, error)",
        env={"SIDELOOP_LIBRARY": library},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_missing_override_says_where_it_looked(tmp_path: Path) -> None:
    missing = str(tmp_path / "nothing.so")
    message = import_with(missing)
    assert missing in message and "$SIDELOOP_LIBRARY" in message


def test_missing_package_library_says_where_it_looked(tmp_path: Path) -> None:
    """Without the override the library beside the package is loaded, and nothing else."""
    import sideloop

    package = tmp_path / "sideloop"
    package.mkdir()
    for module in Path(sideloop.__file__).parent.glob("*.py"):
        (package / module.name).write_text(module.read_text())
    source = f"""
import os, sys
os.environ.pop("SIDELOOP_LIBRARY", None)
sys.path.insert(0, {str(tmp_path)!r})
try:
    import sideloop
except ImportError as error:
    print(error)
"""
    done = run_python(source)
    assert str(package) in done.stdout and "$SIDELOOP_LIBRARY" in done.stdout, done.stderr
    os.symlink(loaded._name, package / file_name())
    done = run_python(source + "print(sideloop.__file__, sideloop.library_version())")
    assert str(package) in done.stdout, done.stderr


def test_not_a_library(tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    text.write_text("not a library")
    assert "does not load" in import_with(str(text))


def test_another_library(compile_c: Callable[..., Path]) -> None:
    other = compile_c("int other;", "-shared", "-fPIC")
    assert "is not sideloop's shared library" in import_with(str(other))


def test_library_that_is_too_old(compile_c: Callable[..., Path]) -> None:
    old = compile_c("unsigned sl_abi_version(void) { return 0; }", "-shared", "-fPIC")
    message = import_with(str(old))
    assert "too old" in message and "ABI version 0.0" in message and "newer library" in message and str(old) in message


def test_library_that_is_too_new(compile_c: Callable[..., Path]) -> None:
    """One of another soname: nothing in it need be what this package expects."""
    new = compile_c("unsigned sl_abi_version(void) { return (1u << 16) + 7; }", "-shared", "-fPIC")
    message = import_with(str(new))
    assert "too new" in message and "ABI version 1.7" in message and "newer package" in message and str(new) in message


def test_library_that_lacks_functions(compile_c: Callable[..., Path]) -> None:
    new = compile_c("unsigned sl_abi_version(void) { return 1000; }", "-shared", "-fPIC")
    assert "sl_loop_open" in import_with(str(new))
