//! The tour: tells on real files, and on 1,000 connections, what an event loop on a thread of its own is good for.
//!
//! This file is the story in its order; it runs on the main thread of the parent process. Every style runs in a process of
//! its own, so that its memory and threads are its own: this program again (styles.rs), C programs (c/) and a Python
//! script (python/).

mod args;
mod bars;
mod echo;
mod hash;
mod interrupt;
mod meter;
mod picture;
mod protocol;
mod reference;
mod rounds;
mod runner;
mod styles;
mod table;
mod text;
mod toolbox;
mod walk;

use args::{Args, Options};
use interrupt::Halt;
use reference::Reference;
use rounds::Row;
use std::path::Path;
use std::process::ExitCode;
use toolbox::{Scratch, Toolbox};

/// How many names are given as examples.
const EXAMPLES: usize = 3;

fn main() -> ExitCode {
    match args::parse(std::env::args_os().skip(1)) {
        Ok(Args::Help) => {
            print!("{}", args::USAGE);
            ExitCode::SUCCESS
        }
        Ok(Args::Style { letter, list }) => match styles::run(&letter, &list) {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => {
                println!("stop\t{reason}");
                ExitCode::FAILURE
            }
        },
        Ok(Args::Tour(options)) => exit_code(tour(&options)),
        Err(reason) => {
            eprintln!("tour: {reason}\n\n{}", args::USAGE);
            ExitCode::from(2)
        }
    }
}

fn exit_code(ended: Result<bool, Halt>) -> ExitCode {
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Halt::Interrupted) => {
            println!("\n  Interrupted. What was started is ended, and what was temporary is removed.\n");
            ExitCode::from(interrupt::EXIT_CODE)
        }
        Err(Halt::Failed(reason)) => {
            eprintln!("\n  The tour cannot go on: {reason}\n");
            ExitCode::FAILURE
        }
    }
}

/// The whole tour. False where something was wrong: bytes that differ, an echo that is not one.
fn tour(options: &Options) -> Result<bool, Halt> {
    interrupt::catch()?;
    text::heading("sideloop: a tour");
    let profile = toolbox::profile_folder()?;
    let out = options.out.clone().unwrap_or_else(|| profile.parent().unwrap_or(&profile).join("tour"));
    let scratch = Scratch::create(&out)?;
    let found = find(options)?;
    let files = found.files.len() as u64;
    let list = scratch.0.join("files");
    walk::write_list(&found.files, &list)?;
    let toolbox = toolbox::set_up(&scratch, &profile)?;
    let reference = warm_up(&found)?;

    text::heading("One task, six styles: read every file and hash it");
    let mut rows = rounds::rows();
    let ended = rounds::run(&mut rows, &toolbox, &list, &reference, files, options.rounds);
    if rows.iter().any(|row| !row.runs.is_empty()) {
        text::heading("What came of it");
        table::print(&rows);
        println!();
    }
    ended?;
    table::explain(&rows, options.rounds);
    tell_failures(&rows, &reference, &found);
    let same = rows.iter().all(Row::same) || tell_changes(&reference, &found)?;
    tell_picture(&out, &rows, &reference, &found, options.rounds);

    let mut right = true;
    if options.echo {
        text::heading("A thousand connections");
        right = echo::run(&toolbox)?;
    }
    tell_end(&toolbox);
    Ok(same && right)
}

/// Walks, and tells what was found and what is left out.
fn find(options: &Options) -> Result<walk::Found, Halt> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = options.path.clone().unwrap_or_else(|| walk::default_root(repository));
    let found = {
        let _bar = bars::line(&format!("walking {} ...", text::path(&root)));
        walk::walk(&root, options.files, options.bytes)?
    };
    if found.files.is_empty() {
        return Err(Halt::Failed(format!("there is no file to read under {}", text::path(&root))));
    }
    let capped = found.capped.as_ref().map_or(String::new(), |capped| format!(" ({capped})"));
    text::paragraph(
        "  ",
        &format!(
            "{} under {}, {} in all{capped}.",
            text::plural(found.files.len() as u64, "file", "files"),
            text::path(&found.root),
            text::bytes(found.bytes)
        ),
    );
    for (reason, (number, example)) in &found.left_out {
        let text = format!("Left out: {} × {reason}, such as {}", text::count(*number), text::path(example));
        text::paragraph("  ", &text);
    }
    if let Some(example) = found.odd_names.first() {
        let number = found.odd_names.len() as u64;
        let names = text::plural(number, "name is not UTF-8", "names are not UTF-8");
        text::paragraph("  ", &format!("{names}, such as {}: read like any other", text::path(example)));
    }
    Ok(found)
}

