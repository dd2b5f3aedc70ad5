#!/usr/bin/env bash
# Makes what a release of the Python package consists of, in target/wheels: the source distribution, and a wheel for each platform.
#
#   scripts/build-wheels.sh [PLATFORM...]
#
# PLATFORM is one of those below, as it stands in a wheel's name; without one, all. cargo-zigbuild links for those of Linux, as zig has
# the C library of each; mingw for Windows. zig, cargo-zigbuild and what else comes from PyPI is installed into target/wheel-tools. Rust's standard library
# is rustup's where `rustup target add` has put it, and otherwise built from the source that Debian's compiler brings.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

platforms=(manylinux_2_17_x86_64 manylinux_2_17_aarch64 musllinux_1_2_x86_64 win_amd64)
[[ $# -eq 0 ]] || platforms=("$@")
requirements=('cargo-zigbuild>=0.20,<1' 'ziglang>=0.13,<1' 'auditwheel>=6,<7' 'hatchling>=1.27')
tools=$root/target/wheel-tools
wheels=$root/target/wheels

# What cargo builds for a platform, with the oldest glibc to run on behind the last dot.
target_of() {
    case $1 in
    manylinux_2_17_*) printf '%s-unknown-linux-gnu.2.17' "${1#manylinux_2_17_}" ;;
    musllinux_1_2_x86_64) printf 'x86_64-unknown-linux-musl' ;;
    win_amd64) printf 'x86_64-pc-windows-gnu' ;;
    *) return 1 ;;
    esac
}

install_tools() {
    local minor python=
    [[ "$(cat "$tools/made-of" 2>/dev/null)" != "${requirements[*]}" ]] || return 0
    for minor in 14 13 12 11 10; do
        python=$(find_python $minor) && break
    done
    [[ -n $python ]] || not_run "needs Python 3.10 or later, with venv"
    note "installing ${requirements[*]}"
    "$python" -m venv --clear "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check "${requirements[@]}" >"$root/target/wheel-tools.log" 2>&1 ||
        not_run "the tools cannot be installed: $(tail -n 1 "$root/target/wheel-tools.log")"
    printf '%s' "${requirements[*]}" >"$tools/made-of"
}

# Runs in a shell of its own: which compiler it uses is nothing to the next platform.
build_library() (
    target=$1
    build_std=()
    [[ -d $(rustc --print target-libdir --target "${target%.2.17}") ]] || use_debian_rust
    link=zigbuild
    if [[ $target == *-windows-gnu ]]; then
        need gcc-mingw-w64-x86-64=x86_64-w64-mingw32-gcc
        export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc
        link=build
    fi
    cargo $link --quiet "${build_std[@]}" --profile wheel --lib --target "$target"
)

for platform in "${platforms[@]}"; do
    target_of "$platform" >/dev/null || { note "no such platform: $platform"; exit 2; }
done
command -v cargo >/dev/null || not_run "needs cargo"
install_tools
export PATH=$tools/bin:$PATH
use_target_dir wheels-build
rm -rf "$wheels"
(cd bindings/python && python -m hatchling build --target sdist --directory "$wheels" >/dev/null)
for platform in "${platforms[@]}"; do
    target=$(target_of "$platform")
    note "building for $target"
    build_library "$target"
    built=$CARGO_TARGET_DIR/${target%.2.17}/wheel
    library=$built/libsideloop.so
    [[ $platform != win_* ]] || library=$built/sideloop.dll
    # From the source distribution, so that no wheel has what that lacks; and not from pip's memory of an earlier one.
    SIDELOOP_LIBRARY=$library SIDELOOP_PLATFORM_TAG=$platform pip wheel --quiet --disable-pip-version-check --no-deps --no-cache-dir \
        --no-build-isolation --wheel-dir "$wheels" "$wheels"/sideloop-*.tar.gz
done
for file in "$wheels"/*; do
    note "$(stat --format=%s "$file") bytes: target/wheels/${file##*/}"
done
