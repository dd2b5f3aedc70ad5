/* What the C programs of the tour share. See tour.h. tour_take may run on any one thread at a time; the meter belongs to
 * the main thread. */

#include "tour.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef _WIN32
#include <winsock2.h>
#include <windows.h>
#define poll WSAPoll
#else
#include <poll.h>
#include <sys/resource.h>
#endif

#define REPORT_NS UINT64_C(25000000)

void tour_stop(const char *what, const char *why)
{
    printf("stop\t%s: %s\n", what, why);
    fflush(stdout);
    exit(1);
}

/* ---- the list ---- */

tour_list tour_list_read(const char *file)
{
    FILE *in = fopen(file, "rb");
    if (!in || fseek(in, 0, SEEK_END) != 0)
        tour_stop("the list of files", "cannot be opened");
    size_t size = (size_t)ftell(in);
    rewind(in);
    char *bytes = malloc(size + 1);
    if (!bytes || fread(bytes, 1, size, in) != size)
        tour_stop("the list of files", "cannot be read");
    fclose(in);

    tour_list list = {0};
    for (size_t i = 0; i < size; i++)
        list.count += bytes[i] == 0;
    list.paths = calloc(list.count + 1, sizeof *list.paths);
    list.failed = calloc(list.count + 1, sizeof *list.failed);
    if (!list.paths || !list.failed)
        tour_stop("the list of files", "no memory");
    char *path = bytes;
    for (size_t i = 0; i < list.count; i++, path += strlen(path) + 1)
        list.paths[i] = path;
    return list;
}

/* ---- the hash ---- */

/* CRC-32 by eight bytes at a time: table[k][b] is the effect of byte b, k bytes before the end of the eight. */
static uint32_t crc_table[8][256];

static void crc_prepare(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ UINT32_C(0xedb88320) : crc >> 1;
        crc_table[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++)
        for (int k = 1; k < 8; k++)
            crc_table[k][byte] = crc_table[k - 1][byte] >> 8 ^ crc_table[0][crc_table[k - 1][byte] & 255];
}

static uint32_t crc32_of(const unsigned char *at, size_t length)
{
    uint32_t crc = UINT32_MAX;
    for (; length >= 8; length -= 8, at += 8) {
        uint32_t low = (at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24) ^ crc;
        crc = crc_table[7][low & 255] ^ crc_table[6][low >> 8 & 255] ^ crc_table[5][low >> 16 & 255] ^
              crc_table[4][low >> 24] ^ crc_table[3][at[4]] ^ crc_table[2][at[5]] ^ crc_table[1][at[6]] ^
              crc_table[0][at[7]];
    }
    for (; length > 0; length--, at++)
        crc = crc >> 8 ^ crc_table[0][(crc ^ *at) & 255];
    return ~crc;
}

/* The finaliser of splitmix64: sums of its results show any one changed bit. */
static uint64_t mix(uint64_t value)
{
    value += UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return value ^ value >> 31;
}

void tour_take(tour_list *list, tour_sum *sum, const sl_event *event)
{
    if (event->result < 0) {
        list->failed[event->user_data] = (sl_status)event->result;
        return;
    }
    uint64_t length = (uint64_t)event->result;
    uint64_t crc = crc32_of(event->data, length);
    sum->files += 1;
    sum->bytes += length;
    /* The file's place in the list goes in, so that the bytes of two files mistaken for one another show. */
    sum->hash += mix(mix(event->user_data) ^ crc << 32 ^ length);
    if (event->flags & SL_EVENT_LENT)
        sl_buffer_release(event->detail);
}

/* ---- what the system knows ---- */

uint64_t tour_now_ns(void)
{
#ifdef _WIN32
    LARGE_INTEGER now, per_second;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&per_second);
    return (uint64_t)((double)now.QuadPart * 1e9 / (double)per_second.QuadPart);
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
#endif
}

/* Processor time of the calling thread; 0 where the system does not say. */
static uint64_t thread_cpu_ns(void)
{
#ifdef CLOCK_THREAD_CPUTIME_ID
    struct timespec used;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0)
        return (uint64_t)used.tv_sec * UINT64_C(1000000000) + (uint64_t)used.tv_nsec;
#endif
    return 0;
}

