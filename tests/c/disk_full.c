// A full disk: every way to write says SL_ERR_NO_SPACE, and how many bytes were written before; exactly those are there. When
// space is freed, writing goes on.
//
// Linux only: the disk is a tmpfs of its own, in a mount namespace of this program.
//
// disk_full [MiB of the disk = 8] [files that are written at a time = 8]

#ifdef __linux__
#define _GNU_SOURCE
#endif

#include "harness.h"

#if !defined(__linux__)

int main(void)
{
    return skip("mounts a small disk in a namespace, which Linux has");
}

#else

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static sl_loop loop;
static size_t size;
static uint8_t *bytes, *read_back;

static uint64_t space_left(void)
{
    struct statvfs now;
    CHECK_IS(statvfs("disk", &now), 0);
    return (uint64_t)now.f_bavail * now.f_bsize;
}

// How many bytes an operation has written of `length`, by its event.
static uint64_t written(const sl_event *event, uint64_t length)
{
    if (event->result >= 0) {
        CHECK_IS(event->result, length);
        CHECK_IS(event->flags, 0);
        return length;
    }
    CHECK_IS(event->result, SL_ERR_NO_SPACE);
    CHECK_IS(event->os_error, ENOSPC);
    CHECK(event->detail < length);
    CHECK_IS(event->flags, event->detail > 0 ? SL_EVENT_PARTIAL : 0);
    return event->detail;
}

// Checks by plain calls that a file has `count` bytes of the pattern, from `from` on, and nothing behind them.
static void check_there(const char *path, uint64_t seed, uint64_t from, uint64_t count)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    uint64_t done = 0;
    for (ssize_t got; (got = pread(fd, read_back + done, size + 1 - done, (off_t)(from + done))) > 0;) {
        done += (uint64_t)got;
    }
    close(fd);
    CHECK_IS(done, count);
    CHECK(matches(read_back, count, seed, 0));
}

typedef sl_status way(sl_file file, sl_op *op);

static sl_status at_an_offset(sl_file file, sl_op *op)
{
    return sl_file_write(file, bytes, size, 4096, 0, NULL, op);
}

static sl_status at_the_position(sl_file file, sl_op *op)
{
    return sl_file_write(file, bytes, size, SL_OFFSET_CURRENT, 0, NULL, op);
}

// In pieces that are no multiple of a page.
static sl_status in_pieces(sl_file file, sl_op *op)
{
    sl_slice slices[1000];
    size_t piece = size / 1000;
    for (size_t i = 0; i < 1000; i++) {
        slices[i] = (sl_slice){bytes + i * piece, i < 999 ? piece : size - 999 * piece};
    }
    return sl_file_writev(file, slices, 1000, 0, 0, NULL, op);
}

// One write that does not fit, another that finds no space at all, and one that goes well when there is space again.
static uint64_t one_way(way *write_all, uint64_t from, uint32_t flags, uint64_t seed)
{
    sl_op op;
    fill(bytes, size, seed, 0);
    sl_file file = open_file(loop, "disk/one", SL_OPEN_WRITE | SL_OPEN_CREATE | flags);
    CHECK_IS(write_all(file, &op), SL_OK);
    sl_event event = next_event(loop);
    CHECK_IS(event.op, op);
    uint64_t count = written(&event, size);
    CHECK(count > 0 && count < size);
    check_there("disk/one", seed, from, count);
    CHECK(space_left() < 4096);

    CHECK_IS(sl_path_write(loop, "disk/other", bytes, size, 0, 0644, NULL, &op), SL_OK);
    event = next_event(loop);
    CHECK(event.result < 0);
    CHECK_IS(written(&event, size), 0);
    check_there("disk/other", seed, 0, 0);

    // What needs no space works all the while.
    CHECK_IS(sl_file_sync(file, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    CHECK_IS(sl_file_write(file, "again", 5, (int64_t)from, 0, NULL, &op), SL_OK);
    // One that appends has no room, whatever the offset.
    CHECK_IS(result_of(loop, op), flags == SL_OPEN_APPEND ? SL_ERR_NO_SPACE : 5);
    CHECK_IS(sl_file_truncate(file, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    CHECK(space_left() > size / 4);
    CHECK_IS(sl_path_write(loop, "disk/other", bytes, size / 4, 0, 0644, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), size / 4);
    check_there("disk/other", seed, 0, size / 4);
    close_resource(loop, file);
    CHECK_IS(unlink("disk/one"), 0);
    CHECK_IS(unlink("disk/other"), 0);
    return count;
}

static void path_of(char *path, size_t number)
{
    snprintf(path, 32, "disk/%zu", number);
}

// Many at a time, more than fit: each is told what became of its own bytes.
static void together(size_t files)
{
    uint64_t *counts = calloc(files, sizeof *counts);
    char path[32];
    CHECK(counts);
    fill(bytes, size, 77, 0);
    size_t length = size / files * 2, short_of = 0;
    for (size_t i = 0; i < files; i++) {
        sl_options options = tagged(i);
        path_of(path, i);
        CHECK_IS(sl_path_write(loop, path, bytes, length, 0, 0644, &options, NULL), SL_OK);
    }
    for (size_t i = 0; i < files; i++) {
        sl_event event = next_event(loop);
        counts[event.user_data] = written(&event, length);
        short_of += event.result < 0;
    }
    CHECK(short_of > 0);
    for (size_t i = 0; i < files; i++) {
        path_of(path, i);
        check_there(path, 77, 0, counts[i]);
        CHECK_IS(unlink(path), 0);
    }
    printf("%zu of %zu files at a time did not fit\n", short_of, files);
    free(counts);
}

// Whether there is a small disk now, in a namespace that nobody else sees.
static int mount_disk(size_t mib)
{
    char options[64];
    snprintf(options, sizeof options, "size=%zum,mode=0700", mib);
    CHECK_IS(mkdir("disk", 0700), 0);
    if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("disk", "disk", "tmpfs", 0, options) == 0) {
        return 1;
    }
    CHECK(errno == EPERM || errno == EACCES || errno == ENOSYS || errno == EINVAL);
    CHECK_IS(rmdir("disk"), 0);
    return 0;
}

int main(int argc, char **argv)
{
    start();
    size_t mib = argument(argc, argv, 1, 8);
    if (!mount_disk(mib)) {
        return skip("a disk of its own may not be mounted here");
    }
    holdings before = holdings_now();
    size = (mib << 20) + 12345;
    bytes = malloc(size);
    read_back = malloc(size + 1);
    CHECK(bytes && read_back);
    loop = open_loop(NULL);
    uint64_t counts[] = {
        one_way(at_an_offset, 4096, 0, 1),
        one_way(at_the_position, 0, 0, 2),
        one_way(at_the_position, 0, SL_OPEN_APPEND, 3),
        one_way(at_an_offset, 0, SL_OPEN_APPEND, 4),
        one_way(in_pieces, 0, 0, 5),
    };
    printf("of %zu bytes were written", size);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        printf(" %" PRIu64, counts[i]);
    }
    printf("; ");
    together(argument(argc, argv, 2, 8));
    close_loop(loop);
    CHECK_IS(umount("disk"), 0);
    CHECK_IS(rmdir("disk"), 0);
    free(bytes);
    free(read_back);
    check_returned(before);
    return 0;
}

#endif
