// Files that are replaced or copied are there whole or not at all: whatever fails, is cancelled or comes too late, what was
// there before is as it was, and nothing else is left.
//
// whole_files [rounds = 400]

#include "harness.h"

enum { MOST = 200000 };

static sl_loop loop;
static uint8_t bytes[MOST];

// --- Files whose every byte is known: the whole of them comes from one seed

static int64_t write_with(const char *path, size_t length, uint64_t seed, uint32_t flags, uint32_t mode)
{
    sl_op op;
    fill(bytes, length, seed, 0);
    CHECK_IS(sl_path_write(loop, path, bytes, length, flags, mode, NULL, &op), SL_OK);
    return result_of(loop, op);
}

static int64_t copy_with(const char *from, const char *to, uint32_t flags, uint32_t mode)
{
    sl_op op;
    CHECK_IS(sl_path_copy(loop, from, to, flags, mode, NULL, &op), SL_OK);
    return result_of(loop, op);
}

static int has(const char *path, size_t length, uint64_t seed)
{
    static uint8_t found[MOST + 1];
    FILE *file = fopen(path, "rb");
    if (!file) {
        return 0;
    }
    size_t count = fread(found, 1, sizeof found, file);
    fclose(file);
    return count == length && matches(found, length, seed, 0);
}

static int exists(const char *path)
{
    FILE *file = fopen(path, "rb");
    return file && fclose(file) == 0;
}

// How many names there are here: what was made beside a file and not removed shows.
static size_t names_here(void)
{
    sl_op op;
    size_t count = 0;
    sl_loop own = open_loop(NULL);
    CHECK_IS(sl_path_list(own, ".", NULL, &op), SL_OK);
    sl_event event = next_event(own);
    CHECK(event.result >= 0);
    for (int64_t at = 0; at < event.result; count++) {
        at += ((const sl_entry *)((const char *)event.data + at))->length;
    }
    if (event.flags & SL_EVENT_LENT) {
        CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    }
    close_loop(own);
    return count;
}

// --- What they come to

static void replaced(void)
{
    CHECK_IS(write_with("old.tmp", 5000, 1, SL_WRITE_REPLACE, 0644), 5000);
    CHECK(has("old.tmp", 5000, 1));
    CHECK_IS(write_with("old.tmp", MOST, 2, SL_WRITE_REPLACE | SL_WRITE_SYNC, 0644), MOST);
    CHECK(has("old.tmp", MOST, 2));
    CHECK_IS(write_with("old.tmp", 0, 3, SL_WRITE_REPLACE, 0644), 0);
    CHECK(has("old.tmp", 0, 3));
    CHECK_IS(write_with("old.tmp", 700, 4, SL_WRITE_SYNC, 0644), 700);
    CHECK_IS(write_with("old.tmp", 7, 4, SL_WRITE_SYNC | SL_OPEN_APPEND, 0644), 7);
    CHECK_IS(write_with("missing.tmp/new.tmp", 7, 4, SL_WRITE_REPLACE, 0644), SL_ERR_NOT_FOUND);
    CHECK(write_with("old.tmp/new.tmp", 7, 4, SL_WRITE_REPLACE, 0644) < 0);
    CHECK_IS(names_here(), 1);
    CHECK_IS(remove("old.tmp"), 0);
}

#if !defined(_WIN32)
#include <sys/stat.h>

static uint32_t mode_of(const char *path)
{
    struct stat is;
    CHECK_IS(lstat(path, &is), 0);
    return is.st_mode;
}

