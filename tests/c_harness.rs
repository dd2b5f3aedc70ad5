//! Compiles the programs of `tests/c` against the header, links them to the shared library and runs them, once for each
//! driver. Every program checks one behaviour and says what it is about in its first lines.
//!
//! - `SIDELOOP_FULL=1` runs each at the full size that its first lines give; `SIDELOOP_SLOW=1` makes the longest shorter, for where
//!   everything takes a multiple of its time: under sanitizers, on emulators.
//! - `CC` and `CXX` choose the compilers.
//! - `SIDELOOP_C_PROGRAMS` names a folder with programs built beforehand (`tests/c/build-windows.sh`), for platforms on
//!   which no compiler runs beside the tests.

#[path = "c/link.rs"]
mod link;

use link::Language;
use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The drivers that each program runs on. Where one cannot be had, the program says so and is skipped.
const DRIVERS: &[&str] = if cfg!(target_os = "linux") { &["poll", "uring"] } else { &["poll"] };

/// What a program exits with when the platform cannot have what it is about.
const SKIPPED: i32 = 77;

/// Writes past the test harness's capture, so that what was left out is seen.
fn notice(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn full_size() -> bool {
    env::var_os("SIDELOOP_FULL").is_some()
}

fn slow() -> bool {
    env::var_os("SIDELOOP_SLOW").is_some()
}

/// The program, built here or beforehand; `variant` keeps the builds of tests that run at the same time apart.
fn built(name: &str, variant: &str) -> Option<PathBuf> {
    if let Some(folder) = env::var_os("SIDELOOP_C_PROGRAMS") {
        let program = Path::new(&folder).join(name).with_extension(env::consts::EXE_EXTENSION);
        assert!(program.exists(), "{} is not built", program.display());
        return Some(program);
    }
    if cfg!(windows) {
        notice(&format!("skipped: {name}: SIDELOOP_C_PROGRAMS names no folder with programs built beforehand"));
        return None;
    }
    let (language, file) =
        if name == "cxx17" { (Language::Cxx17, "cxx17.cpp".to_owned()) } else { (Language::C11, format!("{name}.c")) };
    // One program stays with the first header that was published.
    let header = if name == "abi_first" { "tests/c/abi-1" } else { "include" };
    let folder = link::output_folder().join("bin");
    fs::create_dir_all(&folder).expect("cargo's folder for tests is writable");
    let program = folder.join(format!("{}{variant}", name.replace('/', "-")));
    let source = link::root().join("tests/c").join(file);
    link::compile(language, &source, &link::root().join(header), &program).unwrap_or_else(|error| panic!("{error}"));
    Some(program)
}

/// Runs a command in a fresh folder of its own, which it must leave empty.
fn run_in_fresh_folder(mut command: Command, label: &str) -> Output {
    let folder = link::output_folder().join("run").join(label);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("cargo's folder for tests is writable");
    let output = command.current_dir(&folder).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    if output.status.success() {
        let left: Vec<_> =
            fs::read_dir(&folder).expect("it was made here").flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "{label} left files behind: {left:?}");
        let _ = fs::remove_dir_all(&folder);
    }
    output
}

