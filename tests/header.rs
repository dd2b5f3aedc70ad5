//! The header is what the sources say, every item in it has a comment, it compiles alone as C11 and C++17, and the program
//! in its opening comment compiles and runs.

#[path = "../build/header.rs"]
mod header;
#[path = "c/link.rs"]
mod link;

use link::Language;
use std::fs;
use std::path::PathBuf;

fn committed() -> (PathBuf, String) {
    let path = link::root().join("include/sideloop.h");
    let text = fs::read_to_string(&path).expect("include/sideloop.h is committed");
    (path, text)
}

#[test]
fn is_not_stale() {
    let (_, committed) = committed();
    let fresh = header::generate(link::root()).expect("the header can be made");
    if fresh != committed {
        let line = fresh.lines().zip(committed.lines()).position(|(a, b)| a != b);
        let line = line.unwrap_or_else(|| fresh.lines().count().min(committed.lines().count()));
        panic!(
            "include/sideloop.h is stale from line {}: it has {:?}, the sources say {:?}; build without CI=1 to refresh it",
            line + 1,
            committed.lines().nth(line),
            fresh.lines().nth(line)
        );
    }
}

/// The first lines of the header's items that have no comment directly above them.
fn uncommented(text: &str) -> Vec<String> {
    let mut missing = Vec::new();
    let (mut in_struct, mut in_item, mut in_comment, mut commented) = (false, false, false, false);
    for (number, line) in text.lines().enumerate() {
        let code = line.trim();
        if in_comment || code.starts_with("/*") {
            in_comment = !code.contains("*/");
            commented = false;
        } else if code.starts_with("//") {
            commented = code.len() > 2 || commented;
        } else if in_item {
            // The rest of a function's arguments.
            in_item = !code.ends_with(';');
        } else if in_struct && code.starts_with('}') {
            (in_struct, commented) = (false, false);
        } else {
            let item = code.strip_prefix("#define ").map_or_else(
                || in_struct || code.starts_with("typedef ") || code.contains("sl_"),
                |define| !define.starts_with("SIDELOOP_H"),
            ) && !code.is_empty();
            if item && !commented {
                missing.push(format!("line {}: {line}", number + 1));
            }
            in_struct |= code.starts_with("typedef struct") && code.ends_with('{');
            in_item = item && !code.starts_with('#') && !code.ends_with(';') && !code.ends_with('{');
            commented = false;
        }
    }
    missing
}

#[test]
fn every_item_has_a_comment() {
    let (_, text) = committed();
    let missing = uncommented(&text);
    assert!(missing.is_empty(), "without a comment directly above:\n{}", missing.join("\n"));
}

#[test]
fn an_item_without_a_comment_is_found() {
    let (_, text) = committed();
    // Without the comment above each of these, exactly that line is missing one.
    for item in [
        "#define SL_OK 0",
        "#define SL_FOREVER UINT64_MAX",
        "typedef uint64_t sl_op;",
        "typedef struct sl_event {",
        "    uint64_t user_data;",
        "    void *data;",
        "typedef int32_t sl_status;",
        "typedef void (*sl_callback)(sl_loop loop, const struct sl_event *event);",
        "uint32_t sl_abi_version(void);",
        "sl_status sl_poll(sl_loop loop,",
    ] {
        let lines: Vec<&str> = text.lines().collect();
        let at = lines.iter().position(|line| *line == item).unwrap_or_else(|| panic!("the header has no {item:?}"));
        let above =
            lines[..at].iter().rposition(|line| !line.trim_start().starts_with("//")).expect("not the first line");
        let bare = [&lines[..=above], &lines[at..]].concat().join("\n");
        let missing = uncommented(&bare);
        assert_eq!(missing.len(), 1, "{item:?}: {missing:?}");
        assert!(missing[0].ends_with(item), "{item:?}: {missing:?}");
    }
}

#[test]
#[cfg_attr(windows, ignore = "the compiler runs on the machine that builds the tests")]
fn compiles_alone_as_c11_and_cxx17() {
    let (path, _) = committed();
    for (language, name) in [(Language::C11, "c"), (Language::Cxx17, "c++")] {
        let mut command = language.compiler();
        command.args(["-fsyntax-only", "-x", name]).arg(&path);
        link::finish(command).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// The program in the comment at the top of the header.
fn opening_program(text: &str) -> String {
    let (comment, _) = text.split_once(" */").expect("the header opens with a comment");
    let (_, program) = comment.split_once(" * # A complete program\n").expect("the opening comment has a program");
    let lines = program.lines().map(|line| line.strip_prefix(" *").expect("a line of the comment"));
    lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n") + "\n"
}

#[test]
#[cfg_attr(windows, ignore = "the compiler runs on the machine that builds the tests")]
fn the_program_in_the_opening_comment_runs() {
    let (path, text) = committed();
    let folder = link::output_folder().join("header");
    fs::create_dir_all(&folder).expect("cargo's folder for tests is writable");
    let (source, program, file) = (folder.join("opening.c"), folder.join("opening"), folder.join("opening.txt"));
    fs::write(&source, opening_program(&text)).expect("cargo's folder for tests is writable");
    let include = path.parent().expect("the header is in a folder");
    link::compile(Language::C11, &source, include, &program).unwrap_or_else(|error| panic!("{error}"));

    fs::write(&file, "what the file says\n").expect("cargo's folder for tests is writable");
    let output = link::start(&program).arg(&file).output().expect("the program starts");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, format!("{}: 19 bytes\nwhat the file says\n", file.display()));

    let output = link::start(&program).arg(folder.join("missing")).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!output.stderr.is_empty());
}
