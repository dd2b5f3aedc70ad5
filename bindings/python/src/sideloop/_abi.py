"""The C ABI as ctypes sees it: constants, the table of errors, structures and prototypes.

Made from include/sideloop.h by generate_abi.py; edit neither this file nor a copy of it. Used by every module of the
package; holds no state, so any thread may use it.
"""

from __future__ import annotations

import ctypes
from ctypes import Array, c_char_p, c_int32, c_int64, c_size_t, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from typing import Any, Dict, Final, Optional, Tuple

# A 64-bit argument. Where pointers are as wide, c_void_p takes any integer too, in half the time.
_Word: Any = c_void_p if ctypes.sizeof(c_void_p) == 8 else c_uint64


def _format(codes: str) -> str:
    """A format for the struct module. Where a long is as wide as a long long, it takes half the time."""
    return codes.replace("Q", "L").replace("q", "l") if ctypes.sizeof(ctypes.c_long) == 8 else codes


class _Structure(ctypes.Structure):
    """A structure that shows its members, and starts with its own size where the ABI wants that."""

    FORMAT = ""

    def __init__(self, **members: Any) -> None:
        super().__init__(**members)
        if self._fields_[0][0] == "size":
            self.size = ctypes.sizeof(self)

    def __repr__(self) -> str:
        members = ((name, getattr(self, name)) for name, *_ in self._fields_ if name not in ("size", "reserved"))
        shown = ", ".join(f"{name}={bytes(v) if isinstance(v, Array) else v!r}" for name, v in members)
        return f"{type(self).__name__}({shown})"


