//! Random programs of calls on every driver, a simulated loop above all: a ledger of operations and events, files and streams compared
//! with what is in them, and descriptors, threads and memory back where they were. Programs that fail are made smaller.
//!
//! Without the usual frame for tests, whose own thread allocates now and then.
//!
//! SIDELOOP_PROGRAMS: how many on the simulated loop (a quarter of that on the others); SIDELOOP_PROGRAMS_SEED: from where on.

#[cfg(target_os = "linux")]
mod check;
#[cfg(target_os = "linux")]
#[path = "../common/counting.rs"]
mod counting;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod ledger;
#[cfg(target_os = "linux")]
mod links;
#[cfg(target_os = "linux")]
mod pinned;
#[cfg(target_os = "linux")]
mod program;
#[cfg(target_os = "linux")]
mod run;

fn main() {
    #[cfg(target_os = "linux")]
    check::all();
    #[cfg(not(target_os = "linux"))]
    println!("skipped: descriptors, threads and pairs of sockets are Linux's here");
}
