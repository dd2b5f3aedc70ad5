//! Compiles programs of C and C++ and links them to the shared library that cargo has built for the running tests.
//!
//! Shared by the tests of the header and of the C programs.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What every program must compile without.
pub(crate) const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// The folder of the crate.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A language that the header serves.
#[derive(Clone, Copy)]
pub(crate) enum Language {
    C11,
    Cxx17,
}

impl Language {
    /// The compiler, set up for this language without its extensions.
    pub(crate) fn compiler(self) -> Command {
        let (variable, default, standard) = match self {
            Language::C11 => ("CC", "cc", "-std=c11"),
            Language::Cxx17 => ("CXX", "c++", "-std=c++17"),
        };
        let mut command = Command::new(env::var_os(variable).unwrap_or_else(|| default.into()));
        command.arg(standard).args(WARNINGS);
        command
    }
}

/// Compiles `source` against the header in the folder `header` and links it to the library.
pub(crate) fn compile(language: Language, source: &Path, header: &Path, program: &Path) -> Result<(), String> {
    let library = library_folder();
    let mut command = language.compiler();
    command.args(["-O1", "-g"]).arg("-I").arg(header).arg("-I").arg(root().join("tests/c")).arg(source);
    command.arg("-o").arg(program).arg("-L").arg(library);
    // A program that loads the library itself names none of its functions, and is not to be linked to it.
    if cfg!(target_os = "linux") {
        command.arg("-Wl,--as-needed");
    }
    command.args(["-lsideloop", "-pthread", "-ldl"]);
    command.arg(format!("-Wl,-rpath,{}", library.display()));
    finish(command)
}

/// A command that runs a program made here, itself or under a tool, with the library that it was linked to. Cargo's own
/// search path goes first otherwise, and may hold one that an earlier build has left.
pub(crate) fn start(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for path in ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"] {
        command.env_remove(path);
    }
    command
}

/// Runs a command that must succeed; what it wrote is the error.
pub(crate) fn finish(mut command: Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// A folder of this profile for what is made here.
pub(crate) fn output_folder() -> PathBuf {
    let profile = artifacts().parent().and_then(Path::file_name).map_or("unknown".into(), |name| name.to_owned());
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("c").join(profile)
}

/// Where cargo has put this test, and the library beside it: <target>/<profile>/deps.
fn artifacts() -> PathBuf {
    let test = env::current_exe().expect("the system knows which program runs");
    test.parent().expect("a program is in a folder").to_owned()
}

/// A folder with the library under the names that the linker and the loader look for. Cargo's own folder has only the first.
pub(crate) fn library_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let (file, loaded) = if cfg!(target_os = "macos") {
            ("libsideloop.dylib", "libsideloop.0.dylib")
        } else {
            ("libsideloop.so", "libsideloop.so.0")
        };
        let library = artifacts().join(file);
        assert!(library.exists(), "{} is missing: cargo builds it with the tests", library.display());
        let folder = output_folder().join("lib");
        fs::create_dir_all(&folder).expect("cargo's folder for tests is writable");
        link(&library, &folder.join(file));
        link(&library, &folder.join(loaded));
        folder
    })
}

/// Makes or replaces a symbolic link in one step, as several tests may do so at once.
fn link(target: &Path, place: &Path) {
    let fresh = place.with_extension(format!("{}.tmp", std::process::id()));
    let _ = fs::remove_file(&fresh);
    #[cfg(unix)]
    std::os::unix::fs::symlink(target, &fresh).expect("cargo's folder for tests is writable");
    #[cfg(not(unix))]
    fs::copy(target, &fresh).expect("cargo's folder for tests is writable");
    fs::rename(&fresh, place).expect("cargo's folder for tests is writable");
}
