"""The example programs do what they say."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Tuple

import pytest

import sideloop
from conftest import PACKAGE, PATIENCE

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(sideloop.__file__).parent.parent), "QT_QPA_PLATFORM": "offscreen"}


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    options = {**ENVIRONMENT, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=options)


def run_example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # PyGObject is imported in a way that Python warns of.
    warnings = ["-W", "error", "-W", "ignore::ImportWarning"]
    return run(sys.executable, *warnings, str(PACKAGE / "examples" / name), *arguments)


def need(statement: str) -> None:
    """Skips a test of what cannot be had here."""
    tried = run(sys.executable, "-c", statement)
    if tried.returncode != 0:
        pytest.skip(f"{statement}: {tried.stderr.strip().splitlines()[-1]}")


def test_checksums(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    contents = {tmp_path / "below" / f"{number}": os.urandom(number * 100) for number in range(200)}
    for path, data in contents.items():
        path.write_bytes(data)
    done = run_example("checksums.py", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    expected = sorted(f"{zlib.crc32(data):08x}  {path}" for path, data in contents.items())
    assert sorted(done.stdout.splitlines()) == expected
    assert run_example("checksums.py").returncode == 1


def test_faults() -> None:
    done = run_example("faults.py", "100")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.startswith("save_naively: seed ")
    assert "bytes of settings have become" in done.stdout
    assert done.stdout.endswith("save_carefully: survived 100 seeds\n")


@pytest.mark.parametrize("arguments", [("chat.py",), ("aio_chat.py",), ("aio_chat.py", "trio")])
def test_chat(arguments: Tuple[str, ...]) -> None:
    if "trio" in arguments:
        pytest.importorskip("trio", reason="trio is not installed")
    done = run_example(*arguments)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    lines = done.stdout.splitlines()[1:]
    names = [f"client{number}" for number in range(5)]
    for name, line in zip(names, lines):
        assert line == f"{name} heard {', '.join(other for other in names if other != name)}"
    assert len(lines) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are for Unix")
@pytest.mark.parametrize("example", ["chat.py", "aio_chat.py"])
def test_chat_serves_until_ctrl_c(example: str) -> None:
    command = [sys.executable, "-W", "error", str(PACKAGE / "examples" / example), "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as server:
        assert server.stdout is not None
        host, port = server.stdout.readline().split()[-1].rsplit(":", 1)
        with socket.create_connection((host, int(port))) as one, socket.create_connection((host, int(port))) as other:
            one.settimeout(0.05)
            other.settimeout(PATIENCE)
            heard = b""
            while b"hello\n" not in heard:
                # The server may not have accepted it yet: then nobody hears this.
                other.sendall(b"hello\n")
                try:
                    heard += one.recv(100)
                except socket.timeout:
                    pass
            server.send_signal(signal.SIGINT)
            try:
                out, _ = server.communicate(timeout=PATIENCE)
            finally:
                server.kill()
    assert (server.returncode, out) == (0, "bye\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand files."""
    folder = tmp_path_factory.mktemp("files")
    for number in range(1000):
        (folder / str(number)).write_bytes(os.urandom(number))
    return folder


def all_files(folder: Path) -> str:
    """What the examples say of them."""
    checksum = sum(zlib.crc32(path.read_bytes()) for path in folder.iterdir()) % 2**32
    return f"1000 of 1000 files, checksum {checksum:08x}"


@pytest.mark.parametrize(
    ("name", "argument", "needed"),
    [
        ("in_tkinter.py", "watch", "import tkinter; tkinter.Tk()"),
        ("in_tkinter.py", "poll", "import tkinter; tkinter.Tk()"),
        ("in_glib.py", "", "import gi.repository.GLib"),
        ("in_qt.py", "", "import PySide6.QtWidgets"),
        ("in_asyncio.py", "", "import asyncio"),
        ("in_trio.py", "", "import trio"),
    ],
)
def test_main_loops(name: str, argument: str, needed: str, folder: Path) -> None:
    need(needed)
    done = run_example(f"main_loops/{name}", str(folder), argument)
    assert (done.returncode, done.stderr) == (0, "")
    said, frames = done.stdout.strip().rsplit(", ", 1)
    assert said == all_files(folder)
    # Only frames ask for files, 64 at a time: the main loop went on meanwhile.
    assert int(frames.split()[0]) >= 1000 / 64


def test_a_loop_of_ones_own(folder: Path) -> None:
    done = run_example("main_loops/in_selectors.py", str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [all_files(folder)] * 4


def test_a_notebook(folder: Path, tmp_path: Path) -> None:
    need("import nbclient, ipykernel")
    notebook = PACKAGE / "examples" / "main_loops" / "notebook.ipynb"
    own = {name: str(tmp_path) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    done = run(sys.executable, "-c", RUN_NOTEBOOK, str(notebook), str(folder), **own)
    assert done.returncode == 0, done.stderr
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert done.stdout.splitlines() == [f"{size} bytes in 1000 files", all_files(folder)]


RUN_NOTEBOOK = """
import sys, nbclient, nbformat

notebook = nbformat.read(sys.argv[1], 4)
assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept as it is before it has run"
nbclient.NotebookClient(notebook, resources={"metadata": {"path": sys.argv[2]}}).execute()
for cell in notebook.cells:
    for output in cell.get("outputs", []):
        assert output.name == "stdout", output
        print(output.text, end="")
"""


@pytest.mark.skipif(shutil.which(os.environ.get("CC", "cc")) is None, reason="there is no C compiler")
def test_primes() -> None:
    done = run_example("primes.py", "100000")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "9592 primes below 100000, from 10 pieces of work\n"