SL_OK: Final = 0
SL_ERR_INVALID: Final = -1
SL_ERR_NULL: Final = -2
SL_ERR_BAD_ID: Final = -3
SL_ERR_STALE: Final = -4
SL_ERR_WRONG_KIND: Final = -5
SL_ERR_AGAIN: Final = -6
SL_ERR_NO_MEMORY: Final = -7
SL_ERR_CANCELLED: Final = -8
SL_ERR_TIMED_OUT: Final = -9
SL_ERR_SHUT_DOWN: Final = -10
SL_ERR_DEADLOCK: Final = -11
SL_ERR_FORKED: Final = -12
SL_ERR_UNSUPPORTED: Final = -13
SL_ERR_INTERNAL: Final = -14
SL_ERR_ENDED: Final = -15
SL_ERR_NO_BUFFERS: Final = -16
SL_ERR_STRUCT_SIZE: Final = -17
SL_ERR_DELIVERY: Final = -18
SL_ERR_NOT_FOUND: Final = -32
SL_ERR_PERMISSION: Final = -33
SL_ERR_EXISTS: Final = -34
SL_ERR_IS_DIRECTORY: Final = -35
SL_ERR_NOT_DIRECTORY: Final = -36
SL_ERR_NOT_EMPTY: Final = -37
SL_ERR_NO_SPACE: Final = -38
SL_ERR_FILE_TOO_LARGE: Final = -39
SL_ERR_READ_ONLY: Final = -40
SL_ERR_TOO_MANY_FILES: Final = -41
SL_ERR_NAME_TOO_LONG: Final = -42
SL_ERR_LINKS: Final = -43
SL_ERR_BAD_DESCRIPTOR: Final = -44
SL_ERR_IO: Final = -45
SL_ERR_NO_SEEK: Final = -46
SL_ERR_BUSY: Final = -47
SL_ERR_BROKEN_PIPE: Final = -64
SL_ERR_CONNECTION_REFUSED: Final = -65
SL_ERR_CONNECTION_RESET: Final = -66
SL_ERR_CONNECTION_ABORTED: Final = -67
SL_ERR_NOT_CONNECTED: Final = -68
SL_ERR_ADDRESS_IN_USE: Final = -69
SL_ERR_ADDRESS_UNAVAILABLE: Final = -70
SL_ERR_NETWORK_UNREACHABLE: Final = -71
SL_ERR_HOST_UNREACHABLE: Final = -72
SL_ERR_OS: Final = -127
SL_ABI_VERSION: Final = 2
SL_FOREVER: Final = 18446744073709551615
SL_DRIVER_AUTO: Final = 0
SL_DRIVER_POLL: Final = 1
SL_DRIVER_URING: Final = 2
SL_DRIVER_SIM: Final = 3
SL_LOOP_WAKE_SOCKET: Final = 1
SL_LOOP_NO_INLINE: Final = 2
SL_EVENT_MORE: Final = 1
SL_EVENT_LENT: Final = 2
SL_EVENT_PARTIAL: Final = 4
SL_DELIVER_QUEUE: Final = 0
SL_DELIVER_HANDLE: Final = 1
SL_DELIVER_DISPATCH: Final = 2
SL_DELIVER_THREAD: Final = 3
SL_NOP: Final = 1
SL_POST: Final = 2
SL_WORK: Final = 3
SL_TIMER: Final = 4
SL_CLOSE: Final = 5
SL_FILE_OPEN: Final = 16
SL_FILE_READ: Final = 17
SL_FILE_WRITE: Final = 18
SL_FILE_READV: Final = 19
SL_FILE_WRITEV: Final = 20
SL_FILE_SYNC: Final = 21
SL_FILE_STAT: Final = 22
SL_FILE_TRUNCATE: Final = 23
SL_PATH_STAT: Final = 24
SL_PATH_READ: Final = 25
SL_PATH_WRITE: Final = 26
SL_PATH_REMOVE: Final = 27
SL_PATH_RENAME: Final = 28
SL_PATH_MAKE_DIRECTORY: Final = 29
SL_PATH_LINK: Final = 30
SL_PATH_READ_LINK: Final = 31
SL_TCP_ACCEPT: Final = 32
SL_TCP_CONNECT: Final = 33
SL_STREAM_RECEIVE: Final = 34
SL_STREAM_SEND: Final = 35
SL_STREAM_SENDV: Final = 36
SL_STREAM_SHUTDOWN: Final = 37
SL_PATH_LIST: Final = 48
SL_PATH_COPY: Final = 49
SL_EXACT: Final = 1
SL_MULTISHOT: Final = 2
SL_DATA_ONLY: Final = 4
SL_NO_FOLLOW: Final = 8
SL_NO_REPLACE: Final = 16
SL_DIRECTORY: Final = 32
SL_SYMBOLIC: Final = 64
SL_OPTION_NO_INLINE: Final = 1
SL_OFFSET_CURRENT: Final = -1
SL_OPEN_READ: Final = 1
SL_OPEN_WRITE: Final = 2
SL_OPEN_APPEND: Final = 4
SL_OPEN_CREATE: Final = 8
SL_OPEN_EXCLUSIVE: Final = 16
SL_OPEN_TRUNCATE: Final = 32
SL_OPEN_NO_FOLLOW: Final = 64
SL_OPEN_DIRECTORY: Final = 128
SL_TYPE_UNKNOWN: Final = 0
SL_TYPE_FILE: Final = 1
SL_TYPE_DIRECTORY: Final = 2
SL_TYPE_LINK: Final = 3
SL_TYPE_OTHER: Final = 4
SL_WRITE_REPLACE: Final = 256
SL_WRITE_SYNC: Final = 512
SL_IPV4: Final = 4
SL_IPV6: Final = 6
SL_LISTEN_REUSE_PORT: Final = 1
SL_LISTEN_IPV6_ONLY: Final = 2
SL_STREAM_NO_DELAY: Final = 1
SL_STREAM_KEEP_ALIVE: Final = 2
SL_STREAM_RECEIVE_BUFFER: Final = 3
SL_STREAM_SEND_BUFFER: Final = 4
SL_STREAM_LINGER: Final = 5

