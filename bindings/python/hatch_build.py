"""The build hook: makes the shared library with cargo and puts it beside the package, in a wheel for this platform.

Run by hatchling, in the environment that pip makes for a build. `$SIDELOOP_LIBRARY` names a library that is packaged as
it is instead, without cargo; `$SIDELOOP_PLATFORM_TAG` a platform for the wheel's name other than this machine's.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, Dict, Optional

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

OVERRIDE = "SIDELOOP_LIBRARY"
NAMES = {"win32": "sideloop.dll", "darwin": "libsideloop.dylib"}


class LibraryHook(BuildHookInterface[Any]):
    """Adds the shared library to wheels and editable installs."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: Dict[str, Any]) -> None:
        """Called before the files are gathered."""
        package = Path(self.root)
        library = given_library() or build_library(package)
        name = NAMES.get(sys.platform, "libsideloop.so")
        if version == "editable":
            # The package is used where it is, and so must the library be.
            shutil.copyfile(library, package / "src" / "sideloop" / name)
        else:
            build_data["force_include"][str(library)] = f"sideloop/{name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag()}"


def given_library() -> Optional[Path]:
    """The library that the environment names, if it names one."""
    given = os.environ.get(OVERRIDE)
    if not given:
        return None
    if not Path(given).is_file():
        raise SystemExit(f"sideloop: ${OVERRIDE} names {given}, which is not a file")
    return Path(given).resolve()


def build_library(package: Path) -> Path:
    """Runs cargo in the repository that this package is part of."""
    repository = package.parent.parent
    manifest = repository / "Cargo.toml"
    if not manifest.is_file() or 'name = "sideloop"' not in manifest.read_text(encoding="utf-8"):
        raise SystemExit(
            f"sideloop: the library's sources are not at {repository}. This package is built inside a checkout of the "
            f"repository, not from a source distribution; or set ${OVERRIDE} to a library that is built already."
        )
    cargo = os.environ.get("CARGO") or shutil.which("cargo")
    if cargo is None:
        raise SystemExit(
            f"sideloop: cargo is not on the PATH, and it builds the library. Install Rust from https://rustup.rs, "
            f"or set ${OVERRIDE} to a library that is built already."
        )
    command = [cargo, "build", "--release", "--lib", "--message-format=json-render-diagnostics"]
    done = subprocess.run(command, cwd=repository, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    if done.returncode != 0:
        raise SystemExit(f"sideloop: `{' '.join(command)}` failed in {repository}")
    return find_library(done.stdout)


def find_library(messages: str) -> Path:
    """Where cargo says that it has put the shared library: one message a line."""
    for line in messages.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and "cdylib" in message["target"]["crate_types"]:
            for name in message["filenames"]:
                if name.endswith((".so", ".dylib", ".dll")):
                    return Path(name)
    raise SystemExit("sideloop: cargo did not say where the shared library is")


def platform_tag() -> str:
    """The platform in the wheel's name. The library needs no particular Python, but this system and processor."""
    given = os.environ.get("SIDELOOP_PLATFORM_TAG")
    if given:
        return given
    if sys.platform == "darwin":
        # The interpreter may be for both processors where the library is for one; these are rustc's own minimums.
        machine = platform.machine()
        minimum = os.environ.get("MACOSX_DEPLOYMENT_TARGET") or ("11.0" if machine == "arm64" else "10.12")
        return f"macosx_{minimum.replace('.', '_')}_{machine}"
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
