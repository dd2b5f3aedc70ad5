// A pool of four threads with a queue, which does blocking calls: what many programs write for themselves. The main
// thread hands over jobs and takes what is done, both in batches.

#include "common.h"

enum { THREADS = 4, ROOM = 4096 };

typedef struct job {
    size_t slot, number;
    uint64_t offset;
    int64_t result;
} job;

// A ring behind a lock; those who take from it wait until it holds something.
typedef struct queue {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    job jobs[ROOM];
    size_t first, length, waiting;
} queue;

#define QUEUE {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER}

static queue todo = QUEUE, done = QUEUE;
static void (*do_job)(job *);

static void put(queue *q, const job *jobs, size_t count)
{
    pthread_mutex_lock(&q->lock);
    for (size_t i = 0; i < count; i++) {
        q->jobs[(q->first + q->length++) % ROOM] = jobs[i];
    }
    // Nobody is woken who does not wait, and no more than there is work for.
    size_t woken = q->waiting < count ? q->waiting : count;
    pthread_mutex_unlock(&q->lock);
    while (woken-- > 0) {
        pthread_cond_signal(&q->filled);
    }
}

static size_t take(queue *q, job *jobs, size_t room)
{
    pthread_mutex_lock(&q->lock);
    while (q->length == 0) {
        q->waiting++;
        pthread_cond_wait(&q->filled, &q->lock);
        q->waiting--;
    }
    size_t count = q->length < room ? q->length : room;
    for (size_t i = 0; i < count; i++) {
        jobs[i] = q->jobs[q->first++ % ROOM];
    }
    q->first %= ROOM;
    q->length -= count;
    pthread_mutex_unlock(&q->lock);
    return count;
}

static void *worker(void *unused)
{
    for (job j; take(&todo, &j, 1) == 1; put(&done, &j, 1)) {
        do_job(&j);
    }
    return unused;
}

// Keeps `depth` jobs in flight until `next` has no more.
static void run(size_t depth, void (*work)(job *), bool (*next)(job *), void (*finished)(const job *))
{
    static job jobs[ROOM];
    size_t in_flight = 0;
    do_job = work;
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, worker, NULL) == 0);
    }
    for (size_t slot = 0; slot < depth; slot++) {
        jobs[in_flight].slot = slot;
        in_flight += next(&jobs[in_flight]);
    }
    put(&todo, jobs, in_flight);
    while (in_flight > 0) {
        size_t count = take(&done, jobs, ROOM), more = 0;
        for (size_t i = 0; i < count; i++) {
            finished(&jobs[i]);
            jobs[more].slot = jobs[i].slot;
            more += next(&jobs[more]);
        }
        put(&todo, jobs, more);
        in_flight += more - count;
    }
}

// --- Reads of one file.

static reads blocks;

static bool next_read(job *j) { return reads_next(&blocks, j->slot, &j->offset); }

static void do_read(job *j)
{
    j->result = pread(blocks.fd, reads_buffer(&blocks, j->slot), blocks.block, (off_t)j->offset);
}

static void read_done(const job *j) { reads_done(&blocks, j->slot, j->result); }

static void read_blocks(void)
{
    blocks = reads_open();
    reads_begin(&blocks);
    run(blocks.depth, do_read, next_read, read_done);
    reads_report(&blocks);
}

// --- Whole files: a job each.

static files all_files;
static uint8_t (*rooms)[WHOLE_ROOM];

static bool next_file(job *j) { return files_next(&all_files, &j->number); }

static void do_file(job *j)
{
    int fd = open(files_path(&all_files, j->number), O_RDONLY | O_CLOEXEC);
    j->result = read(fd, rooms[j->slot], WHOLE_ROOM);
    close(fd);
}

static void file_done(const job *j) { files_done(&all_files, j->number, rooms[j->slot], j->result); }

static void read_files(void)
{
    all_files = files_open();
    rooms = calloc(all_files.depth, sizeof *rooms);
    CHECK(rooms);
    run(all_files.depth, do_file, next_file, file_done);
    files_report(&all_files);
}

// --- Writes made safe: a job each.

static syncs synced;

static bool next_sync(job *j)
{
    (void)j;
    return syncs_next(&synced);
}

static void do_sync(job *j)
{
    int fd = synced.fds[j->slot];
    j->result = pwrite(fd, synced.data, SYNC_LENGTH, 0) == SYNC_LENGTH ? fsync(fd) : -1;
}

static void sync_done(const job *j)
{
    CHECK(j->result == 0);
    synced.done++;
}

static void sync_files(void)
{
    syncs_open(&synced);
    run(SYNC_FILES, do_sync, next_sync, sync_done);
    syncs_report(&synced);
}

MAIN({"read", read_blocks}, {"bigread", read_blocks}, {"files", read_files}, {"fsync", sync_files})
