#!/usr/bin/env bash
# Runs the Rust tests for 64-bit ARM Linux under qemu.
#
#   scripts/check-arm64.sh [ARGUMENTS FOR CARGO TEST]
#
# What qemu itself cannot carry is in qemu-skips.txt, each with its reason, and printed.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
use_debian_rust
need gcc-aarch64-linux-gnu=aarch64-linux-gnu-gcc libc6-dev-arm64-cross=/usr/aarch64-linux-gnu/lib/libc.so.6 \
    qemu-user=qemu-aarch64

target=aarch64-unknown-linux-gnu
use_target_dir arm64
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"

skips=()
while IFS=' ' read -r name reason; do
    [[ -z $name || $name == '#'* ]] && continue
    note "qemu cannot carry $name: $reason"
    skips+=("$name")
done <scripts/qemu-skips.txt

arguments=(--lib)
[[ $# -eq 0 ]] || arguments=("$@")
cargo test --quiet --no-fail-fast "${build_std[@]}" --target $target "${arguments[@]}" -- "${skips[@]/#/--skip=}"
