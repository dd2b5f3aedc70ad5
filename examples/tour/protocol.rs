//! The lines that a style's process writes to its standard output, and the parent reads. The same for Rust, C and
//! Python: a word and fields, with tabs between.
//!
//!     progress <files> <bytes>                    so far
//!     failed <index> <reason>                     the file with this place in the list could not be read
//!     note <text>                                 something worth telling
//!     live <messages> <ticks> <gap ns> <ns>       the echo server: since the last such line, in so many nanoseconds
//!     result <name>=<value> ...                   the end, and what was measured
//!     stop <reason>                               the end: it cannot go on

use crate::hash::Sum;
use std::collections::HashMap;
use std::time::Duration;

/// One line, understood.
#[derive(Debug)]
pub(crate) enum Line {
    Progress { files: u64 },
    Failed { index: usize, reason: String },
    Note(String),
    Live { messages: u64, ticks: u64, gap: Duration, time: Duration },
    Result(Fields),
    Stop(String),
}

impl Line {
    /// None for a line that is none of these, such as what a runtime prints of its own accord.
    pub(crate) fn parse(line: &str) -> Option<Line> {
        let (word, rest) = line.split_once('\t')?;
        let mut fields = rest.split('\t');
        let line = match word {
            "progress" => Line::Progress { files: fields.next()?.parse().ok()? },
            "failed" => Line::Failed {
                index: fields.next()?.parse().ok()?,
                reason: fields.next().unwrap_or("no reason given").to_string(),
            },
            "note" => Line::Note(rest.to_string()),
            "live" => {
                let mut number = || fields.next()?.parse::<u64>().ok();
                Line::Live {
                    messages: number()?,
                    ticks: number()?,
                    gap: Duration::from_nanos(number()?),
                    time: Duration::from_nanos(number()?),
                }
            }
            "result" => Line::Result(Fields(
                fields
                    .filter_map(|field| field.split_once('='))
                    .map(|(name, value)| (name.to_string(), value.to_string()))
                    .collect(),
            )),
            "stop" => Line::Stop(rest.to_string()),
            _ => return None,
        };
        Some(line)
    }
}

/// The fields of a result.
#[derive(Debug, Default)]
pub(crate) struct Fields(HashMap<String, String>);

impl Fields {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// None where the platform could not measure it, too.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    pub(crate) fn time(&self, name: &str) -> Option<Duration> {
        self.number(name).map(Duration::from_nanos)
    }

    pub(crate) fn sum(&self) -> Option<Sum> {
        let hash = u64::from_str_radix(self.text("hash")?, 16).ok()?;
        Some(Sum { files: self.number("files")?, bytes: self.number("bytes")?, hash })
    }
}
