#!/usr/bin/env python3
"""Makes LICENSE-THIRD-PARTY: the notices of the crates that are linked into the library, which whoever distributes it has to
pass on. Of licences to choose from it is the MIT one.

    scripts/list-notices.py [--check]

--check: says whether the file is as it would be made now, and changes nothing. The sources of the crates are cargo's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTICES = ROOT / "LICENSE-THIRD-PARTY"
TARGETS = ("x86_64-unknown-linux-gnu", "x86_64-pc-windows-gnu", "aarch64-apple-darwin", "x86_64-unknown-freebsd")
HEAD = """The library of sideloop contains the crates below, under the licence that follows each, and the standard library of Rust
(MIT OR Apache-2.0, https://github.com/rust-lang/rust/blob/master/COPYRIGHT). Made by scripts/list-notices.py.
"""


def linked(target: str) -> dict[str, dict]:
    """The packages that the library for a target is linked with, by their ids."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found: dict[str, dict] = {}
    left = [metadata["resolve"]["root"]]
    while left:
        name = left.pop()
        if name not in found:
            found[name] = packages[name]
            kinds = [(each["pkg"], {kind["kind"] for kind in each["dep_kinds"]}) for each in nodes[name]["deps"]]
            # Not those of builds and tests.
            left += [package for package, kind in kinds if None in kind]
    del found[metadata["resolve"]["root"]]
    return found


def licence(package: dict) -> str:
    """The text of its MIT licence."""
    name = f"{package['name']} {package['version']}"
    if "MIT" not in package["license"]:
        raise SystemExit(f"{name} is under {package['license']}: say here what that asks for")
    folder = Path(package["manifest_path"]).parent
    files = {path.name.lower(): path for path in folder.iterdir()}
    for file in ("license-mit", "license-mit.txt", "license-mit.md", "license"):
        if file in files:
            return "\n".join(line.rstrip() for line in files[file].read_text("utf-8").strip().splitlines())
    raise SystemExit(f"{name} has no file with its licence")


def main() -> int:
    packages = {name: package for target in TARGETS for name, package in linked(target).items()}
    holders = defaultdict(list)
    for package in sorted(packages.values(), key=lambda package: (package["name"], package["version"])):
        holders[licence(package)].append(f"{package['name']} {package['version']}, {package['repository']}")
    made = "\n".join([HEAD, *("=" * 80 + "\n" + "\n".join(who) + f"\n\n{text}\n" for text, who in holders.items())])
    if sys.argv[1:] == ["--check"]:
        fresh = NOTICES.read_text("utf-8") == made
        if not fresh:
            print(f"{NOTICES.name} is not fresh: run scripts/list-notices.py", file=sys.stderr)
        return 0 if fresh else 1
    NOTICES.write_text(made, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
