// The oracle of differential.c: every operation of the library as the plain blocking calls that it stands for, and the name
// that the library has for each errno. All run on the program's own thread.

#ifndef DIFFERENTIAL_ORACLE_H
#define DIFFERENTIAL_ORACLE_H

#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/uio.h>

// How an operation ends. A failure that came after `partial` bytes were done says so, as SL_EVENT_PARTIAL does.
typedef struct outcome {
    int64_t result;
    uint64_t partial;
    int os_error;
} outcome;

static int64_t status_of_errno(int code)
{
    static const struct {
        int code;
        sl_status status;
    } table[] = {
        {ENOENT, SL_ERR_NOT_FOUND},          {EACCES, SL_ERR_PERMISSION},
        {EPERM, SL_ERR_PERMISSION},          {EEXIST, SL_ERR_EXISTS},
        {EISDIR, SL_ERR_IS_DIRECTORY},       {ENOTDIR, SL_ERR_NOT_DIRECTORY},
        {ENOTEMPTY, SL_ERR_NOT_EMPTY},       {ENOSPC, SL_ERR_NO_SPACE},
        {EDQUOT, SL_ERR_NO_SPACE},           {EFBIG, SL_ERR_FILE_TOO_LARGE},
        {EROFS, SL_ERR_READ_ONLY},           {EMFILE, SL_ERR_TOO_MANY_FILES},
        {ENFILE, SL_ERR_TOO_MANY_FILES},     {ENAMETOOLONG, SL_ERR_NAME_TOO_LONG},
        {ELOOP, SL_ERR_LINKS},               {EBADF, SL_ERR_BAD_DESCRIPTOR},
        {EIO, SL_ERR_IO},                    {ESPIPE, SL_ERR_NO_SEEK},
        {EBUSY, SL_ERR_BUSY},                {ETXTBSY, SL_ERR_BUSY},
        {EINVAL, SL_ERR_INVALID},            {ENOMEM, SL_ERR_NO_MEMORY},
        {EOPNOTSUPP, SL_ERR_UNSUPPORTED},    {EPIPE, SL_ERR_BROKEN_PIPE},
        {ECONNREFUSED, SL_ERR_CONNECTION_REFUSED}, {ECONNRESET, SL_ERR_CONNECTION_RESET},
        {ECONNABORTED, SL_ERR_CONNECTION_ABORTED}, {ENOTCONN, SL_ERR_NOT_CONNECTED},
        {EADDRINUSE, SL_ERR_ADDRESS_IN_USE}, {EADDRNOTAVAIL, SL_ERR_ADDRESS_UNAVAILABLE},
        {ENETUNREACH, SL_ERR_NETWORK_UNREACHABLE}, {EHOSTUNREACH, SL_ERR_HOST_UNREACHABLE},
        {ENXIO, SL_ERR_NOT_FOUND},           {ENODEV, SL_ERR_NOT_FOUND},
        {ETIMEDOUT, SL_ERR_TIMED_OUT},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (table[i].code == code) {
            return table[i].status;
        }
    }
    return SL_ERR_OS;
}

static outcome succeeded(int64_t result)
{
    outcome is = {result, 0, 0};
    return is;
}

// A failure that the library finds by itself: the system has not been asked.
static outcome failed_with(sl_status status)
{
    outcome is = {status, 0, 0};
    return is;
}

// The last call failed, after `partial` bytes.
static outcome failed_after(uint64_t partial)
{
    outcome is = {status_of_errno(errno), partial, errno};
    return is;
}

// --- Files

