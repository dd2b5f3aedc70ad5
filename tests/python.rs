//! The Python package, with the library that cargo has just built: its pytest suite on every driver, its types, its style,
//! and a wheel in a fresh environment.
//!
//! Passes without doing anything, and says why, only where there is no Python 3.9 or later. `PYTHON` names an interpreter
//! other than `python3`. The tools are installed once, into `python-venv` in cargo's target folder.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The drivers that the suite runs on.
const DRIVERS: &[&str] = if cfg!(target_os = "linux") { &["poll", "uring"] } else { &["poll"] };

/// Runs a command to its end, and fails with its output where it fails.
fn run(command: &mut Command) -> String {
    let shown = format!("{command:?}");
    let done = command.output().unwrap_or_else(|error| panic!("{shown}: {error}"));
    let output = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(done.status.success(), "{shown}: {}\n{output}", done.status);
    output
}

/// The package's folder.
fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bindings").join("python")
}

/// Where these tests keep things: cargo's target folder.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the target folder").to_owned()
}

/// The shared library that belongs to this test: beside it, as cargo may leave an older one in the folder above.
fn library() -> PathBuf {
    let name = format!("{}sideloop{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let test = std::env::current_exe().expect("a running test has a path");
    let found = test.ancestors().skip(1).take(2).map(|folder| folder.join(&name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not near {}", test.display()))
}

/// The interpreter to make environments with; or why there is none.
fn interpreter() -> Result<String, String> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| String::from("python3"));
    let check = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))";
    match Command::new(&python).args(["-c", check]).output() {
        Ok(done) if done.status.success() => Ok(python),
        Ok(_) => Err(format!("{python} is older than 3.9, or has no venv")),
        Err(error) => Err(format!("{python}: {error}")),
    }
}

/// An environment's own interpreter.
fn python_of(environment: &Path) -> PathBuf {
    environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" })
}

/// The strings of the `test = [...]` list in pyproject.toml.
fn requirements() -> Vec<String> {
    let text = fs::read_to_string(package().join("pyproject.toml")).expect("pyproject.toml can be read");
    let line = text.lines().find(|line| line.starts_with("test = [")).expect("there is an extra called test");
    line.split('"').skip(1).step_by(2).map(String::from).collect()
}

/// Those without which the rest is tested all the same: there is no uvloop for Windows, nor everything for a new Python.
const OPTIONAL: &[&str] = &["aiofiles", "trio", "uvloop"];

/// The interpreter of an environment that has the tools; None, having said why, where there is no Python.
fn tools() -> Option<&'static Path> {
    static TOOLS: OnceLock<Option<PathBuf>> = OnceLock::new();
    let tools = TOOLS.get_or_init(|| match interpreter() {
        Ok(python) => Some(install_tools(&python)),
        Err(reason) => {
            // Past the harness's capture, so that what was left out is seen.
            let _ = writeln!(std::io::stderr(), "skipped: the Python package is not tested: {reason}");
            None
        }
    });
    tools.as_deref()
}

/// Makes the environment, unless it is there and was made of the same.
fn install_tools(python: &str) -> PathBuf {
    let environment = target().join("python-venv");
    let own = python_of(&environment);
    let stamp = environment.join("made-of");
    let version = run(Command::new(python).args(["-c", "import sys; print(sys.version, sys.prefix)"]));
    let made_of = format!("{version}{}\n", requirements().join("\n"));
    if own.is_file() && fs::read_to_string(&stamp).is_ok_and(|old| old == made_of) {
        return own;
    }
    run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&environment));
    let (optional, needed): (Vec<_>, Vec<_>) =
        requirements().into_iter().partition(|one| OPTIONAL.iter().any(|name| one.starts_with(name)));
    let install = || {
        let mut pip = Command::new(&own);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        pip
    };
    run(install().args(needed));
    for one in optional {
        if !install().arg(&one).output().is_ok_and(|done| done.status.success()) {
            let _ = writeln!(std::io::stderr(), "skipped: {one} cannot be installed, nor what needs it tested");
        }
    }
    fs::write(stamp, made_of).expect("the environment can be written to");
    own
}

/// A command of the tools' interpreter in the package's folder, which leaves nothing there.
fn in_package(python: &Path, module: &str) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", module]).current_dir(package()).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("SIDELOOP_LIBRARY", library()).env("PYTHONPATH", package().join("src")).env_remove("CARGO");
    command
}

#[test]
fn suite_passes_on_every_driver() {
    let Some(python) = tools() else { return };
    for driver in DRIVERS {
        println!("{}", run(in_package(python, "pytest").arg("-q").env("SIDELOOP_DRIVER", driver)));
    }
}

#[test]
fn types_are_right() {
    let Some(python) = tools() else { return };
    let cache = target().join("python-mypy");
    let sources = ["src", "examples", "tests", "benches", "generate_abi.py", "hatch_build.py"];
    let path = std::env::join_paths(["src", "tests", "benches"]).expect("they hold no separator");
    run(in_package(python, "mypy").arg("--strict").arg("--cache-dir").arg(cache).args(sources).env("MYPYPATH", path));
}

#[test]
fn style_is_right() {
    let Some(python) = tools() else { return };
    run(in_package(python, "ruff").args(["check", "--no-cache", "."]));
    run(in_package(python, "ruff").args(["format", "--no-cache", "--check", "."]));
}

/// What a user has: a wheel, in an environment with nothing else, and no repository near.
#[test]
fn wheel_works_in_a_fresh_environment() {
    let Some(python) = tools() else { return };
    let folder = target().join("python-wheel");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the target folder can be written to");
    let mut build = in_package(python, "pip");
    build.args(["wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--wheel-dir"]);
    run(build.arg(&folder).arg("."));
    let wheels: Vec<PathBuf> = fs::read_dir(&folder).expect("it was made").map(|entry| entry.unwrap().path()).collect();
    let [wheel] = wheels.as_slice() else { panic!("there is one wheel in {wheels:?}") };
    let name = wheel.file_name().and_then(OsStr::to_str).expect("its name is ASCII");
    assert!(name.starts_with("sideloop-0") && name.contains("-py3-none-") && !name.ends_with("-any.whl"), "{name}");

    let environment = folder.join("venv");
    run(Command::new(python).args(["-m", "venv"]).arg(&environment));
    let fresh = python_of(&environment);
    run(Command::new(&fresh).args(["-m", "pip", "install", "--quiet", "--no-index"]).arg(wheel));
    let mut smoke = Command::new(&fresh);
    smoke
        .args(["-W", "error"])
        .arg(package().join("tests").join("smoke.py"))
        .current_dir(&folder)
        .env_remove("SIDELOOP_LIBRARY")
        .env_remove("PYTHONPATH");
    assert_eq!(run(&mut smoke).trim(), "works");
}
