//! What the styles in C and Python need, found or made in a scratch folder: the library with the names that linkers and
//! loaders look for, the compiled programs, the interpreter. Called by the parent's main thread.

use crate::interrupt::Halt;
use crate::runner;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The C programs of the tour; each is linked with tour.c.
const PROGRAMS: [&str; 3] = ["polled", "callbacks", "echo"];

/// The oldest Python that the binding supports.
const PYTHON: &str = "3.9";

/// Where everything is. A missing part is a sentence that says why.
pub(crate) struct Toolbox {
    pub(crate) repository: PathBuf,
    pub(crate) scratch: PathBuf,
    pub(crate) library: Result<PathBuf, String>,
    pub(crate) programs: Result<(), String>,
    pub(crate) python: Result<PathBuf, String>,
}

/// A folder that vanishes with the value.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn create(out: &Path) -> io::Result<Scratch> {
        let folder = out.join(format!("run-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Scratch(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays in cargo's target folder, where it does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Cargo's folder for this profile: the example is in its folder `examples`.
pub(crate) fn profile_folder() -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    let folder =
        program.ancestors().nth(2).ok_or_else(|| io::Error::other("the tour is not in cargo's target folder"))?;
    Ok(folder.to_path_buf())
}

/// Finds and makes everything.
pub(crate) fn set_up(scratch: &Scratch, profile: &Path) -> Result<Toolbox, Halt> {
    let mut toolbox = Toolbox {
        repository: PathBuf::from(env!("CARGO_MANIFEST_DIR")),
        scratch: scratch.0.clone(),
        library: library(profile, &scratch.0),
        programs: Ok(()),
        python: Err(String::new()),
    };
    toolbox.programs = compile(&toolbox)?;
    toolbox.python = find_python();
    Ok(toolbox)
}

/// Links the library into the scratch folder under the name for linking and the name for running.
fn library(profile: &Path, scratch: &Path) -> Result<PathBuf, String> {
    let (name, running) = match env::consts::OS {
        "macos" => ("libsideloop.dylib", "libsideloop.0.dylib"),
        "windows" => ("sideloop.dll", "sideloop.dll"),
        _ => ("libsideloop.so", "libsideloop.so.0"),
    };
    // Cargo builds it in `deps` and links it one folder up, but not in every case: the newest is right.
    let built = [profile.join(name), profile.join("deps").join(name)];
    let age = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let newest = built.iter().filter(|path| age(path).is_some()).max_by_key(|path| age(path));
    let newest = newest.ok_or_else(|| format!("{name} is not in cargo's target folder: run `cargo build` first"))?;
    let link = |name: &str| {
        let link = scratch.join(name);
        if link.exists() { Ok(()) } else { symlink(newest, &link) }
    };
    link(name).and_then(|()| link(running)).map_err(|error| format!("{name} cannot be linked: {error}"))?;
    Ok(scratch.join(name))
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Links need a privilege elsewhere; a copy does as well. The import library comes along for the linker.
#[cfg(not(unix))]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    let import = |path: &Path| path.with_extension("dll.lib");
    if import(target).exists() {
        fs::copy(import(target), link.with_file_name("sideloop.lib"))?;
    }
    fs::copy(target, link).map(|_| ())
}

/// Compiles the C programs with the machine's compiler, as any user of the library would.
fn compile(toolbox: &Toolbox) -> Result<Result<(), String>, Halt> {
    let library = match &toolbox.library {
        Ok(library) => library,
        Err(reason) => return Ok(Err(reason.clone())),
    };
    let compiler = env::var("CC").ok().filter(|cc| !cc.is_empty()).unwrap_or_else(|| "cc".to_string());
    // CC may carry arguments ("ccache gcc").
    let mut words = compiler.split_whitespace();
    let compiler = words.next().unwrap_or("cc");
    let words: Vec<&str> = words.collect();
    if let Err(error) = Command::new(compiler).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        return Ok(Err(match error.kind() {
            io::ErrorKind::NotFound => format!("there is no C compiler ({compiler}) here"),
            _ => format!("the C compiler ({compiler}) cannot be run: {error}"),
        }));
    }
    let sources = toolbox.repository.join("examples/tour/c");
    for program in PROGRAMS {
        let mut command = Command::new(compiler);
        command.args(&words).args(["-std=c11", "-O2", "-D_DEFAULT_SOURCE"]);
        command.arg("-I").arg(toolbox.repository.join("include"));
        command.arg(sources.join(program).with_extension("c")).arg(sources.join("tour.c"));
        command.arg("-o").arg(toolbox.program(program)).arg("-L").arg(&toolbox.scratch).arg("-lsideloop");
        match library.parent() {
            Some(folder) if cfg!(unix) => command.arg(format!("-Wl,-rpath,{}", folder.display())),
            _ => command.arg("-lws2_32"),
        };
        if let Err(reason) = runner::follow(command, &toolbox.scratch, |_| false)? {
            return Ok(Err(format!("{program}.c does not compile: {reason}")));
        }
    }
    Ok(Ok(()))
}

/// The machine's own Python will do: the binding is plain ctypes.
fn find_python() -> Result<PathBuf, String> {
    let check = format!("import sys, ctypes, zlib; sys.exit(sys.version_info < ({}))", PYTHON.replace('.', ", "));
    let candidates = [env::var("PYTHON").ok(), Some("python3".to_string()), Some("python".to_string())];
    let mut reason = "there is no python3 here".to_string();
    for python in candidates.into_iter().flatten() {
        let mut command = Command::new(&python);
        command.args(["-c", &check]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.status() {
            Ok(status) if status.success() => return Ok(PathBuf::from(python)),
            Ok(_) => reason = format!("{python} is older than {PYTHON}, or lacks ctypes or zlib"),
            Err(_) => {}
        }
    }
    Err(reason)
}

impl Toolbox {
    /// Where the compiled program is.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.scratch.join(name).with_extension(env::consts::EXE_EXTENSION)
    }

    /// A compiled program, ready to be started, or why not.
    pub(crate) fn c_command(&self, name: &str) -> Result<Command, String> {
        self.programs.clone()?;
        Ok(Command::new(self.program(name)))
    }

    /// A script of the tour, ready to be started, or why not.
    pub(crate) fn python_command(&self, script: &str) -> Result<Command, String> {
        let library = self.library.clone()?;
        let mut command = Command::new(self.python.clone()?);
        command.arg(self.repository.join("examples/tour/python").join(script));
        command.env("PYTHONPATH", self.repository.join("bindings/python/src"));
        command.env("SIDELOOP_LIBRARY", library);
        // The repository stays as it is.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(command)
    }
}
