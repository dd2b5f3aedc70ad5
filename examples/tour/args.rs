//! The command line. Called by `main` at the start.

use std::ffi::OsString;
use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
A tour of sideloop: reads every file under a directory in six styles and compares them.

    cargo run --release --example tour -- [PATH] [options]

    PATH             a directory with files (default: one that this machine has)
    --files N        read at most N files (default 10000; 0: all)
    --megabytes N    read at most N megabytes (default 1000; 0: all)
    --rounds N       run each style N times (default 3)
    --out DIR        where the picture goes (default: the folder `tour` in cargo's target folder)
    --no-echo        leave the echo server out
";

/// The parsed command line.
pub(crate) enum Args {
    Help,
    /// What a person asked for.
    Tour(Options),
    /// What the tour asks of itself in a process of its own: one style, over the files in a list.
    Style {
        letter: String,
        list: PathBuf,
    },
}

/// What a person can choose.
pub(crate) struct Options {
    pub(crate) path: Option<PathBuf>,
    pub(crate) files: Option<u64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) rounds: usize,
    pub(crate) out: Option<PathBuf>,
    pub(crate) echo: bool,
}

/// The hidden first argument of a style's process.
pub(crate) const STYLE: &str = "--style";

/// Reads the arguments after the program's name.
pub(crate) fn parse(mut given: impl Iterator<Item = OsString>) -> Result<Args, String> {
    let mut options =
        Options { path: None, files: Some(10_000), bytes: Some(1_000_000_000), rounds: 3, out: None, echo: true };
    while let Some(argument) = given.next() {
        match argument.to_str() {
            Some("--help" | "-h") => return Ok(Args::Help),
            Some(STYLE) => {
                let letter = value(STYLE, &mut given)?.to_string_lossy().into_owned();
                return Ok(Args::Style { letter, list: PathBuf::from(value(STYLE, &mut given)?) });
            }
            Some("--files") => options.files = limit(number("--files", &mut given)?),
            Some("--megabytes") => {
                let megabytes = number("--megabytes", &mut given)?;
                options.bytes = limit(megabytes.saturating_mul(1_000_000));
            }
            Some("--rounds") => options.rounds = number("--rounds", &mut given)?.clamp(1, 100) as usize,
            Some("--out") => options.out = Some(PathBuf::from(value("--out", &mut given)?)),
            Some("--no-echo") => options.echo = false,
            Some(text) if text.starts_with("--") => return Err(format!("unknown option {text}")),
            _ if options.path.is_none() => options.path = Some(PathBuf::from(argument)),
            _ => return Err("only one PATH can be given".to_string()),
        }
    }
    Ok(Args::Tour(options))
}

fn value(name: &str, given: &mut impl Iterator<Item = OsString>) -> Result<OsString, String> {
    given.next().ok_or_else(|| format!("{name} needs a value"))
}

fn number(name: &str, given: &mut impl Iterator<Item = OsString>) -> Result<u64, String> {
    let text = value(name, given)?;
    text.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| format!("{name} needs a number"))
}

/// 0 means that there is no limit.
fn limit(number: u64) -> Option<u64> {
    (number > 0).then_some(number)
}
