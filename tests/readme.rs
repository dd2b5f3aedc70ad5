//! The programs in README.md, and those in examples/c, are compiled and run as a reader would: where a compiler is at
//! hand that makes programs for the same system, which is not so for Windows' under wine.
#![cfg(unix)]

#[allow(dead_code, reason = "C++ is for other tests")]
#[path = "c/link.rs"]
mod link;

use link::Language;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The shared library's file name here.
const LIBRARY: &str = if cfg!(target_os = "macos") { "libsideloop.dylib" } else { "libsideloop.so" };

/// The first block of README.md in a language.
fn block(language: &str) -> String {
    let readme = fs::read_to_string(link::root().join("README.md")).expect("README.md is there");
    let (_, after) = readme.split_once(&format!("```{language}\n")).expect("README.md has such a program");
    after.split_once("\n```").expect("the block ends").0.to_owned() + "\n"
}

fn folder() -> PathBuf {
    let folder = link::output_folder().join("readme");
    fs::create_dir_all(&folder).expect("cargo's folder for tests is writable");
    folder
}

/// Runs a program on two files that exist and one that does not, and answers what it says of each.
fn sizes(mut command: Command) -> String {
    let output = command.args(["README.md", "Cargo.toml", "no-such-file"]).current_dir(link::root()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn assert_sizes(said: &str) {
    for file in ["README.md", "Cargo.toml"] {
        let length = fs::metadata(link::root().join(file)).expect("it is there").len();
        let line = said.lines().find(|line| line.starts_with(file)).unwrap_or_else(|| panic!("{file} in {said}"));
        assert!(line.contains(&length.to_string()), "{line}: {length} bytes expected");
    }
    let missing = said.lines().find(|line| line.starts_with("no-such-file")).expect("it is spoken of");
    assert!(missing.to_lowercase().contains("no such file"), "{missing}");
}

#[test]
fn the_c_program_compiles_and_runs() {
    let source = folder().join("program.c");
    fs::write(&source, block("c")).expect("cargo's folder for tests is writable");
    let program = folder().join("program");
    link::compile(Language::C11, &source, &link::root().join("include"), &program)
        .unwrap_or_else(|error| panic!("{error}"));
    assert_sizes(&sizes(Command::new(program)));
}

/// The believers lose something, with a seed that brings it back; the careful one does not.
#[test]
fn the_example_of_faults_finds_what_is_wrong() {
    let program = folder().join("faults");
    link::compile(Language::C11, &link::root().join("examples/c/faults.c"), &link::root().join("include"), &program)
        .unwrap_or_else(|error| panic!("{error}"));
    let said = || {
        let output = Command::new(&program).arg("100").current_dir(folder()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    let first = said();
    assert!(first.contains("naive: seed ") && first.contains("of 1000 bytes and says that all is well"), "{first}");
    assert!(first.contains("hopeful: seed ") && first.contains("loses the promise"), "{first}");
    assert_eq!(first.matches("careful: survived 100 seeds").count(), 2, "{first}");
    assert_eq!(said(), first, "a seed brings back the same");
}

#[test]
fn the_python_program_runs() {
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let mut command = Command::new(python);
    command.arg("-c").arg(block("python"));
    command
        .env("PYTHONPATH", link::root().join("bindings/python/src"))
        .env("SIDELOOP_LIBRARY", link::library_folder().join(LIBRARY));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    assert_sizes(&sizes(command));
}