/* A number of /proc/self/status (Linux); 0 elsewhere. */
static uint64_t status_field(const char *name)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    uint64_t value = 0;
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, name, strlen(name)) == 0) {
            value = strtoull(line + strlen(name), NULL, 10);
            break;
        }
    if (status)
        fclose(status);
    return value;
}

uint64_t tour_threads(void)
{
    return status_field("Threads:");
}

uint64_t tour_peak_memory(void)
{
    /* Not from getrusage where it can be helped: on Linux its figure begins with that of the parent process. */
    uint64_t kib = status_field("VmHWM:");
#ifdef __APPLE__
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        return (uint64_t)usage.ru_maxrss;
#endif
    return kib * 1024;
}

void tour_wait_readable(sl_descriptor descriptor)
{
#ifdef _WIN32
    WSAPOLLFD wake = {.fd = (SOCKET)descriptor, .events = POLLIN};
#else
    struct pollfd wake = {.fd = (int)descriptor, .events = POLLIN};
#endif
    poll(&wake, 1, (int)(TOUR_WAIT_NS / 1000000));
}

/* ---- the meter ---- */

tour_meter tour_meter_start(sl_loop loop)
{
    crc_prepare();
    uint64_t now = tour_now_ns();
    return (tour_meter){
        .loop = loop, .start_ns = now, .cpu_at_start_ns = thread_cpu_ns(), .free_at_ns = now, .reported_ns = now};
}

static void count_threads(tour_meter *meter)
{
    uint64_t threads = tour_threads();
    sl_counters counters = {.size = sizeof counters};
    if (threads == 0 && sl_loop_counters(meter->loop, &counters) >= 0)
        threads = counters.threads + 1;
    if (threads > meter->threads)
        meter->threads = threads;
}

static void free_from(tour_meter *meter, uint64_t now, uint64_t files, uint64_t bytes)
{
    if (now - meter->free_at_ns > meter->longest_ns)
        meter->longest_ns = now - meter->free_at_ns;
    meter->free_at_ns = now;
    if (now - meter->reported_ns >= REPORT_NS) {
        meter->reported_ns = now;
        printf("progress\t%" PRIu64 "\t%" PRIu64 "\n", files, bytes);
        fflush(stdout);
        count_threads(meter);
    }
}

void tour_tick(tour_meter *meter, uint64_t files, uint64_t bytes)
{
    free_from(meter, tour_now_ns(), files, bytes);
}

void tour_waited(tour_meter *meter, uint64_t files, uint64_t bytes)
{
    uint64_t now = tour_now_ns();
    uint64_t meant = meter->free_at_ns + TOUR_WAIT_NS;
    meter->free_at_ns = now < meant ? now : meant;
    free_from(meter, now, files, bytes);
}

static const char *reason(sl_status status)
{
    switch (status) {
    case SL_ERR_NOT_FOUND:
        return "vanished";
    case SL_ERR_PERMISSION:
        return "permission denied";
    default:
        return sl_status_message(status);
    }
}

void tour_finish(tour_meter *meter, const tour_list *list, const tour_sum *sum)
{
    uint64_t now = tour_now_ns();
    if (now - meter->free_at_ns > meter->longest_ns)
        meter->longest_ns = now - meter->free_at_ns;
    uint64_t cpu = thread_cpu_ns() - meter->cpu_at_start_ns;
    count_threads(meter);

    for (size_t i = 0; i < list->count; i++)
        if (list->failed[i] < 0)
            printf("failed\t%zu\t%s\n", i, reason(list->failed[i]));

    char driver[256] = "";
    sl_status which = sl_loop_driver(meter->loop, driver, sizeof driver);
    printf("result\tfiles=%" PRIu64 "\tbytes=%" PRIu64 "\thash=%016" PRIx64 "\ttime=%" PRIu64 "\tblocked=%" PRIu64
           "\tstarted=%" PRIu64 "\tat_once=%" PRIu64,
           sum->files, sum->bytes, sum->hash, now - meter->start_ns, meter->longest_ns, meter->threads, meter->threads);
    if (thread_cpu_ns() > 0)
        printf("\tcpu=%" PRIu64, cpu);
    uint64_t memory = tour_peak_memory();
    if (memory > 0)
        printf("\tmemory=%" PRIu64, memory);
    printf("\tdriver=%s\n", which == SL_DRIVER_URING ? "io_uring" : "poll");
    fflush(stdout);
}
