#!/usr/bin/env bash
# Checks the dependencies against deny.toml: licences, duplicates, sources, and known vulnerabilities where the database of them can be
# reached; and that LICENSE-THIRD-PARTY names those that are linked. Builds cargo-deny under target/ where there is none, which takes some minutes.
#
#   scripts/check-dependencies.sh

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

tools=$root/target/tools
export PATH=$tools/bin:$PATH
if ! command -v cargo-deny >/dev/null; then
    note "building cargo-deny"
    # Unoptimised: it runs for seconds, and takes minutes to optimise. Not in this project's target directory: it shares nothing with it,
    # and goes when it is built.
    cargo install cargo-deny --version '^0.20' --locked --debug --root "$tools" --target-dir "$tools/build" >"$root/target/cargo-deny.log" 2>&1 ||
        not_run "cargo-deny cannot be built: $(tail -n 1 "$root/target/cargo-deny.log")"
    rm -rf "$tools/build"
fi
note "$(cargo deny --version)"

checks=(bans licenses sources)
if timeout 120 cargo deny fetch db >"$root/target/advisories.log" 2>&1; then
    checks+=(advisories)
else
    note "advisories are not checked: their database cannot be reached"
fi
# Those of every platform: a build has only fetched its own.
cargo fetch --quiet --locked || not_run "the dependencies cannot be fetched"
python3 scripts/list-notices.py --check
# Offline: everything is there by now, and the lock file says what it is.
cargo deny --offline --locked check "${checks[@]}"
