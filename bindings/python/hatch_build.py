"""The build hook: what makes the package more than its Python files. It puts the shared library, made with cargo, into
wheels; links it into editable installs; and puts the library's own sources into source distributions.

Run by hatchling, in the environment that pip makes for a build. `$SIDELOOP_LIBRARY` names a library that is packaged as
it is instead, without cargo; `$SIDELOOP_PLATFORM_TAG` a platform for the wheel's name other than this machine's.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, Dict, Optional

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

OVERRIDE = "SIDELOOP_LIBRARY"
PLATFORM_TAG = "SIDELOOP_PLATFORM_TAG"
# The folder of a source distribution that holds the Rust crate.
CRATE = "rust"


class LibraryHook(BuildHookInterface[Any]):
    """Adds the shared library to wheels and editable installs, and its sources to source distributions."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: Dict[str, Any]) -> None:
        """Called before the files are gathered."""
        package = Path(self.root)
        if self.target_name == "sdist":
            # A file goes to one place only: the licences, which both have, to the top.
            own = without_links(build_data["force_include"])
            build_data["force_include"] = {**crate_files(find_crate(package)), **own}
            return
        editable = version == "editable"
        library = given_library() or build_library(find_crate(package), "release" if editable else "wheel")
        tag = platform_tag()
        name = file_name(tag)
        if editable:
            # The package is used where it is, and so must the library be.
            link(library, package / "src" / "sideloop" / name)
        else:
            build_data["force_include"][str(library)] = f"sideloop/{name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{tag}"


def given_library() -> Optional[Path]:
    """The library that the environment names, if it names one."""
    given = os.environ.get(OVERRIDE)
    if not given:
        return None
    if not Path(given).is_file():
        raise SystemExit(f"sideloop: ${OVERRIDE} names {given}, which is not a file")
    return Path(given).resolve()


def find_crate(package: Path) -> Path:
    """The Rust crate: inside the package in a source distribution, around it in a checkout of the repository."""
    for crate in (package / CRATE, package.parent.parent):
        manifest = crate / "Cargo.toml"
        if manifest.is_file() and 'name = "sideloop"' in manifest.read_text(encoding="utf-8"):
            return crate
    raise SystemExit(
        f"sideloop: the library's sources are not at {package / CRATE} (a source distribution) and not at "
        f"{package.parent.parent} (a checkout of the repository). Build from one of these, or set ${OVERRIDE} to a "
        f"library that is built already."
    )


def find_cargo() -> str:
    """Cargo, or the end with what to do where there is none."""
    cargo = os.environ.get("CARGO") or shutil.which("cargo")
    if cargo is None:
        raise SystemExit(
            f"sideloop: cargo is not on the PATH, and it builds the library where no ready wheel fits. Install Rust "
            f"from https://rustup.rs, or set ${OVERRIDE} to a library that is built already. If there should be a "
            f"wheel for this platform, a newer pip may find it."
        )
    return cargo


def run_cargo(crate: Path, *arguments: str) -> str:
    """What cargo prints; its complaints go to the terminal."""
    command = [find_cargo(), *arguments]
    done = subprocess.run(command, cwd=crate, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    if done.returncode != 0:
        needed = re.search(r'^rust-version = "(.*)"$', (crate / "Cargo.toml").read_text(encoding="utf-8"), re.MULTILINE)
        raise SystemExit(
            f"sideloop: `{' '.join(command)}` failed in {crate}: its own words are above. The library needs Rust "
            f"{needed.group(1) if needed else 'of today'} or later, and cargo fetches what it is made of."
        )
    return done.stdout


def build_library(crate: Path, profile: str) -> Path:
    """Builds the shared library as one of the profiles in Cargo.toml."""
    return find_library(
        run_cargo(crate, "build", "--profile", profile, "--lib", "--message-format=json-render-diagnostics")
    )


def find_library(messages: str) -> Path:
    """Where cargo says that it has put the shared library: one message a line."""
    for line in messages.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and "cdylib" in message["target"]["crate_types"]:
            for name in message["filenames"]:
                if name.endswith((".so", ".dylib", ".dll")):
                    return Path(name)
    raise SystemExit("sideloop: cargo did not say where the shared library is")


def crate_files(crate: Path) -> Dict[str, str]:
    """Where the files of the crate are, and where they go in a source distribution. Cargo.toml says which they are."""
    names = run_cargo(crate, "package", "--list", "--allow-dirty", "--quiet").splitlines()
    # Some that cargo lists exist only in a package that it has made.
    return {str(crate / name): f"{CRATE}/{name}" for name in names if (crate / name).is_file()}


def without_links(files: Dict[str, str]) -> Dict[str, str]:
    """The same files, where a checkout has links to them: a source distribution shall have the contents."""
    return {str(Path(path).resolve()): name for path, name in files.items()}


def link(library: Path, place: Path) -> None:
    """Makes the package find the library where cargo puts it: after a change, `cargo build --release` is enough."""
    if place.is_symlink() or place.exists():
        place.unlink()
    try:
        place.symlink_to(library)
    except OSError:
        # Windows reserves links to those who may make them.
        shutil.copyfile(library, place)


def file_name(tag: str) -> str:
    """What the library is called on the wheel's platform."""
    if tag.startswith("win"):
        return "sideloop.dll"
    return "libsideloop.dylib" if tag.startswith("macosx") else "libsideloop.so"


def platform_tag() -> str:
    """The platform in the wheel's name. The library needs no particular Python, but this system and processor."""
    given = os.environ.get(PLATFORM_TAG)
    if given:
        return given
    if sys.platform == "darwin":
        # The interpreter may be for both processors where the library is for one; these are rustc's own minimums.
        machine = platform.machine()
        minimum = os.environ.get("MACOSX_DEPLOYMENT_TARGET") or ("11.0" if machine == "arm64" else "10.12")
        return f"macosx_{minimum.replace('.', '_')}_{machine}"
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
