//! The files of a random program, and what is known of what is in them. Operations that could change each other's results are not
//! under way together, so that each result is known beforehand.

use crate::program::{Manner, Step, Taking};
use crate::run::{self, Outcome, Run};
use sideloop::error::SL_ERR_NOT_FOUND;
use sideloop::ffi::events::{Event, SL_EVENT_LENT, SL_EVENT_PARTIAL};
use sideloop::ffi::file::*;
use sideloop::ffi::request::*;
use std::ffi::CString;
use std::fs;

/// What an operation on a file is to come to.
pub(crate) enum Check {
    Opened { truncate: bool },
    Read { wanted: Vec<u8>, whole: bool },
    Written { offset: usize },
    Nothing,
    Truncated { length: usize },
    Stat { length: usize },
    ReadWhole { wanted: Option<Vec<u8>> },
    WrittenWhole,
}

pub(crate) struct FileState {
    name: String,
    path: CString,
    id: Option<u64>,
    /// What is in it; None where there is none.
    content: Option<Vec<u8>>,
    /// Operations under way, and whether the last of them changes something.
    busy: Vec<usize>,
    changes: bool,
}

impl FileState {
    pub(crate) fn new(number: usize) -> Self {
        let name = format!("{}/program-{}-{number}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        let path = CString::new(name.clone()).expect("it has no NUL");
        FileState { name, path, id: None, content: None, busy: Vec::new(), changes: false }
    }

    pub(crate) fn remove(&self) {
        let _ = fs::remove_file(&self.name);
    }

    /// Whether an error is what such an operation comes to now.
    pub(crate) fn explains(&self, check: &Check, error: i64) -> bool {
        matches!(check, Check::ReadWhole { wanted: None } if error == i64::from(SL_ERR_NOT_FOUND))
    }

    /// Finds out what is there, where an error leaves it open.
    fn look(&mut self) {
        self.content = fs::read(&self.name).ok();
    }

    fn bytes(&self) -> &[u8] {
        self.content.as_deref().unwrap_or_default()
    }
}

pub(crate) fn is_of_files(step: &Step) -> bool {
    matches!(
        step,
        Step::Open { .. }
            | Step::Read { .. }
            | Step::Write { .. }
            | Step::Sync { .. }
            | Step::Truncate { .. }
            | Step::Stat { .. }
            | Step::CloseFile { .. }
            | Step::ReadPath { .. }
            | Step::WritePath { .. }
    )
}

/// Bytes that differ from operation to operation.
fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (seed * 131 + at * 7 + at / 251) as u8).collect()
}

impl Run {
    pub(crate) fn file_step(&mut self, step: Step) -> Outcome {
        match step {
            Step::Open { file, truncate, manner } => self.open_file(file, truncate, manner),
            Step::Read { file, offset, length, taking, manner } => {
                self.read(file, offset.into(), length.into(), taking, manner)
            }
            Step::Write { file, offset, length, vectored, manner } => {
                self.write(file, offset.into(), length.into(), vectored, manner)
            }
            Step::Sync { file, manner } => self.on_file(file, false, manner, SL_FILE_SYNC, 0, |_| Check::Nothing),
            Step::Truncate { file, length, manner } => {
                let length = usize::from(length);
                self.on_file(file, true, manner, SL_FILE_TRUNCATE, length, |_| Check::Truncated { length })
            }
            Step::Stat { file, manner } => {
                self.on_file(file, false, manner, SL_FILE_STAT, 0, |state| Check::Stat { length: state.bytes().len() })
            }
            Step::ReadPath { file, manner } => {
                self.settle(file, false)?;
                let wanted = self.files[file].content.clone();
                let buffer = self.files[file].path.as_ptr().cast_mut().cast();
                let request = Request { buffer, ..self.request(SL_PATH_READ, self.id) };
                self.add(file, false, request, manner, Check::ReadWhole { wanted }, Vec::new())
            }
            Step::WritePath { file, length, manner } => {
                self.settle(file, true)?;
                let mut bytes = pattern(self.ledger.len(), length.into());
                let mut request = self.request(SL_PATH_WRITE, self.id);
                request.buffer = self.files[file].path.as_ptr().cast_mut().cast();
                (request.length, request.offset) = (bytes.len() as u64, bytes.as_mut_ptr() as i64);
                (request.flags, request.mode) = (SL_OPEN_CREATE | SL_OPEN_WRITE | SL_OPEN_TRUNCATE, 0o644);
                self.add(file, true, request, manner, Check::WrittenWhole, bytes)
            }
            Step::CloseFile { file, manner } => self.submit_close(file, manner),
            _ => Ok(()),
        }
    }

