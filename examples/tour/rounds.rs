//! The six styles: what each is, how it is run, and what came of it. Driven by the parent's main thread.

use crate::args::STYLE;
use crate::bars;
use crate::hash::Sum;
use crate::interrupt::Halt;
use crate::protocol::{Fields, Line};
use crate::reference::Reference;
use crate::runner;
use crate::styles::POOL_THREADS;
use crate::text;
use crate::toolbox::Toolbox;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Shorter than this, a share of the processor's time is noise.
const ENOUGH_TO_TELL: Duration = Duration::from_millis(50);

/// A way to read many files.
pub(crate) struct Style {
    pub(crate) letter: &'static str,
    pub(crate) name: String,
    /// For the picture.
    pub(crate) short: String,
    story: String,
    program: Program,
}

enum Program {
    /// This program, in a process of its own.
    Tour,
    C(&'static str),
    Python(&'static str),
}

/// One run of one style.
pub(crate) struct Run {
    pub(crate) time: Duration,
    /// The longest time that the main thread could do nothing else.
    pub(crate) blocked: Duration,
    /// Processor time of the main thread.
    pub(crate) cpu: Option<Duration>,
    pub(crate) started: u64,
    pub(crate) at_once: u64,
    pub(crate) memory: Option<u64>,
    pub(crate) driver: Option<String>,
    pub(crate) sum: Sum,
    pub(crate) failed: Vec<(usize, String)>,
    pub(crate) notes: Vec<String>,
    /// It read the same bytes as the reference pass did.
    pub(crate) same: bool,
}

/// A style and all its runs.
pub(crate) struct Row {
    pub(crate) style: Style,
    pub(crate) runs: Vec<Run>,
    /// Why there are no runs, or no more.
    pub(crate) missing: Option<String>,
}

/// The rows before any run.
pub(crate) fn rows() -> Vec<Row> {
    let style = |letter, name: &str, short: &str, program, story: &str| Row {
        style: Style { letter, name: name.to_string(), short: short.to_string(), story: story.to_string(), program },
        runs: Vec::new(),
        missing: None,
    };
    vec![
        style(
            "a",
            "one after the other",
            "one after the other",
            Program::Tour,
            "One after the other. The plainest program there is, and a fast one where the files are in memory. But its \
             main thread does all the work: it is free only if it stops to look between two files, and one slow file \
             (a sleeping disk, a network) would hold up everything.",
        ),
        style(
            "b",
            "a thread per file",
            "thread per file",
            Program::Tour,
            "A thread per file. Now a slow file holds up only its own thread. But each thread wants a stack and a place \
             in the scheduler, and the main thread is busy with starting and joining them.",
        ),
        style(
            "c",
            &format!("a pool of {POOL_THREADS} threads"),
            &format!("pool of {POOL_THREADS}"),
            Program::Tour,
            &format!(
                "A pool of {POOL_THREADS} threads. The main thread is free at last, and the cost is bounded. But so is \
                 what can wait: {POOL_THREADS} slow files, or {POOL_THREADS} silent connections, and the pool stands \
                 still."
            ),
        ),
        style(
            "d",
            "sideloop, polled from C",
            "sideloop, polled",
            Program::C("polled"),
            "sideloop, polled from C. An event loop on a thread of its own serves thousands at a time. The main thread \
             hands over many reads in one call, goes on with its own life, and takes the events when it likes. Here it \
             also hashes what comes: that is all that keeps it busy.",
        ),
        style(
            "e",
            "sideloop, callbacks in C",
            "sideloop, callbacks",
            Program::C("callbacks"),
            "sideloop, callbacks in C. Each read calls back on the loop's thread, which hashes and asks for the next; the \
             main thread only waits for the end. Nothing is more direct for the machine. But the program is cut in \
             pieces that call one another: no line of it says \"read all files\".",
        ),
        style(
            "f",
            "sideloop, Python coroutines",
            "sideloop, coroutines",
            Program::Python("coroutines.py"),
            "sideloop, coroutines in Python. The same library, and code that reads straight on again: data = await \
             loop.read_file(path). Python itself takes most of the time.",
        ),
    ]
}

/// Runs every style `rounds` times, and tells of the first.
pub(crate) fn run(
    rows: &mut [Row],
    toolbox: &Toolbox,
    list: &Path,
    reference: &Reference,
    files: u64,
    rounds: usize,
) -> Result<(), Halt> {
    for row in rows.iter_mut() {
        text::paragraph(&format!("  {}  ", row.style.letter), &row.style.story);
        one(row, toolbox, list, reference, files, "")?;
        text::paragraph("     → ", &row.outcome());
        println!();
    }
    if rounds > 1 {
        let more = text::plural(rounds as u64 - 1, "more round", "more rounds");
        text::paragraph("  ", &format!("{more}, in another order each time, so that none gains by its place ..."));
    }
    for round in 1..rounds {
        for index in order(rows.len(), round) {
            let row = &mut rows[index];
            if row.missing.is_none() {
                let what = format!("round {} of {rounds}, style {}", round + 1, row.style.letter);
                one(row, toolbox, list, reference, files, &what)?;
            }
        }
    }
    Ok(())
}

/// Backwards, then forwards from another start, and so on.
fn order(number: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..number).collect();
    order.rotate_left(round / 2 % number);
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

/// Runs a style once, in its own process.
fn one(
    row: &mut Row,
    toolbox: &Toolbox,
    list: &Path,
    reference: &Reference,
    files: u64,
    what: &str,
) -> Result<(), Halt> {
    let mut command = match row.style.command(toolbox)? {
        Ok(command) => command,
        Err(reason) => {
            row.missing = Some(reason);
            return Ok(());
        }
    };
    command.arg(list);
    let bar = bars::files(files, what);
    let (mut fields, mut failed, mut notes, mut stop) = (None, Vec::new(), Vec::new(), None);
    let ended = runner::follow(command, &toolbox.scratch, |line| {
        match line {
            Line::Progress { files } => {
                let before = bar.position();
                bar.set_position(files);
                return files != before;
            }
            Line::Failed { index, reason } => failed.push((index, reason)),
            Line::Note(note) => notes.push(note),
            Line::Result(result) => fields = Some(result),
            Line::Stop(reason) => stop = Some(reason),
            Line::Live { .. } => {}
        }
        true
    })?;
    drop(bar);
    let run = fields.and_then(|fields| Run::new(&fields, failed, notes, reference));
    match (run, stop, ended) {
        (Some(run), None, Ok(())) => row.runs.push(run),
        (_, Some(reason), _) | (_, None, Err(reason)) => row.missing = Some(reason),
        (None, None, Ok(())) => row.missing = Some("it ended without a result".to_string()),
    }
    Ok(())
}

impl Style {
    pub(crate) fn is_sideloop(&self) -> bool {
        !matches!(self.program, Program::Tour)
    }

    fn command(&self, toolbox: &Toolbox) -> Result<Result<Command, String>, Halt> {
        Ok(match self.program {
            Program::Tour => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args([STYLE, self.letter]);
                Ok(command)
            }
            Program::C(name) => toolbox.c_command(name),
            Program::Python(script) => toolbox.python_command(script),
        })
    }
}

impl Run {
    fn new(fields: &Fields, failed: Vec<(usize, String)>, notes: Vec<String>, reference: &Reference) -> Option<Run> {
        let sum = fields.sum()?;
        Some(Run {
            time: fields.time("time")?,
            blocked: fields.time("blocked")?,
            cpu: fields.time("cpu"),
            started: fields.number("started")?,
            at_once: fields.number("at_once")?,
            memory: fields.number("memory"),
            driver: fields.text("driver").map(str::to_string),
            sum,
            same: sum == reference.without(&failed),
            failed,
            notes,
        })
    }
}

impl Row {
    /// The middle one of all runs' times: one run may have been disturbed by something else on the machine.
    pub(crate) fn middle(&self, what: impl Fn(&Run) -> Duration) -> Option<Duration> {
        let mut times: Vec<Duration> = self.runs.iter().map(what).collect();
        times.sort();
        times.get(times.len() / 2).copied()
    }