static int open_bits(uint32_t flags)
{
    int writes = (flags & (SL_OPEN_WRITE | SL_OPEN_APPEND)) != 0;
    int bits = O_CLOEXEC | (!writes ? O_RDONLY : flags & SL_OPEN_READ ? O_RDWR : O_WRONLY);
    bits |= flags & SL_OPEN_APPEND ? O_APPEND : 0;
    bits |= flags & SL_OPEN_CREATE ? O_CREAT : 0;
    bits |= flags & SL_OPEN_EXCLUSIVE ? O_EXCL : 0;
    bits |= flags & SL_OPEN_TRUNCATE ? O_TRUNC : 0;
    bits |= flags & SL_OPEN_NO_FOLLOW ? O_NOFOLLOW : 0;
    bits |= flags & SL_OPEN_DIRECTORY ? O_DIRECTORY : 0;
    return bits;
}

static outcome oracle_open(const char *path, uint32_t flags, uint32_t mode, int *descriptor)
{
    *descriptor = open(path, open_bits(flags), (mode_t)mode);
    return *descriptor < 0 ? failed_after(0) : succeeded(1);
}

static ssize_t read_once(int descriptor, const struct iovec *pieces, int count, int64_t offset)
{
    // Several pieces, or none, are what a vectored read is given. Nothing to read is no piece: preadv(2) then looks at the
    // descriptor only, where pread(2) would also refuse a directory.
    if (count != 1 || pieces->iov_len == 0) {
        return offset < 0 ? readv(descriptor, pieces, count) : preadv(descriptor, pieces, count, offset);
    }
    return offset < 0 ? read(descriptor, pieces->iov_base, pieces->iov_len)
                      : pread(descriptor, pieces->iov_base, pieces->iov_len, offset);
}

// Reads into pieces that lie one behind the other, `length` bytes in all. offset: as for sl_file_read.
static outcome oracle_read(int descriptor, const struct iovec *pieces, int count, size_t length, int64_t offset, int exact)
{
    ssize_t got = read_once(descriptor, pieces, count, offset);
    if (got < 0) {
        return failed_after(0);
    }
    size_t done = (size_t)got;
    while (exact && got > 0 && done < length) {
        uint8_t *start = count > 0 ? pieces->iov_base : NULL;
        struct iovec rest = {start + done, length - done};
        got = read_once(descriptor, &rest, 1, offset < 0 ? offset : offset + (int64_t)done);
        if (got < 0) {
            return failed_after(done);
        }
        done += (size_t)got;
    }
    return succeeded((int64_t)done);
}

// Writes all. Nothing to write is nothing to do: the library then asks nobody.
static outcome oracle_write(int descriptor, const uint8_t *data, size_t length, int64_t offset)
{
    for (size_t done = 0; done < length;) {
        ssize_t got = offset < 0 ? write(descriptor, data + done, length - done)
                                 : pwrite(descriptor, data + done, length - done, offset + (int64_t)done);
        if (got < 0) {
            return failed_after(done);
        }
        done += (size_t)got;
    }
    return succeeded((int64_t)length);
}

// Reads a whole file; `bytes` receives memory to be freed. most: how much the library may lend.
static outcome oracle_path_read(const char *path, size_t most, uint8_t **bytes)
{
    int descriptor;
    size_t room = 1 << 14, done = 0;
    outcome is = oracle_open(path, SL_OPEN_READ, 0, &descriptor);
    if (is.result < 0) {
        return is;
    }
    *bytes = malloc(room);
    for (;;) {
        CHECK(*bytes);
        ssize_t got = read(descriptor, *bytes + done, room - done);
        if (got < 0) {
            is = failed_after(0);
            break;
        }
        if (got == 0) {
            is = done > most ? failed_with(SL_ERR_NO_BUFFERS) : succeeded((int64_t)done);
            break;
        }
        done += (size_t)got;
        if (done == room) {
            room *= 2;
            *bytes = realloc(*bytes, room);
        }
    }
    CHECK_IS(close(descriptor), 0);
    return is;
}

static outcome oracle_path_write(const char *path, const uint8_t *data, size_t length, uint32_t flags, uint32_t mode)
{
    int descriptor;
    uint32_t all = (flags ? flags : SL_OPEN_CREATE | SL_OPEN_TRUNCATE) | SL_OPEN_WRITE;
    outcome is = oracle_open(path, all, mode, &descriptor);
    if (is.result < 0) {
        return is;
    }
    is = oracle_write(descriptor, data, length, -1);
    CHECK_IS(close(descriptor), 0);
    return is;
}

