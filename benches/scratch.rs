//! The folder for temporary files, and the files that works read from.

use crate::works::Input;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What is written at the beginning of every page, so that a read that brings another one is noticed.
const PAGE: usize = 4096;

/// A folder of this process, which is gone when this is dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(folder: &Path) -> io::Result<Scratch> {
        sweep(folder);
        let place = folder.join(format!("scratch-{}", std::process::id()));
        fs::create_dir_all(&place)?;
        Ok(Scratch(place))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes what a work reads from, unless it is there already.
    pub(crate) fn prepare(&self, input: Input) -> io::Result<()> {
        match input {
            Input::Nothing => Ok(()),
            Input::Blocks { name, length } => {
                let place = self.0.join(name);
                if place.exists() { Ok(()) } else { write_pages(&place, 0, length) }
            }
            Input::Folder { name, count } => {
                let place = self.0.join(name);
                if place.exists() {
                    return Ok(());
                }
                fs::create_dir(&place)?;
                (0..count).try_for_each(|i| write_pages(&place.join(format!("{i:05}")), i.into(), PAGE as u64))
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes pages that begin with their offset, counted from `first`.
fn write_pages(place: &Path, first: u64, length: u64) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(place)?);
    let mut page = [0; PAGE];
    for offset in (0..length).step_by(PAGE) {
        page[..8].copy_from_slice(&(first + offset).to_ne_bytes());
        file.write_all(&page)?;
    }
    // Write-back that went on beside the measurements would be measured too.
    file.into_inner()?.sync_data()
}

/// Removes what runs that were killed have left.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix("scratch-"));
        if owner.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
