//! The last part of the tour: starts the echo server (c/echo.c) and shows its live counter. Driven by the parent's main
//! thread.

use crate::bars;
use crate::interrupt::Halt;
use crate::protocol::{Fields, Line};
use crate::runner;
use crate::text;
use crate::toolbox::Toolbox;
use std::time::Duration;

/// Runs it and tells. Says whether every byte was right; also true where it could not be run.
pub(crate) fn run(toolbox: &Toolbox) -> Result<bool, Halt> {
    text::paragraph(
        "  ",
        "Files end; connections stay. Two loops in one process now, a server and its clients, with 1,000 connections \
         between them for two seconds: each client sends a message, waits for the echo, checks every byte, and goes on. \
         The main thread has nothing to do with it. It counts milliseconds.",
    );
    println!();
    let command = match toolbox.c_command("echo") {
        Ok(command) => command,
        Err(reason) => {
            text::paragraph("  ", &format!("Not run: {reason}."));
            return Ok(true);
        }
    };
    let bar = bars::line("connecting ...");
    let (mut fields, mut notes, mut stop) = (None, Vec::new(), None);
    let ended = runner::follow(command, &toolbox.scratch, |line| {
        match line {
            Line::Live { messages, ticks, gap, time } => {
                bar.set_message(live(messages, ticks, gap, time));
                bar.tick();
                return messages > 0;
            }
            Line::Note(note) => notes.push(note),
            Line::Result(result) => fields = Some(result),
            Line::Stop(reason) => stop = Some(reason),
            Line::Progress { .. } | Line::Failed { .. } => {}
        }
        true
    })?;
    drop(bar);
    for note in notes {
        text::paragraph("  ", &format!("Note: {note}."));
    }
    match (fields.and_then(|fields| Outcome::new(&fields)), stop, ended) {
        (Some(outcome), None, Ok(())) => {
            outcome.print();
            Ok(outcome.right())
        }
        (_, Some(reason), _) | (_, None, Err(reason)) => {
            text::paragraph("  ", &format!("The echo server failed: {reason}."));
            Ok(false)
        }
        (None, None, Ok(())) => {
            text::paragraph("  ", "The echo server ended without a result.");
            Ok(false)
        }
    }
}

/// The live counter.
fn live(messages: u64, ticks: u64, gap: Duration, time: Duration) -> String {
    format!(
        "{:>9} messages/s   main thread: {:>5} ticks/s, late by {} at most",
        text::count(rate(messages, time)),
        text::count(rate(ticks, time)),
        text::duration(gap)
    )
}

fn rate(number: u64, time: Duration) -> u64 {
    if time.is_zero() { 0 } else { (number as f64 / time.as_secs_f64()) as u64 }
}

struct Outcome {
    connections: u64,
    messages: u64,
    size: u64,
    time: Duration,
    ticks: u64,
    blocked: Duration,
    wrong: u64,
    broken: u64,
    lost: u64,
    threads: Option<u64>,
    memory: Option<u64>,
}

impl Outcome {
    fn new(fields: &Fields) -> Option<Outcome> {
        Some(Outcome {
            connections: fields.number("connections")?,
            messages: fields.number("messages")?,
            size: fields.number("size")?,
            time: fields.time("time")?,
            ticks: fields.number("ticks")?,
            blocked: fields.time("blocked")?,
            wrong: fields.number("wrong")?,
            broken: fields.number("broken")?,
            lost: fields.number("lost")?,
            threads: fields.number("at_once"),
            memory: fields.number("memory"),
        })
    }

    fn right(&self) -> bool {
        self.wrong == 0 && self.broken == 0 && self.lost == 0 && self.messages > 0
    }

    fn print(&self) {
        let right = if self.right() {
            "every byte came back as it was sent".to_string()
        } else {
            format!("{} bytes were wrong, {} connections broke, {} hung", self.wrong, self.broken, self.lost)
        };
        let cost = match (self.threads, self.memory) {
            (Some(threads), Some(memory)) => {
                format!(" All of it took {threads} threads and {}.", text::bytes(memory))
            }
            _ => String::new(),
        };
        text::paragraph(
            "     → ",
            &format!(
                "{} connections, {} messages of {} bytes in {} ({} a second): {right}.{cost}",
                text::count(self.connections),
                text::count(self.messages),
                self.size,
                text::duration(self.time),
                text::count(rate(self.messages, self.time)),
            ),
        );
        text::paragraph(
            "     → ",
            &format!(
                "Meanwhile the main thread ticked {} times ({} a second) and was late by {} at most.",
                text::count(self.ticks),
                text::count(rate(self.ticks, self.time)),
                text::duration(self.blocked)
            ),
        );
    }
}
