//! Measures sideloop beside its peers in one run: what each does with the same work, in turns, every run a process of its
//! own. Only Linux has all of them.
//!
//! This file is the order of things: arguments, programs, rounds, tables, files.

mod args;
mod json;
mod peers;
mod plot;
mod report;
mod results;
mod run;
mod scratch;
mod works;

use args::{Args, Options};
use peers::{Peer, Programs};
use results::{Results, Verdict};
use run::Runner;
use scratch::Scratch;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use works::Work;

fn main() -> ExitCode {
    if !cfg!(target_os = "linux") {
        println!("the peers are there on Linux only: nothing is measured");
        return ExitCode::SUCCESS;
    }
    let outcome = match args::parse(std::env::args().skip(1)) {
        Ok(Args::Help) => {
            println!("{}", args::USAGE);
            Ok(())
        }
        Ok(Args::List) => {
            list();
            Ok(())
        }
        Ok(Args::Run(options)) => measure(&options),
        Err(reason) => Err(format!("{reason}\n\n{}", args::USAGE)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("peers: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn list() {
    for work in works::WORKS {
        println!("{}: {}\n    {}", work.name, work.title, work.peers.join(" "));
    }
}

/// The folder of all that is made here: target/bench.
fn folder() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    // <target>/<profile>/deps/<program>
    let target = program.ancestors().nth(3).ok_or("this program is not in cargo's folder")?;
    Ok(target.join("bench"))
}

fn measure(options: &Options) -> Result<(), String> {
    let folder = folder()?;
    let out = options.out.clone().unwrap_or_else(|| folder.clone());
    fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let wanted: Vec<&Peer> = peers::PEERS.iter().filter(|peer| takes_part(options, peer.name)).collect();
    let programs = Programs::build(&folder, &wanted)?;
    let scratch = Scratch::new(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let text = scratch.path().to_str().ok_or("the target folder has a name that is not text")?;
    let runner = Runner { programs, scratch: text.to_owned(), quick: options.quick };
    // Figures of a busy machine are worth less: whoever reads them shall know.
    println!("load before: {}", fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    let results = rounds(options, &runner, &scratch)?;
    drop(scratch);

    for work in &options.works {
        report::print_work(&results, work, &options.peers);
    }
    let verdicts = judge(options, &results);
    report::print_targets(&verdicts);
    let json = out.join("results.json");
    let text = results.to_json(&options.works, &verdicts, options.rounds, options.quick);
    fs::write(&json, text).map_err(|error| format!("{}: {error}", json.display()))?;
    println!("\n{}", json.display());
    let picture = out.join("results.svg");
    if plot::write(&picture, &results, &options.works, &options.peers) {
        println!("{}", picture.display());
    }
    Ok(())
}

fn takes_part(options: &Options, peer: &str) -> bool {
    options.peers.contains(&peer) && options.works.iter().any(|work| work.peers.contains(&peer))
}

/// Every round goes through all works and peers, so that what changes on the machine meanwhile hits all of them.
fn rounds(options: &Options, runner: &Runner, scratch: &Scratch) -> Result<Results, String> {
    let mut results = Results::default();
    let mut failed = BTreeSet::new();
    for work in &options.works {
        scratch.prepare(work.input).map_err(|error| format!("{}: {error}", work.name))?;
    }
    for round in 1..=options.rounds {
        for &work in &options.works {
            eprintln!("round {round} of {}: {}", options.rounds, work.name);
            run_work(options, runner, work, &mut results, &mut failed);
        }
    }
    Ok(results)
}

fn run_work(
    options: &Options,
    runner: &Runner,
    work: &'static Work,
    results: &mut Results,
    failed: &mut BTreeSet<(&'static str, &'static str, &'static str)>,
) {
    for case in work.cases {
        for &name in work.peers.iter().filter(|name| options.peers.contains(name)) {
            let Some(peer) = peers::peer(name) else { continue };
            match runner.run(work, case, peer) {
                Some(Ok(sample)) => results.add(work, case, name, sample),
                // Said once: the same will happen in every round.
                Some(Err(reason)) if failed.insert((work.name, case.label, name)) => {
                    println!("{}, {}: {name} failed: {reason}", work.name, case.label);
                }
                Some(Err(_)) | None => {}
            }
        }
    }
}

fn judge(options: &Options, results: &Results) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for work in &options.works {
        for target in work.targets {
            verdicts.extend(target.cases.iter().map(|case| results.judge(work, case, target)));
        }
    }
    verdicts
}
