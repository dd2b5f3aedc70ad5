"""The end of the interpreter with work under way: always at once, with the right code, and without a word too many.

SIDELOOP_EXITS says how many interpreters end here in all.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import exit_busy
from conftest import PATIENCE, environment

EXITS = int(os.environ.get("SIDELOOP_EXITS", "34"))


@pytest.mark.parametrize("name", exit_busy.ENDINGS)
def test_the_interpreter_ends_with_work_under_way(name: str, tmp_path: Path) -> None:
    ending = exit_busy.ENDINGS[name]
    names = list(exit_busy.ENDINGS)
    for seed in range(names.index(name), EXITS, len(names)):
        command = [sys.executable, exit_busy.__file__, name, str(seed)]
        with subprocess.Popen(
            command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as child:
            try:
                if ending.signal:
                    assert child.stdout is not None
                    child.stdout.readline()
                    child.send_signal(ending.signal)
                _, complaint = child.communicate(timeout=PATIENCE)
            finally:
                child.kill()
        lines = complaint.splitlines()
        assert child.returncode == ending.code, (seed, complaint)
        assert complaint.count("Traceback") == bool(ending.says), (seed, complaint)
        assert lines[-1:] == ([ending.says] if ending.says else []), (seed, complaint)