# Every status: its name, and what it means.
ERRORS: Final[Dict[int, Tuple[str, str]]] = {
    SL_OK: (
        "SL_OK",
        "The work was accepted, or the call succeeded.",
    ),
    SL_ERR_INVALID: (
        "SL_ERR_INVALID",
        "An argument is outside its range; `sl_last_error` names it.",
    ),
    SL_ERR_NULL: (
        "SL_ERR_NULL",
        "A pointer is NULL where NULL is not allowed.",
    ),
    SL_ERR_BAD_ID: (
        "SL_ERR_BAD_ID",
        "The id was never issued by this library in this process.",
    ),
    SL_ERR_STALE: (
        "SL_ERR_STALE",
        "The id was valid once: what it named is closed, or has ended.",
    ),
    SL_ERR_WRONG_KIND: (
        "SL_ERR_WRONG_KIND",
        "The id names something of another kind, or of another loop, than the call needs.",
    ),
    SL_ERR_AGAIN: (
        "SL_ERR_AGAIN",
        "A limit of the loop is reached; take events (or return buffers) and try again.",
    ),
    SL_ERR_NO_MEMORY: (
        "SL_ERR_NO_MEMORY",
        "Memory could not be had.",
    ),
    SL_ERR_CANCELLED: (
        "SL_ERR_CANCELLED",
        "The operation was cancelled, by `sl_op_cancel`, by closing what it worked on, or by shutting down its loop.",
    ),
    SL_ERR_TIMED_OUT: (
        "SL_ERR_TIMED_OUT",
        "The deadline passed first.",
    ),
    SL_ERR_SHUT_DOWN: (
        "SL_ERR_SHUT_DOWN",
        "The loop is shutting down and accepts nothing new, or, for a wait, has no event left to wait for.",
    ),
    SL_ERR_DEADLOCK: (
        "SL_ERR_DEADLOCK",
        "The call would wait for the very thread that makes it (a wait or a close on one of the loop's own threads).",
    ),
    SL_ERR_FORKED: (
        "SL_ERR_FORKED",
        "The loop belongs to the parent of this forked process; open a new loop here.",
    ),
    SL_ERR_UNSUPPORTED: (
        "SL_ERR_UNSUPPORTED",
        "This platform, driver or kind of resource cannot do it.",
    ),
    SL_ERR_INTERNAL: (
        "SL_ERR_INTERNAL",
        "A bug in the library: it caught itself in a state that should not exist.",
    ),
    SL_ERR_ENDED: (
        "SL_ERR_ENDED",
        "The operation has already ended; its event is waiting or taken.",
    ),
    SL_ERR_NO_BUFFERS: (
        "SL_ERR_NO_BUFFERS",
        "No lent buffer of this size can be had within the loop's limit.",
    ),
    SL_ERR_STRUCT_SIZE: (
        "SL_ERR_STRUCT_SIZE",
        "The `size` at the start of a structure is none that any version of the library has used.",
    ),
    SL_ERR_DELIVERY: (
        "SL_ERR_DELIVERY",
        "The operation is delivered another way than this call collects it.",
    ),
    SL_ERR_NOT_FOUND: (
        "SL_ERR_NOT_FOUND",
        "No such file or directory.",
    ),
    SL_ERR_PERMISSION: (
        "SL_ERR_PERMISSION",
        "Permission denied.",
    ),
    SL_ERR_EXISTS: (
        "SL_ERR_EXISTS",
        "It exists already.",
    ),
    SL_ERR_IS_DIRECTORY: (
        "SL_ERR_IS_DIRECTORY",
        "It is a directory.",
    ),
    SL_ERR_NOT_DIRECTORY: (
        "SL_ERR_NOT_DIRECTORY",
        "A part of the path is not a directory.",
    ),
    SL_ERR_NOT_EMPTY: (
        "SL_ERR_NOT_EMPTY",
        "The directory is not empty.",
    ),
    SL_ERR_NO_SPACE: (
        "SL_ERR_NO_SPACE",
        "No space is left on the device, or a quota is used up.",
    ),
    SL_ERR_FILE_TOO_LARGE: (
        "SL_ERR_FILE_TOO_LARGE",
        "The file would become larger than the system allows.",
    ),
    SL_ERR_READ_ONLY: (
        "SL_ERR_READ_ONLY",
        "The file system is read-only.",
    ),
    SL_ERR_TOO_MANY_FILES: (
        "SL_ERR_TOO_MANY_FILES",
        "The process or the system has too many open descriptors.",
    ),
    SL_ERR_NAME_TOO_LONG: (
        "SL_ERR_NAME_TOO_LONG",
        "The name is too long.",
    ),
    SL_ERR_LINKS: (
        "SL_ERR_LINKS",
        "Too many symbolic links, or a link where none is allowed.",
    ),
    SL_ERR_BAD_DESCRIPTOR: (
        "SL_ERR_BAD_DESCRIPTOR",
        "The descriptor is not open, or not open for this.",
    ),
    SL_ERR_IO: (
        "SL_ERR_IO",
        "The device reports an input/output error.",
    ),
    SL_ERR_NO_SEEK: (
        "SL_ERR_NO_SEEK",
        "The resource cannot seek, so it has no offsets.",
    ),
    SL_ERR_BUSY: (
        "SL_ERR_BUSY",
        "The file or device is in use.",
    ),
    SL_ERR_BROKEN_PIPE: (
        "SL_ERR_BROKEN_PIPE",
        "The other side does not read any more.",
    ),
    SL_ERR_CONNECTION_REFUSED: (
        "SL_ERR_CONNECTION_REFUSED",
        "Nobody listens at that address.",
    ),
    SL_ERR_CONNECTION_RESET: (
        "SL_ERR_CONNECTION_RESET",
        "The other side reset the connection.",
    ),
    SL_ERR_CONNECTION_ABORTED: (
        "SL_ERR_CONNECTION_ABORTED",
        "The connection was aborted on this side.",
    ),
    SL_ERR_NOT_CONNECTED: (
        "SL_ERR_NOT_CONNECTED",
        "The stream is not connected.",
    ),
    SL_ERR_ADDRESS_IN_USE: (
        "SL_ERR_ADDRESS_IN_USE",
        "The address is in use.",
    ),
    SL_ERR_ADDRESS_UNAVAILABLE: (
        "SL_ERR_ADDRESS_UNAVAILABLE",
        "The address does not belong to this machine.",
    ),
    SL_ERR_NETWORK_UNREACHABLE: (
        "SL_ERR_NETWORK_UNREACHABLE",
        "The network cannot be reached.",
    ),
    SL_ERR_HOST_UNREACHABLE: (
        "SL_ERR_HOST_UNREACHABLE",
        "The host cannot be reached.",
    ),
    SL_ERR_OS: (
        "SL_ERR_OS",
        "An error of the operating system that has no portable name; its own code tells which.",
    ),
}

