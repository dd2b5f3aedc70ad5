//! The command line.

use crate::peers;
use crate::works::{WORKS, Work};
use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
cargo bench --bench peers -- [OPTION...]

  --rounds N         every peer does every work N times, in turns (default: 5)
  --quick            shorter runs: for a first look, not for claims
  --work NAME,...    only these works
  --peers NAME,...   only these peers
  --out DIR          where results.json and results.svg go (default: target/bench)
  --list             says which works and peers there are";

pub(crate) struct Options {
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    pub(crate) works: Vec<&'static Work>,
    pub(crate) peers: Vec<&'static str>,
    pub(crate) out: Option<PathBuf>,
}

pub(crate) enum Args {
    Run(Options),
    Help,
    List,
}

pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut options = Options {
        rounds: 5,
        quick: false,
        works: WORKS.iter().collect(),
        peers: peers::PEERS.iter().map(|peer| peer.name).collect(),
        out: None,
    };
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            // Cargo passes it to every benchmark.
            "--bench" => {}
            "--help" | "-h" => return Ok(Args::Help),
            "--list" => return Ok(Args::List),
            "--quick" => options.quick = true,
            "--out" => options.out = Some(value()?.into()),
            "--rounds" => {
                let text = value()?;
                options.rounds = text.parse().map_err(|_| format!("--rounds {text}: not a number"))?;
            }
            "--work" => options.works = chosen(&value()?, WORKS.iter(), |work| work.name)?,
            "--peers" => {
                let peers = chosen(&value()?, peers::PEERS.iter(), |peer| peer.name)?;
                options.peers = peers.iter().map(|peer| peer.name).collect();
            }
            _ => return Err(format!("unknown argument: {argument}")),
        }
    }
    if options.rounds == 0 { Err("--rounds 0: nothing to do".into()) } else { Ok(Args::Run(options)) }
}

/// Those of `all` that a list of names names, in the order of `all`.
fn chosen<T>(
    names: &str,
    all: impl Iterator<Item = &'static T> + Clone,
    name_of: fn(&T) -> &str,
) -> Result<Vec<&'static T>, String> {
    match names.split(',').find(|name| !all.clone().any(|one| name_of(one) == *name)) {
        Some(name) => Err(format!("there is no {name:?}: see --list")),
        None => Ok(all.filter(|one| names.split(',').any(|name| name == name_of(one))).collect()),
    }
}
