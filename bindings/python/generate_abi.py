"""Makes src/sideloop/_abi.py from include/sideloop.h, so that nobody copies the ABI by hand.

Run it after the header has changed; `--check` only says whether _abi.py is fresh (the tests do). It reads exactly the
few forms of line that the header is made of, and stops with the line's number at anything else rather than leave it
out. Needs nothing but the standard library.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

HERE = Path(__file__).resolve().parent
HEADER = HERE.parent.parent / "include" / "sideloop.h"
OUTPUT = HERE / "src" / "sideloop" / "_abi.py"

# What a C type of the header is in ctypes (as a field), in the struct module, and in an annotation.
SCALARS: Dict[str, Tuple[str, str]] = {
    "uint8_t": ("c_uint8", "B"),
    "uint16_t": ("c_uint16", "H"),
    "int32_t": ("c_int32", "i"),
    "uint32_t": ("c_uint32", "I"),
    "int64_t": ("c_int64", "q"),
    "uint64_t": ("c_uint64", "Q"),
    "size_t": ("c_size_t", "N"),
    "ptrdiff_t": ("c_ssize_t", "n"),
}
POINTER = ("c_void_p", "P")


class HeaderError(Exception):
    """A line of the header that this parser does not know."""


@dataclass
class Field:
    """A member of a structure."""

    name: str
    ctype: str
    code: str
    annotation: str
    comment: List[str]


@dataclass
class Structure:
    """A structure: its C name and members."""

    name: str
    comment: List[str]
    fields: List[Field] = field(default_factory=list)

    @property
    def python_name(self) -> str:
        return "".join(part.capitalize() for part in self.name[len("sl_") :].split("_"))


@dataclass
class Header:
    """What the header says, in its own order."""

    constants: List[Tuple[str, int, List[str]]] = field(default_factory=list)
    aliases: Dict[str, str] = field(default_factory=dict)
    structures: List[Structure] = field(default_factory=list)
    functions: List[Tuple[str, str, List[str]]] = field(default_factory=list)

    def scalar(self, name: str) -> Optional[Tuple[str, str]]:
        """The ctypes name and struct code of a type that is a number; None for any other."""
        while name in self.aliases:
            name = self.aliases[name]
        return POINTER if name == "pointer" else SCALARS.get(name)


class Parser:
    """Reads the header line by line."""

    def __init__(self, text: str) -> None:
        self.header = Header()
        self.lines = iter(text.splitlines())
        self.number = 0
        self.comment: List[str] = []

    def error(self, line: str) -> HeaderError:
        return HeaderError(f"{HEADER.name}:{self.number}: this parser does not know what to make of: {line}")

    def stripped(self) -> Iterator[str]:
        for line in self.lines:
            self.number += 1
            yield line.strip()

    def parse(self) -> Header:
        for line in self.stripped():
            if line.startswith("//"):
                self.comment.append(line[2:].strip())
                continue
            self.statement(line)
            self.comment = []
        return self.header

    def statement(self, line: str) -> None:
        if line.startswith("/*"):
            while not line.endswith("*/"):
                line = next(self.stripped())
        elif line.startswith("#define "):
            self.define(line)
        elif not line or line.startswith("#") or line in ('extern "C" {', "}"):
            pass
        elif match := re.fullmatch(r"typedef struct (\w+) \{", line):
            self.structure(match[1])
        elif match := re.fullmatch(r"typedef [\w ]+\(\*(\w+)\)\(.*\);", line):
            self.header.aliases[match[1]] = "pointer"
        elif match := re.fullmatch(r"typedef (\w+) (\w+);", line):
            self.header.aliases[match[2]] = match[1]
        elif re.match(r"(const )?\w+ \*?\w+\(", line):
            while not line.endswith(";"):
                line += " " + next(self.stripped())
            self.function(line)
        else:
            raise self.error(line)

    def define(self, line: str) -> None:
        match = re.fullmatch(r"#define (SL_\w+) (?:\((-?\w+)\)|(\w+))", line)
        if match:
            text = match[2] or match[3]
            value = 2**64 - 1 if text == "UINT64_MAX" else int(text, 0)
            self.header.constants.append((match[1], value, self.comment))
        elif line != "#define SIDELOOP_H":
            raise self.error(line)

    def structure(self, name: str) -> None:
        structure = Structure(name, self.comment)
        comment: List[str] = []
        for line in self.stripped():
            if line.startswith("//"):
                comment.append(line[2:].strip())
                continue
            if line == f"}} {name};":
                self.header.structures.append(structure)
                return
            match = re.fullmatch(r"(?:const )?(\w+) (\*?)(\w+)(?:\[(\d+)\])?;", line)
            kind = POINTER if match and match[2] else self.header.scalar(match[1]) if match else None
            if match is None or kind is None:
                raise self.error(line)
            structure.fields.append(make_field(match[3], kind, match[4], comment))
            comment = []

    def function(self, line: str) -> None:
        match = re.fullmatch(r"(.*?)(\w+)\((.*)\);", line)
        if match is None:
            raise self.error(line)
        result = match[1].strip()
        parameters = [] if match[3] == "void" else [self.parameter(part.strip()) for part in match[3].split(",")]
        scalar = ("c_char_p", "") if result == "const char *" else self.header.scalar(result)
        if scalar is None:
            raise self.error(line)
        self.header.functions.append((match[2], scalar[0], parameters))

    def parameter(self, text: str) -> str:
        if "*" in text:
            return "c_void_p"
        scalar = self.header.scalar(text.split()[0])
        if scalar is None:
            raise self.error(text)
        return "_Word" if scalar[1] in "qQNn" else scalar[0]


def make_field(name: str, kind: Tuple[str, str], count: Optional[str], comment: List[str]) -> Field:
    ctype, code = kind
    if count is not None:
        return Field(name, f"{ctype} * {count}", f"{count}s", f"Array[{ctype}]", comment)
    return Field(name, ctype, code, "Optional[int]" if kind == POINTER else "int", comment)


def wrap(text: str, indent: str) -> Iterator[str]:
    """Breaks text into lines of at most 118 columns."""
    line = indent
    for word in text.split():
        if len(line) + len(word) > 118:
            yield line.rstrip()
            line = indent
        line += word + " "
    yield line.rstrip()


def write_structure(structure: Structure) -> Iterator[str]:
    prose = [line for line in structure.comment if not line.startswith("|")]
    widest = next((code for code in "QqPNnIiHB" if any(f.code == code for f in structure.fields)), "B")
    yield f"class {structure.python_name}(_Structure):"
    yield from wrap(f'"""{structure.name}: {" ".join(prose).strip()}"""', "    ")
    yield ""
    for f in structure.fields:
        yield from wrap(" ".join(f.comment), "    # ")
        yield f"    {f.name}: {f.annotation}"
    yield ""
    yield "    _fields_ = ["
    for f in structure.fields:
        yield f'        ("{f.name}", {f.ctype}),'
    yield "    ]"
    yield "    # The same for the struct module, padding at the end included."
    yield f'    FORMAT = _format("{"".join(f.code for f in structure.fields)}0{widest}")'


PROLOGUE = '''\
"""The C ABI as ctypes sees it: constants, the table of errors, structures and prototypes.

