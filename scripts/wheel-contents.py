#!/usr/bin/env python3
"""Checks that a wheel holds the package's Python files, the licences and the library, and nothing else; that the library
has nothing in it that only a debugger reads; and that it needs nothing that its platform does not have: of glibc a
function without a version, which auditwheel does not see, of musl another library, of Windows a DLL of someone else's.

    scripts/wheel-contents.py WHEEL

Run by check-wheels.sh in the environment of build-wheels.sh, which has pyelftools (of auditwheel).
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from elftools.elf.elffile import ELFFile

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = REPOSITORY / "bindings" / "python" / "src"
# What every Windows since 10 has.
WINDOWS = re.compile(r"(api-ms-win-[a-z0-9-]+|kernel32|ntdll|ws2_32|advapi32|bcrypt(primitives)?|userenv|msvcrt|ucrtbase)\.dll")


def expected(library: str, info: str) -> set[str]:
    """The names of what a wheel holds."""
    sources = [path for path in SOURCES.rglob("*") if path.suffix == ".py" or path.name == "py.typed"]
    licences = [f"licenses/{path.name}" for path in REPOSITORY.glob("LICENSE-*")]
    return {
        f"sideloop/{library}",
        *(str(path.relative_to(SOURCES).as_posix()) for path in sources),
        *(f"{info}/{name}" for name in ["METADATA", "WHEEL", "RECORD", *licences]),
    }


def problems_of_elf(library: bytes, musl: bool) -> list[str]:
    elf = ELFFile(io.BytesIO(library))
    names = [section.name for section in elf.iter_sections()]
    problems = [f"has {name}" for name in names if name == ".symtab" or name.startswith(".debug")]
    if musl:
        needed = [tag.needed for tag in elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")]
        # Of musl, which all of these are.
        return problems + [f"needs {name}" for name in needed if name != "libc.so"]
    # The linker was given a glibc as old as the wheel says; what that lacks has no version, and is missing at run time.
    versions = elf.get_section_by_name(".gnu.version")
    for number, symbol in enumerate(elf.get_section_by_name(".dynsym").iter_symbols()):
        undefined = symbol.entry.st_shndx == "SHN_UNDEF" and symbol.entry.st_info.bind == "STB_GLOBAL"
        if undefined and versions.get_symbol(number).entry.ndx in ("VER_NDX_LOCAL", "VER_NDX_GLOBAL"):
            problems.append(f"needs {symbol.name}, which is newer than its glibc")
    return problems


def problems_of_dll(library: bytes) -> list[str]:
    with tempfile.NamedTemporaryFile(suffix=".dll") as file:
        file.write(library)
        file.flush()
        shown = subprocess.run(["objdump", "-hp", file.name], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"DLL Name: (\S+)", shown)
    problems = [f"needs {name}" for name in needed if not WINDOWS.fullmatch(name.lower())]
    return problems + [f"has {name}" for name in re.findall(r"^ *\d+ (\.debug\S*)", shown, re.MULTILINE)]


def main() -> int:
    path = Path(sys.argv[1])
    name, version, _, _, platform = path.stem.split("-")
    windows = platform.startswith("win")
    file = "sideloop.dll" if windows else "libsideloop.so"
    with zipfile.ZipFile(path) as wheel:
        held = set(wheel.namelist())
        wanted = expected(file, f"{name}-{version}.dist-info")
        problems = [f"lacks {name}" for name in sorted(wanted - held)]
        problems += [f"has {name}" for name in sorted(held - wanted)]
        if f"sideloop/{file}" in held:
            library = wheel.read(f"sideloop/{file}")
            print(f"-- {path.name}: {path.stat().st_size} bytes, of which unpacked the library takes {len(library)}")
            found = problems_of_dll(library) if windows else problems_of_elf(library, platform.startswith("musllinux"))
            problems += [f"sideloop/{file} {problem}" for problem in found]
    for problem in problems:
        print(f"-- {path.name}: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
