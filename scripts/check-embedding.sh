#!/usr/bin/env bash
# Runs the Python examples that are for a main loop of others, on each of those: Tk, GLib, Qt, asyncio, trio, and a notebook's kernel.
# `cargo test` skips those that are not there; here, a skipped one has failed.
#
#   scripts/check-embedding.sh [ARGUMENTS FOR PYTEST]

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Debian's, for which tkinter and GLib come from Debian; the others come from PyPI.
python=/usr/bin/python3
need python3=$python gcc=gcc libc6-dev=/usr/include/stdio.h xvfb=xvfb-run xauth=xauth
standard_library=$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
libraries=/usr/lib/$(uname -m)-linux-gnu
need python3-venv="$standard_library/ensurepip" python3-tk="$standard_library/tkinter/__init__.py" \
    python3-gi=/usr/lib/python3/dist-packages/gi libegl1="$libraries/libEGL.so.1" libgl1="$libraries/libGL.so.1" \
    libxkbcommon0="$libraries/libxkbcommon.so.0" libfontconfig1="$libraries/libfontconfig.so.1"

environment=$root/target/embedding
packages=('pytest>=8,<9' 'PySide6-Essentials>=6.6,<7' 'trio>=0.25,<1' 'nbclient>=0.10,<1' 'ipykernel>=6.29,<8')
if [[ $(cat "$environment/made-of" 2>/dev/null) != "${packages[*]}" ]]; then
    note "installing ${packages[*]}"
    "$python" -m venv --clear --system-site-packages "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" >"$root/target/pip.log" 2>&1 ||
        not_run "the packages cannot be had: $(tail -n 1 "$root/target/pip.log")"
    echo "${packages[*]}" >"$environment/made-of"
fi

cargo build --quiet --lib
export SIDELOOP_LIBRARY=${CARGO_TARGET_DIR:-$root/target}/debug/libsideloop.so
export PYTHONPATH=$root/bindings/python/src PYTHONDONTWRITEBYTECODE=1
cd bindings/python
for driver in poll uring; do
    note "$driver"
    SIDELOOP_DRIVER=$driver timeout 180 xvfb-run --auto-servernum "$environment/bin/python" -m pytest -v -k 'main_loops or notebook' \
        tests/test_examples.py "$@" | tee "$root/target/embedding.log"
    if grep -q SKIPPED "$root/target/embedding.log"; then
        note "not every toolkit is there"
        exit 1
    fi
done
