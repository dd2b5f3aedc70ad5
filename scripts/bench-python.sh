#!/usr/bin/env bash
# Measures asynchronous files in Python side by side: this package and its peers, which come from PyPI into target/bench-python. One
# that cannot be installed is left out, and named.
#
#   scripts/bench-python.sh [--installed] [ARGUMENTS FOR bindings/python/benches/files.py: see --help]
#
# --installed: with what $PYTHON (or python3) has already. $SIDELOOP_LIBRARY: another build of the library than the release.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

peers=('aiofiles>=24,<26' 'anyio>=4,<5' 'aiofile>=3,<4' 'caio>=0.12,<1' 'ayafileio>=2,<3' 'uvloop>=0.19,<1' 'trio>=0.25,<1'
    'matplotlib>=3.8,<4')
target=${CARGO_TARGET_DIR:-$root/target}
folder=$target/bench-python
python=${PYTHON:-python3}
mkdir -p "$folder"

install() {
    local environment=$folder/venv made_of peer
    made_of="$("$python" -c 'import sys; print(sys.version, sys.prefix)') ${peers[*]}"
    if [[ $(cat "$environment/made-of" 2>/dev/null) != "$made_of" ]]; then
        note "installing ${peers[*]}"
        "$python" -m venv --clear "$environment"
        echo "$made_of" >"$environment/made-of"
        # One at a time: one that cannot be had leaves the others.
        for peer in "${peers[@]}"; do
            "$environment/bin/pip" install --quiet --disable-pip-version-check "$peer" >"$folder/pip.log" 2>&1 && continue
            note "not installed: $peer: $(tail -n 1 "$folder/pip.log")"
            # Tried again in the next run.
            rm -f "$environment/made-of"
        done
    fi
    python=$environment/bin/python
}

if [[ ${1:-} == --installed ]]; then
    shift
else
    install
fi
if [[ -z ${SIDELOOP_LIBRARY:-} ]]; then
    cargo build --quiet --release --lib
    export SIDELOOP_LIBRARY=$target/release/libsideloop.so
fi
export PYTHONPATH=$root/bindings/python/src PYTHONDONTWRITEBYTECODE=1
exec "$python" bindings/python/benches/files.py --out "$folder" "$@"
