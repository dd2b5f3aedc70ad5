"""The build hook says clearly what is wrong. (That what it builds works: scripts/check-wheels.sh, tests/python.rs.)"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from conftest import PACKAGE

pytest.importorskip("hatchling")


@pytest.fixture
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", PACKAGE / "hatch_build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_outside_the_repository(hook: ModuleType, tmp_path: Path) -> None:
    package = tmp_path / "bindings" / "python"
    package.mkdir(parents=True)
    with pytest.raises(SystemExit) as caught:
        hook.find_crate(package)
    message = str(caught.value)
    assert str(tmp_path) in message and "checkout" in message and "$SIDELOOP_LIBRARY" in message


def test_where_the_crate_is(hook: ModuleType, tmp_path: Path) -> None:
    """Around the package in a checkout; inside it in a source distribution, whatever may be around that."""
    package = tmp_path / "bindings" / "python"
    (package / "rust").mkdir(parents=True)
    (tmp_path / "Cargo.toml").write_text('name = "sideloop"')
    assert hook.find_crate(package) == tmp_path
    (package / "rust" / "Cargo.toml").write_text('name = "another"')
    assert hook.find_crate(package) == tmp_path
    (package / "rust" / "Cargo.toml").write_text('name = "sideloop"')
    assert hook.find_crate(package) == package / "rust"


def test_without_cargo(hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CARGO", raising=False)
    with pytest.raises(SystemExit) as caught:
        hook.build_library(tmp_path, "wheel")
    message = str(caught.value)
    assert "cargo is not on the PATH" in message and "https://rustup.rs" in message and "$SIDELOOP_LIBRARY" in message


def test_cargo_that_fails(hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "Cargo.toml").write_text('[package]\nrust-version = "1.99"\n')
    monkeypatch.setenv("CARGO", "false")
    with pytest.raises(SystemExit) as caught:
        hook.build_library(tmp_path, "wheel")
    assert "`false build --profile wheel" in str(caught.value) and "Rust 1.99 or later" in str(caught.value)


def test_given_library(hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIDELOOP_LIBRARY", str(tmp_path / "missing"))
    with pytest.raises(SystemExit, match="missing"):
        hook.given_library()
    (tmp_path / "there").write_bytes(b"")
    monkeypatch.setenv("SIDELOOP_LIBRARY", str(tmp_path / "there"))
    assert hook.given_library() == tmp_path / "there"
    monkeypatch.delenv("SIDELOOP_LIBRARY")
    assert hook.given_library() is None


def test_what_cargo_says(hook: ModuleType) -> None:
    other = {"reason": "compiler-artifact", "target": {"crate_types": ["lib"]}, "filenames": ["/x/libmio.so"]}
    ours = {
        "reason": "compiler-artifact",
        "target": {"crate_types": ["cdylib", "rlib"]},
        "filenames": ["/x/libsideloop.rlib", "/x/libsideloop.so"],
    }
    finished = {"reason": "build-finished", "success": True}
    lines = [json.dumps(message) for message in (other, ours, finished)]
    assert hook.find_library("\n".join(lines)) == Path("/x/libsideloop.so")
    with pytest.raises(SystemExit):
        hook.find_library("\n".join([lines[0], lines[2]]))


def test_link(hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was there before, also a link to what is gone."""
    library, place = tmp_path / "library", tmp_path / "place"
    place.symlink_to(tmp_path / "gone")
    library.write_bytes(b"old")
    hook.link(library, place)
    library.write_bytes(b"new")
    assert place.read_bytes() == b"new"

    def forbidden(*arguments: object) -> None:
        raise OSError("not for you")

    monkeypatch.setattr(Path, "symlink_to", forbidden)
    hook.link(library, place)
    assert place.read_bytes() == b"new" and not place.is_symlink()


def test_file_names(hook: ModuleType) -> None:
    """Of the wheel's platform, which need not be this one."""
    assert hook.file_name("win_amd64") == "sideloop.dll"
    assert hook.file_name("macosx_11_0_arm64") == "libsideloop.dylib"
    assert hook.file_name("musllinux_1_2_x86_64") == "libsideloop.so"


def test_platform_tags(hook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hook.platform_tag().replace("_", "").isalnum()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(hook.platform, "machine", lambda: "arm64")
    assert hook.platform_tag() == "macosx_11_0_arm64"
    monkeypatch.setenv("MACOSX_DEPLOYMENT_TARGET", "12.3")
    assert hook.platform_tag() == "macosx_12_3_arm64"
    monkeypatch.setenv("SIDELOOP_PLATFORM_TAG", "manylinux_2_17_x86_64")
    assert hook.platform_tag() == "manylinux_2_17_x86_64"