# Every kind of operation, by its number.
KINDS: Final[Dict[int, str]] = {
    SL_NOP: "SL_NOP",
    SL_POST: "SL_POST",
    SL_WORK: "SL_WORK",
    SL_TIMER: "SL_TIMER",
    SL_CLOSE: "SL_CLOSE",
    SL_FILE_OPEN: "SL_FILE_OPEN",
    SL_FILE_READ: "SL_FILE_READ",
    SL_FILE_WRITE: "SL_FILE_WRITE",
    SL_FILE_READV: "SL_FILE_READV",
    SL_FILE_WRITEV: "SL_FILE_WRITEV",
    SL_FILE_SYNC: "SL_FILE_SYNC",
    SL_FILE_STAT: "SL_FILE_STAT",
    SL_FILE_TRUNCATE: "SL_FILE_TRUNCATE",
    SL_PATH_STAT: "SL_PATH_STAT",
    SL_PATH_READ: "SL_PATH_READ",
    SL_PATH_WRITE: "SL_PATH_WRITE",
    SL_PATH_REMOVE: "SL_PATH_REMOVE",
    SL_PATH_RENAME: "SL_PATH_RENAME",
    SL_PATH_LINK: "SL_PATH_LINK",
    SL_PATH_MAKE_DIRECTORY: "SL_PATH_MAKE_DIRECTORY",
    SL_PATH_READ_LINK: "SL_PATH_READ_LINK",
    SL_PATH_LIST: "SL_PATH_LIST",
    SL_PATH_COPY: "SL_PATH_COPY",
    SL_TCP_ACCEPT: "SL_TCP_ACCEPT",
    SL_TCP_CONNECT: "SL_TCP_CONNECT",
    SL_STREAM_RECEIVE: "SL_STREAM_RECEIVE",
    SL_STREAM_SEND: "SL_STREAM_SEND",
    SL_STREAM_SENDV: "SL_STREAM_SENDV",
    SL_STREAM_SHUTDOWN: "SL_STREAM_SHUTDOWN",
}


class Counters(_Structure):
    """sl_counters: What a loop has done so far, and what it holds now. Set `size` to sizeof(sl_counters) before the
    call."""

    # sizeof(sl_counters).
    size: int
    # Threads of this loop now: its own, and the workers.
    threads: int
    # Operations accepted.
    accepted: int
    # Submissions refused.
    refused: int
    # Last events posted. When the loop is at rest this equals `accepted`.
    ended: int
    # Events posted that were flagged SL_EVENT_MORE.
    more: int
    # Events taken: by sl_poll, sl_wait, sl_op_poll and sl_op_wait, and given to callbacks.
    taken: int
    # Operations that ended with SL_ERR_CANCELLED.
    cancelled: int
    # Operations that ended with SL_ERR_TIMED_OUT.
    timed_out: int
    # Operations accepted whose last event is not taken yet (see max_operations).
    in_flight: int
    # SL_EVENT_MORE events that wait to be taken (see max_unclaimed).
    unclaimed: int
    # Files, streams and listeners that are open (see max_resources).
    resources: int
    # Lent buffers that are out.
    lent_buffers: int
    # Bytes of lent buffers that are out (see max_lent_bytes).
    lent_bytes: int
    # Turns of the loop: how often it looked for work.
    turns: int
    # Wakes: how often another thread found the loop asleep and woke it.
    wakes: int
    # Faults: how many operations a fault plan has had fail, fall short or wait (see sl_loop_options.faults).
    faults: int

    _fields_ = [
        ("size", c_uint32),
        ("threads", c_uint32),
        ("accepted", c_uint64),
        ("refused", c_uint64),
        ("ended", c_uint64),
        ("more", c_uint64),
        ("taken", c_uint64),
        ("cancelled", c_uint64),
        ("timed_out", c_uint64),
        ("in_flight", c_uint64),
        ("unclaimed", c_uint64),
        ("resources", c_uint64),
        ("lent_buffers", c_uint64),
        ("lent_bytes", c_uint64),
        ("turns", c_uint64),
        ("wakes", c_uint64),
        ("faults", c_uint64),
    ]
    # The same for the struct module, padding at the end included.
    FORMAT = _format("IIQQQQQQQQQQQQQQQ0Q")


