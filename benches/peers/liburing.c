// io_uring by liburing, as fast as it goes: one issuer, work deferred to the wait, one system call a batch, files and
// connections by their places in the ring's own table, multishot accepts and receives with a ring of buffers.

#include "common.h"

#include <liburing.h>

enum { ENTRIES = 1024, COMPLETIONS = 8192 };

static struct io_uring ring;

static void ring_open(void)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
        .cq_entries = COMPLETIONS,
    };
    CHECK(io_uring_queue_init_params(ENTRIES, &ring, &params) == 0);
    // The ring's descriptor need not be looked up by each call then.
    CHECK(io_uring_register_ring_fd(&ring) == 1);
}

// A place for a submission. Its flags are to be set after the io_uring_prep_... that clears them.
static struct io_uring_sqe *place(uint64_t user_data)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    if (!sqe) {
        CHECK(io_uring_submit(&ring) >= 0);
        sqe = io_uring_get_sqe(&ring);
    }
    CHECK(sqe);
    sqe->user_data = user_data;
    return sqe;
}

// Chains must not be torn apart: makes sure that this many places are left.
static void make_room(unsigned count)
{
    CHECK(io_uring_sq_space_left(&ring) >= count || io_uring_submit(&ring) >= 0);
}

// One system call: submits what was prepared, and waits for at least `wanted` completions. Each is given away.
static inline void turn(unsigned wanted, void (*give)(const struct io_uring_cqe *))
{
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;
    int code = io_uring_submit_and_wait(&ring, wanted);
    CHECK(code >= 0 || code == -EINTR);
    io_uring_for_each_cqe(&ring, head, cqe)
    {
        give(cqe);
        count++;
    }
    io_uring_cq_advance(&ring, count);
}

static size_t in_flight;

// --- Reads of one file.

static reads blocks;

static void read_next(size_t slot)
{
    uint64_t offset;
    if (reads_next(&blocks, slot, &offset)) {
        struct io_uring_sqe *sqe = place(slot);
        io_uring_prep_read_fixed(sqe, 0, reads_buffer(&blocks, slot), (unsigned)blocks.block, offset, 0);
        sqe->flags = IOSQE_FIXED_FILE;
        in_flight++;
    }
}

static void on_read(const struct io_uring_cqe *cqe)
{
    in_flight--;
    reads_done(&blocks, cqe->user_data, cqe->res);
    read_next(cqe->user_data);
}

static void read_blocks(void)
{
    ring_open();
    blocks = reads_open();
    // File and memory are known to the ring beforehand: that saves looking them up, and pinning pages, for each read.
    struct iovec memory_of = {.iov_base = blocks.memory, .iov_len = blocks.depth * blocks.block};
    CHECK(io_uring_register_files(&ring, &blocks.fd, 1) == 0);
    CHECK(io_uring_register_buffers(&ring, &memory_of, 1) == 0);
    reads_begin(&blocks);
    for (size_t slot = 0; slot < blocks.depth; slot++) {
        read_next(slot);
    }
    while (in_flight > 0) {
        turn(1, on_read);
    }
    reads_report(&blocks);
}

// --- Whole files: open, read and close in one chain; each slot opens into its own place of the table.

enum { CLOSED = 1 << 16 };

static files all_files;
static size_t *numbers;
static uint8_t (*rooms)[WHOLE_ROOM];

static void whole_next(size_t slot)
{
    if (!files_next(&all_files, &numbers[slot])) {
        return;
    }
    make_room(3);
    struct io_uring_sqe *sqe = place(slot);
    io_uring_prep_openat_direct(sqe, AT_FDCWD, files_path(&all_files, numbers[slot]), O_RDONLY, 0, (unsigned)slot);
    // Only its failure would be told.
    sqe->flags = IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
    sqe = place(slot);
    io_uring_prep_read(sqe, (int)slot, rooms[slot], sizeof *rooms, 0);
    // A hard link, as the read is shorter than the room, which tears a soft one.
    sqe->flags = IOSQE_FIXED_FILE | IOSQE_IO_HARDLINK;
    io_uring_prep_close_direct(place(slot | CLOSED), (unsigned)slot);
    in_flight++;
}

