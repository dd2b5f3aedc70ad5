// The date jumps by hours, there and back, at every look: timers, deadlines and waits are none the earlier and none the later, for
// the library never looks at it.
//
// Linux only: the program has a clock_gettime of its own, which the library gets, and a filter of system calls (seccomp(2)) ends it
// where anybody waits until a date.
//
// date [rounds = 200]

#ifdef __linux__
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include "harness.h"

#if !defined(__linux__) || !defined(__LP64__)

int main(void)
{
    return skip("puts a clock of its own in the place of Linux's");
}

#else

#include <stdatomic.h>
#include <stddef.h>

static atomic_int dates_asked, times_asked;
static _Thread_local int ours;

// Named by the assembler, for the system's headers declare it in their own ways.
int jumping_clock_gettime(clockid_t clock, struct timespec *now) __asm__("clock_gettime");

int jumping_clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI) {
        static atomic_int jumps;
        now->tv_sec += atomic_fetch_add(&jumps, 1) % 2 ? 5 * 3600 : -5 * 3600;
        atomic_fetch_add(&dates_asked, 1);
    } else if (!ours) {
        atomic_fetch_add(&times_asked, 1);
    }
    return result;
}

// From now on a futex that is waited for until a date (FUTEX_CLOCK_REALTIME, with a time) ends the program.
static void forbid_dates(void)
{
    enum { FUTEX_DATE = 256 };
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 0, 7),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, FUTEX_DATE, 0, 5),
        // Both halves of the address of the time.
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3]) + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    CHECK_IS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    CHECK_IS(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program), 0);
}

static void one_round(sl_loop loop, sl_stream silent, uint64_t *late)
{
    sl_op op;
    sl_event event;
    sl_options options = by_handle();
    uint64_t begun = now_ns();
    CHECK_IS(sl_timer(loop, 3 * MILLISECOND, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 1);
    uint64_t took = now_ns() - begun;
    CHECK(took >= 3 * MILLISECOND);
    *late = took > *late ? took : *late;

    sl_options limited = until(2 * MILLISECOND);
    begun = now_ns();
    CHECK_IS(sl_stream_receive(silent, NULL, 0, 0, &limited, &op), SL_OK);
    CHECK_IS(result_of(loop, op), SL_ERR_TIMED_OUT);
    CHECK(now_ns() - begun >= 2 * MILLISECOND);

    begun = now_ns();
    CHECK_IS(sl_wait(loop, &event, 1, MILLISECOND), 0);
    CHECK(now_ns() - begun >= MILLISECOND);
    begun = now_ns();
    CHECK_IS(sl_dispatch(loop, 0, MILLISECOND), 0);
    CHECK(now_ns() - begun >= MILLISECOND);
    CHECK_IS(sl_timer(loop, INT64_MAX, 0, &options, &op), SL_OK);
    begun = now_ns();
    CHECK_IS(sl_op_wait(op, MILLISECOND, &event), 0);
    CHECK(now_ns() - begun >= MILLISECOND);
    CHECK_IS(sl_op_cancel(op), SL_OK);
    CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);

    CHECK_IS(sl_timer(loop, MILLISECOND, MILLISECOND, NULL, &op), SL_OK);
    for (int64_t ticks = 0; ticks < 3; ticks += event.result) {
        event = next_event(loop);
        CHECK(event.op == op && event.flags == SL_EVENT_MORE && event.result > 0);
    }
    CHECK_IS(sl_op_cancel(op), SL_OK);
    do {
        event = next_event(loop);
    } while (event.flags & SL_EVENT_MORE);
    CHECK_IS(event.result, SL_ERR_CANCELLED);
    CHECK_IS(sl_path_read(loop, "/proc/self/stat", NULL, &op), SL_OK);
    event = next_event(loop);
    CHECK(event.result > 0);
    CHECK_IS(sl_buffer_release(event.detail), SL_OK);
}

int main(int argc, char **argv)
{
    start();
    ours = 1;
    size_t rounds = argument(argc, argv, 1, 200);
    uint64_t late = 0;
    struct timespec first, second;
    // That this is what everybody gets.
    clock_gettime(CLOCK_REALTIME, &first);
    clock_gettime(CLOCK_REALTIME, &second);
    CHECK(second.tv_sec - first.tv_sec > 9 * 3600);
    forbid_dates();
    atomic_store(&dates_asked, 0);
    sl_loop loop = open_loop(NULL);
    sl_stream silent, there;
    connect_pair(loop, &silent, &there);
    for (size_t i = 0; i < rounds; i++) {
        one_round(loop, silent, &late);
    }
    close_resource(loop, silent);
    close_resource(loop, there);
    close_loop(loop);
    CHECK_IS(atomic_load(&dates_asked), 0);
    CHECK(atomic_load(&times_asked) > 0);
    printf("%zu rounds: the library's threads looked %d times at the time and never at the date; the latest timer of 3 ms took %.1f\n",
           rounds, atomic_load(&times_asked), (double)late / 1e6);
    return 0;
}

#endif