class LoopOptions(_Structure):
    """sl_loop_options: How a loop is to be. Set `size` to sizeof(sl_loop_options); leave what you do not care about
    0."""

    # sizeof(sl_loop_options).
    size: int
    # One of SL_DRIVER_....
    driver: int
    # SL_LOOP_... bits.
    flags: int
    # How many operations may be accepted whose last event is not taken yet: 1 to 4194304; 0 means 65536. Beyond it,
    # submissions are refused with SL_ERR_AGAIN.
    max_operations: int
    # How many SL_EVENT_MORE events (accepted connections, received pieces) may wait to be taken: 1 to 1048576; 0
    # means 4096. Beyond it, multishot operations pause until you take some; a timer counts its ticks meanwhile.
    max_unclaimed: int
    # How many files, streams and listeners may be open in this loop: 1 to 4194304; 0 means 1048576.
    max_resources: int
    # How many threads may do blocking file work: 1 to 256; 0 means 4. Started when needed.
    max_file_threads: int
    # How many threads may run functions given to sl_work: 1 to 256; 0 means one per processor. Started when needed.
    max_work_threads: int
    # How many bytes a lent receive buffer holds: 512 to 16777216; 0 means 16384.
    receive_buffer_size: int
    # For how many microseconds a thread may look for what it waits for, awake, before it sleeps: the loop's for work,
    # and those in sl_wait for events. 0 to 1000000; 0, the default, makes them sleep at once. It saves system calls
    # and the time of waking, and costs processor time. They look only while what came lately came that soon: an idle
    # loop still costs nothing.
    spin_us: int
    # How many bytes of lent buffers may be out at a time: 0 means 268435456 (256 MiB). Beyond it, operations that
    # need a lent buffer wait until one is released.
    max_lent_bytes: int
    # What chance begins with, in a simulated loop and in a fault plan: the same seed, the same chance. 0 means the
    # environment variable SIDELOOP_SEED or, without it, any; sl_loop_driver says which it was.
    seed: int
    # A fault plan, as a string: see "Faults". NULL means the environment variable SIDELOOP_FAULTS or, without it, no
    # faults; the empty string means none. Copied before the call returns.
    faults: Optional[int]

    _fields_ = [
        ("size", c_uint32),
        ("driver", c_uint32),
        ("flags", c_uint32),
        ("max_operations", c_uint32),
        ("max_unclaimed", c_uint32),
        ("max_resources", c_uint32),
        ("max_file_threads", c_uint32),
        ("max_work_threads", c_uint32),
        ("receive_buffer_size", c_uint32),
        ("spin_us", c_uint32),
        ("max_lent_bytes", c_uint64),
        ("seed", c_uint64),
        ("faults", c_void_p),
    ]
    # The same for the struct module, padding at the end included.
    FORMAT = _format("IIIIIIIIIIQQP0Q")


class Event(_Structure):
    """sl_event: What an operation has to say: 48 bytes, or 44 where pointers have 32 bits."""

    # What the submission gave as sl_options.user_data.
    user_data: int
    # 0 or more: what the function that submitted it promises (a count of bytes, an id, ...); negative: an SL_ERR_....
    result: int
    # The operation. With its last event taken, its id is stale.
    op: int
    # A second number, as `flags` says: SL_EVENT_LENT: the lent buffer; SL_EVENT_PARTIAL: bytes done; else 0.
    detail: int
    # What kind of operation: SL_FILE_READ, SL_TCP_ACCEPT, ....
    kind: int
    # SL_EVENT_... bits.
    flags: int
    # The system's own code where `result` is an error that the system gave; else 0.
    os_error: int
    # The lent bytes (SL_EVENT_LENT), else NULL. Yours until sl_buffer_release or the end of the loop.
    data: Optional[int]

    _fields_ = [
        ("user_data", c_uint64),
        ("result", c_int64),
        ("op", c_uint64),
        ("detail", c_uint64),
        ("kind", c_uint16),
        ("flags", c_uint16),
        ("os_error", c_int32),
        ("data", c_void_p),
    ]
    # The same for the struct module, padding at the end included.
    FORMAT = _format("QqQQHHiP0Q")