// Makes the file that is written under another name first, with the permissions of what it is to replace; its descriptor.
static int open_beside(const char *path, const char *beside, uint32_t mode, outcome *is)
{
    struct stat replaced;
    int exists = stat(path, &replaced) == 0;
    if (!exists && errno != ENOENT) {
        *is = failed_after(0);
        return -1;
    }
    if (exists && !S_ISREG(replaced.st_mode)) {
        *is = failed_with(S_ISDIR(replaced.st_mode) ? SL_ERR_IS_DIRECTORY : SL_ERR_UNSUPPORTED);
        return -1;
    }
    int descriptor = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, exists ? 0600 : (mode_t)mode);
    if (descriptor < 0) {
        *is = failed_after(0);
    } else if (exists) {
        CHECK_IS(fchmod(descriptor, replaced.st_mode & 0777), 0);
    }
    return descriptor;
}

// A file that is there whole or not at all. length: -1 where what it is to be made of cannot be read because it is a directory.
static outcome oracle_whole(const char *path, const uint8_t *data, int64_t length, int replace, uint32_t mode)
{
    char beside[PATH_MAX];
    outcome is = succeeded(0);
    snprintf(beside, sizeof beside, "%s", path);
    while (replace && beside[strlen(beside) - 1] == '/') {
        beside[strlen(beside) - 1] = 0;
    }
    if (replace) {
        strcpy(strrchr(beside, '/') + 1, "beside");
    }
    int descriptor = replace ? open_beside(path, beside, mode, &is)
                             : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
    if (descriptor < 0) {
        return is.result < 0 ? is : failed_after(0);
    }
    errno = EISDIR;
    is = length < 0 ? failed_after(0) : oracle_write(descriptor, data, (size_t)length, -1);
    is.partial = 0;
    CHECK_IS(close(descriptor), 0);
    if (is.result >= 0 && replace && rename(beside, path) < 0) {
        is = failed_after(0);
    }
    if (is.result < 0) {
        CHECK_IS(unlink(beside), 0);
    }
    return is;
}

// --- Streams

// Writes to a pipe whose reader may be gone. SIGPIPE is kept from killing here only: where the library raises it, it shall.
static ssize_t write_to_pipe(int descriptor, const uint8_t *data, size_t length)
{
    sigset_t broken, before;
    int taken;
    sigemptyset(&broken);
    sigaddset(&broken, SIGPIPE);
    CHECK_IS(pthread_sigmask(SIG_BLOCK, &broken, &before), 0);
    ssize_t got = write(descriptor, data, length);
    int code = errno;
    if (got < 0 && code == EPIPE) {
        CHECK_IS(sigwait(&broken, &taken), 0);
    }
    CHECK_IS(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    errno = code;
    return got;
}

// Sends all. Nothing to send is nothing to do.
static outcome oracle_send(int descriptor, int is_pipe, const uint8_t *data, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t got = is_pipe ? write_to_pipe(descriptor, data + done, length - done)
                              : send(descriptor, data + done, length - done, MSG_NOSIGNAL);
        if (got < 0) {
            return failed_after(done);
        }
        done += (size_t)got;
    }
    return succeeded((int64_t)length);
}

// Receives until `length` bytes or the end. Nothing to receive is nothing to do: recv(2) itself would wait for something.
static outcome oracle_receive(int descriptor, int is_pipe, uint8_t *into, size_t length)
{
    size_t done = 0;
    while (done < length) {
        ssize_t got = is_pipe ? read(descriptor, into + done, length - done)
                              : recv(descriptor, into + done, length - done, 0);
        if (got < 0) {
            return failed_after(done);
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    return succeeded((int64_t)done);
}

#endif
