//! Programs that something was once found with: they run first, on every driver.

use crate::program::{Ending, Manner, Program, Step, Taking};

const QUEUED: Manner = Manner { delivery: 0, deadline_us: 0, inline: false };
const DISPATCHED: Manner = Manner { delivery: 2, ..QUEUED };

pub(crate) fn programs() -> Vec<Program> {
    vec![seed_2084051934834284849()]
}

/// A send fails, the one behind it goes out and is received, and the loop is closed with the events of both: the ledger had the
/// first one go, too.
fn seed_2084051934834284849() -> Program {
    Program {
        seed: 2084051934834284849,
        faults: true,
        tight: false,
        steps: vec![
            Step::Poll,
            Step::Poll,
            Step::Open { file: 0, truncate: false, manner: Manner { deadline_us: 163, ..QUEUED } },
            Step::Open { file: 1, truncate: false, manner: QUEUED },
            Step::Connect { link: 2, tcp: false, multishot: false, manner: QUEUED },
            Step::Write { file: 1, offset: 0, length: 2, vectored: false, manner: DISPATCHED },
            Step::Receive { link: 2, end: 1, length: 0, taking: Taking::Own, manner: DISPATCHED },
            Step::Open { file: 0, truncate: false, manner: QUEUED },
            Step::Wait { timeout_us: 1 },
            Step::Send { link: 2, end: 0, length: 0, vectored: false, manner: QUEUED },
            Step::Send { link: 2, end: 0, length: 0, vectored: false, manner: QUEUED },
            Step::ShutDown { link: 2, end: 1, manner: QUEUED },
            Step::Write { file: 1, offset: 0, length: 0, vectored: false, manner: QUEUED },
        ],
        ending: Ending::CloseLoop,
    }
}
