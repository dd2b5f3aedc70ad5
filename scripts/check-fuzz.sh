#!/usr/bin/env bash
# Builds the fuzz target over the ABI and runs it, from the corpus that is kept, for so many seconds.
#
#   scripts/check-fuzz.sh [SECONDS [ARGUMENTS FOR LIBFUZZER]]
#
# What it finds stays in target/fuzz/found; give the file as an argument of target/fuzz/.../abi to see it again. Builds as cargo-fuzz
# does, whose own commands work in fuzz/ as well, but needs only a compiler and the libfuzzer-sys crate.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

seconds=${1:-20}
shift || true
[[ $(uname -sm) == 'Linux x86_64' ]] || not_run "it counts descriptors as Linux does, and is built for x86-64"
command -v cargo >/dev/null || not_run "there is no cargo"
command -v c++ >/dev/null || need g++=g++

target=x86_64-unknown-linux-gnu
use_target_dir fuzz
# Coverage for libFuzzer; overflow and debug assertions, so that it finds more than crashes.
passes="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
passes+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
export RUSTFLAGS="$passes --cfg fuzzing -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1 ${RUSTFLAGS:-}"
manifest=fuzz/Cargo.toml
cargo fetch --quiet --manifest-path $manifest --target $target || not_run "libfuzzer-sys cannot be had here"
cargo build --quiet --release --manifest-path $manifest --target $target

found=$CARGO_TARGET_DIR/found work=$CARGO_TARGET_DIR/corpus
mkdir -p "$found" "$work" "$CARGO_TARGET_DIR/tmp"
export TMPDIR=$CARGO_TARGET_DIR/tmp
# New inputs go to the first folder; what is kept in the repository is only read.
"$CARGO_TARGET_DIR/$target/release/abi" "$work" fuzz/corpus/abi -max_total_time="$seconds" -max_len=4096 -timeout=20 \
    -artifact_prefix="$found/" -print_final_stats=1 -verbosity=0 "$@"
rm -rf "$TMPDIR"
