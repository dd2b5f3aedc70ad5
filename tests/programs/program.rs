//! Random programs of calls: what they are, and how they are made and made smaller (proptest). Any thread.

use proptest::collection::vec;
use proptest::prelude::*;

/// How many files, and how many links, a program has at a time.
pub(crate) const FILES: usize = 3;
pub(crate) const LINKS: usize = 3;

/// What a driver is given in one run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// What chance begins with, in a simulated loop and in the fault plan.
    pub(crate) seed: u64,
    /// Whether I/O fails now and then.
    pub(crate) faults: bool,
    /// So few that limits are reached.
    pub(crate) tight: bool,
    pub(crate) steps: Vec<Step>,
    pub(crate) ending: Ending,
}

/// How an operation is submitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) delivery: u32,
    /// The deadline in microseconds; 0: none.
    pub(crate) deadline_us: u64,
    pub(crate) inline: bool,
}

/// How a receive takes its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taking {
    Own,
    Exact,
    Lent,
    Multishot,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Open {
        file: usize,
        truncate: bool,
        manner: Manner,
    },
    Read {
        file: usize,
        offset: u16,
        length: u16,
        taking: Taking,
        manner: Manner,
    },
    Write {
        file: usize,
        offset: u16,
        length: u16,
        vectored: bool,
        manner: Manner,
    },
    Sync {
        file: usize,
        manner: Manner,
    },
    Truncate {
        file: usize,
        length: u16,
        manner: Manner,
    },
    Stat {
        file: usize,
        manner: Manner,
    },
    CloseFile {
        file: usize,
        manner: Manner,
    },
    ReadPath {
        file: usize,
        manner: Manner,
    },
    WritePath {
        file: usize,
        length: u16,
        manner: Manner,
    },
    Connect {
        link: usize,
        tcp: bool,
        multishot: bool,
        manner: Manner,
    },
    Send {
        link: usize,
        end: usize,
        length: u16,
        vectored: bool,
        manner: Manner,
    },
    Receive {
        link: usize,
        end: usize,
        length: u16,
        taking: Taking,
        manner: Manner,
    },
    ShutDown {
        link: usize,
        end: usize,
        manner: Manner,
    },
    CloseEnd {
        link: usize,
        end: usize,
        manner: Manner,
    },
    Timer {
        delay_us: u16,
        period_us: u16,
        manner: Manner,
    },
    Post {
        value: u32,
        manner: Manner,
    },
    Nop {
        manner: Manner,
    },
    Work {
        value: u32,
        manner: Manner,
    },
    /// Cancels the operation submitted so many before the last.
    Cancel {
        back: usize,
    },
    Poll,
    Wait {
        timeout_us: u16,
    },
    Dispatch {
        timeout_us: u16,
    },
    /// Gives a lent buffer back that is held.
    Release,
}

/// How the program ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    /// Every operation is waited for; what would not end by itself is cancelled.
    Patient,
    CancelAll,
    CloseResources,
    ShutDown,
    CloseLoop,
}

fn manner() -> impl Strategy<Value = Manner> {
    let deadline = prop_oneof![9 => Just(0u64), 1 => 1u64..2000];
    (0u32..4, deadline, any::<bool>()).prop_map(|(delivery, deadline_us, inline)| Manner {
        delivery,
        deadline_us,
        inline,
    })
}

fn taking() -> impl Strategy<Value = Taking> {
    prop_oneof![Just(Taking::Own), Just(Taking::Exact), Just(Taking::Lent), Just(Taking::Multishot)]
}

fn length() -> impl Strategy<Value = u16> {
    prop_oneof![1 => Just(0u16), 6 => 1u16..300, 2 => 1u16..9000]
}

fn file_step() -> impl Strategy<Value = Step> {
    let file = || 0..FILES;
    prop_oneof![
        3 => (file(), any::<bool>(), manner()).prop_map(|(file, truncate, manner)| Step::Open { file, truncate, manner }),
        4 => (file(), 0u16..6000, length(), taking(), manner())
            .prop_map(|(file, offset, length, taking, manner)| Step::Read { file, offset, length, taking, manner }),
        4 => (file(), 0u16..6000, length(), any::<bool>(), manner())
            .prop_map(|(file, offset, length, vectored, manner)| Step::Write { file, offset, length, vectored, manner }),
        1 => (file(), manner()).prop_map(|(file, manner)| Step::Sync { file, manner }),
        1 => (file(), length(), manner()).prop_map(|(file, length, manner)| Step::Truncate { file, length, manner }),
        1 => (file(), manner()).prop_map(|(file, manner)| Step::Stat { file, manner }),
        1 => (file(), manner()).prop_map(|(file, manner)| Step::CloseFile { file, manner }),
        1 => (file(), manner()).prop_map(|(file, manner)| Step::ReadPath { file, manner }),
        1 => (file(), length(), manner()).prop_map(|(file, length, manner)| Step::WritePath { file, length, manner }),
    ]
}

fn link_step() -> impl Strategy<Value = Step> {
    let place = || (0..LINKS, 0..2usize);
    prop_oneof![
        3 => (0..LINKS, any::<bool>(), any::<bool>(), manner())
            .prop_map(|(link, tcp, multishot, manner)| Step::Connect { link, tcp, multishot, manner }),
        6 => (place(), length(), any::<bool>(), manner())
            .prop_map(|((link, end), length, vectored, manner)| Step::Send { link, end, length, vectored, manner }),
        6 => (place(), length(), taking(), manner())
            .prop_map(|((link, end), length, taking, manner)| Step::Receive { link, end, length, taking, manner }),
        1 => (place(), manner()).prop_map(|((link, end), manner)| Step::ShutDown { link, end, manner }),
        1 => (place(), manner()).prop_map(|((link, end), manner)| Step::CloseEnd { link, end, manner }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => file_step(),
        8 => link_step(),
        1 => (0u16..3000, prop_oneof![Just(0u16), 1u16..500], manner())
            .prop_map(|(delay_us, period_us, manner)| Step::Timer { delay_us, period_us, manner }),
        1 => (any::<u32>(), manner()).prop_map(|(value, manner)| Step::Post { value, manner }),
        1 => manner().prop_map(|manner| Step::Nop { manner }),
        1 => (any::<u32>(), manner()).prop_map(|(value, manner)| Step::Work { value, manner }),
        3 => (0usize..12).prop_map(|back| Step::Cancel { back }),
        2 => Just(Step::Poll),
        2 => (0u16..500).prop_map(|timeout_us| Step::Wait { timeout_us }),
        1 => (0u16..500).prop_map(|timeout_us| Step::Dispatch { timeout_us }),
        1 => Just(Step::Release),
    ]
}

/// All programs of at most so many steps.
pub(crate) fn programs(most: usize) -> impl Strategy<Value = Program> {
    let ending = prop_oneof![
        2 => Just(Ending::Patient),
        1 => Just(Ending::CancelAll),
        1 => Just(Ending::CloseResources),
        1 => Just(Ending::ShutDown),
        1 => Just(Ending::CloseLoop),
    ];
    (1u64.., any::<bool>(), any::<bool>(), vec(step(), 1..most), ending)
        .prop_map(|(seed, faults, tight, steps, ending)| Program { seed, faults, tight, steps, ending })
}