/// Reads everything once.
fn warm_up(found: &walk::Found) -> Result<Reference, Halt> {
    println!();
    text::paragraph(
        "  ",
        "First all of it is read once. That tells what each style must find, and brings the files into memory, so that \
         all styles have the same start: the times below are of cached files.",
    );
    let bar = bars::files(found.files.len() as u64, "reading once");
    Reference::read(&found.files, |done| bar.set_position(done))
}

/// Names the files that could not be read, by the reference pass or by a style.
fn tell_failures(rows: &[Row], reference: &Reference, found: &walk::Found) {
    let mut failed = std::collections::BTreeMap::new();
    let runs = rows.iter().flat_map(|row| &row.runs).flat_map(|run| run.failed.iter().cloned());
    for (index, reason) in reference.failed().into_iter().chain(runs) {
        failed.entry(index).or_insert(reason);
    }
    if failed.is_empty() {
        return;
    }
    let number = text::plural(failed.len() as u64, "file", "files");
    text::paragraph("  ", &format!("{number} could not be read, which stopped no style:"));
    for (index, reason) in failed.iter().take(EXAMPLES) {
        if let Some(path) = found.files.get(*index) {
            text::paragraph("     ", &format!("{}: {reason}", text::path(path)));
        }
    }
    if failed.len() > EXAMPLES {
        text::paragraph("     ", &format!("and {} more", text::count((failed.len() - EXAMPLES) as u64)));
    }
}

/// Where hashes differ: looks whether the files themselves changed meanwhile. True where they did, for then nothing can
/// be said against the styles.
fn tell_changes(reference: &Reference, found: &walk::Found) -> Result<bool, Halt> {
    let later = Reference::read(&found.files, |_| {})?;
    let changed = reference.changed(&later);
    let Some(example) = changed.first().and_then(|index| found.files.get(*index)) else {
        text::paragraph(
            "  ",
            "No file has changed meanwhile: a style has read other bytes than there are. This is a bug.",
        );
        return Ok(false);
    };
    let number = text::plural(changed.len() as u64, "file has", "files have");
    text::paragraph(
        "  ",
        &format!(
            "{number} changed while the tour was reading, such as {}: that is the difference.",
            text::path(example)
        ),
    );
    Ok(true)
}

/// Draws the picture, and tells where it is.
fn tell_picture(out: &Path, rows: &[Row], reference: &Reference, found: &walk::Found, rounds: usize) {
    if rows.iter().all(|row| row.runs.is_empty()) {
        return;
    }
    let file = out.join("tour.svg");
    let sum = reference.without(&[]);
    let title =
        format!("Reading {} ({}) in six styles", text::plural(sum.files, "file", "files"), text::bytes(sum.bytes));
    let processors = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let subtitle = format!(
        "Under {}, from memory; {}; {}, {}",
        text::path(&found.root),
        if rounds > 1 { format!("the middle one of {rounds} runs") } else { "one run".to_string() },
        std::env::consts::OS,
        text::plural(processors, "processor", "processors")
    );
    match picture::draw(&file, &title, &subtitle, rows) {
        Ok(()) => text::paragraph("  ", &format!("The picture of it: {}", text::path(&file))),
        Err(error) => text::paragraph("  ", &format!("The picture could not be drawn: {error}")),
    }
}

/// Says where to go from here.
fn tell_end(toolbox: &Toolbox) {
    println!();
    text::paragraph(
        "  ",
        "That was the tour. Its sources are short: examples/tour/c and examples/tour/python; the manual is the header, \
         include/sideloop.h.",
    );
    if toolbox.programs.is_err() || toolbox.python.is_err() {
        text::paragraph("  ", "Some rows are missing; the table says what they need.");
    }
    println!();
}