static void on_whole(const struct io_uring_cqe *cqe)
{
    size_t slot = cqe->user_data & (CLOSED - 1);
    if (cqe->user_data & CLOSED) {
        CHECK(cqe->res == 0);
        in_flight--;
        whole_next(slot);
    } else {
        files_done(&all_files, numbers[slot], rooms[slot], cqe->res);
    }
}

static void read_files(void)
{
    ring_open();
    all_files = files_open();
    numbers = calloc(all_files.depth, sizeof *numbers);
    rooms = calloc(all_files.depth, sizeof *rooms);
    CHECK(numbers && rooms && io_uring_register_files_sparse(&ring, (unsigned)all_files.depth) == 0);
    for (size_t slot = 0; slot < all_files.depth; slot++) {
        whole_next(slot);
    }
    while (in_flight > 0) {
        turn(1, on_whole);
    }
    files_report(&all_files);
}

// --- Writes made safe: write and sync in one chain.

static syncs synced;

static void write_next(size_t slot)
{
    if (!syncs_next(&synced)) {
        return;
    }
    make_room(2);
    struct io_uring_sqe *sqe = place(slot);
    io_uring_prep_write(sqe, (int)slot, synced.data, SYNC_LENGTH, 0);
    sqe->flags = IOSQE_FIXED_FILE | IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
    sqe = place(slot);
    io_uring_prep_fsync(sqe, (int)slot, 0);
    sqe->flags = IOSQE_FIXED_FILE;
    in_flight++;
}

static void on_synced(const struct io_uring_cqe *cqe)
{
    CHECK(cqe->res == 0);
    in_flight--;
    synced.done++;
    write_next(cqe->user_data);
}

static void sync_files(void)
{
    ring_open();
    syncs_open(&synced);
    CHECK(io_uring_register_files(&ring, synced.fds, SYNC_FILES) == 0);
    for (size_t slot = 0; slot < SYNC_FILES; slot++) {
        write_next(slot);
    }
    while (in_flight > 0) {
        turn(1, on_synced);
    }
    syncs_report(&synced);
}

// --- No-ops.

static void on_nop(const struct io_uring_cqe *cqe) { CHECK(cqe->res == 0); }

static void nop(void)
{
    ring_open();
    unsigned batch = (unsigned)number_argument("batch", 1);
    uint64_t done = 0;
    limit time = limit_begin();
    span begun = span_begin();
    for (; !limit_reached(&time, 16); done += batch) {
        for (unsigned i = 0; i < batch; i++) {
            io_uring_prep_nop(place(i));
        }
        turn(batch, on_nop);
    }
    figures_each(span_end(begun), done);
}

// --- Echo. A connection's place in the table is its number. Received pieces stay where they are until they are sent, one
// after the other for each connection; then their buffer goes back to the ring of buffers.

enum { CONNECTIONS = 16384, BUFFERS = 1024, BUFFER_LENGTH = 16384, NOTHING = -1 };

typedef enum what { ACCEPTED, RECEIVED, SENT, CLOSED_CONNECTION } what;

static struct io_uring_buf_ring *buffers;
static uint8_t *memory;

static struct {
    int length, next;
} pieces[BUFFERS];

static struct {
    int first, last; // the pieces to be sent, the first of them under way
} connections[CONNECTIONS];

static uint64_t tag(what kind, int connection) { return (uint64_t)kind << 32 | (uint32_t)connection; }

static void accept_next(int listener)
{
    io_uring_prep_multishot_accept_direct(place(tag(ACCEPTED, listener)), listener, NULL, NULL, 0);
}

static void receive_next(int connection)
{
    struct io_uring_sqe *sqe = place(tag(RECEIVED, connection));
    io_uring_prep_recv_multishot(sqe, connection, NULL, 0, 0);
    sqe->flags = IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
    sqe->buf_group = 0;
}

static void send_first(int connection)
{
    int piece = connections[connection].first;
    struct io_uring_sqe *sqe = place(tag(SENT, connection));
    io_uring_prep_send(sqe, connection, memory + (size_t)piece * BUFFER_LENGTH, (size_t)pieces[piece].length,
                       MSG_WAITALL | MSG_NOSIGNAL);
    sqe->flags = IOSQE_FIXED_FILE;
}

