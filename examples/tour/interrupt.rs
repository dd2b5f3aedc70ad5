//! Ctrl-C. The handler's thread only sets a flag; the parent's main thread looks at it wherever it waits or loops, and
//! winds up in order: children ended, temporary files removed, what was done so far printed.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The exit code of a program that Ctrl-C ended: 128 + SIGINT.
pub(crate) const EXIT_CODE: u8 = 130;

/// Why the tour does not go on.
pub(crate) enum Halt {
    Interrupted,
    Failed(String),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Halt {
        Halt::Failed(error.to_string())
    }
}

/// Catches Ctrl-C from now on. Whoever presses it a second time does not want to wait for good order.
pub(crate) fn catch() -> Result<(), Halt> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(EXIT_CODE));
        }
    })
    .map_err(|error| Halt::Failed(format!("Ctrl-C cannot be caught: {error}")))
}

/// Ends the calling step if Ctrl-C was pressed.
pub(crate) fn check() -> Result<(), Halt> {
    if INTERRUPTED.load(Ordering::SeqCst) { Err(Halt::Interrupted) } else { Ok(()) }
}
