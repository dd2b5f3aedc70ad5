//! Who is measured: the peers, the programs they are, and how those are built. All programs go to `target/bench/bin`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How a program comes about.
enum Recipe {
    /// One file of C, with what it links; the header that must be there, and the Debian package that has it.
    C { links: &'static [&'static str], header: &'static str, package: &'static str },
    /// A program of the crate in `rust-peers`.
    Cargo,
}

struct Program {
    name: &'static str,
    recipe: Recipe,
}

/// Somebody in the tables.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    program: &'static str,
    /// The program that has the servers.
    server: &'static str,
    /// What tells it from others of the same program.
    pub(crate) arguments: &'static str,
}

const fn c(name: &'static str, links: &'static [&'static str], header: &'static str, package: &'static str) -> Program {
    Program { name, recipe: Recipe::C { links, header, package } }
}

const PROGRAMS: &[Program] = &[
    c("client", &[], "stdio.h", "libc6-dev"),
    c("blocking", &[], "stdio.h", "libc6-dev"),
    c("pool", &[], "stdio.h", "libc6-dev"),
    c("aio", &[], "aio.h", "libc6-dev"),
    c("epoll", &[], "stdio.h", "libc6-dev"),
    c("libuv", &["-luv"], "uv.h", "libuv1-dev"),
    c("libevent", &["-levent_core"], "event2/event.h", "libevent-dev"),
    c("liburing", &["-luring"], "liburing.h", "liburing-dev"),
    c("sideloop", &["-lsideloop"], "stdio.h", "libc6-dev"),
    c("sideloop_net", &["-lsideloop"], "stdio.h", "libc6-dev"),
    Program { name: "tokio", recipe: Recipe::Cargo },
    Program { name: "compio", recipe: Recipe::Cargo },
];

/// The client is no peer: it is everybody's other side.
pub(crate) const CLIENT: &str = "client";

const fn alone(name: &'static str) -> Peer {
    Peer { name, program: name, server: name, arguments: "" }
}

const fn sideloop(name: &'static str, arguments: &'static str) -> Peer {
    Peer { name, program: "sideloop", server: "sideloop_net", arguments }
}

pub(crate) const PEERS: &[Peer] = &[
    alone("blocking"),
    alone("pool"),
    alone("aio"),
    alone("epoll"),
    alone("libuv"),
    alone("libevent"),
    alone("liburing"),
    alone("tokio"),
    alone("compio"),
    sideloop("sideloop-uring", "driver=uring"),
    sideloop("sideloop-poll", "driver=poll"),
    sideloop("sideloop-uring-callback", "driver=uring delivery=thread"),
    sideloop("sideloop-poll-callback", "driver=poll delivery=thread"),
    // An eventfd and a lock: in the same program as epoll's servers.
    Peer { name: "eventfd", program: "epoll", server: "epoll", arguments: "" },
];

/// Whom the others are compared with: the first of these that takes part.
pub(crate) const REFERENCES: &[&str] = &["sideloop-uring-callback", "sideloop-uring"];

pub(crate) fn peer(name: &str) -> Option<&'static Peer> {
    PEERS.iter().find(|peer| peer.name == name)
}

/// The programs that could be built, by name.
pub(crate) struct Programs(BTreeMap<&'static str, PathBuf>);

impl Programs {
    /// Builds what `wanted` peers need; what cannot be built is left out, with a line that says why.
    pub(crate) fn build(folder: &Path, wanted: &[&Peer]) -> Result<Programs, String> {
        let bin = folder.join("bin");
        fs::create_dir_all(&bin).map_err(|error| format!("{}: {error}", bin.display()))?;
        let library = library_folder(folder)?;
        let is_wanted = |name| name == CLIENT || wanted.iter().any(|peer| peer.program == name || peer.server == name);
        let mut built = BTreeMap::new();
        for program in PROGRAMS.iter().filter(|program| is_wanted(program.name)) {
            let place = bin.join(program.name);
            let outcome = match program.recipe {
                Recipe::C { links, header, package } if has(header) => {
                    compile(program.name, links, &library, &place).map_err(|error| (error, package))
                }
                Recipe::C { header, package, .. } => Err((format!("there is no <{header}>"), package)),
                Recipe::Cargo => cargo(program.name, folder, &place).map_err(|error| (error, "cargo")),
            };
            match outcome {
                Ok(()) => drop(built.insert(program.name, place)),
                Err((reason, package)) => {
                    println!("{} is left out: {reason} (Debian package: {package})", program.name);
                }
            }
        }
        Ok(Programs(built))
    }

    /// The program of a peer for a work, where it could be built.
    pub(crate) fn of(&self, peer: &Peer, served: bool) -> Option<&Path> {
        self.named(if served { peer.server } else { peer.program })
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Path> {
        self.0.get(name).map(PathBuf::as_path)
    }
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches")
}

fn compiler() -> Command {
    Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
}

/// Whether the compiler finds a header.
fn has(header: &str) -> bool {
    let mut command = compiler();
    command.args(["-E", "-x", "c", "-include", header, "/dev/null"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn compile(name: &str, links: &[&str], library: &Path, place: &Path) -> Result<(), String> {
    let mut command = compiler();
    command.args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-I"]);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"));
    command.arg(sources().join("peers").join(format!("{name}.c"))).arg("-o").arg(place);
    command.arg("-L").arg(library).arg(format!("-Wl,-rpath,{}", library.display()));
    finish(command.args(links).args(["-pthread", "-ldl"]))
}

/// Builds a program of the other crate, which keeps its dependencies out of this one's.
fn cargo(name: &str, folder: &Path, place: &Path) -> Result<(), String> {
    let target = folder.join("rust-peers");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--release", "--locked", "--bin", name, "--manifest-path"]);
    command.arg(sources().join("rust-peers/Cargo.toml")).arg("--target-dir").arg(&target);
    finish(&mut command)?;
    let made = target.join("release").join(name);
    fs::copy(&made, place).map(drop).map_err(|error| format!("{}: {error}", made.display()))
}

/// Runs a command that must succeed; what it wrote is the error.
fn finish(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end()))
}

/// A folder with the library, built beside this program, under the names that the linker and the loader look for.
fn library_folder(folder: &Path) -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let library = program.with_file_name("libsideloop.so");
    let place = folder.join("lib");
    fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    for name in ["libsideloop.so", "libsideloop.so.0"] {
        fs::copy(&library, place.join(name)).map_err(|error| format!("{}: {error}", library.display()))?;
    }
    Ok(place)
}
