#!/usr/bin/env bash
# Runs aiofiles' own tests on sideloop.aio, on asyncio and uvloop: a small package with aiofiles' name and modules
# (bindings/python/tests/aiofiles_shim) stands in front. What cannot pass is in deselected.txt there, with the reasons.
#
#   scripts/check-aiofiles.sh [PYTEST-ARGUMENT...]

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# That of the package's own tests.
version=$(sed -n 's/.*"aiofiles==\([0-9.]*\)".*/\1/p' bindings/python/pyproject.toml)
need python3=python3
folder=$root/target/aiofiles
shim=$root/bindings/python/tests/aiofiles_shim
python=$folder/venv/bin/python
mkdir -p "$folder"

install() { "$python" -m pip install --quiet --disable-pip-version-check "$@" >"$folder/pip.log" 2>&1; }

[[ -x $python ]] || python3 -m venv "$folder/venv" 2>"$folder/venv.log" || not_run "there is no venv for $(command -v python3)"
install 'pytest>=8.3.5,<9' 'pytest-asyncio>=1,<2' 'hatchling>=1.18' 'hatch-vcs>=0.4' ||
    not_run "pytest cannot be installed: $(tail -n 1 "$folder/pip.log")"
# The tests are in the source distribution alone.
if [[ ! -d $folder/aiofiles-$version ]]; then
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: --no-build-isolation \
        --dest "$folder" "aiofiles==$version" >"$folder/pip.log" 2>&1 ||
        not_run "aiofiles $version cannot be downloaded: $(tail -n 1 "$folder/pip.log")"
    tar -xf "$folder/aiofiles-$version.tar.gz" -C "$folder"
fi
loops=(asyncio)
if install uvloop; then loops+=(uvloop); else note "not on uvloop, which cannot be installed: $(tail -n 1 "$folder/pip.log")"; fi

cargo build --quiet --lib
export SIDELOOP_LIBRARY=${CARGO_TARGET_DIR:-$root/target}/debug/libsideloop.so
export PYTHONPATH=$shim:$root/bindings/python/src PYTHONDONTWRITEBYTECODE=1

deselected=()
while IFS='|' read -r test reason; do
    case $test in
    '#'* | '') continue ;;
    'root '*) [[ $(id -u) == 0 ]] || continue ;;
    esac
    test=${test#root }
    deselected+=(--deselect "${test% }")
    note "without ${test% }:$reason"
done <"$shim/deselected.txt"

for loop in "${loops[@]}"; do
    note "aiofiles $version's tests on sideloop.aio, $loop"
    # Its tests write beside themselves.
    rm -rf "$folder/tests"
    mkdir "$folder/tests"
    cp -r "$folder/aiofiles-$version/tests" "$folder/aiofiles-$version/pyproject.toml" "$folder/tests"
    (cd "$folder/tests" && LOOP=$loop "$python" -m pytest -q -p no:cacheprovider -p chosen_loop "${deselected[@]}" "$@" tests)
done
