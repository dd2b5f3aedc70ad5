//! What is measured: the works, their cases, who does them, and what sideloop is to reach. All of it is data; the programs
//! that do the work are in `peers/` and `rust-peers/`.

/// What a figure counts, which says how it is written and whether more of it is better.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Unit {
    /// Nanoseconds; fewer are better.
    Time,
    /// A count per second; more are better.
    Rate,
    /// Bytes; fewer are better.
    Bytes,
}

/// One of the numbers that a run prints.
pub(crate) struct Figure {
    /// Its name in the line of JSON.
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
}

/// One size of a work.
pub(crate) struct Case {
    pub(crate) label: &'static str,
    /// Where it stands in the plot: the curve's panel, and how far to the right. 0 is not plotted.
    pub(crate) panel: &'static str,
    pub(crate) x: u32,
    pub(crate) arguments: &'static str,
}

/// What has to be on the disk beforehand.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Input {
    Nothing,
    /// A file of this length.
    Blocks {
        name: &'static str,
        length: u64,
    },
    /// A folder with this many files of 4 KiB.
    Folder {
        name: &'static str,
        count: u32,
    },
}

/// What sideloop is to reach.
pub(crate) enum Bound {
    /// It takes at most so many times what the peer takes.
    Takes(f64, &'static str),
    /// It is at least so many times as fast as the peer.
    Speed(f64, &'static str),
    /// Its figure is at most this.
    AtMost(f64),
}

pub(crate) struct Target {
    /// For these cases, by label.
    pub(crate) cases: &'static [&'static str],
    /// Which sideloop.
    pub(crate) subject: &'static str,
    pub(crate) bound: Bound,
}

pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// The first is what targets are about.
    pub(crate) figures: &'static [Figure],
    pub(crate) input: Input,
    /// Whether the peers are servers, measured by the client.
    pub(crate) served: bool,
    /// What is passed in every case, at full length and with `--quick`. `{}` is the folder for temporary files.
    pub(crate) full: &'static str,
    pub(crate) quick: &'static str,
    pub(crate) cases: &'static [Case],
    pub(crate) peers: &'static [&'static str],
    pub(crate) targets: &'static [Target],
}

const fn case(label: &'static str, arguments: &'static str) -> Case {
    Case { label, panel: "", x: 0, arguments }
}

const fn at(panel: &'static str, x: u32, label: &'static str, arguments: &'static str) -> Case {
    Case { label, panel, x, arguments }
}

const EACH: &[Figure] = &[
    Figure { key: "ns", title: "time each", unit: Unit::Time },
    Figure { key: "cpu_ns", title: "processor time each", unit: Unit::Time },
];

/// For what spreads over a time that is given: only the processor's counts.
const PROCESSOR: &[Figure] = &[Figure { key: "cpu_ns", title: "processor time each", unit: Unit::Time }];

const SERVED: &[Figure] = &[
    Figure { key: "per_s", title: "each second, at the client", unit: Unit::Rate },
    Figure { key: "cpu_ns", title: "the server's processor time each", unit: Unit::Time },
];

const HELD: &[Figure] = &[
    Figure { key: "bytes", title: "bytes allocated each", unit: Unit::Bytes },
    Figure { key: "resident_bytes", title: "bytes resident each", unit: Unit::Bytes },
];

const SIZE: &[Figure] = &[Figure { key: "bytes", title: "bytes", unit: Unit::Bytes }];

const SERVERS: &[&str] = &[
    "epoll",
    "liburing",
    "libuv",
    "libevent",
    "tokio",
    "compio",
    "sideloop-uring-callback",
    "sideloop-poll-callback",
    "sideloop-uring",
    "sideloop-poll",
];

/// Many connections, where the number of system calls for each message tells.
const MANY: &[&str] = &["64 B x 100", "64 B x 1000"];

