//! The tour (examples/tour) runs to its end on a directory with everything in it that can go wrong, says so, and cleans up
//! behind itself. Times are not tested: they belong to the machine.
#![cfg(unix)]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

const FILES: usize = 200;

/// The example, up to date: where only this test was asked for, cargo has not built it, or long ago.
fn tour() -> &'static Path {
    static TOUR: OnceLock<PathBuf> = OnceLock::new();
    TOUR.get_or_init(|| {
        let test = std::env::current_exe().expect("a test knows where it is");
        let profile = test.ancestors().nth(2).expect("tests are in <profile>/deps");
        // Cargo says where it is; a test that is started by hand takes what is there.
        if let Some(cargo) = std::env::var_os("CARGO") {
            let mut cargo = Command::new(cargo);
            cargo.args(["build", "--quiet", "--example", "tour", "--target-dir"]);
            cargo.arg(profile.parent().expect("a target folder")).current_dir(env!("CARGO_MANIFEST_DIR"));
            if profile.ends_with("release") {
                cargo.arg("--release");
            }
            assert!(cargo.status().expect("cargo runs").success(), "the tour does not build");
        }
        profile.join("examples/tour")
    })
}

/// A folder of its own for each test, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tour-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("files/deeper")).expect("a folder");
        Folder(folder)
    }

    /// Plain files of many sizes, from empty to a few pages.
    fn fill(&self) {
        for number in 0..FILES {
            let contents: Vec<u8> = (0..number * 97).map(|place| (place * 31 + number) as u8).collect();
            let folder = if number % 2 == 0 { "files" } else { "files/deeper" };
            fs::write(self.0.join(folder).join(format!("plain-{number:03}")), contents).expect("a file");
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tour());
        command.arg(self.0.join("files")).arg("--out").arg(self.0.join("out")).args(arguments);
        command
    }

    /// What the tour has left behind.
    fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.join("out")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn is_here(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// The table's line of a style; the story has the name too, but not as a column.
fn row<'a>(output: &'a str, name: &str) -> &'a str {
    let column = format!("{name}  ");
    let found = output.lines().find(|line| line.get(5..).is_some_and(|rest| rest.starts_with(&column)));
    found.unwrap_or_else(|| panic!("no row for {name} in:\n{output}"))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The paragraphs as one line each, for sentences that are wrapped.
fn unwrapped(output: &str) -> String {
    output.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The rows that must have run here.
fn expected_rows() -> Vec<&'static str> {
    let mut rows = vec!["one after the other", "a thread per file", "a pool of 4 threads"];
    if is_here("cc") {
        rows.extend(["sideloop, polled from C", "sideloop, callbacks in C"]);
    }
    if is_here("python3") {
        rows.push("sideloop, Python coroutines");
    }
    rows
}

#[test]
fn all_styles_read_the_same_and_odd_things_are_reported() {
    let folder = Folder::new("odd");
    folder.fill();
    let files = folder.0.join("files");
    symlink("plain-000", files.join("a-link")).expect("a link");
    symlink("nowhere", files.join("a-dangling-link")).expect("a link");
    assert!(Command::new("mkfifo").arg(files.join("a-pipe")).status().expect("mkfifo runs").success());
    // Some file systems refuse such names.
    let odd_name = fs::write(files.join(OsStr::from_bytes(b"odd-\xff\xfe-name")), "odd").is_ok();
    let locked = files.join("locked");
    fs::write(&locked, "secret").expect("a file");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).expect("a mode");
    let unreadable = fs::read(&locked).is_err();

    let output = folder.command(&["--rounds", "2"]).output().expect("the tour runs");
    let text = text(&output);
    assert!(output.status.success(), "{}\n{text}", output.status);

    let readable = FILES + usize::from(odd_name) + usize::from(!unreadable);
    for name in expected_rows() {
        assert!(row(&text, name).trim_end().ends_with(" same"), "{name} did not read the same:\n{text}");
    }
    let flat = unwrapped(&text);
    let verdict = format!("All {} styles read the same: {readable} files,", expected_rows().len());
    assert!(flat.contains(&verdict), "no \"{verdict}\" in:\n{text}");
    assert!(flat.contains("Left out: 2 × link"), "{text}");
    assert!(flat.contains("Left out: 1 × named pipe"), "{text}");
    assert!(!odd_name || flat.contains("odd-\\xff\\xfe-name: read like any other"), "{text}");
    assert!(!unreadable || flat.contains("locked: permission denied"), "{text}");
    assert!(!is_here("cc") || flat.contains("every byte came back as it was sent"), "{text}");
    assert_eq!(folder.left(), ["tour.svg"], "only the picture stays");
    let picture = fs::read_to_string(folder.0.join("out/tour.svg")).expect("the picture");
    assert!(picture.starts_with("<svg") && picture.contains("Main thread blocked"), "{picture}");
}

