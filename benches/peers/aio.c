// POSIX aio, as the C library has it: a pool of threads. It works off what is asked of one descriptor by one thread at a
// time, hence a descriptor for each slot.

#include "common.h"

#include <aio.h>

enum { THREADS = 4 };

static reads blocks;
static struct aiocb *controls;
static const struct aiocb **waited;
static struct aiocb **batch;

// What the slot shall read next; NULL: nothing more.
static struct aiocb *next_read(size_t slot)
{
    uint64_t offset;
    waited[slot] = NULL;
    if (!reads_next(&blocks, slot, &offset)) {
        return NULL;
    }
    controls[slot].aio_offset = (off_t)offset;
    waited[slot] = &controls[slot];
    return &controls[slot];
}

// A batch in one call; a single read has one of its own.
static void start(int count)
{
    if (count == 1) {
        CHECK(aio_read(batch[0]) == 0);
    } else if (count > 1) {
        CHECK(lio_listio(LIO_NOWAIT, batch, count, NULL) == 0);
    }
}

static void prepare(size_t slot)
{
    controls[slot] = (struct aiocb){.aio_fildes = open(text_argument("file", ""), O_RDONLY | O_CLOEXEC),
                                    .aio_buf = reads_buffer(&blocks, slot),
                                    .aio_nbytes = blocks.block,
                                    .aio_lio_opcode = LIO_READ,
                                    .aio_sigevent.sigev_notify = SIGEV_NONE};
    CHECK(controls[slot].aio_fildes >= 0);
}

static void read_blocks(void)
{
    struct aioinit pool = {.aio_threads = THREADS, .aio_num = 1024, .aio_idle_time = 1};
    int more = 0;
    size_t in_flight = 0;
    aio_init(&pool);
    blocks = reads_open();
    controls = calloc(blocks.depth, sizeof *controls);
    waited = calloc(blocks.depth, sizeof *waited);
    batch = calloc(blocks.depth, sizeof *batch);
    CHECK(controls && waited && batch);
    for (size_t slot = 0; slot < blocks.depth; slot++) {
        prepare(slot);
    }
    reads_begin(&blocks);
    for (size_t slot = 0; slot < blocks.depth; slot++) {
        more += (batch[more] = next_read(slot)) != NULL;
    }
    for (in_flight = (size_t)more; in_flight > 0; in_flight += (size_t)more) {
        start(more);
        more = 0;
        CHECK(aio_suspend(waited, (int)blocks.depth, NULL) == 0);
        for (size_t slot = 0; slot < blocks.depth; slot++) {
            if (waited[slot] && aio_error(&controls[slot]) == 0) {
                in_flight--;
                reads_done(&blocks, slot, aio_return(&controls[slot]));
                more += (batch[more] = next_read(slot)) != NULL;
            }
        }
    }
    reads_report(&blocks);
}

MAIN({"read", read_blocks})
