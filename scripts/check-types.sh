#!/usr/bin/env bash
# Type-checks for the platforms that cannot be run here: macOS and FreeBSD. Everything is checked: library, tests, examples.
# Nothing is linked, for that needs those systems' own files.
#
#   scripts/check-types.sh [TARGET...]

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
use_debian_rust

[[ $# -gt 0 ]] || set -- aarch64-apple-darwin x86_64-unknown-freebsd
use_target_dir types
note "cargo check for $*"
# All at once: what one waits for, another has work beside.
cargo check --quiet "${build_std[@]}" "${@/#/--target=}" --lib --tests --examples
