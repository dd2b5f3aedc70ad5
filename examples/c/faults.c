// Does a program lose data when I/O goes badly? Ways to copy a file, of which some believe too much, are tried on
// simulated loops, where what a busy system might do happens by chance. The seed at which one loses data brings it back.
//
//     faults [SEEDS]
#include <sideloop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH = 1000, PIECE = 256 };

// The result of the operation just submitted; it is the only one under way.
static int64_t result(sl_loop loop, sl_status submitted)
{
    sl_event event;
    if (submitted < 0)
        return submitted;
    return sl_wait(loop, &event, 1, SL_FOREVER) == 1 ? event.result : SL_ERR_INTERNAL;
}

// Copies piece by piece. A short read is the end of the file only where all of the piece was asked for (SL_EXACT).
static int64_t copy_pieces(sl_loop loop, sl_file from, sl_file to, uint32_t flags)
{
    char piece[PIECE];
    int64_t got = PIECE;
    for (int64_t at = 0; got == PIECE; at += got) {
        got = result(loop, sl_file_read(from, piece, PIECE, at, flags, NULL, NULL));
        if (got < 0 || result(loop, sl_file_write(to, piece, (size_t)got, at, 0, NULL, NULL)) < 0)
            return -1;
    }
    return 0;
}

// Believes that a short read is the end of the file.
static int64_t copy_naively(sl_loop loop, sl_file from, sl_file to)
{
    return copy_pieces(loop, from, to, 0);
}

// Believes that what was written will be on the disk.
static int64_t copy_hopefully(sl_loop loop, sl_file from, sl_file to)
{
    int64_t copied = copy_pieces(loop, from, to, SL_EXACT);
    result(loop, sl_file_sync(to, 0, NULL, NULL));
    return copied;
}

// Believes nothing.
static int64_t copy_carefully(sl_loop loop, sl_file from, sl_file to)
{
    int64_t copied = copy_pieces(loop, from, to, SL_EXACT);
    return copied < 0 ? copied : result(loop, sl_file_sync(to, 0, NULL, NULL));
}

typedef int64_t (*copying)(sl_loop loop, sl_file from, sl_file to);

// How many bytes of a copy are there that are right.
static int right_bytes(const char *path, const char *expected)
{
    char found[LENGTH];
    FILE *file = fopen(path, "rb");
    size_t length = file ? fread(found, 1, LENGTH, file) : 0, right = 0;
    while (right < length && found[right] == expected[right])
        right++;
    if (file)
        fclose(file);
    return (int)right;
}

// Copies once. Answers whether data was lost: the copy was said to be good and is not, or it may not be on the disk.
static int loses(uint64_t seed, const char *faults, copying copy, const char *expected, char *what)
{
    sl_loop_options options = {.size = sizeof options, .driver = SL_DRIVER_SIM, .seed = seed, .faults = faults};
    sl_loop loop;
    if (sl_loop_open(&options, &loop) < 0) {
        fprintf(stderr, "cannot open a loop: %s\n", sl_last_error());
        exit(1);
    }
    int64_t from = result(loop, sl_file_open(loop, "faults-from.tmp", SL_OPEN_READ, 0, NULL, NULL));
    int64_t to = result(loop, sl_file_open(loop, "faults-to.tmp", SL_OPEN_WRITE | SL_OPEN_CREATE | SL_OPEN_TRUNCATE, 0644, NULL, NULL));
    int64_t said = from < 0 || to < 0 ? -1 : copy(loop, (sl_file)from, (sl_file)to);
    sl_counters counters = {.size = sizeof counters};
    sl_loop_counters(loop, &counters);
    sl_loop_close(loop, SL_FOREVER);
    int right = right_bytes("faults-to.tmp", expected);
    if (said < 0)
        return 0; // It has said so: whoever asked for the copy knows.
    if (right < LENGTH)
        sprintf(what, "%d of %d bytes", LENGTH - right, LENGTH);
    else
        sprintf(what, "the promise that it is on the disk");
    return right < LENGTH || (faults[0] && counters.faults > 0);
}

static int try_both(const char *faults, const char *name, copying believer, const char *expected, int seeds)
{
    char what[64] = "";
    int seed = 1, survived = 0;
    while (seed <= seeds && !loses((uint64_t)seed, faults, believer, expected, what))
        seed++;
    printf("plan \"%s\":\n", faults);
    if (seed <= seeds)
        printf("  %s: seed %d loses %s and says that all is well\n", name, seed, what);
    else
        printf("  %s: survived %d seeds\n", name, seeds);
    while (survived < seeds && !loses((uint64_t)survived + 1, faults, copy_carefully, expected, what))
        survived++;
    printf("  careful: %s %d seeds\n", survived == seeds ? "survived" : "failed after", survived);
    return seed <= seeds && survived == seeds;
}

int main(int argc, char **argv)
{
    int seeds = argc > 1 ? atoi(argv[1]) : 500;
    char expected[LENGTH];
    for (int i = 0; i < LENGTH; i++)
        expected[i] = (char)('a' + i * 7 % 26);
    FILE *file = fopen("faults-from.tmp", "wb");
    if (!file || fwrite(expected, 1, LENGTH, file) != LENGTH || fclose(file) != 0) {
        perror("faults-from.tmp");
        return 1;
    }
    // Without any plan, reads fall short in a simulated loop, as they may anywhere.
    int good = try_both("", "naive", copy_naively, expected, seeds);
    good &= try_both("sync: EIO@0.05", "hopeful", copy_hopefully, expected, seeds);
    remove("faults-from.tmp");
    remove("faults-to.tmp");
    return good ? 0 : 1;
}