    /// Waits for what is under way on a file, where the next operation would change its result, or the other way round.
    fn settle(&mut self, file: usize, changes: bool) -> Outcome {
        if !changes && !self.files[file].changes {
            return Ok(());
        }
        for index in std::mem::take(&mut self.files[file].busy) {
            self.wait_for(index)?;
        }
        self.files[file].changes = false;
        Ok(())
    }

    fn add(
        &mut self,
        file: usize,
        changes: bool,
        request: Request,
        manner: Manner,
        check: Check,
        memory: Vec<u8>,
    ) -> Outcome {
        if let Some(index) = self.submit(request, manner, run::Check::File(file, check), memory)? {
            self.files[file].busy.push(index);
            self.files[file].changes |= changes;
        }
        Ok(())
    }

    fn open_file(&mut self, file: usize, truncate: bool, manner: Manner) -> Outcome {
        self.settle(file, true)?;
        if self.files[file].id.is_some() {
            return Ok(());
        }
        let mut request = self.request(SL_FILE_OPEN, self.id);
        request.buffer = self.files[file].path.as_ptr().cast_mut().cast();
        request.flags = SL_OPEN_READ | SL_OPEN_WRITE | SL_OPEN_CREATE | if truncate { SL_OPEN_TRUNCATE } else { 0 };
        request.mode = 0o644;
        self.add(file, true, request, manner, Check::Opened { truncate }, Vec::new())
    }

    fn on_file(
        &mut self,
        file: usize,
        changes: bool,
        manner: Manner,
        kind: u32,
        length: usize,
        check: impl FnOnce(&FileState) -> Check,
    ) -> Outcome {
        self.settle(file, changes)?;
        let Some(id) = self.files[file].id else { return Ok(()) };
        let check = check(&self.files[file]);
        let request = Request { length: length as u64, ..self.request(kind, id) };
        self.add(file, changes, request, manner, check, Vec::new())
    }

    fn read(&mut self, file: usize, offset: usize, length: usize, taking: Taking, manner: Manner) -> Outcome {
        self.settle(file, false)?;
        let Some(id) = self.files[file].id else { return Ok(()) };
        let lent = matches!(taking, Taking::Lent | Taking::Multishot);
        let length = if lent { length.max(1) } else { length };
        let all = self.files[file].bytes();
        let from = offset.min(all.len());
        let wanted = all[from..(from + length).min(all.len())].to_vec();
        let mut memory = vec![0; if lent { 0 } else { length }];
        let mut request = self.request(SL_FILE_READ, id);
        (request.length, request.offset) = (length as u64, offset as i64);
        request.buffer = if lent { std::ptr::null_mut() } else { memory.as_mut_ptr().cast() };
        request.flags = if taking == Taking::Exact { SL_EXACT } else { 0 };
        // Nowhere else does a regular file give less than there is.
        let whole = taking == Taking::Exact || !(self.simulated || self.program.faults);
        self.add(file, false, request, manner, Check::Read { wanted, whole }, memory)
    }

    fn write(&mut self, file: usize, offset: usize, length: usize, vectored: bool, manner: Manner) -> Outcome {
        self.settle(file, true)?;
        let Some(id) = self.files[file].id else { return Ok(()) };
        let mut bytes = pattern(self.ledger.len(), length.max(1));
        let kind = if vectored { SL_FILE_WRITEV } else { SL_FILE_WRITE };
        let mut request = self.request(kind, id);
        (request.buffer, request.length) = (bytes.as_mut_ptr().cast(), bytes.len() as u64);
        request.offset = offset as i64;
        let check = run::Check::File(file, Check::Written { offset });
        let slices = if vectored { pieces(&mut bytes) } else { Vec::new() };
        if let Some(index) = self.submit_vectored(request, manner, check, bytes, slices)? {
            self.files[file].busy.push(index);
            self.files[file].changes = true;
        }
        Ok(())
    }

