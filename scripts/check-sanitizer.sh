#!/usr/bin/env bash
# Runs the tests, those in Rust and those in C, under a sanitizer: library, standard library and C programs are all instrumented.
#
#   scripts/check-sanitizer.sh address|thread [ARGUMENTS FOR CARGO TEST]

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

kind=${1:?address or thread}
shift
case $kind in
address) runtime=asan ;;
thread) runtime=tsan ;;
*)
    echo "no sanitizer: $kind" >&2
    exit 2
    ;;
esac
use_debian_rust
clang=/usr/lib/llvm-22
need clang-22=$clang/bin/clang \
    libclang-rt-22-dev=$clang/lib/clang/22/lib/linux/libclang_rt.$runtime-x86_64.a llvm-22=llvm-symbolizer-22 \
    util-linux=setarch g++=g++ binutils=ld

target=x86_64-unknown-linux-gnu
use_target_dir "$kind-sanitizer"

# One runtime, clang's, for Rust and for C: they are in one process.
export RUSTFLAGS="-Zsanitizer=$kind -Zexternal-clangrt -Clinker=$clang/bin/clang -Clink-arg=-fsanitize=$kind"
# The thread sanitizer starts a thread of its own with the first of the program; the C programs count theirs, so it has to be there
# before they begin.
cat >"$CARGO_TARGET_DIR/first-thread.h" <<'C'
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
static void *first_thread(void *argument) { return argument; }
__attribute__((constructor)) static void start_first_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, 0, first_thread, 0) == 0) {
        pthread_join(thread, 0);
    }
}
C
for language in clang clang++; do
    printf '#!/bin/sh\nexec %s -fsanitize=%s -include %s -g "$@"\n' "$clang/bin/$language" "$kind" \
        "$CARGO_TARGET_DIR/first-thread.h" >"$CARGO_TARGET_DIR/$language"
    chmod +x "$CARGO_TARGET_DIR/$language"
done
export CC=$CARGO_TARGET_DIR/clang CXX=$CARGO_TARGET_DIR/clang++
# The thread sanitizer refuses the memory layout that randomised addresses give.
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="setarch -R"
# Programs of many threads fork here, and only exec or call what may be called then.
export TSAN_OPTIONS="die_after_fork=0 ${TSAN_OPTIONS:-}"
# Everything is several times slower.
export SIDELOOP_SLOW=1 SIDELOOP_WATCHDOG=600

# First that the sanitizer reports what is broken on purpose, with the library's own code in the report: so it is instrumented.
cargo build --quiet --lib "${build_std[@]}" --target $target
must_report() {
    local program=$CARGO_TARGET_DIR/$1 said
    "$CC" -std=c11 -O1 -Iinclude -Itests/c "tests/c/broken/$1.c" -o "$program" \
        -L"$CARGO_TARGET_DIR/$target/debug" -lsideloop -pthread
    if said=$(cd "$CARGO_TARGET_DIR" && SIDELOOP_DRIVER=poll LD_LIBRARY_PATH=$CARGO_TARGET_DIR/$target/debug \
        setarch -R "$program" 2>&1) || ! grep -q "$2" <<<"$said" || ! grep -q "$3" <<<"$said"; then
        printf '%s\n' "$said" | head -n 40
        echo "the $kind sanitizer does not report tests/c/broken/$1.c" >&2
        exit 1
    fi
    note "the $kind sanitizer reports $1"
}
if [[ $kind == address ]]; then
    must_report use_after_free heap-use-after-free 'sideloop::'
    must_report leak 'LeakSanitizer: detected memory leaks' 'in lose'
else
    must_report data_race 'data race' 'sideloop::'
fi

skips=()
while IFS=' ' read -r name reason; do
    [[ -z $name || $name == '#'* ]] && continue
    note "a sanitizer cannot carry $name: $reason"
    skips+=("$name")
done <scripts/sanitizer-skips.txt

[[ $# -gt 0 ]] || set -- --lib --test c_harness
cargo test --quiet --no-fail-fast "${build_std[@]}" --target $target "$@" -- "${skips[@]/#/--skip=}"
