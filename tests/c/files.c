// Files: position order, vectored, exact and short reads, append, truncate, stat, sync, flags of opening, whole files in
// one operation, and the errors of paths.
//
// files [pieces = 2000]

#include "harness.h"

static sl_loop loop;

// Operations at the file's position run in the order submitted, however many are under way.
static void position_order(size_t pieces)
{
    enum { PIECE = 100 };
    uint8_t *out = malloc(pieces * PIECE), *in = calloc(pieces, PIECE);
    CHECK(out && in);
    fill(out, pieces * PIECE, 1, 0);
    sl_file file = open_file(loop, "files.tmp", SL_OPEN_READ | SL_OPEN_WRITE | SL_OPEN_CREATE | SL_OPEN_EXCLUSIVE);
    for (size_t i = 0; i < pieces; i++) {
        sl_options options = tagged(i);
        CHECK_IS(sl_file_write(file, out + i * PIECE, PIECE, SL_OFFSET_CURRENT, 0, &options, NULL), SL_OK);
    }
    for (size_t i = 0; i < pieces; i++) {
        sl_event event = next_event(loop);
        CHECK_IS(event.result, PIECE);
        CHECK_IS(event.user_data, i);
    }
    // At explicit offsets, in any order, and from behind.
    for (size_t i = pieces; i > 0; i--) {
        CHECK_IS(sl_file_read(file, in + (i - 1) * PIECE, PIECE, (int64_t)((i - 1) * PIECE), SL_EXACT, NULL, NULL), SL_OK);
    }
    for (size_t i = 0; i < pieces; i++) {
        CHECK_IS(next_event(loop).result, PIECE);
    }
    CHECK(matches(in, pieces * PIECE, 1, 0));
    close_resource(loop, file);

    memset(in, 0, pieces * PIECE);
    file = open_file(loop, "files.tmp", SL_OPEN_READ);
    for (size_t i = 0; i < pieces; i++) {
        CHECK_IS(sl_file_read(file, in + i * PIECE, PIECE, SL_OFFSET_CURRENT, SL_EXACT, NULL, NULL), SL_OK);
    }
    for (size_t i = 0; i < pieces; i++) {
        CHECK_IS(next_event(loop).result, PIECE);
    }
    CHECK(matches(in, pieces * PIECE, 1, 0));
    sl_op op;
    CHECK_IS(sl_file_read(file, in, 1, SL_OFFSET_CURRENT, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    close_resource(loop, file);
    free(out);
    free(in);
}

static void vectored(void)
{
    enum { SLICES = 1000, LENGTH = 13 };
    static uint8_t out[SLICES * LENGTH], in[SLICES * LENGTH];
    sl_slice slices[SLICES];
    sl_op op;
    fill(out, sizeof out, 2, 0);
    sl_file file = open_file(loop, "files.tmp", SL_OPEN_READ | SL_OPEN_WRITE | SL_OPEN_TRUNCATE);
    for (size_t i = 0; i < SLICES; i++) {
        slices[i].data = out + i * LENGTH;
        slices[i].length = LENGTH;
    }
    CHECK_IS(sl_file_writev(file, slices, SLICES, 7, 0, NULL, &op), SL_OK);
    memset(slices, 0xee, sizeof slices);
    CHECK_IS(result_of(loop, op), sizeof out);
    for (size_t i = 0; i < SLICES; i++) {
        slices[i].data = in + i * LENGTH;
        slices[i].length = LENGTH;
    }
    CHECK_IS(sl_file_readv(file, slices, SLICES, 7, SL_EXACT, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), sizeof in);
    CHECK(matches(in, sizeof in, 2, 0));
    // Over the end, exact or not: what there is.
    CHECK_IS(sl_file_readv(file, slices, SLICES, (int64_t)sizeof in, SL_EXACT, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 7);
    CHECK(matches(in, 7, 2, sizeof in - 7));
    CHECK_IS(sl_file_readv(file, slices, SLICES, 1 << 30, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    CHECK_IS(sl_file_writev(file, NULL, 0, 0, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    close_resource(loop, file);
}

static int64_t stat_of(sl_file file, sl_stat *stat)
{
    sl_op op;
    memset(stat, 0xee, sizeof *stat);
    stat->size = sizeof *stat;
    CHECK_IS(sl_file_stat(file, stat, NULL, &op), SL_OK);
    int64_t result = result_of(loop, op);
    CHECK_IS(stat->size, sizeof *stat);
    return result;
}

static void truncate_append_stat(void)
{
    sl_stat stat;
    sl_op op;
    uint8_t in[32];
    sl_file file = open_file(loop, "files.tmp", SL_OPEN_READ | SL_OPEN_WRITE | SL_OPEN_TRUNCATE);
    CHECK_IS(stat_of(file, &stat), 0);
    CHECK_IS(stat.length, 0);
    CHECK_IS(sl_file_write(file, "abcdef", 6, 0, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 6);
    CHECK_IS(sl_file_truncate(file, 3, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    CHECK_IS(sl_file_truncate(file, 5, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    // Every write of an appending file goes to its end, whatever the offset.
    sl_file appending = open_file(loop, "files.tmp", SL_OPEN_APPEND);
    CHECK_IS(sl_file_write(appending, "XY", 2, SL_OFFSET_CURRENT, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 2);
    CHECK_IS(sl_file_write(appending, "Z", 1, 0, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 1);
    CHECK_IS(sl_file_sync(appending, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    CHECK_IS(sl_file_sync(appending, SL_DATA_ONLY, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    CHECK_IS(sl_file_read(file, in, sizeof in, 0, SL_EXACT, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 8);
    CHECK(memcmp(in, "abc\0\0XYZ", 8) == 0);
    CHECK_IS(stat_of(file, &stat), 0);
    CHECK(stat.length == 8 && stat.type == SL_TYPE_FILE && stat.modified_ns > 0);
#if !defined(_WIN32)
    CHECK_IS(stat.mode, 0644);
    CHECK(stat.links == 1 && stat.inode != 0 && stat.user == (uint32_t)getuid());
    CHECK_IS(sl_file_read(appending, in, 1, 0, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), SL_ERR_BAD_DESCRIPTOR);
#endif
    close_resource(loop, file);
    close_resource(loop, appending);
}

static int64_t opened(const char *path, uint32_t flags)
{
    sl_op op;
    CHECK_IS(sl_file_open(loop, path, flags, 0600, NULL, &op), SL_OK);
    int64_t result = result_of(loop, op);
    if (result > 0) {
        close_resource(loop, (sl_file)result);
    }
    return result;
}

static void paths(void)
{
    sl_op op;
    sl_event event;
    sl_stat stat;
    static uint8_t large[3000000];
    CHECK_IS(opened("missing.tmp", SL_OPEN_READ), SL_ERR_NOT_FOUND);
    CHECK_IS(opened("files.tmp", SL_OPEN_WRITE | SL_OPEN_CREATE | SL_OPEN_EXCLUSIVE), SL_ERR_EXISTS);
    CHECK_IS(sl_path_read(loop, "missing.tmp", NULL, &op), SL_OK);
    event = next_event(loop);
    CHECK(event.result == SL_ERR_NOT_FOUND && event.os_error != 0 && event.data == NULL && event.flags == 0);
#if !defined(_WIN32)
    char long_name[600];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    CHECK_IS(opened(long_name, SL_OPEN_READ), SL_ERR_NAME_TOO_LONG);
    CHECK_IS(opened("files.tmp/x", SL_OPEN_READ), SL_ERR_NOT_DIRECTORY);
    CHECK_IS(opened("files.tmp", SL_OPEN_READ | SL_OPEN_DIRECTORY), SL_ERR_NOT_DIRECTORY);
    CHECK_IS(opened(".", SL_OPEN_WRITE), SL_ERR_IS_DIRECTORY);
    CHECK(opened(".", SL_OPEN_READ | SL_OPEN_DIRECTORY) > 0);
    CHECK_IS(symlink("files.tmp", "link.tmp"), 0);
    CHECK_IS(opened("link.tmp", SL_OPEN_READ | SL_OPEN_NO_FOLLOW), SL_ERR_LINKS);
    stat.size = sizeof stat;
    CHECK_IS(sl_path_stat(loop, "link.tmp", SL_NO_FOLLOW, &stat, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    CHECK_IS(stat.type, SL_TYPE_LINK);
    CHECK_IS(sl_path_stat(loop, "link.tmp", 0, &stat, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    CHECK_IS(stat.type, SL_TYPE_FILE);
    CHECK_IS(remove("link.tmp"), 0);
#endif
    stat.size = sizeof stat;
    CHECK_IS(sl_path_stat(loop, ".", 0, &stat, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    CHECK_IS(stat.type, SL_TYPE_DIRECTORY);

    fill(large, sizeof large, 3, 0);
    CHECK_IS(sl_path_write(loop, "files.tmp", large, sizeof large, 0, 0644, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), sizeof large);
    CHECK_IS(sl_path_read(loop, "files.tmp", NULL, &op), SL_OK);
    event = next_event(loop);
    CHECK(event.result == (int64_t)sizeof large && event.flags == SL_EVENT_LENT && matches(event.data, sizeof large, 3, 0));
    CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    CHECK_IS(sl_path_write(loop, "files.tmp", "++", 2, SL_OPEN_APPEND, 0644, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 2);
    CHECK_IS(sl_path_write(loop, "files.tmp", "", 0, 0, 0644, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    CHECK_IS(sl_path_read(loop, "files.tmp", NULL, &op), SL_OK);
    event = next_event(loop);
    CHECK(event.result == 0 && event.flags == 0 && event.data == NULL);
    CHECK_IS(sl_path_write(loop, "files.tmp", "x", 1, SL_OPEN_CREATE | SL_OPEN_EXCLUSIVE, 0644, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), SL_ERR_EXISTS);
}

// Reading less than a file holds, more than it holds, and nothing, into lent memory.
static void lent_reads(void)
{
    sl_op op;
    sl_event event;
    CHECK_IS(sl_path_write(loop, "files.tmp", "0123456789", 10, 0, 0644, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 10);
    sl_file file = open_file(loop, "files.tmp", SL_OPEN_READ);
    for (size_t length = 1; length < 20; length++) {
        CHECK_IS(sl_file_read(file, NULL, length, 2, 0, NULL, &op), SL_OK);
        event = next_event(loop);
        CHECK_IS(event.result, length < 8 ? length : 8);
        CHECK_IS(event.flags, SL_EVENT_LENT);
        CHECK(memcmp(event.data, "23456789", (size_t)event.result) == 0);
        CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    }
    CHECK_IS(sl_file_read(file, NULL, 5, 10, 0, NULL, &op), SL_OK);
    event = next_event(loop);
    CHECK_IS(event.result, 0);
    CHECK(event.flags == 0 && event.data == NULL && event.detail == 0);
    close_resource(loop, file);
}

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    loop = open_loop(NULL);
    position_order(argument(argc, argv, 1, 2000));
    vectored();
    truncate_append_stat();
    paths();
    lent_reads();
    CHECK_IS(counters_of(loop).resources, 0);
    close_loop(loop);
    CHECK_IS(remove("files.tmp"), 0);
    check_returned(before);
    return 0;
}
