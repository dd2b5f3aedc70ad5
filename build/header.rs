//! Makes `include/sideloop.h`: one chapter for each file of `src/ffi`, its `//!` text as the chapter's heading and its
//! items by cbindgen. Used by build.rs, which refreshes the header, and by the test that fails when it is stale.

use std::fmt::Write;
use std::fs;
use std::path::Path;

/// The header's text, from the sources under `root`.
pub(crate) fn generate(root: &Path) -> Result<String, String> {
    let ffi = root.join("src/ffi");
    let opening = read(&ffi.join("mod.rs"))?;
    let mut header = String::new();
    comment(&mut header, &module_docs(&opening));
    header.push_str(OPENING);
    for chapter in chapters(&opening) {
        let path = ffi.join(format!("{chapter}.rs"));
        header.push('\n');
        comment(&mut header, &heading(&module_docs(&read(&path)?)));
        // Some of a chapter's items belong to a lower layer of the library.
        let sources = match chapter {
            "status" => vec![root.join("src/error.rs"), path],
            "lifecycle" => vec![root.join("src/engine/counters.rs"), path],
            "events" => vec![root.join("src/engine/event.rs"), path],
            "request" => vec![root.join("src/op/kinds.rs"), path],
            _ => vec![path],
        };
        for source in sources {
            header.push('\n');
            header.push_str(items(root, &source)?.trim());
            header.push('\n');
        }
    }
    header.push_str(CLOSING);
    Ok(header)
}

/// The modules of src/ffi in the order in which mod.rs lists them.
fn chapters(opening: &str) -> Vec<&str> {
    opening.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect()
}

fn items(root: &Path, path: &Path) -> Result<String, String> {
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml"))?;
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(path)
        .generate()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = String::from_utf8(text).map_err(|error| error.to_string())?;
    Ok(without_safety(&text).lines().map(polished).collect::<Vec<_>>().join("\n"))
}

/// What cbindgen has no setting for: a type is named by its typedef, and a negative number stands in parentheses.
fn polished(line: &str) -> String {
    if let Some((name, value)) = line.strip_prefix("#define ").and_then(|define| define.split_once(" -")) {
        return format!("#define {name} (-{value})");
    }
    if line.starts_with("typedef ") || line.starts_with("//") {
        return line.to_owned();
    }
    line.replace("struct sl_", "sl_")
}

/// Drops the `# Safety` sections: they speak to Rust, and the text before them says the same to C.
fn without_safety(text: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut skipping = false;
    for line in text.lines() {
        let comment = line.trim_start().strip_prefix("//");
        if comment.is_some_and(|text| text.trim() == "# Safety") {
            skipping = true;
            if kept.last().is_some_and(|before| before.trim() == "//") {
                kept.pop();
            }
        } else if comment.is_none() {
            skipping = false;
        }
        if !skipping {
            kept.push(line.trim_end());
        }
    }
    kept.join("\n")
}

/// A chapter's title, underlined.
fn heading(docs: &str) -> String {
    let (title, rest) = docs.split_once('\n').unwrap_or((docs, ""));
    format!("{}\n{title}\n{}\n{rest}", "=".repeat(76), "=".repeat(76))
}

fn module_docs(source: &str) -> String {
    let lines: Vec<&str> = source
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .map(|line| line.trim_start_matches("//!").strip_prefix(' ').unwrap_or(""))
        // C has no nested comments, so the program in the opening chapter writes its own with a space.
        .filter(|line| !line.starts_with("```"))
        .collect();
    lines.join("\n")
}

fn comment(out: &mut String, text: &str) {
    out.push_str("/*\n");
    for line in text.trim_end().lines() {
        let line = line.replace("/*", "//").replace(" */", "");
        let _ = writeln!(out, " * {line}");
        if out.ends_with(" * \n") {
            out.truncate(out.len() - 2);
            out.push('\n');
        }
    }
    out.push_str(" */\n");
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

const OPENING: &str = r#"
#ifndef SIDELOOP_H
#define SIDELOOP_H

/* Made from src/ffi by build.rs: edit there. */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
"#;

const CLOSING: &str = r#"
#ifdef __cplusplus
}
#endif

#endif /* SIDELOOP_H */
"#;
