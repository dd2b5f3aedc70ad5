"""The build hook says clearly what is wrong. (That it builds a wheel that works is tested by tests/python.rs.)"""

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
        hook.build_library(package)
    message = str(caught.value)
    assert str(tmp_path) in message and "checkout" in message and "$SIDELOOP_LIBRARY" in message


def test_without_cargo(hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CARGO", raising=False)
    with pytest.raises(SystemExit) as caught:
        hook.build_library(PACKAGE)
    assert "cargo is not on the PATH" in str(caught.value) and "$SIDELOOP_LIBRARY" in str(caught.value)


def test_cargo_that_fails(hook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARGO", "false")
    with pytest.raises(SystemExit) as caught:
        hook.build_library(PACKAGE)
    assert "failed" in str(caught.value)


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


def test_platform_tags(hook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hook.platform_tag().replace("_", "").isalnum()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(hook.platform, "machine", lambda: "arm64")
    assert hook.platform_tag() == "macosx_11_0_arm64"
    monkeypatch.setenv("MACOSX_DEPLOYMENT_TARGET", "12.3")
    assert hook.platform_tag() == "macosx_12_3_arm64"
    monkeypatch.setenv("SIDELOOP_PLATFORM_TAG", "manylinux_2_17_x86_64")
    assert hook.platform_tag() == "manylinux_2_17_x86_64"
