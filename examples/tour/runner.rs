//! Starts a process of the tour, follows what it prints, and ends it when it must. Called by the parent's main thread; a
//! thread per process reads its output, so that the main thread never waits longer than a moment and sees Ctrl-C.

use crate::interrupt::{self, Halt};
use crate::protocol::Line;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How often Ctrl-C and the silence of the process are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A process that makes no progress for so long is taken to hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process is ended and its remains are collected, whichever way the parent leaves.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Fails where it has ended already, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `command` to its end and gives each of its lines to `on_line`, which says whether it was progress. The inner
/// error says in a sentence how the process failed.
pub(crate) fn follow(
    mut command: Command,
    scratch: &Path,
    mut on_line: impl FnMut(Line) -> bool,
) -> Result<Result<(), String>, Halt> {
    let errors = scratch.join("stderr.txt");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::from(File::create(&errors)?));
    apart(&mut command);
    let mut child = match command.spawn() {
        Ok(child) => Guard(child),
        Err(error) => {
            let program = Path::new(command.get_program()).display();
            return Ok(Err(format!("{program} cannot be started: {error}")));
        }
    };
    let lines = read_lines(&mut child.0)?;
    let mut progress = Instant::now();
    loop {
        interrupt::check()?;
        match lines.recv_timeout(LOOK) {
            Ok(line) => {
                if on_line(line) {
                    progress = Instant::now();
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if progress.elapsed() > PATIENCE {
            return Ok(Err(format!("it made no progress for {} seconds and was ended", PATIENCE.as_secs())));
        }
    }
    let status = wait(&mut child.0)?;
    Ok(if status.success() { Ok(()) } else { Err(how_it_ended(status, &errors)) })
}

/// Ctrl-C in a terminal goes to a whole process group. Only the parent shall get it: it then ends its children itself.
fn apart(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(not(unix))]
    let _ = command;
}

fn read_lines(child: &mut Child) -> Result<mpsc::Receiver<Line>, Halt> {
    let output = child.stdout.take().ok_or_else(|| Halt::Failed("a child without output".to_string()))?;
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("tour-lines".to_string()).spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line);
            if let Some(line) = Line::parse(line.trim_end_matches('\r')) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        }
    })?;
    Ok(receiver)
}

/// Waits for a process that has closed its output, which may still have a moment of work.
fn wait(child: &mut Child) -> Result<ExitStatus, Halt> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        interrupt::check()?;
        if start.elapsed() > PATIENCE {
            child.kill()?;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The words of a process that say most: a compiler's first error, or the last line, where Python names the exception; or
/// its exit status where it had none.
fn how_it_ended(status: ExitStatus, errors: &Path) -> String {
    let errors = fs::read(errors).unwrap_or_default();
    let errors = String::from_utf8_lossy(&errors);
    let compiler_error = |line: &&str| line.contains("error:") || line.contains("undefined reference");
    let last = || errors.lines().rev().find(|line| !line.trim().is_empty());
    match errors.lines().find(compiler_error).or_else(last) {
        Some(line) => format!("{} ({status})", line.trim()),
        None => status.to_string(),
    }
}