class Request(_Structure):
    """sl_request: One operation, described. Which fields count depends on `kind`; set the others to 0."""

    # sizeof(sl_request).
    size: int
    # Which operation: SL_FILE_READ, ....
    kind: int
    # The loop, file, stream or listener that it works on.
    target: int
    # An address, as the table says.
    buffer: Optional[int]
    # A length, count or time, as the table says.
    length: int
    # An offset, or what the table says.
    offset: int
    # SL_EXACT, SL_MULTISHOT, ... or SL_OPEN_..., as the table says.
    flags: int
    # The permissions of a file that is created (like 0644; on Windows only whether anybody may write counts); else 0.
    mode: int
    # One of SL_DELIVER_....
    delivery: int
    # SL_OPTION_... bits.
    options: int
    # Comes back in every event of the operation.
    user_data: int
    # The deadline in nanoseconds from now; 0: none.
    timeout_ns: int
    # The callback, for SL_DELIVER_DISPATCH and SL_DELIVER_THREAD; else NULL.
    callback: Optional[int]
    # The function, for SL_WORK; else NULL.
    work: Optional[int]

    _fields_ = [
        ("size", c_uint32),
        ("kind", c_uint32),
        ("target", c_uint64),
        ("buffer", c_void_p),
        ("length", c_uint64),
        ("offset", c_int64),
        ("flags", c_uint32),
        ("mode", c_uint32),
        ("delivery", c_uint32),
        ("options", c_uint32),
        ("user_data", c_uint64),
        ("timeout_ns", c_uint64),
        ("callback", c_void_p),
        ("work", c_void_p),
    ]
    # The same for the struct module, padding at the end included.
    FORMAT = _format("IIQPQqIIIIQQPP0Q")


class Options(_Structure):
    """sl_options: How one operation is to be delivered, and until when it may take. Set `size` to sizeof(sl_options)
    and leave what you do not care about 0. NULL instead of a pointer to it means all 0."""

    # sizeof(sl_options).
    size: int
    # One of SL_DELIVER_....
    delivery: int
    # Comes back in every event of the operation.
    user_data: int
    # After this many nanoseconds the operation ends with SL_ERR_TIMED_OUT unless it has ended before; 0: no deadline.
    timeout_ns: int
    # The callback, for SL_DELIVER_DISPATCH and SL_DELIVER_THREAD; else NULL.
    callback: Optional[int]
    # SL_OPTION_... bits.
    flags: int
    # Must be 0.
    reserved: int

    _fields_ = [
        ("size", c_uint32),
        ("delivery", c_uint32),
        ("user_data", c_uint64),
        ("timeout_ns", c_uint64),
        ("callback", c_void_p),
        ("flags", c_uint32),
        ("reserved", c_uint32),
    ]
    # The same for the struct module, padding at the end included.
    FORMAT = _format("IIQQPII0Q")


class Slice(_Structure):
    """sl_slice: A piece of memory."""

    # Its address.
    data: Optional[int]
    # Its length in bytes.
    length: int

    _fields_ = [
        ("data", c_void_p),
        ("length", c_size_t),
    ]
    # The same for the struct module, padding at the end included.
    FORMAT = _format("PN0P")


class Stat(_Structure):
    """sl_stat: What is known of a file. Set `size` to sizeof(sl_stat) before you submit. Times are nanoseconds since
    1970 (UTC)."""

    # sizeof(sl_stat).
    size: int
    # One of SL_TYPE_....
    type: int
    # Length in bytes.
    length: int
    # Bytes that it takes up on the device.
    allocated: int
    # Permissions, as st_mode & 07777 (on Windows 0444 or 0666).
    mode: int
    # How many names it has; 0 where the system does not say.
    links: int
    # Its owner; 0 on Windows.
    user: int
    # Its group; 0 on Windows.
    group: int
    # The device that it is on; 0 on Windows.
    device: int
    # Its number on that device; 0 on Windows.
    inode: int
    # When it was last read.
    accessed_ns: int
    # When it was last written.
    modified_ns: int
    # When its contents or attributes last changed; 0 on Windows.
    changed_ns: int
    # When it was created; 0 where the system does not say.
    created_ns: int

    _fields_ = [
        ("size", c_uint32),
        ("type", c_uint32),
        ("length", c_uint64),
        ("allocated", c_uint64),
        ("mode", c_uint32),
        ("links", c_uint32),
        ("user", c_uint32),
        ("group", c_uint32),
        ("device", c_uint64),
        ("inode", c_uint64),
        ("accessed_ns", c_int64),
        ("modified_ns", c_int64),
        ("changed_ns", c_int64),
        ("created_ns", c_int64),
    ]
    # The same for the struct module, padding at the end included.
    FORMAT = _format("IIQQIIIIQQqqqq0Q")


