//! Memory that belongs to the caller: where it is, how much, and the promise under which it may be touched.
//!
//! Made by ffi on the caller's thread, used by whichever thread carries the operation out.

use std::sync::Arc;

/// A piece of the caller's memory, lent to one operation.
///
/// Whoever makes one promises that it stays valid until that operation's last event; whoever holds one only reads or
/// writes it in between. So the methods are safe, and each use in a system call says why the operation has not ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    pointer: *mut u8,
    length: usize,
}

// SAFETY: it is an address and a length; the promise made in `new` does not depend on the thread.
unsafe impl Send for Region {}
// SAFETY: as above; sharing it shares no reference to the memory.
unsafe impl Sync for Region {}

impl Region {
    /// Describes `length` bytes at `pointer`.
    ///
    /// # Safety
    /// They are valid, for what the operation does with them, until the operation's last event.
    pub(crate) unsafe fn new(pointer: *mut u8, length: usize) -> Self {
        Region { pointer, length }
    }

    /// The address.
    pub(crate) fn pointer(&self) -> *mut u8 {
        self.pointer
    }

    /// The length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The first `count` bytes (at most all).
    fn first(&self, count: usize) -> Region {
        Region { pointer: self.pointer, length: self.length.min(count) }
    }

    /// What is left behind the first `count` bytes (at most all).
    #[must_use]
    pub(crate) fn skip(&self, count: usize) -> Region {
        let count = count.min(self.length);
        Region { pointer: self.pointer.wrapping_add(count), length: self.length - count }
    }
}

/// The memory of one operation: one piece or several, and how much of it is done.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    /// One piece; what is done is cut off its front.
    One(Region),
    /// Several, and how many bytes at their front are done.
    Many(Arc<[Region]>, usize),
}

impl Data {
    /// Several pieces.
    pub(crate) fn many(regions: Vec<Region>) -> Self {
        Data::Many(regions.into(), 0)
    }

    /// How many bytes are left.
    pub(crate) fn len(&self) -> usize {
        match self {
            Data::One(region) => region.len(),
            Data::Many(regions, done) => regions.iter().map(Region::len).sum::<usize>() - done,
        }
    }

    /// Cuts `count` done bytes off the front.
    pub(crate) fn advance(&mut self, count: usize) {
        match self {
            Data::One(region) => *region = region.skip(count),
            Data::Many(_, done) => *done += count,
        }
    }

    /// Keeps only the first `count` of the bytes that are left.
    pub(crate) fn truncate(&mut self, count: usize) {
        *self = match self {
            Data::One(region) => Data::One(region.first(count)),
            Data::Many(..) => {
                let mut left = count;
                let cut = |region: Region| {
                    let kept = region.first(left);
                    left -= kept.len();
                    kept
                };
                Data::many(self.regions().map(cut).collect())
            }
        }
    }

    /// The pieces that are left, none of them empty.
    pub(crate) fn regions(&self) -> impl Iterator<Item = Region> + '_ {
        let (regions, mut done) = match self {
            Data::One(region) => (std::slice::from_ref(region), 0),
            Data::Many(regions, done) => (&regions[..], *done),
        };
        regions.iter().filter_map(move |region| {
            let left = region.skip(done);
            done -= done.min(region.len());
            (left.len() > 0).then_some(left)
        })
    }
}

/// Where a read puts its bytes.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Into the caller's memory.
    Caller(Data),
    /// Into a lent buffer of at most this many bytes; 0: the loop's receive_buffer_size.
    Lend(usize),
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the fields are those of sl_stat, and documented there")]
pub(crate) struct FileStat {
    pub kind: FileKind,
    pub length: u64,
    pub allocated: u64,
    pub mode: u32,
    pub links: u32,
    pub user: u32,
    pub group: u32,
    pub device: u64,
    pub inode: u64,
    pub accessed_ns: i64,
    pub modified_ns: i64,
    pub changed_ns: i64,
    pub created_ns: i64,
}

/// What kind of thing a path names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A regular file.
    #[default]
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// Anything else.
    Other,
}

impl From<std::fs::FileType> for FileKind {
    fn from(kind: std::fs::FileType) -> Self {
        match () {
            () if kind.is_symlink() => FileKind::Link,
            () if kind.is_dir() => FileKind::Directory,
            () if kind.is_file() => FileKind::File,
            () => FileKind::Other,
        }
    }
}

/// Where the caller wants a [`FileStat`]; ffi knows the layout that the caller's version of the header gave it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatTarget {
    place: Region,
    write: fn(Region, &FileStat),
}

impl StatTarget {
    /// `write` puts the fields into the caller's structure at `place`.
    pub(crate) fn new(place: Region, write: fn(Region, &FileStat)) -> Self {
        StatTarget { place, write }
    }

    /// Fills the caller's structure. Called before the operation's last event.
    pub(crate) fn fill(&self, stat: &FileStat) {
        (self.write)(self.place, stat);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(bytes: &mut [u8]) -> Region {
        // SAFETY: the tests below look at addresses and lengths only.
        unsafe { Region::new(bytes.as_mut_ptr(), bytes.len()) }
    }

    #[test]
    fn pieces_advance_across_their_borders() {
        let mut bytes = [0u8; 10];
        let (front, back) = bytes.split_at_mut(4);
        let (front, back) = (region(front), region(back));
        let mut data = Data::many(vec![front, region(&mut []), back]);
        assert_eq!(data.len(), 10);
        data.advance(5);
        let left: Vec<_> = data.regions().map(|r| (r.pointer(), r.len())).collect();
        assert_eq!(left, [(back.pointer().wrapping_add(1), 5)]);
        data.advance(5);
        assert_eq!((data.len(), data.regions().count()), (0, 0));
    }

    #[test]
    fn pieces_are_cut_where_they_are_to_end() {
        let mut bytes = [0u8; 10];
        let (front, back) = bytes.split_at_mut(4);
        let mut data = Data::many(vec![region(front), region(back)]);
        data.advance(1);
        data.truncate(5);
        assert_eq!(data.regions().map(|r| r.len()).collect::<Vec<_>>(), [3, 2]);
        data.truncate(2);
        assert_eq!(data.regions().map(|r| r.len()).collect::<Vec<_>>(), [2]);
        let mut one = Data::One(region(&mut bytes));
        one.truncate(7);
        assert_eq!(one.len(), 7);
    }
}