static void give_back(int piece)
{
    io_uring_buf_ring_add(buffers, memory + (size_t)piece * BUFFER_LENGTH, BUFFER_LENGTH, (unsigned short)piece,
                          io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(buffers, 1);
}

static void on_received(int connection, const struct io_uring_cqe *cqe)
{
    if (cqe->res == -ENOBUFS) {
        receive_next(connection);
        return;
    }
    if (cqe->res <= 0) {
        io_uring_prep_close_direct(place(tag(CLOSED_CONNECTION, connection)), (unsigned)connection);
        return;
    }
    int piece = (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
    pieces[piece].length = cqe->res;
    pieces[piece].next = NOTHING;
    if (connections[connection].first == NOTHING) {
        connections[connection].first = connections[connection].last = piece;
        send_first(connection);
    } else {
        pieces[connections[connection].last].next = piece;
        connections[connection].last = piece;
    }
    if (!(cqe->flags & IORING_CQE_F_MORE)) {
        receive_next(connection);
    }
}

static void on_sent(int connection)
{
    int piece = connections[connection].first;
    connections[connection].first = pieces[piece].next;
    give_back(piece);
    if (connections[connection].first != NOTHING) {
        send_first(connection);
    }
}

static void on_echo(const struct io_uring_cqe *cqe)
{
    int number = (int)(uint32_t)cqe->user_data;
    switch ((what)(cqe->user_data >> 32)) {
    case ACCEPTED:
        CHECK(cqe->res >= 0 && cqe->res < CONNECTIONS);
        connections[cqe->res].first = NOTHING;
        receive_next(cqe->res);
        if (!(cqe->flags & IORING_CQE_F_MORE)) {
            accept_next(number);
        }
        break;
    case RECEIVED: on_received(number, cqe); break;
    case SENT: on_sent(number); break;
    case CLOSED_CONNECTION: break;
    }
}

static void serve_echo(void)
{
    ring_open();
    CHECK(posix_memalign((void **)&buffers, 4096, BUFFERS * sizeof(struct io_uring_buf)) == 0);
    memory = aligned_alloc(4096, (size_t)BUFFERS * BUFFER_LENGTH);
    CHECK(memory && io_uring_register_files_sparse(&ring, CONNECTIONS) == 0);
    struct io_uring_buf_reg group = {.ring_addr = (uint64_t)(uintptr_t)buffers, .ring_entries = BUFFERS};
    CHECK(io_uring_register_buf_ring(&ring, &group, 0) == 0);
    io_uring_buf_ring_init(buffers);
    for (int piece = 0; piece < BUFFERS; piece++) {
        give_back(piece);
    }
    accept_next(listen_here());
    for (;;) {
        turn(1, on_echo);
    }
}

// --- Accept, and close at once.

static void on_visitor(const struct io_uring_cqe *cqe)
{
    if (cqe->user_data >> 32 != ACCEPTED) {
        return;
    }
    CHECK(cqe->res >= 0);
    struct io_uring_sqe *sqe = place(tag(CLOSED_CONNECTION, 0));
    io_uring_prep_close_direct(sqe, (unsigned)cqe->res);
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    if (!(cqe->flags & IORING_CQE_F_MORE)) {
        accept_next((int)(uint32_t)cqe->user_data);
    }
}

static void serve_accept(void)
{
    ring_open();
    CHECK(io_uring_register_files_sparse(&ring, CONNECTIONS) == 0);
    accept_next(listen_here());
    for (;;) {
        turn(1, on_visitor);
    }
}

// --- Its size, and how long a ring takes to open and close.

static void size(void) { library_size((void *)(uintptr_t)io_uring_queue_init); }

static void ring_once(void)
{
    ring_open();
    io_uring_queue_exit(&ring);
}

static void open_rings(void) { open_and_close(ring_once); }

MAIN({"read", read_blocks}, {"bigread", read_blocks}, {"files", read_files}, {"fsync", sync_files}, {"echo", serve_echo},
     {"accept", serve_accept}, {"nop", nop}, {"size", size}, {"open", open_rings})