    /// The largest of a number over all runs.
    pub(crate) fn most<T: Ord>(&self, what: impl Fn(&Run) -> Option<T>) -> Option<T> {
        self.runs.iter().filter_map(what).max()
    }

    /// Which share of the time the main thread was at work, in percent. None for less than is needed to tell: systems
    /// account for processor time in steps of some milliseconds.
    pub(crate) fn busy(&self) -> Option<f64> {
        let cpu: Duration = self.runs.iter().map(|run| run.cpu).sum::<Option<Duration>>()?;
        let time: Duration = self.runs.iter().map(|run| run.time).sum();
        (time >= ENOUGH_TO_TELL).then(|| (100.0 * cpu.as_secs_f64() / time.as_secs_f64()).min(100.0))
    }

    /// Every run read the same bytes as the reference pass.
    pub(crate) fn same(&self) -> bool {
        self.runs.iter().all(|run| run.same)
    }

    /// The first run in a sentence.
    fn outcome(&self) -> String {
        let Some(run) = self.runs.first() else {
            let reason = self.missing.as_deref().unwrap_or("no reason given");
            return format!("not run: {reason}.");
        };
        let mut text = format!(
            "{} in {}; the main thread could do nothing else for {} at most.",
            text::plural(run.sum.files, "file", "files"),
            text::duration(run.time),
            text::duration(run.blocked)
        );
        for note in &run.notes {
            text.push_str(&format!(" Note: {note}."));
        }
        text
    }
}
