// Plain blocking calls, one after the other: what asynchronous work is measured against.

#include "common.h"

static void read_blocks(void)
{
    reads r = reads_open();
    uint64_t offset;
    reads_begin(&r);
    while (reads_next(&r, 0, &offset)) {
        reads_done(&r, 0, pread(r.fd, r.memory, r.block, (off_t)offset));
    }
    reads_report(&r);
}

static void read_files(void)
{
    static uint8_t room[WHOLE_ROOM];
    files f = files_open();
    size_t number;
    while (files_next(&f, &number)) {
        int fd = open(files_path(&f, number), O_RDONLY | O_CLOEXEC);
        files_done(&f, number, room, read(fd, room, sizeof room));
        close(fd);
    }
    files_report(&f);
}

static void sync_files(void)
{
    syncs s;
    syncs_open(&s);
    for (size_t slot = 0; syncs_next(&s); slot = (slot + 1) % SYNC_FILES, s.done++) {
        CHECK(pwrite(s.fds[slot], s.data, SYNC_LENGTH, 0) == SYNC_LENGTH && fsync(s.fds[slot]) == 0);
    }
    syncs_report(&s);
}

MAIN({"read", read_blocks}, {"bigread", read_blocks}, {"files", read_files}, {"fsync", sync_files})
