//! Runs: a fresh process for each, whose line of JSON is its result. Ends what it has started, and nothing else.

use crate::json;
use crate::peers::{CLIENT, Peer, Programs};
use crate::works::{Case, Work};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The figures of one run, by name.
pub(crate) type Sample = Vec<(String, f64)>;

/// What all runs have in common.
pub(crate) struct Runner {
    pub(crate) programs: Programs,
    pub(crate) scratch: String,
    pub(crate) quick: bool,
}

/// A process that ends with this value.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Runner {
    /// One run of a case by a peer; none where its program is not there.
    pub(crate) fn run(&self, work: &Work, case: &Case, peer: &Peer) -> Option<Result<Sample, String>> {
        let program = self.programs.of(peer, work.served)?;
        let mut command = self.command(program, work, case);
        command.args(peer.arguments.split_whitespace());
        Some(if work.served { self.serve(command, work, case) } else { finish(command) })
    }

    fn command(&self, program: &Path, work: &Work, case: &Case) -> Command {
        let length = if self.quick { work.quick } else { work.full };
        let mut command = Command::new(program);
        // Cargo's own search path goes first otherwise, and may hold a library that an earlier build has left.
        command.env_remove("LD_LIBRARY_PATH");
        command.arg(work.name).args(case.arguments.split_whitespace());
        command.args(length.split_whitespace().map(|argument| argument.replace("{}", &self.scratch)));
        command
    }

    /// Starts a server, which says its port, and lets the client measure it.
    fn serve(&self, mut server: Command, work: &Work, case: &Case) -> Result<Sample, String> {
        let client = self.programs.named(CLIENT).ok_or("there is no client")?;
        let mut server = Guard(server.stdout(Stdio::piped()).spawn().map_err(|error| format!("{server:?}: {error}"))?);
        let mut line = String::new();
        let output = server.0.stdout.take().ok_or("a server has an output")?;
        BufReader::new(output).read_line(&mut line).map_err(|error| error.to_string())?;
        let said = json::parse(&line)?;
        let port = said.iter().find(|(key, _)| key == "port").ok_or("the server says no port")?.1;
        let mut command = self.command(client, work, case);
        command.arg(format!("port={port}")).arg(format!("pid={}", server.0.id()));
        finish(command)
    }
}

/// Runs a command to its end; its last line is the result.
fn finish(mut command: Command) -> Result<Sample, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().last() {
        Some(line) if output.status.success() => json::parse(line),
        _ => Err(format!("{command:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr).trim())),
    }
}
