#!/usr/bin/env bash
# Builds for Windows with mingw and runs the tests, those in Rust and those in C, under wine.
#
#   scripts/check-windows.sh [ARGUMENTS FOR CARGO TEST]
#
# What wine itself cannot carry is in wine-skips.txt, each with its reason, and printed.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
use_debian_rust
need gcc-mingw-w64-x86-64=x86_64-w64-mingw32-gcc g++-mingw-w64-x86-64=x86_64-w64-mingw32-g++ \
    wine64=/usr/lib/wine/wine64 wine=wine

target=x86_64-pc-windows-gnu
use_target_dir windows
built=$CARGO_TARGET_DIR/$target/debug
programs=$CARGO_TARGET_DIR/c-programs
system=$CARGO_TARGET_DIR/system
mkdir -p "$system"

export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=wine

# wine shows the whole file system as drive Z.
windows_path() { printf 'Z:%s' "${1//\//\\}"; }

# The folder of a DLL that belongs to mingw.
dll_folder() {
    local file
    file=$(x86_64-w64-mingw32-gcc -print-file-name="$1")
    [[ -e $file ]] || not_run "mingw has no $1"
    windows_path "$(dirname "$(realpath "$file")")"
}

# wine 8 lacks the DLL from which Rust's standard library takes its random numbers.
cat >"$system/bcryptprimitives.c" <<'C'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size) { return SystemFunction036(data, (ULONG)size); }
C
x86_64-w64-mingw32-gcc -shared -o "$system/bcryptprimitives.dll" "$system/bcryptprimitives.c" -ladvapi32

export WINEPREFIX=$CARGO_TARGET_DIR/wine WINEDEBUG=-all
WINEPATH="$(windows_path "$system");$(windows_path "$built");$(dll_folder libgcc_s_seh-1.dll);$(dll_folder libwinpthread-1.dll)"
export WINEPATH

# Every program is quick to start while wine's server and services stay up for a while. They are started here, apart: they would
# hold the pipes of the test that happens to start them, and whoever reads a test's output to its end would wait for theirs.
# (At the first start wine looks for 32-bit programs too, which this one does not have and we do not need.)
note "starting $(wine --version 2>/dev/null | tail -n 1)"
mkdir -p "$WINEPREFIX"
wineserver -p30 >/dev/null 2>&1 || not_run "wineserver does not start"
# Ends this prefix's own server, and no other.
trap 'wineserver -k >/dev/null 2>&1 || true' EXIT
wine wineboot -i >"$CARGO_TARGET_DIR/wineboot.log" 2>&1 || not_run "wine does not start: see target/windows/wineboot.log"

skips=()
while IFS=' ' read -r name reason; do
    [[ -z $name || $name == '#'* ]] && continue
    note "wine cannot carry $name: $reason"
    skips+=("$name")
done <scripts/wine-skips.txt

note "building"
cargo build --quiet "${build_std[@]}" --target $target --lib

# A test that runs under wine cannot call this system's compiler, so it finds the C programs ready.
sh tests/c/build-windows.sh "$built" "$programs"
SIDELOOP_C_PROGRAMS=$(windows_path "$programs")
export SIDELOOP_C_PROGRAMS
# Each system call of a socket is a question to wine's server, a process of its own: what takes a second on Windows may take
# minutes here.
export SIDELOOP_SLOW=1 SIDELOOP_WATCHDOG=600

arguments=(--quiet "${build_std[@]}" --target $target --lib --tests)
[[ $# -eq 0 ]] || arguments=(--quiet "${build_std[@]}" --target $target "$@")
note "cargo test for $target"
cargo test --no-fail-fast "${arguments[@]}" -- "${skips[@]/#/--skip=}"