#[test]
fn a_file_that_vanishes_is_reported() {
    let folder = Folder::new("vanish");
    folder.fill();
    let mut command = folder.command(&["--rounds", "1", "--no-echo"]);
    let mut tour = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the tour runs");
    let mut lines = BufReader::new(tour.stdout.take().expect("it is piped"));
    let mut text = String::new();
    // With style (a) told, all others are still to come.
    while !text.contains("→ 200 files") {
        assert!(lines.read_line(&mut text).expect("UTF-8") > 0, "{text}");
    }
    fs::remove_file(folder.0.join("files/plain-100")).expect("it is there");
    lines.read_to_string(&mut text).expect("UTF-8");
    assert!(tour.wait().expect("it ends").success(), "{text}");
    for name in expected_rows() {
        assert!(row(&text, name).trim_end().ends_with(" same"), "{name} did not read the same:\n{text}");
    }
    let flat = unwrapped(&text);
    assert!(flat.contains("1 file could not be read"), "{text}");
    assert!(flat.contains("plain-100: vanished"), "{text}");
}

#[test]
fn ctrl_c_ends_it_cleanly() {
    let folder = Folder::new("interrupt");
    folder.fill();
    let mut command = folder.command(&["--rounds", "100"]);
    let mut tour = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the tour runs");
    let mut lines = BufReader::new(tour.stdout.take().expect("it is piped"));
    let mut text = String::new();
    while !text.contains("→ 200 files") {
        assert!(lines.read_line(&mut text).expect("UTF-8") > 0, "{text}");
    }
    assert!(Command::new("kill").args(["-INT", &tour.id().to_string()]).status().expect("kill runs").success());
    lines.read_to_string(&mut text).expect("UTF-8");
    assert_eq!(tour.wait().expect("it ends").code(), Some(130), "{text}");
    assert!(text.contains("Interrupted."), "{text}");
    assert!(row(&text, "one after the other").trim_end().ends_with(" same"), "what was done is told:\n{text}");
    assert_eq!(folder.left(), Vec::<String>::new(), "nothing stays");
}

#[test]
fn what_is_missing_is_said_and_the_rest_goes_on() {
    let folder = Folder::new("missing");
    folder.fill();
    let nothing = folder.0.join("nothing");
    fs::create_dir(&nothing).expect("a folder");
    let mut command = folder.command(&["--rounds", "1"]);
    command.env("PATH", &nothing).env_remove("CC").env_remove("PYTHON");
    let output = command.output().expect("the tour runs");
    let text = text(&output);
    assert!(output.status.success(), "{}\n{text}", output.status);
    for name in ["one after the other", "a thread per file", "a pool of 4 threads"] {
        assert!(row(&text, name).trim_end().ends_with(" same"), "{name} did not read the same:\n{text}");
    }
    assert!(row(&text, "sideloop, polled from C").contains("there is no C compiler"), "{text}");
    assert!(row(&text, "sideloop, Python coroutines").contains("there is no python3"), "{text}");
}

#[test]
fn wrong_arguments_are_refused() {
    for arguments in [&["--files"][..], &["--files", "many"], &["--nonsense"], &["one", "two"]] {
        let output = Command::new(tour()).args(arguments).output().expect("the tour runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output));
    }
    let output = Command::new(tour()).arg("/there/is/no/such/folder").output().expect("the tour runs");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}
