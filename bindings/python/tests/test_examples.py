"""The example programs do what they say."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import sideloop
from conftest import PACKAGE, PATIENCE

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(sideloop.__file__).parent.parent)}


def run_example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(PACKAGE / "examples" / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=ENVIRONMENT)


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


def test_chat() -> None:
    done = run_example("chat.py")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    lines = done.stdout.splitlines()[1:]
    names = [f"client{number}" for number in range(5)]
    for name, line in zip(names, lines):
        assert line == f"{name} heard {', '.join(other for other in names if other != name)}"
    assert len(lines) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are for Unix")
def test_chat_serves_until_ctrl_c() -> None:
    command = [sys.executable, "-W", "error", str(PACKAGE / "examples" / "chat.py"), "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as server:
        assert server.stdout is not None
        host, port = server.stdout.readline().split()[-1].rsplit(":", 1)
        with socket.create_connection((host, int(port))) as one, socket.create_connection((host, int(port))) as other:
            one.settimeout(0.05)
            other.settimeout(PATIENCE)
            heard = b""
            while not heard:
                # The server may not have accepted it yet: then nobody hears this.
                other.sendall(b"hello\n")
                try:
                    heard = one.recv(100)
                except socket.timeout:
                    pass
            assert heard.startswith(b"hello\n")
            server.send_signal(signal.SIGINT)
            try:
                out, _ = server.communicate(timeout=PATIENCE)
            finally:
                server.kill()
    assert (server.returncode, out) == (0, "bye\n")