    fn submit_close(&mut self, file: usize, manner: Manner) -> Outcome {
        let Some(id) = self.files[file].id else { return Ok(()) };
        let request = self.request(SL_CLOSE, id);
        // A deadline does not stop it.
        let manner = Manner { deadline_us: 0, ..manner };
        let busy = self.files[file].busy.clone();
        let before = self.ledger.len();
        self.add(file, true, request, manner, Check::Nothing, Vec::new())?;
        if self.ledger.len() > before {
            self.files[file].id = None;
            busy.into_iter().for_each(|index| self.extras[index].may_stop = true);
        }
        Ok(())
    }

    /// Closes a file if it is open, and waits for that.
    pub(crate) fn close_file(&mut self, file: usize) -> Outcome {
        self.settle(file, true)?;
        let manner = Manner { delivery: 0, deadline_us: 0, inline: true };
        while self.files[file].id.is_some() {
            self.submit_close(file, manner)?;
            if self.files[file].id.is_some() {
                // Full: something must end first.
                let Some(first) = self.ledger.open().first().copied() else { return Err("full of nothing".to_owned()) };
                self.cancel(first)?;
                self.wait_for(first)?;
            }
        }
        self.settle(file, true)
    }

    /// Compares what has come of an operation on a file, and notes what it has changed.
    pub(crate) fn judge_file(&mut self, index: usize, event: &Event) -> Outcome {
        let extra = &self.extras[index];
        let run::Check::File(file, check) = &extra.check else { return Ok(()) };
        let (state, result) = (&mut self.files[*file], event.result);
        let partial = if event.flags & SL_EVENT_PARTIAL != 0 { event.detail as usize } else { 0 };
        match check {
            Check::Opened { truncate } if result > 0 => {
                state.id = Some(result as u64);
                let content = state.content.get_or_insert_default();
                if *truncate {
                    content.clear();
                }
            }
            Check::Opened { .. } => state.look(),
            Check::Read { wanted, whole } if result >= 0 => {
                let got =
                    if event.flags & SL_EVENT_LENT != 0 { &extra.chunks[..] } else { &extra.memory[..result as usize] };
                let fits =
                    if *whole { got == wanted } else { wanted.starts_with(got) && got.is_empty() == wanted.is_empty() };
                if !fits {
                    return Err(format!("{} bytes read; wanted {} others", got.len(), wanted.len()));
                }
            }
            Check::Written { offset } => {
                let done = if result >= 0 { result as usize } else { partial };
                if done > extra.memory.len() || result >= 0 && done < extra.memory.len() {
                    return Err(format!("{done} of {} bytes written", extra.memory.len()));
                }
                let content = state.content.get_or_insert_default();
                if done > 0 && content.len() < offset + done {
                    content.resize(offset + done, 0);
                }
                if done > 0 {
                    content[*offset..offset + done].copy_from_slice(&extra.memory[..done]);
                }
            }
            Check::Truncated { length } if result >= 0 => state.content.get_or_insert_default().resize(*length, 0),
            Check::Stat { length } if result >= 0 && extra.stat.length != *length as u64 => {
                return Err(format!("its length is {}, not {length}", extra.stat.length));
            }
            Check::ReadWhole { wanted } if result >= 0 && Some(&extra.chunks) != wanted.as_ref() => {
                return Err(format!("{} bytes read, which are not those that are there", extra.chunks.len()));
            }
            Check::WrittenWhole if result >= 0 => {
                if result as usize != extra.memory.len() {
                    return Err(format!("{result} of {} bytes written", extra.memory.len()));
                }
                state.content = Some(extra.memory.clone());
            }
            Check::WrittenWhole => state.look(),
            _ => {}
        }
        Ok(())
    }
}

/// Cuts memory into three pieces.
pub(crate) fn pieces(bytes: &mut [u8]) -> Vec<Slice> {
    let third = bytes.len() / 3;
    let (first, rest) = bytes.split_at_mut(third);
    let (second, third) = rest.split_at_mut(third);
    [first, second, third].map(|piece| Slice { data: piece.as_mut_ptr().cast(), length: piece.len() }).into()
}
