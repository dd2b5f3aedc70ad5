// Fault plans: short transfers, which the operations that promise all of it make good; how often and how late things go wrong;
// plans from the environment; plans that make no sense; programs that were compiled before there were plans.
//
// fault_plans [rounds = 20]

#include "faults.h"

#include <stddef.h>

#if defined(_WIN32)
int main(void)
{
    return skip("the system's errors have other numbers here");
}
#else

static uint8_t room[LENGTH];

// --- Short transfers

static int64_t read_some(sl_loop loop, sl_file file, void *buffer, uint32_t flags)
{
    sl_op op;
    CHECK_IS(sl_file_read(file, buffer, LENGTH, 0, flags, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    CHECK(event.result > 0);
    CHECK(matches(buffer ? buffer : event.data, (size_t)event.result, 1, 0));
    CHECK_IS(event.flags, buffer ? 0 : SL_EVENT_LENT);
    CHECK_IS(buffer ? SL_OK : sl_buffer_release(event.detail), SL_OK);
    return event.result;
}

static void short_files(size_t rounds)
{
    sl_loop loop = open_with("read, write: short", 0);
    sl_file file = open_file(loop, PATH, SL_OPEN_READ | SL_OPEN_WRITE);
    sl_op op;
    for (size_t i = 0; i < rounds; i++) {
        CHECK(read_some(loop, file, room, 0) < LENGTH);
        CHECK(read_some(loop, file, NULL, 0) < LENGTH);
        CHECK_IS(read_some(loop, file, room, SL_EXACT), LENGTH);
        CHECK_IS(sl_path_read(loop, PATH, NULL, &op), SL_OK);
        sl_event event = event_of(loop, op);
        CHECK_IS(event.result, LENGTH);
        CHECK(matches(event.data, LENGTH, 1, 0));
        CHECK_IS(sl_buffer_release(event.detail), SL_OK);
        fill(room, LENGTH, i, 0);
        CHECK_IS(sl_file_write(file, room, LENGTH, 0, 0, NULL, &op), SL_OK);
        CHECK_IS(result_of(loop, op), LENGTH);
        check_file(room, LENGTH);
        CHECK_IS(sl_path_write(loop, PATH, bytes, LENGTH, 0, 0644, NULL, &op), SL_OK);
        CHECK_IS(result_of(loop, op), LENGTH);
        check_file(bytes, LENGTH);
    }
    CHECK(counters_of(loop).faults >= 8 * rounds);
    close_resource(loop, file);
    close_loop(loop);
}

static void short_streams(size_t rounds)
{
    sl_loop loop = open_with("receive, send: short", 0);
    raw_socket other;
    sl_stream stream = stream_and_socket(loop, &other);
    sl_op op;
    for (size_t i = 0; i < rounds; i++) {
        CHECK_IS(send(other, (char *)bytes, LENGTH, NO_SIGNAL), LENGTH);
        CHECK_IS(sl_stream_receive(stream, room, LENGTH, 0, NULL, &op), SL_OK);
        int64_t some = result_of(loop, op);
        CHECK(some > 0 && some < LENGTH);
        CHECK_IS(sl_stream_receive(stream, room + some, (size_t)(LENGTH - some), SL_EXACT, NULL, &op), SL_OK);
        CHECK_IS(result_of(loop, op), LENGTH - some);
        CHECK(matches(room, LENGTH, 1, 0));
        CHECK_IS(sl_stream_send(stream, bytes, LENGTH, 0, NULL, &op), SL_OK);
        CHECK_IS(result_of(loop, op), LENGTH);
        CHECK_IS(recv(other, (char *)room, LENGTH, MSG_WAITALL), LENGTH);
        CHECK(matches(room, LENGTH, 1, 0));
    }
    CHECK(counters_of(loop).faults >= 3 * rounds);
    close_resource(loop, stream);
    close_socket(other);
    close_loop(loop);
}

// A write that fails after a part of it was done says how much.
static void partial_write(void)
{
    sl_loop loop = open_with("write: short ENOSPC#3", 1);
    sl_file file = open_file(loop, PATH, SL_OPEN_WRITE | SL_OPEN_TRUNCATE);
    sl_op op;
    CHECK_IS(sl_file_write(file, bytes, LENGTH, 0, 0, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    CHECK_IS(event.result, SL_ERR_NO_SPACE);
    CHECK_IS(event.flags, SL_EVENT_PARTIAL);
    CHECK(event.detail >= 2 && event.detail < LENGTH);
    check_file(bytes, (size_t)event.detail);
    close_resource(loop, file);
    close_loop(loop);
    make_file();
}

// --- How often, and how late

static void the_third_only(void)
{
    sl_loop loop = open_with("stat: EIO#3", 0);
    sl_stat stat = {0};
    sl_op op;
    stat.size = sizeof stat;
    for (int i = 1; i <= 6; i++) {
        CHECK_IS(sl_path_stat(loop, PATH, 0, &stat, NULL, &op), SL_OK);
        CHECK_IS(result_of(loop, op), i == 3 ? SL_ERR_IO : 0);
    }
    CHECK_IS(counters_of(loop).faults, 1);
    close_loop(loop);
}

// The same seed has the same ones fail, and about as many as it says.
static void by_chance(void)
{
    enum { COUNT = 2000 };
    static uint8_t failed[2][COUNT];
    size_t failures = 0;
    for (int run = 0; run < 2; run++) {
        sl_loop loop = open_with("stat: EIO@0.25", 99);
        sl_stat stat = {0};
        sl_op op;
        stat.size = sizeof stat;
        for (int i = 0; i < COUNT; i++) {
            CHECK_IS(sl_path_stat(loop, PATH, 0, &stat, NULL, &op), SL_OK);
            failed[run][i] = result_of(loop, op) == SL_ERR_IO;
            failures += failed[run][i];
        }
        close_loop(loop);
    }
    CHECK(memcmp(failed[0], failed[1], COUNT) == 0);
    CHECK(failures / 2 > COUNT / 5 && failures / 2 < COUNT * 3 / 10);
}

// What is to begin within a day has not begun after a millisecond, and can be cancelled.
static void delays(void)
{
    sl_loop loop = open_with("sync: delay=86400s; stat: delay=100us", 7);
    sl_file file = open_file(loop, PATH, SL_OPEN_READ | SL_OPEN_WRITE);
    sl_stat stat = {0};
    sl_options soon = until(MILLISECOND);
    sl_op op;
    stat.size = sizeof stat;
    for (int i = 0; i < 10; i++) {
        CHECK_IS(sl_file_sync(file, 0, &soon, &op), SL_OK);
        CHECK_IS(result_of(loop, op), SL_ERR_TIMED_OUT);
        CHECK_IS(sl_file_stat(file, &stat, NULL, &op), SL_OK);
        CHECK_IS(result_of(loop, op), 0);
        CHECK_IS(stat.length, LENGTH);
    }
    CHECK_IS(counters_of(loop).faults, 20);
    CHECK_IS(sl_file_sync(file, 0, NULL, &op), SL_OK);
    CHECK_IS(sl_op_cancel(op), SL_OK);
    CHECK_IS(result_of(loop, op), SL_ERR_CANCELLED);
    close_resource(loop, file);
    close_loop(loop);
}

// Pieces that go on by themselves are judged one by one.
static void multishot(void)
{
    sl_loop loop = open_with("receive: ECONNRESET#3", 0);
    raw_socket other;
    sl_stream stream = stream_and_socket(loop, &other);
    sl_op op;
    CHECK_IS(sl_stream_receive(stream, NULL, 0, SL_MULTISHOT, NULL, &op), SL_OK);
    for (int i = 0; i < 2; i++) {
        CHECK_IS(send(other, "piece", 5, NO_SIGNAL), 5);
        sl_event event = next_event(loop);
        CHECK_IS(event.flags, SL_EVENT_MORE | SL_EVENT_LENT);
        CHECK(event.result > 0);
        CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    }
    CHECK_IS(result_of(loop, op), SL_ERR_CONNECTION_RESET);
    close_resource(loop, stream);
    close_socket(other);
    close_loop(loop);
}

// --- Where plans come from

static void set(const char *name, const char *value)
{
    CHECK_IS(value ? setenv(name, value, 1) : unsetenv(name), 0);
}

// What the first read of a loop with these options gives.
static int64_t first_read(const sl_loop_options *options)
{
    sl_loop loop;
    sl_op op;
    CHECK_IS(sl_loop_open(options, &loop), SL_OK);
    sl_file file = open_file(loop, PATH, SL_OPEN_READ);
    CHECK_IS(sl_file_read(file, room, LENGTH, 0, SL_EXACT, NULL, &op), SL_OK);
    int64_t result = result_of(loop, op);
    close_resource(loop, file);
    close_loop(loop);
    return result;
}

static void environment(void)
{
    char driver[16] = "", reason[512];
    const char *given = getenv("SIDELOOP_DRIVER");
    sl_loop_options options = {0};
    sl_loop loop;
    options.size = sizeof options;
    snprintf(driver, sizeof driver, "%s", given ? given : "auto");
    CHECK_IS(first_read(NULL), LENGTH);
    set("SIDELOOP_FAULTS", "read: EIO");
    CHECK_IS(first_read(NULL), SL_ERR_IO);
    CHECK_IS(first_read(&options), SL_ERR_IO);
    options.faults = "";
    CHECK_IS(first_read(&options), LENGTH);
    options.faults = "read: ENOMEM";
    CHECK_IS(first_read(&options), SL_ERR_NO_MEMORY);
    set("SIDELOOP_SEED", "12345");
    set("SIDELOOP_DRIVER", "sim");
    CHECK_IS(sl_loop_open(NULL, &loop), SL_OK);
    CHECK_IS(sl_loop_driver(loop, reason, sizeof reason), SL_DRIVER_SIM);
    CHECK(strstr(reason, "seed 12345") && strstr(reason, "faults") && strstr(reason, "SIDELOOP_DRIVER"));
    close_loop(loop);
    options.seed = 678;
    options.driver = SL_DRIVER_POLL;
    CHECK_IS(sl_loop_open(&options, &loop), SL_OK);
    CHECK_IS(sl_loop_driver(loop, reason, sizeof reason), SL_DRIVER_POLL);
    CHECK(strstr(reason, "seed 678,"));
    close_loop(loop);
    set("SIDELOOP_FAULTS", NULL);
    set("SIDELOOP_SEED", NULL);
    set("SIDELOOP_DRIVER", driver);
}

// --- What is refused

static void check_refused(const sl_loop_options *options, const char *named)
{
    sl_loop loop = 0;
    CHECK_IS(sl_loop_open(options, &loop), SL_ERR_INVALID);
    CHECK_IS(loop, 0);
    if (!strstr(sl_last_error(), named)) {
        fprintf(stderr, "%s is not in: %s\n", named, sl_last_error());
        CHECK(!"the sentence names what is wrong");
    }
}

static void nonsense(void)
{
    static const char *const plans[][2] = {
        {"reed: EIO", "reed"},       {"read EIO", "read EIO"},         {"read:", "read:"},
        {": EIO", "kind"},           {"read: EWHAT", "EWHAT"},         {"read: EIO@2", "EIO@2"},
        {"read: EIO@-0.1", "-0.1"},  {"read: EIO@nan", "EIO@nan"},     {"read: EIO#0", "EIO#0"},
        {"read: EIO#x", "EIO#x"},    {"read: delay=5", "delay=5"},     {"read: delay=0s", "delay=0s"},
        {"read: delay=2d", "=2d"},   {"read: delay", "delay"},         {"read: short=1", "short=1"},
        {"read: EIO; x: y", "\"x\""}, {"read: EIO@0.5#2", "EIO@0.5#2"}, {"\xff: EIO", "UTF-8"},
        {"all: error@", "error@"},   {"read: delay=9999999999999999999999s", "delay="},
    };
    sl_loop_options options = {0};
    options.size = sizeof options;
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        options.faults = plans[i][0];
        check_refused(&options, plans[i][1]);
    }
    options.faults = " ; ;";
    CHECK_IS(first_read(&options), LENGTH);
    static const char *const variables[][3] = {
        {"SIDELOOP_FAULTS", "reed: EIO", "reed"},
        {"SIDELOOP_SEED", "0", "\"0\""},
        {"SIDELOOP_SEED", "seven", "seven"},
        {"SIDELOOP_FAULTS", "\xff", "Unicode"},
    };
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        set(variables[i][0], variables[i][1]);
        check_refused(NULL, variables[i][0]);
        check_refused(NULL, variables[i][2]);
        set(variables[i][0], NULL);
    }
}

// --- Programs from before

static void older_programs(void)
{
    sl_loop_options options = {0};
    sl_counters counters;
    sl_loop loop;
    options.size = offsetof(sl_loop_options, seed);
    // Not theirs, so not looked at.
    options.seed = 1;
    options.faults = "nonsense";
    CHECK_IS(sl_loop_open(&options, &loop), SL_OK);
    memset(&counters, 0xee, sizeof counters);
    counters.size = offsetof(sl_counters, faults);
    CHECK_IS(sl_loop_counters(loop, &counters), SL_OK);
    CHECK_IS(counters.accepted, 0);
    CHECK_IS(counters.faults, UINT64_C(0xeeeeeeeeeeeeeeee));
    counters.size = offsetof(sl_counters, faults) + 4;
    CHECK_IS(sl_loop_counters(loop, &counters), SL_ERR_STRUCT_SIZE);
    close_loop(loop);
    options.faults = NULL;
    for (uint32_t size = 0; size < sizeof options + 16; size++) {
        options.size = size;
        if (size != offsetof(sl_loop_options, seed) && size != sizeof options) {
            CHECK_IS(sl_loop_open(&options, &loop), SL_ERR_STRUCT_SIZE);
        }
    }
}

int main(int argc, char **argv)
{
    start();
    size_t rounds = argument(argc, argv, 1, 20);
    holdings before = holdings_now();
    make_file();
    short_files(rounds);
    short_streams(rounds);
    partial_write();
    the_third_only();
    by_chance();
    delays();
    multishot();
    environment();
    nonsense();
    older_programs();
    CHECK_IS(remove(PATH), 0);
    check_returned(before);
    return 0;
}

#endif
