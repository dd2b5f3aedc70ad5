//! Which files the tour reads. The parent walks on its main thread and writes the list; every style's process reads it.

use crate::interrupt::{self, Halt};
use crate::text;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// A file larger than this is left out, so that a few of them at once fit into any machine's memory and into what a
/// loop lends by default.
const LARGEST_FILE: u64 = 64_000_000;

/// Fewer files than this do not make a story.
const ENOUGH: usize = 1_000;

/// What a walk found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) bytes: u64,
    /// Names that are not UTF-8. They are read like any other.
    pub(crate) odd_names: Vec<PathBuf>,
    /// What is not read, and why: a count and an example each.
    pub(crate) left_out: BTreeMap<String, (u64, PathBuf)>,
    /// Which limit ended the walk before its end.
    pub(crate) capped: Option<String>,
}

/// Picks a directory with real files that this machine is likely to have.
pub(crate) fn default_root(repository: &Path) -> PathBuf {
    let mut candidates = Vec::new();
    if cfg!(windows) {
        if let Some(programs) = std::env::var_os("ProgramFiles") {
            candidates.push(PathBuf::from(programs).join("Common Files"));
        }
    } else {
        candidates.extend(["/usr/share", "/usr/include", "/usr/lib/python3", "/usr/lib"].map(PathBuf::from));
    }
    let enough = |root: &PathBuf| {
        let entries = WalkDir::new(root).into_iter().flatten();
        entries.filter(|entry| entry.file_type().is_file()).take(ENOUGH).count() == ENOUGH
    };
    candidates.into_iter().find(enough).unwrap_or_else(|| repository.to_path_buf())
}

/// Lists the regular files under `root` in the order of their names, up to the limits. Links are not followed.
pub(crate) fn walk(root: &Path, files: Option<u64>, bytes: Option<u64>) -> Result<Found, Halt> {
    let mut found = Found { root: root.to_path_buf(), ..Found::default() };
    for entry in WalkDir::new(root).sort_by_file_name() {
        interrupt::check()?;
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(root).to_path_buf();
                let reason = error.into_io_error().map_or("a loop of links".to_string(), |error| {
                    format!("unreadable while walking ({})", crate::hash::reason(&error))
                });
                leave_out(&mut found, &reason, path);
                continue;
            }
        };
        let kind = entry.file_type();
        if !kind.is_file() {
            if !kind.is_dir() {
                leave_out(&mut found, what(kind), entry.into_path());
            }
            continue;
        }
        // A file that has vanished already is kept: each style then meets it, as it would in life.
        let length = entry.metadata().map_or(0, |metadata| metadata.len());
        if length > LARGEST_FILE {
            leave_out(&mut found, &format!("larger than {}", text::bytes(LARGEST_FILE)), entry.into_path());
            continue;
        }
        if let Some(limit) = bytes.filter(|limit| found.bytes + length > *limit) {
            found.capped = Some(format!("stopped at {}; --megabytes 0 reads on", text::bytes(limit)));
            break;
        }
        if let Some(limit) = files.filter(|limit| found.files.len() as u64 == *limit) {
            found.capped = Some(format!("stopped at {} files; --files 0 reads on", text::count(limit)));
            break;
        }
        let path = entry.into_path();
        if path.file_name().is_some_and(|name| name.to_str().is_none()) {
            found.odd_names.push(path.clone());
        }
        found.bytes += length;
        found.files.push(path);
    }
    Ok(found)
}

fn leave_out(found: &mut Found, reason: &str, path: PathBuf) {
    found.left_out.entry(reason.to_string()).or_insert((0, path)).0 += 1;
}

/// Names what is neither a file nor a directory.
fn what(kind: fs::FileType) -> &'static str {
    if kind.is_symlink() {
        return "link";
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "named pipe";
        }
        if kind.is_socket() {
            return "socket";
        }
        if kind.is_block_device() || kind.is_char_device() {
            return "device";
        }
    }
    "something else than a file"
}

/// Writes the list for the styles' processes. The separator is NUL, the only byte that no name contains.
pub(crate) fn write_list(files: &[PathBuf], list: &Path) -> io::Result<()> {
    let mut out = io::BufWriter::new(fs::File::create(list)?);
    for file in files {
        out.write_all(file.as_os_str().as_encoded_bytes())?;
        out.write_all(&[0])?;
    }
    out.flush()
}

/// Reads what `write_list` wrote.
pub(crate) fn read_list(list: &Path) -> io::Result<Vec<PathBuf>> {
    let bytes = fs::read(list)?;
    let names = bytes.split_inclusive(|byte| *byte == 0).map(|name| &name[..name.len() - 1]);
    names.map(|name| Ok(PathBuf::from(os_str(name)?))).collect()
}

#[cfg(unix)]
fn os_str(name: &[u8]) -> io::Result<&OsStr> {
    Ok(std::os::unix::ffi::OsStrExt::from_bytes(name))
}

/// Elsewhere a name outside Unicode cannot be passed on without unsafe code; the style says so instead of reading it.
#[cfg(not(unix))]
fn os_str(name: &[u8]) -> io::Result<&OsStr> {
    std::str::from_utf8(name).map(OsStr::new).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
