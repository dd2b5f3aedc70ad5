#!/usr/bin/env bash
# Builds the source distribution and wheels, looks into them, installs them on every Python from 3.9 on that is there, and runs the
# package's tests on the oldest and the newest with the library of the wheel. That they refuse what they should is tried too.
#
#   scripts/check-wheels.sh [--every] [PLATFORM...]
#
# --every: the tests run on every Python. Otherwise those between the oldest and the newest are only seen to read and write a file.
# PLATFORM is as in build-wheels.sh; without one, this machine's. Wheels for other platforms are looked into, and a program in C is run with
# the library of those for which this machine has a C library or an emulator.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

every=
[[ ${1:-} != --every ]] || { every=1 && shift; }
own=manylinux_2_17_$(uname -m)
[[ $# -gt 0 ]] || set -- "$own"
bash scripts/build-wheels.sh "$@"

wheels=$root/target/wheels
sdist=$(echo "$wheels"/sideloop-*.tar.gz)
package=$root/bindings/python
tools=$root/target/wheel-tools
work=$root/target/wheels-check
rm -rf "$work"
mkdir -p "$work"
# A user has none of what the caller may have set. The tests leave nothing in the sources.
unset SIDELOOP_LIBRARY SIDELOOP_PLATFORM_TAG PYTHONPATH CARGO
export CARGO_TARGET_DIR=$root/target/wheels-build PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1

fail() {
    printf -- '-- %s\n' "$*" >&2
    exit 1
}

# look_into WHEEL PLATFORM
look_into() {
    local said
    "$tools/bin/python" scripts/wheel-contents.py "$1"
    # It takes the libc.so that such a library needs for the file of that name which belongs to this machine's glibc.
    [[ $2 == manylinux_* ]] || return 0
    said=$("$tools/bin/auditwheel" show "$1" | tr '\n' ' ' | tr -s ' ')
    [[ $said == *"following platform tag: \"$2\""* ]] || fail "auditwheel: $said"
    note "auditwheel: $2"
}

# run_elsewhere WHEEL PLATFORM
run_elsewhere() {
    local folder=$work/$2 runner=() target
    case $2 in
    "$own") return 0 ;;
    manylinux_2_17_aarch64)
        need qemu-user=qemu-aarch64 libc6-arm64-cross=/usr/aarch64-linux-gnu/lib/libc.so.6
        target=aarch64-linux-gnu.2.17 runner=(qemu-aarch64 -L /usr/aarch64-linux-gnu)
        ;;
    musllinux_1_2_x86_64)
        need musl=/lib/ld-musl-x86_64.so.1
        target=x86_64-linux-musl
        ;;
    *)
        note "$2: not run"
        return 0
        ;;
    esac
    "$tools/bin/python" -m zipfile -e "$1" "$folder"
    "$tools/bin/python" -m ziglang cc -target $target -std=c11 -O1 -Iinclude -Itests/c tests/c/files.c "$folder/sideloop/libsideloop.so" \
        -Wl,-rpath,"$folder/sideloop" -lpthread -o "$folder/files"
    ln -s libsideloop.so "$folder/sideloop/libsideloop.so.0"
    (cd "$folder" && "${runner[@]}" ./files) || fail "$2: files.c fails"
    note "$2: files.c runs"
}

# An environment that has nothing yet: fresh PYTHON ENVIRONMENT
fresh() {
    "$1" -m venv "$2"
    mkdir "$2/folder"
}

# smoke ENVIRONMENT [ARGUMENT]
smoke() { (cd "$1/folder" && "$1/bin/python" -W error "$package/tests/smoke.py" "${@:2}") >"$1/smoke" || fail "smoke.py fails in $1"; }

# install_wheel PYTHON MINOR
install_wheel() {
    local environment=$work/wheel-$2
    fresh "$1" "$environment"
    "$environment/bin/pip" install --quiet --no-index "$wheels"/sideloop-*-"$own.whl"
    smoke "$environment"
    [[ -n $every || $2 == "$oldest" || $2 == "$newest" ]] || return 0
    "$environment/bin/pip" install --quiet "$(echo "$wheels"/sideloop-*-"$own.whl")[test]"
    (cd "$package" && "$environment/bin/python" -m pytest -q --tb=short) || fail "the tests fail on Python 3.$2"
}

# install_sdist PYTHON MINOR: only the first takes the file, and not from pip's memory of another; for the others it is unpacked, where
# cargo finds the library built by the one before.
install_sdist() {
    local environment=$work/sdist-$2 source=$work/${sdist##*/}
    source=${source%.tar.gz}
    fresh "$1" "$environment"
    if [[ -d $source ]]; then
        "$environment/bin/pip" install --quiet "$source"
    else
        "$environment/bin/pip" install --quiet --no-cache-dir "$sdist"
        tar -xf "$sdist" -C "$work"
    fi
    smoke "$environment"
}

# Where there is no cargo, the last words say what to do: without_cargo PYTHON
without_cargo() {
    local environment=$work/without-cargo
    fresh "$1" "$environment"
    if PATH=$environment/bin pip install --quiet --no-cache-dir "$sdist" >"$environment/said" 2>&1; then
        fail "the source distribution installs without cargo"
    fi
    grep -q 'cargo is not on the PATH.*https://rustup.rs' "$environment/said" || fail "not told about cargo: $(cat "$environment/said")"
}

# The library is the one that cargo keeps: editable PYTHON
editable() {
    local environment=$work/editable source=$work/${sdist##*/}
    source=${source%.tar.gz}
    fresh "$1" "$environment"
    "$environment/bin/pip" install --quiet --editable "$source"
    smoke "$environment" editable
    [[ $source/src/sideloop/libsideloop.so -ef $CARGO_TARGET_DIR/release/libsideloop.so ]] || fail "an editable install has a library of its own"
}

for platform in "$@"; do
    wheel=$(echo "$wheels"/sideloop-*-"$platform.whl")
    look_into "$wheel" "$platform"
    run_elsewhere "$wheel" "$platform"
done
declare -A pythons
oldest='' newest=''
for minor in 9 10 11 12 13 14; do
    pythons[$minor]=$(find_python $minor) || { note "Python 3.$minor: not found" && continue; }
    oldest=${oldest:-$minor} newest=$minor
done
[[ -n $newest ]] || not_run "needs Python 3.9 or later, with venv"
ran=()
for ((minor = oldest; minor <= newest; minor++)); do
    python=${pythons[$minor]}
    [[ -n $python ]] || continue
    note "Python 3.$minor: $("$python" -c 'import sys; print(sys.version.split()[0])')"
    [[ ! -e $(echo "$wheels"/sideloop-*-"$own.whl") ]] || install_wheel "$python" $minor
    install_sdist "$python" $minor
    ran+=("3.$minor")
done
without_cargo "${pythons[$newest]}"
editable "${pythons[$newest]}"
note "installed and run on Python ${ran[*]}"