Made from include/sideloop.h by generate_abi.py; edit neither this file nor a copy of it. Used by every module of the
package; holds no state, so any thread may use it.
"""

from __future__ import annotations

import ctypes
from ctypes import Array, c_char_p, c_int32, c_int64, c_size_t, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from typing import Any, Dict, Final, Optional, Tuple

# A 64-bit argument. Where pointers are as wide, c_void_p takes any integer too, in half the time.
_Word: Any = c_void_p if ctypes.sizeof(c_void_p) == 8 else c_uint64


def _format(codes: str) -> str:
    """A format for the struct module. Where a long is as wide as a long long, it takes half the time."""
    return codes.replace("Q", "L").replace("q", "l") if ctypes.sizeof(ctypes.c_long) == 8 else codes


class _Structure(ctypes.Structure):
    """A structure that shows its members, and starts with its own size where the ABI wants that."""

    FORMAT = ""

    def __init__(self, **members: Any) -> None:
        super().__init__(**members)
        if self._fields_[0][0] == "size":
            self.size = ctypes.sizeof(self)

    def __repr__(self) -> str:
        members = ((name, getattr(self, name)) for name, *_ in self._fields_ if name not in ("size", "reserved"))
        shown = ", ".join(f"{name}={bytes(v) if isinstance(v, Array) else v!r}" for name, v in members)
        return f"{type(self).__name__}({shown})"
'''


def generate(text: str) -> str:
    """The text of _abi.py for the text of a header."""
    header = Parser(text).parse()
    lines = PROLOGUE.splitlines() + ["", ""]
    for name, value, _ in header.constants:
        lines.append(f"{name}: Final = {value}")
    lines += ["", "# Every status: its name, and what it means.", "ERRORS: Final[Dict[int, Tuple[str, str]]] = {"]
    for name, _, comment in header.constants:
        if name == "SL_OK" or name.startswith("SL_ERR_"):
            lines += [f"    {name}: (", f'        "{name}",']
            *parts, last = wrap(" ".join(comment).replace('"', "'"), " " * 10)
            lines += [f'        "{part.strip()} "' for part in parts] + [f'        "{last.strip()}",', "    ),"]
    # The rows of the table in sl_request's comment are the kinds of operation.
    request = next(s for s in header.structures if s.name == "sl_request")
    rows = [row.split("|")[1] for row in request.comment if row.startswith("| SL_")]
    kinds = [kind for row in rows for kind in re.findall(r"SL_\w+", row)]
    lines += ["}", "", "# Every kind of operation, by its number.", "KINDS: Final[Dict[int, str]] = {"]
    lines += [f'    {kind}: "{kind}",' for kind in kinds] + ["}"]
    for structure in header.structures:
        lines += ["", ""] + list(write_structure(structure))
    lines += ["", "", "# Every structure, by its name in C.", "STRUCTURES: Final = {"]
    lines += [f'    "{s.name}": {s.python_name},' for s in header.structures]
    lines += ["}", "", "# Every function: its name, its result and its parameters. Pointers are addresses."]
    lines += ["PROTOTYPES: Final[Tuple[Tuple[str, Any, Tuple[Any, ...]], ...]] = ("]
    for name, result, parameters in header.functions:
        inner = ", ".join(parameters) + ("," if len(parameters) == 1 else "")
        lines.append(f'    ("{name}", {result}, ({inner})),')
    lines += [")", ""]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where _abi.py is not fresh")
    arguments = parser.parse_args()
    fresh = generate(HEADER.read_text(encoding="utf-8"))
    if OUTPUT.exists() and OUTPUT.read_text(encoding="utf-8") == fresh:
        return 0
    if arguments.check:
        print(f"{OUTPUT} is not what {HEADER} says: run {Path(__file__).name}", file=sys.stderr)
        return 1
    OUTPUT.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