class Entry(_Structure):
    """sl_entry: An entry of a directory, as sl_path_list gives it. Its name follows it: `name_length` bytes, then a
    NUL, then zeros up to `length`."""

    # Its number on the device; 0 on Windows.
    inode: int
    # How many bytes this entry takes with its name, a multiple of 8: the next one begins so many bytes on.
    length: int
    # How many bytes its name has, which is no path; on Windows UTF-8.
    name_length: int
    # One of SL_TYPE_....
    type: int

    _fields_ = [
        ("inode", c_uint64),
        ("length", c_uint32),
        ("name_length", c_uint16),
        ("type", c_uint16),
    ]
    # The same for the struct module, padding at the end included.
    FORMAT = _format("QIHH0Q")


class Address(_Structure):
    """sl_address: An address. Make one with sl_address_parse, or fill it in."""

    # SL_IPV4 or SL_IPV6.
    family: int
    # The port, in the machine's own byte order.
    port: int
    # Must be 0.
    reserved: int
    # IPv6: the scope id (the number of an interface), for link-local addresses; else 0.
    scope: int
    # The address, first byte first: 4 bytes for IPv4 (the others 0), 16 for IPv6.
    bytes: Array[c_uint8]

    _fields_ = [
        ("family", c_uint32),
        ("port", c_uint16),
        ("reserved", c_uint16),
        ("scope", c_uint32),
        ("bytes", c_uint8 * 16),
    ]
    # The same for the struct module, padding at the end included.
    FORMAT = _format("IHHI16s0I")


class ListenOptions(_Structure):
    """sl_listen_options: How to listen. Set `size` to sizeof(sl_listen_options); leave what you do not care about
    0."""

    # sizeof(sl_listen_options).
    size: int
    # SL_LISTEN_... bits.
    flags: int
    # How many connections the system may hold that are not accepted yet; 0 means 1024.
    backlog: int
    # Must be 0.
    reserved: int

    _fields_ = [
        ("size", c_uint32),
        ("flags", c_uint32),
        ("backlog", c_uint32),
        ("reserved", c_uint32),
    ]
    # The same for the struct module, padding at the end included.
    FORMAT = _format("IIII0I")


# Every structure, by its name in C.
STRUCTURES: Final = {
    "sl_counters": Counters,
    "sl_loop_options": LoopOptions,
    "sl_event": Event,
    "sl_request": Request,
    "sl_options": Options,
    "sl_slice": Slice,
    "sl_stat": Stat,
    "sl_entry": Entry,
    "sl_address": Address,
    "sl_listen_options": ListenOptions,
}