static void permissions_and_links(void)
{
    mode_t mask = umask(022);
    CHECK_IS(write_with("old.tmp", 10, 1, SL_WRITE_REPLACE, 0666), 10);
    CHECK_IS(mode_of("old.tmp"), S_IFREG | 0644);
    CHECK_IS(chmod("old.tmp", 04606), 0);
    CHECK_IS(write_with("old.tmp", 10, 2, SL_WRITE_REPLACE, 0644), 10);
    CHECK_IS(mode_of("old.tmp"), S_IFREG | 0606);
    CHECK_IS(copy_with("old.tmp", "new.tmp", 0, 0660), 10);
    CHECK_IS(mode_of("new.tmp"), S_IFREG | 0640);
    CHECK_IS(copy_with("new.tmp", "old.tmp", 0, 0660), 10);
    CHECK_IS(mode_of("old.tmp"), S_IFREG | 0606);
    CHECK_IS(remove("new.tmp"), 0);
    umask(mask);
    // A link is replaced itself, and what it led to stays.
    CHECK_IS(symlink("old.tmp", "link.tmp"), 0);
    CHECK_IS(write_with("link.tmp", 20, 3, SL_WRITE_REPLACE, 0644), 20);
    CHECK(has("link.tmp", 20, 3) && has("old.tmp", 10, 2));
    CHECK_IS(mode_of("link.tmp"), S_IFREG | 0606);
    CHECK_IS(remove("link.tmp"), 0);
    // What is no file is not replaced by one.
    CHECK_IS(write_with("/dev/null", 20, 3, SL_WRITE_REPLACE, 0644), SL_ERR_UNSUPPORTED);
    CHECK_IS(mkdir("folder.tmp", 0755), 0);
    CHECK_IS(write_with("folder.tmp", 20, 3, SL_WRITE_REPLACE, 0644), SL_ERR_IS_DIRECTORY);
    CHECK_IS(copy_with("old.tmp", "folder.tmp", 0, 0644), SL_ERR_IS_DIRECTORY);
    CHECK_IS(copy_with("folder.tmp", "new.tmp", 0, 0644), SL_ERR_IS_DIRECTORY);
    CHECK_IS(copy_with("folder.tmp", "new.tmp", SL_NO_REPLACE, 0644), SL_ERR_IS_DIRECTORY);
    CHECK_IS(names_here(), 2);
    CHECK_IS(rmdir("folder.tmp"), 0);
    CHECK_IS(remove("old.tmp"), 0);
}
#endif

static void copied(void)
{
    enum { LARGE = 21 << 20 };
    static const size_t lengths[] = {0, 1, 4096, MOST};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        CHECK_IS(write_with("from.tmp", lengths[i], i, 0, 0644), lengths[i]);
        CHECK_IS(copy_with("from.tmp", "to.tmp", i % 2 ? SL_WRITE_SYNC : 0, 0644), lengths[i]);
        CHECK(has("to.tmp", lengths[i], i));
    }
    CHECK_IS(copy_with("from.tmp", "from.tmp", 0, 0644), MOST);
    CHECK(has("from.tmp", MOST, 3));
    CHECK_IS(copy_with("from.tmp", "to.tmp", SL_NO_REPLACE, 0644), SL_ERR_EXISTS);
    CHECK_IS(copy_with("missing.tmp", "to.tmp", 0, 0644), SL_ERR_NOT_FOUND);
    CHECK(has("to.tmp", MOST, 3));
    CHECK_IS(remove("to.tmp"), 0);
    CHECK_IS(copy_with("from.tmp", "to.tmp", SL_NO_REPLACE | SL_WRITE_SYNC, 0644), MOST);
    CHECK(has("to.tmp", MOST, 3));
    CHECK_IS(copy_with("from.tmp", "missing.tmp/to", 0, 0644), SL_ERR_NOT_FOUND);
    CHECK_IS(copy_with("from.tmp", "missing.tmp/to", SL_NO_REPLACE, 0644), SL_ERR_NOT_FOUND);
#if defined(__linux__)
    // It has no length, and yet something to say.
    CHECK(copy_with("/proc/version", "to.tmp", 0, 0644) > 10);
#endif
    // Of several portions.
    sl_file large = open_file(loop, "from.tmp", SL_OPEN_WRITE | SL_OPEN_CREATE);
    sl_op op;
    CHECK_IS(sl_file_write(large, "end", 3, LARGE - 3, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 3);
    close_resource(loop, large);
    CHECK_IS(copy_with("from.tmp", "to.tmp", 0, 0644), LARGE);
    FILE *file = fopen("to.tmp", "rb");
    CHECK(file);
    CHECK_IS(fread(bytes, 1, MOST, file), MOST);
    CHECK(matches(bytes, MOST, 3, 0));
    CHECK_IS(fseek(file, LARGE - 3, SEEK_SET), 0);
    CHECK_IS(fread(bytes, 1, 4, file), 3);
    CHECK(memcmp(bytes, "end", 3) == 0);
    fclose(file);
    CHECK_IS(names_here(), 2);
    CHECK_IS(remove("from.tmp"), 0);
    CHECK_IS(remove("to.tmp"), 0);
}

// --- Cancelled and too late

