#!/usr/bin/env bash
# Runs the unit tests of the parts that ask nothing of the system under Miri, which sees undefined behaviour that happens to do no harm:
# ids and slots, instants, pieces of memory, lent buffers, fault plans, the boundary's guard.
#
#   scripts/check-miri.sh

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v rustup >/dev/null || not_run "Miri comes with rustup's nightly toolchain"
rustup component add --toolchain nightly miri rust-src >/dev/null 2>&1 || not_run "rustup's nightly toolchain or its miri cannot be had"
use_target_dir miri
note "$(cargo +nightly miri --version)"
# Not isolated from the clock, which the tests look at.
MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --quiet --lib -- \
    table:: timers:: memory:: buffers:: plan:: dice:: patience:: task:: error:: ffi::tests