# Every function: its name, its result and its parameters. Pointers are addresses.
PROTOTYPES: Final[Tuple[Tuple[str, Any, Tuple[Any, ...]], ...]] = (
    ("sl_abi_version", c_uint32, ()),
    ("sl_version", c_char_p, ()),
    ("sl_status_name", c_char_p, (c_int32,)),
    ("sl_status_message", c_char_p, (c_int32,)),
    ("sl_last_error", c_char_p, ()),
    ("sl_last_os_error", c_int32, ()),
    ("sl_loop_open", c_int32, (c_void_p, c_void_p)),
    ("sl_loop_shutdown", c_int32, (_Word,)),
    ("sl_loop_close", c_int32, (_Word, _Word)),
    ("sl_loop_driver", c_int32, (_Word, c_void_p, _Word)),
    ("sl_loop_counters", c_int32, (_Word, c_void_p)),
    ("sl_loop_wake_descriptor", c_int32, (_Word, c_void_p)),
    ("sl_poll", c_int32, (_Word, c_void_p, _Word)),
    ("sl_wait", c_int32, (_Word, c_void_p, _Word, _Word)),
    ("sl_op_poll", c_int32, (_Word, c_void_p)),
    ("sl_op_wait", c_int32, (_Word, _Word, c_void_p)),
    ("sl_op_status", c_int32, (_Word,)),
    ("sl_op_cancel", c_int32, (_Word,)),
    ("sl_dispatch", c_int32, (_Word, _Word, _Word)),
    ("sl_submit", c_int32, (_Word, c_void_p, _Word, c_void_p)),
    ("sl_buffer_release", c_int32, (_Word,)),
    ("sl_file_open", c_int32, (_Word, c_void_p, c_uint32, c_uint32, c_void_p, c_void_p)),
    ("sl_file_read", c_int32, (_Word, c_void_p, _Word, _Word, c_uint32, c_void_p, c_void_p)),
    ("sl_file_write", c_int32, (_Word, c_void_p, _Word, _Word, c_uint32, c_void_p, c_void_p)),
    ("sl_file_readv", c_int32, (_Word, c_void_p, _Word, _Word, c_uint32, c_void_p, c_void_p)),
    ("sl_file_writev", c_int32, (_Word, c_void_p, _Word, _Word, c_uint32, c_void_p, c_void_p)),
    ("sl_file_sync", c_int32, (_Word, c_uint32, c_void_p, c_void_p)),
    ("sl_file_stat", c_int32, (_Word, c_void_p, c_void_p, c_void_p)),
    ("sl_file_truncate", c_int32, (_Word, _Word, c_void_p, c_void_p)),
    ("sl_file_adopt", c_int32, (_Word, _Word, c_void_p)),
    ("sl_path_stat", c_int32, (_Word, c_void_p, c_uint32, c_void_p, c_void_p, c_void_p)),
    ("sl_path_read", c_int32, (_Word, c_void_p, c_void_p, c_void_p)),
    ("sl_path_write", c_int32, (_Word, c_void_p, c_void_p, _Word, c_uint32, c_uint32, c_void_p, c_void_p)),
    ("sl_path_copy", c_int32, (_Word, c_void_p, c_void_p, c_uint32, c_uint32, c_void_p, c_void_p)),
    ("sl_path_remove", c_int32, (_Word, c_void_p, c_uint32, c_void_p, c_void_p)),
    ("sl_path_rename", c_int32, (_Word, c_void_p, c_void_p, c_uint32, c_void_p, c_void_p)),
    ("sl_path_make_directory", c_int32, (_Word, c_void_p, c_uint32, c_void_p, c_void_p)),
    ("sl_path_link", c_int32, (_Word, c_void_p, c_void_p, c_uint32, c_void_p, c_void_p)),
    ("sl_path_read_link", c_int32, (_Word, c_void_p, c_void_p, c_void_p)),
    ("sl_path_list", c_int32, (_Word, c_void_p, c_void_p, c_void_p)),
    ("sl_address_parse", c_int32, (c_void_p, c_void_p)),
    ("sl_address_format", c_int32, (c_void_p, c_void_p, _Word)),
    ("sl_tcp_listen", c_int32, (_Word, c_void_p, c_void_p, c_void_p)),
    ("sl_tcp_accept", c_int32, (_Word, c_uint32, c_void_p, c_void_p)),
    ("sl_tcp_connect", c_int32, (_Word, c_void_p, c_void_p, c_void_p)),
    ("sl_stream_receive", c_int32, (_Word, c_void_p, _Word, c_uint32, c_void_p, c_void_p)),
    ("sl_stream_send", c_int32, (_Word, c_void_p, _Word, c_uint32, c_void_p, c_void_p)),
    ("sl_stream_sendv", c_int32, (_Word, c_void_p, _Word, c_void_p, c_void_p)),
    ("sl_stream_shutdown", c_int32, (_Word, c_void_p, c_void_p)),
    ("sl_stream_set", c_int32, (_Word, c_uint32, _Word)),
    ("sl_stream_get", c_int32, (_Word, c_uint32, c_void_p)),
    ("sl_local_address", c_int32, (_Word, c_void_p)),
    ("sl_peer_address", c_int32, (_Word, c_void_p)),
    ("sl_stream_adopt", c_int32, (_Word, _Word, c_void_p)),
    ("sl_listener_adopt", c_int32, (_Word, _Word, c_void_p)),
    ("sl_timer", c_int32, (_Word, _Word, _Word, c_void_p, c_void_p)),
    ("sl_post", c_int32, (_Word, _Word, c_void_p, c_void_p)),
    ("sl_work", c_int32, (_Word, c_void_p, c_void_p, c_void_p, c_void_p)),
    ("sl_nop", c_int32, (_Word, c_void_p, c_void_p)),
    ("sl_close", c_int32, (_Word, c_void_p, c_void_p)),
    ("sl_descriptor_of", c_int32, (_Word, c_void_p)),
)