// The one that ends with a success has done it, and the one that does not has not.
static void stopped(size_t rounds)
{
    uint64_t random = 1;
    size_t successes = 0, failures = 0;
    fill(bytes, MOST, 7, 0);
    CHECK_IS(write_with("from.tmp", MOST, 7, 0, 0644), MOST);
    for (size_t i = 0; i < rounds; i++) {
        uint64_t way = random_below(&random, 3), sync = random_below(&random, 4) ? 0 : SL_WRITE_SYNC;
        CHECK_IS(write_with("to.tmp", 100, 9, 0, 0644), 100);
        fill(bytes, MOST, 7, 0);
        sl_op op;
        sl_options options = until(random_below(&random, 4) ? 0 : 1 + random_below(&random, 1 << random_below(&random, 26)));
        uint32_t flags = (uint32_t)sync | (way == 0 ? SL_WRITE_REPLACE : way == 2 ? SL_NO_REPLACE : 0);
        if (way == 2) {
            CHECK_IS(remove("to.tmp"), 0);
        }
        CHECK_IS(way == 0 ? sl_path_write(loop, "to.tmp", bytes, MOST, flags, 0644, &options, &op)
                          : sl_path_copy(loop, "from.tmp", "to.tmp", flags, 0644, &options, &op),
                 SL_OK);
        if (options.timeout_ns == 0) {
            for (uint64_t spins = random_below(&random, 1 << random_below(&random, 25)); spins > 0; spins--) {
                (void)mix(spins);
            }
            sl_status status = sl_op_cancel(op);
            CHECK(status == SL_OK || status == SL_ERR_ENDED);
        }
        sl_event event = next_event(loop);
        CHECK_IS(event.op, op);
        CHECK_IS(event.flags, 0);
        *(event.result < 0 ? &failures : &successes) += 1;
        if (event.result < 0) {
            CHECK_IS(event.result, options.timeout_ns ? SL_ERR_TIMED_OUT : SL_ERR_CANCELLED);
            CHECK(way == 2 ? !exists("to.tmp") : has("to.tmp", 100, 9));
        } else {
            CHECK_IS(event.result, MOST);
            CHECK(has("to.tmp", MOST, 7));
        }
        CHECK_IS(names_here(), event.result < 0 && way == 2 ? 1 : 2);
    }
    CHECK(failures > 0);
    printf("%zu stopped, %zu not\n", failures, successes);
    remove("to.tmp");
    CHECK_IS(remove("from.tmp"), 0);
}

// The loop is closed with many of them under way.
static void closed(size_t rounds)
{
    char name[32];
    CHECK_IS(write_with("from.tmp", MOST, 7, 0, 0644), MOST);
    for (size_t i = 0; i < rounds; i++) {
        sl_loop own = open_loop(NULL);
        for (size_t file = 0; file < 8; file++) {
            snprintf(name, sizeof name, "new-%zu.tmp", file);
            CHECK_IS(sl_path_copy(own, "from.tmp", name, file % 2 ? SL_NO_REPLACE : 0, 0644, NULL, NULL), SL_OK);
        }
        sl_status status = sl_loop_close(own, SL_FOREVER);
        CHECK(status >= 0);
        size_t here = 1;
        for (size_t file = 0; file < 8; file++) {
            snprintf(name, sizeof name, "new-%zu.tmp", file);
            if (exists(name)) {
                here++;
                CHECK(has(name, MOST, 7));
                CHECK_IS(remove(name), 0);
            }
        }
        CHECK_IS(names_here(), 1);
        CHECK(here <= 9);
    }
    CHECK_IS(remove("from.tmp"), 0);
}

// --- Faults

#if !defined(_WIN32)
static sl_loop loop_with(const char *faults, uint64_t seed)
{
    sl_loop_options options = {0};
    options.size = sizeof options;
    options.faults = faults;
    options.seed = seed;
    return open_loop(&options);
}

