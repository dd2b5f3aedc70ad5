//! The pass before the styles. The parent's main thread reads every file once: that brings all of them into memory, so
//! that the styles find the same, and says what each style must find.

use crate::hash::{self, Sum};
use crate::interrupt::{self, Halt};
use std::path::PathBuf;

/// What each file should be, in the order of the list: its share of the sum, or why it could not be read.
pub(crate) struct Reference {
    files: Vec<Result<Sum, String>>,
}

impl Reference {
    /// Reads all files. `progress` is told how many are done.
    pub(crate) fn read(files: &[PathBuf], progress: impl Fn(u64)) -> Result<Reference, Halt> {
        let mut buffer = vec![0; 1 << 16];
        let mut read = Vec::with_capacity(files.len());
        for (index, path) in files.iter().enumerate() {
            interrupt::check()?;
            read.push(hash::of_path(index, path, &mut buffer).map_err(|error| hash::reason(&error)));
            progress(index as u64 + 1);
        }
        Ok(Reference { files: read })
    }

    /// What a style should have found that could not read the files in `failed`.
    pub(crate) fn without(&self, failed: &[(usize, String)]) -> Sum {
        let mut missing = vec![false; self.files.len()];
        for (index, _) in failed {
            if let Some(missing) = missing.get_mut(*index) {
                *missing = true;
            }
        }
        let mut sum = Sum::default();
        for (file, _) in self.files.iter().zip(&missing).filter(|(_, missing)| !**missing) {
            sum.add(file.clone().unwrap_or_default());
        }
        sum
    }

    /// What is different in another pass: the places of files that changed, came or went meanwhile.
    pub(crate) fn changed(&self, later: &Reference) -> Vec<usize> {
        let pairs = self.files.iter().zip(&later.files).enumerate();
        pairs
            .filter(|(_, (before, after))| before.as_ref().ok() != after.as_ref().ok())
            .map(|(index, _)| index)
            .collect()
    }

    /// The files that could not be read.
    pub(crate) fn failed(&self) -> Vec<(usize, String)> {
        let failed = |(index, file): (usize, &Result<Sum, String>)| Some((index, file.clone().err()?));
        self.files.iter().enumerate().filter_map(failed).collect()
    }
}
