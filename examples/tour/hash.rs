//! What it means to have read the same bytes. Used by the reference pass and by the styles in Rust, from any thread;
//! c/tour.c and python/coroutines.py compute the same.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// How much has been read, in a form that does not depend on the order of reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) hash: u64,
}

impl Sum {
    pub(crate) fn add(&mut self, other: Sum) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.hash = self.hash.wrapping_add(other.hash);
    }

    /// One file's share. Its place in the list goes in, so that the bytes of two files mistaken for one another show.
    pub(crate) fn of_file(index: usize, contents: &[u8]) -> Sum {
        Sum::of_crc(index, crc32fast::hash(contents), contents.len() as u64)
    }

    fn of_crc(index: usize, crc: u32, length: u64) -> Sum {
        let hash = mix(mix(index as u64) ^ (u64::from(crc) << 32) ^ length);
        Sum { files: 1, bytes: length, hash }
    }
}

/// Reads a file piece by piece through `buffer`, so that the reference pass stays small whatever it reads.
pub(crate) fn of_path(index: usize, path: &Path, buffer: &mut [u8]) -> io::Result<Sum> {
    let mut file = File::open(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut length = 0;
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(Sum::of_crc(index, hasher.finalize(), length)),
            Ok(got) => {
                hasher.update(&buffer[..got]);
                length += got as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The finaliser of splitmix64: sums of its results show any one changed bit.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Why a file could not be read, in the words that all styles use.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "vanished".to_string(),
        io::ErrorKind::PermissionDenied => "permission denied".to_string(),
        _ => error.to_string(),
    }
}