// Each step fails in turn.
static void each_fails(void)
{
    static const struct {
        const char *plan;
        sl_status status;
        int in_place; // it fails when the file is in its place already
    } plans[] = {
        {"open: EACCES#1", SL_ERR_PERMISSION, 0}, {"open: EACCES#2", SL_ERR_PERMISSION, 2},
        {"write, copy: EIO#1", SL_ERR_IO, 0},     {"write, copy: short#1 ENOSPC#2", SL_ERR_NO_SPACE, 0},
        {"sync: EIO#1", SL_ERR_IO, 0},            {"sync: EIO#2", SL_ERR_IO, 1},
        {"close: EIO", SL_ERR_IO, 0},             {"rename: EACCES", SL_ERR_PERMISSION, 0},
    };
    enum { REPLACES, COPIES, COPIES_TO_NEW, WAYS };
    for (size_t i = 0; i < WAYS * sizeof plans / sizeof *plans; i++) {
        int way = (int)(i % WAYS), in_place = plans[i / WAYS].in_place;
        // The second file that is opened: the directory at the end, or that which is copied to.
        in_place = in_place == 2 ? way == REPLACES : in_place;
        CHECK_IS(write_with("from.tmp", MOST, 7, 0, 0644), MOST);
        CHECK_IS(write_with("to.tmp", 100, 9, 0, 0644), 100);
        if (way == COPIES_TO_NEW) {
            CHECK_IS(remove("to.tmp"), 0);
            // Nothing is renamed.
            in_place |= strncmp(plans[i / WAYS].plan, "rename", 6) == 0 ? 2 : 0;
        }
        sl_loop whole = loop;
        loop = loop_with(plans[i / WAYS].plan, 1 + i);
        uint32_t flags = SL_WRITE_SYNC | (uint32_t[]){SL_WRITE_REPLACE, 0, SL_NO_REPLACE}[way];
        int64_t result = way == REPLACES ? write_with("to.tmp", MOST, 7, flags, 0644)
                                         : copy_with("from.tmp", "to.tmp", flags, 0644);
        CHECK_IS(result, in_place == 2 ? MOST : plans[i / WAYS].status);
        close_loop(loop);
        loop = whole;
        CHECK(in_place ? has("to.tmp", MOST, 7) : way == COPIES_TO_NEW ? !exists("to.tmp") : has("to.tmp", 100, 9));
        CHECK_IS(names_here(), in_place || way != COPIES_TO_NEW ? 2 : 1);
    }
    CHECK_IS(remove("from.tmp"), 0);
    CHECK_IS(remove("to.tmp"), 0);
}

// The deadline comes when the file is in its place, and the directory is not safe yet: that is no time to say that nothing was done.
static void too_late(void)
{
    sl_loop whole = loop;
    sl_op op;
    sl_options options = until(30 * MILLISECOND);
    for (uint64_t seed = 1; seed <= 10; seed++) {
        loop = whole;
        CHECK_IS(write_with("to.tmp", 100, 9, 0, 0644), 100);
        fill(bytes, MOST, 7, 0);
        loop = loop_with("open: delay=100ms#2", seed);
        CHECK_IS(sl_path_write(loop, "to.tmp", bytes, MOST, SL_WRITE_REPLACE | SL_WRITE_SYNC, 0644, &options, &op), SL_OK);
        int64_t result = result_of(loop, op);
        CHECK(result == MOST || result == SL_ERR_TIMED_OUT);
        CHECK(result == MOST ? has("to.tmp", MOST, 7) : has("to.tmp", 100, 9));
        close_loop(loop);
    }
    loop = whole;
    CHECK_IS(remove("to.tmp"), 0);
}

// Anything fails, but for the removal of what is not needed.
static void some_fail(size_t rounds)
{
    size_t failures = 0;
    CHECK_IS(write_with("from.tmp", MOST, 7, 0, 0644), MOST);
    sl_loop whole = loop;
    for (size_t i = 0; i < rounds; i++) {
        loop = whole;
        CHECK_IS(write_with("to.tmp", 100, 9, 0, 0644), 100);
        loop = loop_with("open, read, write, copy, close, rename: error@0.1 short@0.3; all: delay=20us@0.1", 1 + i);
        int64_t result = i % 2 ? copy_with("from.tmp", "to.tmp", 0, 0644) : write_with("to.tmp", MOST, 7, SL_WRITE_REPLACE, 0644);
        close_loop(loop);
        failures += result < 0;
        CHECK(result == MOST ? has("to.tmp", MOST, 7) : result < 0 && has("to.tmp", 100, 9));
        CHECK_IS(names_here(), 2);
    }
    CHECK(failures > 0);
    loop = whole;
    CHECK_IS(remove("from.tmp"), 0);
    CHECK_IS(remove("to.tmp"), 0);
}
#endif

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    size_t rounds = argument(argc, argv, 1, 400);
    loop = open_loop(NULL);
    replaced();
    copied();
    stopped(rounds);
    closed(rounds / 8);
#if !defined(_WIN32)
    permissions_and_links();
    each_fails();
    too_late();
    some_fail(rounds);
#endif
    close_loop(loop);
    check_returned(before);
    return 0;
}