pub(crate) const WORKS: &[Work] = &[
    Work {
        name: "read",
        title: "random reads of 4 KiB of a cached file of 64 MiB",
        figures: EACH,
        input: Input::Blocks { name: "small", length: 64 << 20 },
        served: false,
        full: "file={}/small ms=500",
        quick: "file={}/small ms=150",
        cases: &[
            at("read: reads in flight", 1, "1 in flight", "depth=1"),
            at("read: reads in flight", 16, "16 in flight", "depth=16"),
            at("read: reads in flight", 64, "64 in flight", "depth=64"),
            at("read: reads in flight", 256, "256 in flight", "depth=256"),
        ],
        peers: &["blocking", "pool", "libuv", "liburing", "aio", "tokio", "compio", "sideloop-uring", "sideloop-poll"],
        targets: &[
            Target { cases: &["1 in flight"], subject: "sideloop-uring", bound: Bound::Takes(1.6, "blocking") },
            Target { cases: &["1 in flight"], subject: "sideloop-uring", bound: Bound::Speed(20.0, "libuv") },
            Target {
                cases: &["64 in flight", "256 in flight"],
                subject: "sideloop-uring",
                bound: Bound::Takes(1.35, "liburing"),
            },
            Target {
                cases: &["64 in flight", "256 in flight"],
                subject: "sideloop-uring",
                bound: Bound::Speed(1.5, "libuv"),
            },
        ],
    },
    Work {
        name: "bigread",
        title: "a cached file of 1 GiB in pieces of 128 KiB, 64 in flight",
        figures: EACH,
        input: Input::Blocks { name: "big", length: 1 << 30 },
        served: false,
        full: "file={}/big depth=64 block=131072 in_order=1",
        quick: "file={}/big depth=64 block=131072 in_order=1",
        cases: &[case("each piece", "")],
        peers: &["blocking", "pool", "libuv", "liburing", "tokio", "compio", "sideloop-uring", "sideloop-poll"],
        targets: &[Target { cases: &["each piece"], subject: "sideloop-uring", bound: Bound::Speed(1.0, "blocking") }],
    },
    Work {
        name: "files",
        title: "10,000 whole files of 4 KiB, 64 in flight",
        figures: EACH,
        input: Input::Folder { name: "files", count: 10_000 },
        served: false,
        full: "folder={}/files count=10000 passes=5",
        quick: "folder={}/files count=10000 passes=1",
        cases: &[case("each file", "depth=64")],
        peers: &["blocking", "pool", "libuv", "liburing", "tokio", "compio", "sideloop-uring", "sideloop-poll"],
        targets: &[
            Target { cases: &["each file"], subject: "sideloop-uring", bound: Bound::Takes(1.2, "blocking") },
            Target { cases: &["each file"], subject: "sideloop-uring", bound: Bound::Speed(3.0, "libuv") },
        ],
    },
    Work {
        name: "fsync",
        title: "writes of 4 KiB made safe with fsync, to 16 files at a time",
        figures: EACH,
        input: Input::Nothing,
        served: false,
        full: "folder={} ms=1000",
        quick: "folder={} ms=300",
        cases: &[case("write and fsync", "")],
        peers: &["blocking", "pool", "libuv", "liburing", "tokio", "compio", "sideloop-uring", "sideloop-poll"],
        targets: &[],
    },
    Work {
        name: "echo",
        title: "TCP echo; the client is the same program for all",
        figures: SERVED,
        input: Input::Nothing,
        served: true,
        full: "ms=2000",
        quick: "ms=500",
        cases: &[
            at("echo of 64 B: connections", 1, "64 B x 1", "size=64 connections=1"),
            at("echo of 64 B: connections", 100, "64 B x 100", "size=64 connections=100"),
            at("echo of 64 B: connections", 1000, "64 B x 1000", "size=64 connections=1000"),
            at("echo of 16 KiB: connections", 1, "16 KiB x 1", "size=16384 connections=1"),
            at("echo of 16 KiB: connections", 100, "16 KiB x 100", "size=16384 connections=100"),
            at("echo of 16 KiB: connections", 1000, "16 KiB x 1000", "size=16384 connections=1000"),
        ],
        peers: SERVERS,
        targets: &[
            Target { cases: MANY, subject: "sideloop-uring-callback", bound: Bound::Speed(1.4, "libuv") },
            Target { cases: MANY, subject: "sideloop-uring-callback", bound: Bound::Speed(0.95, "epoll") },
            Target { cases: MANY, subject: "sideloop-uring-callback", bound: Bound::Speed(0.85, "liburing") },
            Target { cases: MANY, subject: "sideloop-uring", bound: Bound::Speed(1.0, "libuv") },
            Target { cases: MANY, subject: "sideloop-poll-callback", bound: Bound::Speed(0.95, "libuv") },
        ],
    },
    Work {
        name: "accept",
        title: "TCP connections accepted and closed, 64 waiting at a time",
        figures: SERVED,
        input: Input::Nothing,
        served: true,
        full: "ms=1000 connections=64",
        quick: "ms=300 connections=64",
        cases: &[case("connections", "")],
        peers: SERVERS,
        targets: &[],
    },
    Work {
        name: "timers",
        title: "1,000,000 timers started and fired within a second, none early",
        figures: PROCESSOR,
        input: Input::Nothing,
        served: false,
        full: "count=1000000",
        quick: "count=200000",
        cases: &[case("start and fire", "")],
        peers: &[
            "libuv",
            "libevent",
            "tokio",
            "sideloop-uring",
            "sideloop-poll",
            "sideloop-uring-callback",
            "sideloop-poll-callback",
        ],
        targets: &[Target { cases: &["start and fire"], subject: "sideloop-uring", bound: Bound::Speed(1.0, "libuv") }],
    },
    Work {
        name: "post",
        title: "posts of 4 threads, 250,000 each, to one consumer",
        figures: EACH,
        input: Input::Nothing,
        served: false,
        full: "count=250000",
        quick: "count=50000",
        cases: &[case("one by one", "batch=1"), case("64 at a time", "batch=64")],
        peers: &["eventfd", "libuv", "tokio", "sideloop-uring", "sideloop-poll"],
        targets: &[],
    },
    Work {
        name: "nop",
        title: "operations that do nothing, there and back",
        figures: EACH,
        input: Input::Nothing,
        served: false,
        full: "ms=300",
        quick: "ms=150",
        cases: &[case("round trip", "batch=1"), case("in batches of 256", "batch=256")],
        peers: &["liburing", "sideloop-uring", "sideloop-poll"],
        targets: &[Target { cases: &["in batches of 256"], subject: "sideloop-uring", bound: Bound::AtMost(250.0) }],
    },
    Work {
        name: "memory",
        title: "memory held for each operation and each idle connection",
        figures: HELD,
        input: Input::Nothing,
        served: false,
        full: "",
        quick: "",
        cases: &[
            case("a timer", "what=timers count=100000"),
            case("a receive", "what=connections idle=0"),
            case("an idle connection", "what=connections idle=1"),
        ],
        peers: &["libuv", "sideloop-uring", "sideloop-poll"],
        targets: &[
            Target { cases: &["a timer", "a receive"], subject: "sideloop-uring", bound: Bound::AtMost(200.0) },
            Target { cases: &["an idle connection"], subject: "sideloop-uring", bound: Bound::AtMost(1024.0) },
        ],
    },
    Work {
        name: "size",
        title: "the shared library without its symbols",
        figures: SIZE,
        input: Input::Nothing,
        served: false,
        full: "folder={}",
        quick: "folder={}",
        cases: &[case("library", "")],
        peers: &["libuv", "liburing", "libevent", "sideloop-uring"],
        targets: &[],
    },
    Work {
        name: "open",
        title: "a loop opened and closed",
        figures: EACH,
        input: Input::Nothing,
        served: false,
        full: "ms=300",
        quick: "ms=150",
        cases: &[case("open and close", "")],
        peers: &["libuv", "liburing", "libevent", "tokio", "compio", "sideloop-uring", "sideloop-poll"],
        targets: &[],
    },
];