fn described(label: &str, output: &Output) -> String {
    format!(
        "{label}: {}\n--- standard output\n{}--- standard error\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Judges how a program ended; whether it ran at all.
fn judged(label: &str, output: &Output) -> Result<bool, String> {
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(SKIPPED) && said.contains("skipped: ") {
        notice(&format!("{label}: {}", said.trim()));
        return Ok(false);
    }
    if output.status.success() {
        println!("{label}: {}", said.trim());
        return Ok(true);
    }
    Err(described(label, output))
}

/// Runs a program on every driver, with `sizes` unless the full size is asked for; the outputs of those that ran.
fn run(name: &str, sizes: &[&str]) -> Vec<Output> {
    run_on(DRIVERS, name, sizes)
}

/// Likewise for a program that does not mind how fast time goes, how a stream is cut, and on which thread callbacks run: also on a
/// simulated loop.
fn run_anywhere(name: &str, sizes: &[&str]) {
    run_on(DRIVERS, name, sizes);
    run_on(&["sim"], name, sizes);
}

fn run_on(drivers: &[&str], name: &str, sizes: &[&str]) -> Vec<Output> {
    let mut outputs = Vec::new();
    let Some(program) = built(name, "") else { return outputs };
    for driver in drivers {
        let label = format!("{name}-{driver}");
        let mut command = link::start(&program);
        command.env("SIDELOOP_DRIVER", driver);
        if full_size() {
            command.env("SIDELOOP_WATCHDOG", "600");
        } else {
            command.args(sizes);
        }
        let output = run_in_fresh_folder(command, &label);
        if judged(&label, &output).unwrap_or_else(|error| panic!("{error}")) {
            outputs.push(output);
        }
    }
    outputs
}

#[test]
fn deliver_queue() {
    run("deliver_queue", &[]);
}

#[test]
fn deliver_handle() {
    run_anywhere("deliver_handle", &[]);
}

#[test]
fn deliver_dispatch() {
    run("deliver_dispatch", &[]);
}

#[test]
fn deliver_thread() {
    run("deliver_thread", &[]);
}

#[test]
fn echo() {
    // Wine's server looks through the waits of all sockets at each event of one.
    let connections = if slow() && cfg!(windows) { "300" } else { "1000" };
    run("echo", &[connections, if slow() { "20000" } else { "100000" }, "64"]);
}

#[test]
fn tree() {
    run_anywhere("tree", &[]);
}

#[test]
fn misuse() {
    run_anywhere("misuse", &[]);
}

#[test]
fn misuse_random() {
    run_anywhere("misuse_random", &["4000000", "8"]);
}

#[test]
fn threads() {
    run("threads", &["200000", "8", "4"]);
}

#[test]
fn chaos() {
    run("chaos", &[]);
}

#[test]
fn differential() {
    run_anywhere("differential", &["15000"]);
}

#[test]
fn soak() {
    run("soak", &["3"]);
}

#[test]
fn fork() {
    run("fork", &[]);
}

#[test]
fn exit_busy() {
    run("exit_busy", &[if slow() { "10" } else { "30" }]);
}

#[test]
fn guest() {
    for output in run("guest", &[]) {
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{}", described("guest", &output));
    }
}

#[test]
fn wake_poll() {
    run("wake_poll", &[]);
}

#[test]
fn wake_epoll() {
    run("wake_epoll", &[]);
}

#[test]
fn wake_exact() {
    run("wake_exact", &[]);
}

#[test]
fn idle() {
    run("idle", &[]);
}

#[test]
fn streams() {
    run_anywhere("streams", &[]);
}

#[test]
fn whole_write() {
    run("whole_write", &[]);
}

#[test]
fn cancel() {
    run("cancel", &[]);
}

#[test]
fn races() {
    run_anywhere("races", &[if slow() { "2000" } else { "4000" }]);
}

#[test]
fn simulated_last() {
    run_on(&["sim"], "simulated_last", &[]);
}

#[test]
fn faulted() {
    run("faulted", &[]);
}

#[test]
fn deadline() {
    run("deadline", &[]);
}

#[test]
fn close() {
    run("close", &[]);
}

#[test]
fn limits() {
    run("limits", &[]);
}

#[test]
fn descriptors() {
    run("descriptors", &["100", "1000"]);
}

#[test]
fn starved() {
    run("starved", &["64", "3"]);
}

#[test]
fn lent() {
    run("lent", &[]);
}

#[test]
fn inline() {
    run("inline", &["100"]);
}

#[test]
fn refused() {
    run("refused", &[]);
}

#[test]
fn shutdown() {
    run("shutdown", &[]);
}

#[test]
fn work() {
    run("work", &[]);
}

#[test]
fn timers() {
    run("timers", &[]);
}

#[test]
fn files() {
    run("files", &[]);
}

#[test]
fn paths() {
    run_anywhere("paths", &["500"]);
}

#[test]
fn whole_files() {
    run_anywhere("whole_files", &["60"]);
}

#[test]
fn disk_full() {
    run("disk_full", &["4"]);
}

#[test]
fn callers() {
    run("callers", &["400"]);
}

#[test]
fn date() {
    run("date", &[]);
}

#[test]
fn peers() {
    run("peers", &["300", "200000"]);
}

#[test]
fn slow_peers() {
    run("slow_peers", &["500", "500"]);
}

#[test]
fn signal_storm() {
    run("signal_storm", &["1000"]);
}

#[test]
fn adopt() {
    run_anywhere("adopt", &[]);
}

#[test]
fn signals() {
    run_anywhere("signals", &[]);
}

/// The program is given to somebody else, and runs with his rights: only root can do that.
#[cfg(target_os = "linux")]
#[test]
fn privileged() {
    use std::os::unix::fs::{PermissionsExt, chown};
    const NOBODY: u32 = 65534;
    let Some(program) = built("privileged", "") else { return };
    if chown(&program, Some(NOBODY), Some(NOBODY)).is_err() {
        return notice("skipped: privileged: only root can make it set-user-ID");
    }
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("it was made here");
    let label = "privileged";
    let output = run_in_fresh_folder(link::start(&program), label);
    fs::remove_file(&program).expect("it was made here");
    // Somebody else may not be let into the folder with the library.
    if output.status.code() == Some(127) {
        return notice("skipped: privileged: the library cannot be read by everybody");
    }
    judged(label, &output).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn cxx17() {
    run("cxx17", &[]);
}

#[test]
fn fairness() {
    run("fairness", &[]);
}

#[test]
fn abi_first() {
    run("abi_first", &[]);
}

#[test]
fn regressions() {
    run("regressions", &[]);
}

#[test]
fn simulated() {
    run_on(&["sim"], "simulated", &["40"]);
}

#[test]
fn faults() {
    run_anywhere("faults", &[]);
}

#[test]
fn fault_plans() {
    run_anywhere("fault_plans", &[]);
}

#[test]
fn unload() {
    run("unload", &["300"]);
}

#[test]
fn an_idle_loop_makes_no_system_call() {
    if !cfg!(target_os = "linux") || Command::new("strace").arg("-V").output().is_err() {
        return notice("skipped: an_idle_loop_makes_no_system_call: strace is not installed");
    }
    let Some(program) = built("idle", "-strace") else { return };
    for driver in DRIVERS {
        let trace = link::output_folder().join(format!("idle-{driver}.strace"));
        let mut command = link::start("strace");
        command.arg("-f").arg("-o").arg(&trace).arg(&program).arg("2").env("SIDELOOP_DRIVER", driver);
        let output = run_in_fresh_folder(command, &format!("idle-{driver}-strace"));
        assert!(output.status.success(), "{}", described("idle under strace", &output));
        let text = fs::read_to_string(&trace).expect("strace has written it");
        let idle: Vec<&str> = text
            .lines()
            .skip_while(|line| !line.contains("\"idle begins"))
            .skip(1)
            .take_while(|line| !line.contains("\"idle ends"))
            // What the main thread does to measure and to wait.
            .filter(|line| !["getrusage(", "nanosleep(", "restart_syscall("].iter().any(|own| line.contains(own)))
            .collect();
        assert!(text.contains("\"idle ends"), "the trace is cut off:\n{text}");
        assert!(idle.is_empty(), "{driver}: an idle loop makes system calls:\n{}", idle.join("\n"));
    }
}

/// The programs that run under valgrind, at the sizes at which each takes a few seconds there. The others cannot:
///
/// - `date`, `refused`: valgrind knows no filter of system calls that holds for all threads, nor how to wait in io_uring;
/// - `descriptors`: where the limit is reached, valgrind accepts a connection and closes it, instead of leaving it to be accepted;
/// - `guest`: valgrind keeps a signal for itself open on every thread;
/// - `idle`: what it measures is valgrind's;
/// - `privileged`: a program that has more rights than whoever starts it is not valgrind's to run;
/// - `slow_peers`: how often two of its threads have their turns is what it looks at, and valgrind decides that;
/// - `starved`: valgrind itself needs the memory that is missing.
const UNDER_VALGRIND: &[(&str, &[&str])] = &[
    ("deliver_queue", &["2000"]),
    ("deliver_handle", &["50"]),
    ("deliver_dispatch", &["1000"]),
    ("deliver_thread", &["500"]),
    ("echo", &["100", "2000", "64"]),
    ("tree", &["3", "30"]),
    ("misuse", &[]),
    ("misuse_random", &["20000", "8"]),
    ("threads", &["4000", "8", "4"]),
    ("chaos", &["3000", "4"]),
    ("differential", &["2000", "1", "0", "1"]),
    ("fork", &["4", "2"]),
    ("wake_poll", &["300"]),
    ("wake_epoll", &["200"]),
    ("wake_exact", &["200"]),
    ("streams", &["300"]),
    ("whole_write", &["2000000"]),
    ("cancel", &["100"]),
    ("deadline", &["20"]),
    ("close", &["50"]),
    ("limits", &["20", "20"]),
    ("lent", &["300000", "0"]),
    ("shutdown", &["10", "2", "200"]),
    ("work", &["500"]),
    ("timers", &["200", "50"]),
    ("files", &["200"]),
    ("paths", &["40"]),
    ("whole_files", &["8"]),
    ("adopt", &[]),
    ("fairness", &["5"]),
    ("exit_busy", &["4"]),
    ("callers", &["16", "4"]),
    ("peers", &["12", "20000"]),
    ("disk_full", &["1", "2"]),
    ("inline", &["5"]),
    ("races", &["4"]),
    ("signals", &[]),
    ("signal_storm", &["20"]),
    ("soak", &["2"]),
    ("unload", &["3"]),
    ("regressions", &[]),
    ("faults", &[]),
    ("fault_plans", &["1"]),
    ("faulted", &[]),
    ("simulated", &["12", "2"]),
    ("simulated_last", &["2"]),
    ("abi_first", &[]),
    ("cxx17", &[]),
];

/// Programs that are broken on purpose, and what memcheck says of them: a check that cannot fail shows nothing.
const BROKEN: &[(&str, &str)] =
    &[("broken/use_after_free", "Invalid write"), ("broken/leak", "are definitely lost in loss record")];

/// Runs one program under memcheck; its complaint, if any.
fn memcheck(name: &str, sizes: &[&str], driver: &str) -> Result<(), String> {
    let Some(program) = built(name, "-memcheck") else { return Ok(()) };
    let label = format!("{}-{driver}-memcheck", name.replace('/', "-"));
    let mut command = link::start("valgrind");
    command.args(["--quiet", "--error-exitcode=99", "--fair-sched=yes"]);
    // A forked child has what the threads of its parent held, but not those threads: to memcheck all of that is lost there.
    let leaks = if ["fork", "exit_busy", "regressions"].contains(&name) { "no" } else { "full" };
    command.arg(format!("--leak-check={leaks}")).arg("--errors-for-leak-kinds=definite,indirect,possible");
    command.arg("--child-silent-after-fork=yes");
    command.arg(&program).args(sizes).env("SIDELOOP_DRIVER", driver).env("SIDELOOP_WATCHDOG", "240");
    judged(&label, &run_in_fresh_folder(command, &label)).map(drop)
}

#[test]
fn no_leak_and_no_error_under_valgrind() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return notice("skipped: no_leak_and_no_error_under_valgrind: valgrind is not installed");
    }
    for (name, complaint) in BROKEN {
        let said = memcheck(name, &[], "poll").expect_err("memcheck finds what is broken on purpose");
        assert!(said.contains("exit status: 99") && said.contains(complaint), "{name} is broken otherwise: {said}");
    }
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((name, sizes)) = UNDER_VALGRIND.get(next.fetch_add(1, Ordering::Relaxed)) {
            // Not on io_uring: valgrind holds its one lock while a thread sleeps in io_uring_enter, and nothing else runs.
            let driver = if name.starts_with("simulated") { "sim" } else { "poll" };
            if let Err(failure) = memcheck(name, sizes, driver) {
                failures.lock().expect("no test panics with it").push(failure);
            }
        }
    };
    // valgrind runs one thread of a program at a time, so that two programs keep two processors busy.
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let failures = failures.into_inner().expect("no test panics with it");
    assert!(failures.is_empty(), "{} programs failed:\n{}", failures.len(), failures.join("\n"));
}
