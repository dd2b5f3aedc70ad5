//! Writing a whole file step by step, out of the caller's memory or out of another file: for drivers on which each step may go
//! wrong, and where it is to be there whole or not at all. Then it is written under another name first, and what was made is
//! removed where anything fails. On the loop's thread.

use super::{Outcome, Step};
use crate::driver::{Primitive, Value};
use crate::error::{self, Error, Result};
use crate::sys::{self, Data, Handle, OpenFlags, Path};
use std::sync::Arc;

/// How much is copied at a time: some milliseconds, between which a copy can be cancelled.
const PORTION: usize = 8 << 20;

/// What the file is made of.
enum Source {
    Memory(Data),
    File(Path),
}

/// How it comes to its place.
enum Way {
    /// Opened like this.
    InPlace(OpenFlags),
    /// Made where there is none.
    New { mode: u32 },
    /// Made beside it, under this name, and renamed.
    Replace { beside: Path, mode: u32 },
}

/// What is to be done next.
enum Stage {
    OpenSource,
    Open,
    Bytes,
    Sync,
    Close,
    Rename,
    OpenFolder,
    SyncFolder,
    End,
    /// What was made is being removed, because of this.
    Undo(Error),
}

/// A file that is being written.
pub(super) struct WholeWrite {
    stage: Stage,
    source: Source,
    path: Path,
    way: Way,
    sync: bool,
    reads: Option<Arc<Handle>>,
    /// What is written to; at the end, the directory.
    file: Option<Arc<Handle>>,
    /// What there is only because of this, until it is whole and in its place.
    made: Option<Path>,
    done: usize,
}

impl WholeWrite {
    pub(super) fn in_place(path: Path, from: Data, flags: OpenFlags) -> Self {
        Self::new(Source::Memory(from), path, Way::InPlace(flags))
    }

    pub(super) fn replacing(path: Path, from: Data, mode: u32) -> Result<Self> {
        let beside = sys::name_beside(&path)?;
        Ok(Self::new(Source::Memory(from), path, Way::Replace { beside, mode }))
    }

    pub(super) fn copying(from: Path, to: Path, replace: bool, mode: u32) -> Result<Self> {
        let way = if replace { Way::Replace { beside: sys::name_beside(&to)?, mode } } else { Way::New { mode } };
        Ok(Self::new(Source::File(from), to, way))
    }

    /// Whether it is also to be safe on the device.
    pub(super) fn synced(self, sync: bool) -> Self {
        WholeWrite { sync, ..self }
    }

    fn new(source: Source, path: Path, way: Way) -> Self {
        let stage = if let Source::File(_) = source { Stage::OpenSource } else { Stage::Open };
        WholeWrite { stage, source, path, way, sync: false, reads: None, file: None, made: None, done: 0 }
    }

    /// What is to be done now.
    pub(super) fn next(&mut self) -> Step {
        loop {
            self.stage = match (&self.stage, &self.file) {
                (Stage::OpenSource, _) => match &self.source {
                    Source::File(path) => return open(path, OpenFlags { read: true, ..OpenFlags::default() }),
                    Source::Memory(_) => Stage::Open,
                },
                (Stage::Open, _) => return self.open(),
                (Stage::Bytes, Some(file)) => match self.bytes(file) {
                    Some(primitive) => return Step::Run(primitive),
                    None => Stage::Sync,
                },
                (Stage::Sync, Some(file)) if self.sync => {
                    return Step::Run(Primitive::Sync { file: file.clone(), data_only: false });
                }
                (Stage::Sync, _) => Stage::Close,
                // No step is under way, so nobody else has it.
                (Stage::Close, _) => match self.file.take().and_then(Arc::into_inner) {
                    Some(handle) => return Step::Run(Primitive::Close { handle }),
                    None => return self.failed(Error::new(error::SL_ERR_INTERNAL)),
                },
                (Stage::Rename, _) => match &self.way {
                    Way::Replace { beside, .. } => {
                        let (from, to) = (beside.clone(), self.path.clone());
                        return Step::Run(Primitive::Rename { from, to, replace: true });
                    }
                    _ => Stage::OpenFolder,
                },
                (Stage::OpenFolder, _) if self.sync && sys::SYNCS_DIRECTORIES => {
                    self.made = None;
                    let flags = OpenFlags { read: true, directory: true, ..OpenFlags::default() };
                    return Step::Finish(Primitive::Open { path: sys::folder_of(&self.path), flags });
                }
                (Stage::SyncFolder, Some(folder)) => {
                    return Step::Finish(Primitive::Sync { file: folder.clone(), data_only: false });
                }
                (Stage::OpenFolder | Stage::End, _) => {
                    self.made = None;
                    return Step::End(Outcome::Done(self.done as i64));
                }
                _ => return self.failed(Error::new(error::SL_ERR_INTERNAL)),
            };
        }
    }

