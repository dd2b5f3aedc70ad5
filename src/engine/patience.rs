//! How long a thread looks for what it waits for before it goes to sleep. Sleeping costs both sides a system call, and the time
//! until the system has woken it; looking costs a processor. So it looks only where what came lately came soon.
//!
//! For the loop's thread, and for those that wait for events.

use crate::clock;

/// So often in a row it must have come soon before looking for it is tried, and so often is remembered.
const ENOUGH: u32 = 2;
const MOST: u32 = 8;

#[derive(Default)]
pub(super) struct Patience {
    /// What counts as soon; 0: never look.
    window_ns: u64,
    /// How often it came soon, lately.
    soon: u32,
}

impl Patience {
    pub(super) fn new(window_ns: u64) -> Self {
        Patience { window_ns, soon: 0 }
    }

    /// For how long to look now.
    pub(super) fn window(&self) -> u64 {
        if self.soon >= ENOUGH { self.window_ns } else { 0 }
    }

    /// Whether looking has found it.
    pub(super) fn looked(&mut self, found: bool) {
        self.soon = if found { (self.soon + 1).min(MOST) } else { self.soon / 2 };
    }

    /// The instant at which a sleep begins, where it matters.
    pub(super) fn begins(&self) -> u64 {
        if self.window_ns == 0 { 0 } else { clock::now() }
    }

    /// A sleep has ended that began at `begun`: because it came, or because time was up.
    pub(super) fn slept(&mut self, begun: u64, came: bool) {
        if self.window_ns > 0 && came {
            let soon = clock::now() - begun < self.window_ns;
            self.soon = if soon { (self.soon + 1).min(MOST) } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_only_where_that_helps() {
        let mut patience = Patience::new(1_000_000_000);
        assert_eq!(patience.window(), 0);
        for _ in 0..ENOUGH {
            let begun = patience.begins();
            patience.slept(begun, true);
        }
        assert_eq!(patience.window(), 1_000_000_000);
        patience.looked(true);
        let failures = (0..)
            .take_while(|_| {
                let looks = patience.window() > 0;
                patience.looked(false);
                looks
            })
            .count();
        assert!(failures <= 3, "{failures}");
        let mut never = Patience::new(0);
        never.slept(0, true);
        assert_eq!(never.window(), 0);
    }
}
