#!/usr/bin/env bash
# Has each system call that the library makes fail, one at a time, with each error (strace injects them), and sees what becomes of a
# program that does a bit of everything (tests/c/faulted.c): it ends, every operation ends, what succeeds is right, no descriptor is
# left.
#
#   scripts/check-syscall-faults.sh [small|full] [DRIVER...]
#
# small (the default): the first and the last call of each site, two errors each.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

size=${1:-small}
shift || true
[[ $# -gt 0 ]] || set -- poll uring
[[ $(uname -s) == Linux ]] || not_run "faults are injected by strace, on Linux"
need strace=strace gcc=gcc libc6-dev=/usr/include/stdio.h python3=python3
strace -f -e trace=none true 2>/dev/null || not_run "processes may not be traced here"

cargo build --quiet --lib
folder=$root/target/syscall-faults
mkdir -p "$folder"
# Linked statically: the loader's own system calls, which would count, are not there. What glibc says about it concerns names of hosts
# and users, which are not looked up.
gcc -static -std=c11 -O1 -g -Wall -Wextra -Iinclude -Itests/c tests/c/faulted.c -o "$folder/faulted" \
    "${CARGO_TARGET_DIR:-target}/debug/libsideloop.a" -pthread -lm 2>"$folder/link.log" ||
    { tail -n 3 "$folder/link.log"; not_run "a static program cannot be linked here"; }
exec python3 scripts/syscall-faults.py "$folder" "$size" "$@"