    fn open(&self) -> Step {
        let path = self.path.clone();
        match &self.way {
            Way::InPlace(flags) => open(&path, *flags),
            Way::New { mode } => open(&path, OpenFlags::new_file(*mode)),
            Way::Replace { beside, mode } => {
                Step::Run(Primitive::OpenReplacement { path: beside.clone(), of: path, mode: *mode })
            }
        }
    }

    /// More of its bytes; None where there are no more.
    fn bytes(&self, file: &Arc<Handle>) -> Option<Primitive> {
        let file = file.clone();
        match (&self.source, &self.reads) {
            (Source::File(_), from) => Some(Primitive::Copy { from: from.clone()?, to: file, length: PORTION }),
            (Source::Memory(data), _) if data.len() == 0 => None,
            (Source::Memory(data), _) => {
                // What is not made here may be appended to, or unable to seek.
                let offset = if let Way::InPlace(_) = self.way { None } else { Some(self.done as u64) };
                Some(Primitive::Write { file, from: data.clone(), offset })
            }
        }
    }

    /// Takes in what a step has given, and says what comes next.
    pub(super) fn completed(&mut self, result: Result<Value>) -> Step {
        let value = match (&self.stage, result) {
            (Stage::Undo(error), _) => return Step::End(Outcome::failed(error.clone())),
            // Not every file system has a way to make a directory safe, or a need for it.
            (Stage::SyncFolder, Err(Error { status: error::SL_ERR_INVALID | error::SL_ERR_UNSUPPORTED, .. })) => {
                Value::Nothing
            }
            (_, Err(error)) => return self.failed(error),
            (_, Ok(Value::Again)) => return self.next(),
            (_, Ok(value)) => value,
        };
        self.stage = match (&self.stage, value) {
            (Stage::OpenSource, Value::Opened(handle)) => {
                self.reads = Some(Arc::new(handle));
                Stage::Open
            }
            (Stage::Open, Value::Opened(handle)) => {
                self.file = Some(Arc::new(handle));
                self.made = match &self.way {
                    Way::InPlace(_) => None,
                    Way::New { .. } => Some(self.path.clone()),
                    Way::Replace { beside, .. } => Some(beside.clone()),
                };
                Stage::Bytes
            }
            (Stage::Bytes, Value::Count(count)) => match &mut self.source {
                Source::File(_) if count == 0 => {
                    self.reads = None;
                    Stage::Sync
                }
                Source::Memory(_) if count == 0 => return self.failed(sys::writes_nothing()),
                source => {
                    if let Source::Memory(data) = source {
                        data.advance(count);
                    }
                    self.done += count;
                    Stage::Bytes
                }
            },
            (Stage::Sync, Value::Nothing) => Stage::Close,
            (Stage::Close, Value::Nothing) => Stage::Rename,
            (Stage::Rename, Value::Nothing) => Stage::OpenFolder,
            (Stage::OpenFolder, Value::Opened(folder)) => {
                self.file = Some(Arc::new(folder));
                Stage::SyncFolder
            }
            (Stage::SyncFolder, Value::Nothing) => Stage::End,
            _ => return self.failed(Error::new(error::SL_ERR_INTERNAL)),
        };
        self.next()
    }

    fn failed(&mut self, error: Error) -> Step {
        let done = self.done();
        match self.undo(error.clone()) {
            Some(primitive) => Step::Finish(primitive),
            None => Step::End(Outcome::Failed(error, done)),
        }
    }

    /// What must still be done where this is to end, because of `why`.
    pub(super) fn undo(&mut self, why: Error) -> Option<Primitive> {
        // What is open cannot be removed everywhere.
        (self.reads, self.file) = (None, None);
        let path = self.made.take()?;
        self.stage = Stage::Undo(why);
        Some(Primitive::Remove { path, directory: false })
    }

    /// How many bytes are written that stay written where it fails.
    pub(super) fn done(&self) -> u64 {
        if let Way::InPlace(_) = self.way { self.done as u64 } else { 0 }
    }
}

fn open(path: &Path, flags: OpenFlags) -> Step {
    Step::Run(Primitive::Open { path: path.clone(), flags })
}
