"""The ABI as Python sees it is the ABI that C sees, and that the library has."""

from __future__ import annotations

import ctypes
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

import sideloop
from conftest import PACKAGE, run_python
from sideloop import _abi, errors
from sideloop._library import library

REPOSITORY = PACKAGE.parent.parent


def test_abi_is_fresh() -> None:
    command = [sys.executable, str(PACKAGE / "generate_abi.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_generator_refuses_what_it_does_not_know() -> None:
    source = """
import generate_abi
text = generate_abi.HEADER.read_text()
for line in ("union { int a; } x;", "typedef struct sl_x {\\n    float f;\\n} sl_x;", "sl_status sl_new(double x);"):
    try:
        generate_abi.generate(text.replace("#ifdef __cplusplus\\n}", line + "\\n#ifdef __cplusplus\\n}"))
    except generate_abi.HeaderError as error:
        print(error)
"""
    done = run_python(f"import sys; sys.path.insert(0, {str(PACKAGE)!r})\n{source}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("sideloop.h:") == 3


def test_structures_are_as_in_c(compile_c: Callable[..., Path]) -> None:
    members = [(c, name) for c, s in _abi.STRUCTURES.items() for name, *_ in s._fields_]
    lines = [f'printf("{c} %zu\\n", sizeof({c}));' for c in _abi.STRUCTURES]
    lines += [
        f'printf("{c}.{name} %zu %zu\\n", offsetof({c}, {name}), sizeof((({c} *)0)->{name}));' for c, name in members
    ]
    source = "#include <sideloop.h>\n#include <stdio.h>\nint main(void) {\n" + "\n".join(lines) + "\n}\n"
    program = compile_c(source, "-std=c11", f"-I{REPOSITORY / 'include'}")
    seen = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout.split("\n")
    expected = [f"{c} {ctypes.sizeof(s)}" for c, s in _abi.STRUCTURES.items()]
    for c, name in members:
        field = getattr(_abi.STRUCTURES[c], name)
        expected.append(f"{c}.{name} {field.offset} {field.size}")
    assert seen == [*expected, ""]


def test_constants_are_as_in_c(compile_c: Callable[..., Path]) -> None:
    names = [name for name in vars(_abi) if name.startswith("SL_")]
    assert len(names) > 100
    lines = [f'printf("{n} %lld\\n", (long long)({n}));' for n in names]
    source = "#include <sideloop.h>\n#include <stdio.h>\nint main(void) {\n" + "\n".join(lines) + "\n}\n"
    program = compile_c(source, "-std=c11", f"-I{REPOSITORY / 'include'}")
    seen = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    for line in seen.splitlines():
        name, value = line.split()
        assert int(value) % 2**64 == getattr(_abi, name) % 2**64, name


@pytest.mark.parametrize("structure", _abi.STRUCTURES.values(), ids=lambda s: s.__name__)
def test_formats_are_as_the_structures(structure: type[_abi._Structure]) -> None:
    assert struct.calcsize(structure.FORMAT) == ctypes.sizeof(structure)
    for index, (name, *_) in enumerate(structure._fields_):
        values = [b"" if code.endswith("s") else 0 for code in re.findall(r"\d*[A-Za-z]", structure.FORMAT)]
        values = values[: len(structure._fields_)]
        values[index] = b"\x01" if values[index] == b"" else 1
        instance = structure.from_buffer_copy(struct.pack(structure.FORMAT, *values))
        value = getattr(instance, name)
        assert (bytes(value)[0] if isinstance(value, ctypes.Array) else value) == 1, name


def test_every_status_has_an_exception_and_a_name() -> None:
    for status, (name, message) in _abi.ERRORS.items():
        assert library.sl_status_name(status).decode() == name
        assert message.endswith(".")
        if status < 0:
            error = errors.make(status)
            assert error.status == status and error.name == name
            assert type(error) is not sideloop.Error
            assert not isinstance(error, OSError) or error.errno
            assert str(error)
    assert set(errors._EXCEPTIONS) == {status for status in _abi.ERRORS if status < 0}


def test_versions_agree() -> None:
    assert library.sl_abi_version() == _abi.SL_ABI_VERSION
    assert sideloop.library_version() == sideloop.__version__
    manifest = (REPOSITORY / "Cargo.toml").read_text()
    assert f'\nversion = "{sideloop.__version__}"\n' in manifest


def test_garbage_ids_are_errors() -> None:
    """Every function that takes an id refuses what never was one."""
    without_id = {"sl_status_name", "sl_status_message", "sl_loop_open", "sl_address_parse", "sl_address_format"}
    functions = [(name, parameters) for name, _, parameters in _abi.PROTOTYPES if parameters and name not in without_id]
    assert len(functions) > 40
    for name, parameters in functions:
        for garbage in (0, 1, 2**63, 2**64 - 1, 0xDEADBEEFDEADBEEF):
            assert getattr(library, name)(garbage, *[0] * (len(parameters) - 1)) < 0, (name, garbage)
