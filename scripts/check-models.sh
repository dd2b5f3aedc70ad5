#!/usr/bin/env bash
# Runs the models of src/engine/models.rs: the hand-overs between threads, in every order in which their threads can meet. Says for
# each how many orders that were.
#
#   scripts/check-models.sh [ARGUMENTS FOR THE TESTS]
#   scripts/check-models.sh --broken     breaks each protocol once, in a copy, and fails where its model does not find it
#
# LOOM_MAX_PREEMPTIONS sets another bound than the models' own.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
use_target_dir models

export RUSTFLAGS="--cfg loom" RUST_BACKTRACE=0 CARGO_PROFILE_TEST_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=line-tables-only
export CARGO_PROFILE_TEST_DEBUG=line-tables-only
if [[ ${1:-} == --broken ]]; then
    exec python3 scripts/break-models.py
fi
output=$CARGO_TARGET_DIR/output
cargo test --quiet --lib -- models:: --nocapture "$@" >"$output" 2>&1 || {
    tail -n 40 "$output"
    exit 1
}
grep -E 'orders,|^test result' "$output" | sed 's/^\.*//'
