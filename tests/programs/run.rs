//! One run of a random program: its calls, its events, and what both are compared with. On one thread, so that a simulated loop
//! does the same every time.

use crate::files::FileState;
use crate::ledger::Ledger;
use crate::links::Link;
use crate::program::{Ending, FILES, LINKS, Manner, Program, Step};
use sideloop::error::{
    SL_ERR_AGAIN, SL_ERR_CANCELLED, SL_ERR_ENDED, SL_ERR_NO_BUFFERS, SL_ERR_SHUT_DOWN, SL_ERR_STALE, SL_ERR_TIMED_OUT,
};
use sideloop::ffi::buffer::sl_buffer_release;
use sideloop::ffi::events::*;
use sideloop::ffi::file::{Slice, Stat};
use sideloop::ffi::lifecycle::*;
use sideloop::ffi::request::*;
use std::ffi::{CString, c_char, c_void};
use std::mem::zeroed;
use std::ptr::null_mut;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a run gives: nothing, or what was wrong.
pub(crate) type Outcome = Result<(), String>;

/// For how long anything is waited for. In simulated time it is nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Faults of all kinds, on every driver.
const FAULTS: &str = "all: error@0.03 delay=1ms@0.05; read, write, receive, send: short@0.2";

/// What came by callback, on whichever thread, and the bytes that were lent with it: a loop that closes takes them back.
static CALLS: Mutex<Vec<(Event, Vec<u8>)>> = Mutex::new(Vec::new());
static CALLED: Condvar = Condvar::new();

extern "C" fn on_event(_: Loop, event: *const Event) {
    // SAFETY: the library calls with an event that is valid during the call.
    let event = unsafe { *event };
    // SAFETY: the event is still in the caller's hands, and so is its buffer.
    let bytes = unsafe { lent_bytes(&event) };
    CALLS.lock().unwrap_or_else(PoisonError::into_inner).push((event, bytes));
    CALLED.notify_all();
}

/// The bytes that an event lends.
///
/// # Safety
/// Its buffer is not given back.
unsafe fn lent_bytes(event: &Event) -> Vec<u8> {
    if event.flags & SL_EVENT_LENT == 0 {
        return Vec::new();
    }
    // SAFETY: the event lends so many bytes until the buffer is released.
    unsafe { std::slice::from_raw_parts(event.data.cast::<u8>(), event.result as usize) }.to_vec()
}

extern "C" fn work(argument: *mut c_void) -> i64 {
    argument as i64
}

/// What an operation is to come to.
pub(crate) enum Check {
    /// This result.
    Exactly(i64),
    /// As often as its ticks say.
    Ticks,
    /// Something about this file.
    File(usize, crate::files::Check),
    /// Something about this link.
    Link(usize, crate::links::Check),
}

/// What is kept of an operation besides its entry in the ledger.
pub(crate) struct Extra {
    pub(crate) check: Check,
    /// Memory that it may touch until its last event.
    pub(crate) memory: Vec<u8>,
    #[expect(dead_code, reason = "the operation points to it")]
    slices: Vec<Slice>,
    pub(crate) stat: Box<Stat>,
    /// It may end as cancelled.
    pub(crate) may_stop: bool,
    pub(crate) deadline: bool,
    /// The bytes that lent buffers have brought.
    pub(crate) chunks: Vec<u8>,
}

pub(crate) struct Run {
    pub(crate) id: u64,
    pub(crate) simulated: bool,
    pub(crate) program: Program,
    pub(crate) ledger: Ledger,
    pub(crate) extras: Vec<Extra>,
    pub(crate) files: Vec<FileState>,
    pub(crate) links: Vec<Link>,
    /// Lent buffers that are not given back.
    held: Vec<u64>,
    /// The loop is shut down or closed, which stops everything.
    closing: bool,
    closed: bool,
}

/// Opens a loop for a program; None where the driver cannot be had.
fn open_loop(driver: u32, program: &Program) -> Result<Option<u64>, String> {
    let plan = CString::new(if program.faults { FAULTS } else { "" }).expect("it has no NUL");
    // SAFETY: all-zero is a value of these options.
    let mut options: LoopOptions = unsafe { zeroed() };
    (options.size, options.driver, options.seed) = (size_of::<LoopOptions>() as u32, driver, program.seed);
    options.faults = plan.as_ptr();
    options.receive_buffer_size = 4096;
    if program.tight {
        (options.max_operations, options.max_unclaimed, options.max_resources) = (8, 2, 8);
        (options.max_file_threads, options.max_work_threads, options.max_lent_bytes) = (1, 1, 32 << 10);
    }
    let mut id = 0;
    // SAFETY: all are valid.
    let opened = unsafe { sl_loop_open(&options, &mut id) };
    if opened != 0 {
        return Err(format!("sl_loop_open: {opened}"));
    }
    // SAFETY: no reason is asked for.
    if unsafe { sl_loop_driver(id, null_mut::<c_char>(), 0) } != driver as i32 {
        sl_loop_close(id, SL_FOREVER);
        return Ok(None);
    }
    Ok(Some(id))
}

/// Carries a program out; answers the trace of its events, or None where the driver cannot be had.
pub(crate) fn run(number: u64, driver: u32, program: &Program) -> Result<Option<u64>, String> {
    let Some(id) = open_loop(driver, program)? else { return Ok(None) };
    let mut run = Run {
        id,
        simulated: driver == SL_DRIVER_SIM,
        program: program.clone(),
        ledger: Ledger::new(number),
        extras: Vec::new(),
        files: (0..FILES).map(FileState::new).collect(),
        links: (0..LINKS).map(|_| Link::default()).collect(),
        held: Vec::new(),
        closing: false,
        closed: false,
    };
    let outcome = run.carry_out();
    if !run.closed {
        sl_loop_close(id, SL_FOREVER);
    }
    run.files.iter().for_each(FileState::remove);
    *CALLS.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
    outcome.map(|()| Some(run.ledger.trace()))
}

impl Run {
    fn carry_out(&mut self) -> Outcome {
        for number in 0..self.program.steps.len() {
            let step = self.program.steps[number].clone();
            self.step(step).map_err(|error| format!("step {number}: {error}"))?;
        }
        self.end().map_err(|error| format!("at the end: {error}"))?;
        for link in 0..LINKS {
            self.verify_link(link)?;
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> Outcome {
        match step {
            Step::Timer { delay_us, period_us, manner } => {
                // No shorter: a simulated hour has too many ticks.
                let period = if period_us == 0 { 0 } else { 100_000 + i64::from(period_us) * 1000 };
                let mut request = self.request(SL_TIMER, self.id);
                (request.length, request.offset) = (u64::from(delay_us) * 1000, period);
                self.submit(request, manner, Check::Ticks, Vec::new())?;
            }
            Step::Post { value, manner } => {
                let request = Request { offset: i64::from(value), ..self.request(SL_POST, self.id) };
                self.submit(request, manner, Check::Exactly(i64::from(value)), Vec::new())?;
            }
            Step::Nop { manner } => {
                self.submit(self.request(SL_NOP, self.id), manner, Check::Exactly(0), Vec::new())?;
            }
            Step::Work { value, manner } => {
                let mut request = self.request(SL_WORK, self.id);
                request.buffer = value as usize as *mut c_void;
                request.work = Some(work);
                self.submit(request, manner, Check::Exactly(i64::from(value)), Vec::new())?;
            }
            Step::Cancel { back } => self.cancel_back(back)?,
            Step::Poll => {
                self.take_queue(0)?;
                self.take_handles()?;
                self.take_calls()?;
            }
            Step::Wait { timeout_us } => {
                self.take_queue(u64::from(timeout_us) * 1000)?;
            }
            Step::Dispatch { timeout_us } => self.dispatch(u64::from(timeout_us) * 1000)?,
            Step::Release => {
                if let Some(buffer) = self.held.pop() {
                    release(buffer)?;
                }
            }
            step => match crate::files::is_of_files(&step) {
                true => self.file_step(step)?,
                false => self.link_step(step)?,
            },
        }
        Ok(())
    }

    pub(crate) fn request(&self, kind: u32, target: u64) -> Request {
        // SAFETY: all-zero is a value of this structure.
        Request { size: size_of::<Request>() as u32, kind, target, ..unsafe { zeroed() } }
    }

    /// Submits an operation, whose memory is `memory`; None where it is refused as it may be.
    pub(crate) fn submit(
        &mut self,
        request: Request,
        manner: Manner,
        check: Check,
        memory: Vec<u8>,
    ) -> Result<Option<usize>, String> {
        self.submit_vectored(request, manner, check, memory, Vec::new())
    }

    /// Likewise, with the pieces that a vectored operation works on.
    pub(crate) fn submit_vectored(
        &mut self,
        mut request: Request,
        manner: Manner,
        check: Check,
        memory: Vec<u8>,
        mut slices: Vec<Slice>,
    ) -> Result<Option<usize>, String> {
        // SAFETY: all-zero is a value of this structure.
        let mut stat = Box::new(Stat { size: size_of::<Stat>() as u32, ..unsafe { zeroed() } });
        if request.kind == SL_FILE_STAT {
            request.buffer = (&raw mut *stat).cast();
        }
        if !slices.is_empty() {
            (request.buffer, request.length) = (slices.as_mut_ptr().cast(), slices.len() as u64);
        }
        // Timers with a period, and what is said to be.
        let multishot = match request.kind {
            SL_TIMER => request.offset > 0,
            SL_STREAM_RECEIVE | SL_TCP_ACCEPT => request.flags & SL_MULTISHOT != 0,
            _ => false,
        };
        request.delivery =
            if multishot && manner.delivery == SL_DELIVER_HANDLE { SL_DELIVER_QUEUE } else { manner.delivery };
        request.options = if manner.inline { 0 } else { SL_OPTION_NO_INLINE };
        request.timeout_ns = manner.deadline_us * 1000;
        request.user_data = self.ledger.next_user_data();
        request.callback = if request.delivery >= SL_DELIVER_DISPATCH { Some(on_event) } else { None };
        let mut op = 0;
        // SAFETY: a valid request, whose memory is kept below, or here where the call has ended before.
        let accepted = unsafe { sl_submit(self.id, &request, 1, &mut op) };
        if accepted != 1 {
            self.ledger.refused();
            return match accepted {
                SL_ERR_AGAIN if self.program.tight => Ok(None),
                other => Err(format!("kind {} is refused with {other}", request.kind)),
            };
        }
        let index = self.ledger.accepted(op, request.kind, request.delivery, multishot)?;
        let deadline = manner.deadline_us > 0;
        self.extras.push(Extra { check, memory, slices, stat, may_stop: false, deadline, chunks: Vec::new() });
        Ok(Some(index))
    }

    fn cancel_back(&mut self, back: usize) -> Outcome {
        let Some(index) = self.ledger.len().checked_sub(back + 1) else { return Ok(()) };
        self.cancel(index)
    }

    pub(crate) fn cancel(&mut self, index: usize) -> Outcome {
        let entry = self.ledger.entry(index);
        let (over, status) = (entry.last.is_some(), sl_op_cancel(entry.id));
        match status {
            0 if over => return Err(format!("operation {index} is over, and was cancelled")),
            0 => self.extras[index].may_stop = true,
            // It has ended, and its event is on its way; or a callback has been called for it already.
            SL_ERR_ENDED | SL_ERR_STALE => {}
            other => return Err(format!("sl_op_cancel of operation {index}: {other}")),
        }
        Ok(())
    }

    /// Takes events from the queue; false where the loop is shut down and has no more.
    fn take_queue(&mut self, timeout_ns: u64) -> Result<bool, String> {
        // SAFETY: all-zero is an event.
        let mut events: [Event; 8] = unsafe { zeroed() };
        // SAFETY: room for so many events.
        let count = unsafe { sl_wait(self.id, events.as_mut_ptr(), events.len(), timeout_ns) };
        match count {
            SL_ERR_SHUT_DOWN => return Ok(false),
            ..0 => return Err(format!("sl_wait: {count}")),
            _ => {}
        }
        for event in &events[..count as usize] {
            self.record(event)?;
        }
        Ok(true)
    }

    fn take_handles(&mut self) -> Outcome {
        for index in self.ledger.open() {
            if self.ledger.entry(index).delivery == SL_DELIVER_HANDLE {
                self.take_handle(index, 0)?;
            }
        }
        Ok(())
    }

    fn take_handle(&mut self, index: usize, timeout_ns: u64) -> Outcome {
        // SAFETY: all-zero is an event.
        let mut event: Event = unsafe { zeroed() };
        // SAFETY: it is writable.
        match unsafe { sl_op_wait(self.ledger.entry(index).id, timeout_ns, &mut event) } {
            0 => Ok(()),
            1 => self.record(&event),
            other => Err(format!("sl_op_wait of operation {index}: {other}")),
        }
    }

    fn dispatch(&mut self, timeout_ns: u64) -> Outcome {
        match sl_dispatch(self.id, 0, timeout_ns) {
            0.. | SL_ERR_SHUT_DOWN => self.take_calls(),
            other => Err(format!("sl_dispatch: {other}")),
        }
    }

    fn take_calls(&mut self) -> Outcome {
        let calls = std::mem::take(&mut *CALLS.lock().unwrap_or_else(PoisonError::into_inner));
        calls.iter().try_for_each(|(event, bytes)| self.record_with(event, bytes))
    }

    /// Enters an event that was just taken.
    fn record(&mut self, event: &Event) -> Outcome {
        // SAFETY: nobody has given its buffer back.
        self.record_with(event, &unsafe { lent_bytes(event) })
    }

    /// Enters an event, and looks whether it is what it should be.
    fn record_with(&mut self, event: &Event, bytes: &[u8]) -> Outcome {
        let index = self.ledger.record(event)?;
        if event.flags & SL_EVENT_LENT != 0 {
            self.extras[index].chunks.extend_from_slice(bytes);
            self.hold(event.detail)?;
        }
        self.judge(index, event).map_err(|error| format!("operation {index} of kind {}: {error}", event.kind))
    }

    /// Keeps a few lent buffers for a while.
    fn hold(&mut self, buffer: u64) -> Outcome {
        if self.closed {
            // It went with the loop.
            return Ok(());
        }
        self.held.push(buffer);
        if self.held.len() > 2 { release(self.held.remove(0)) } else { Ok(()) }
    }

    fn judge(&mut self, index: usize, event: &Event) -> Outcome {
        let extra = &self.extras[index];
        let fits = match (event.result, &extra.check) {
            (result, Check::Link(..)) if result >= 0 => return self.judge_link(index, event),
            (result, Check::File(..)) if result >= 0 => return self.judge_file(index, event),
            (result, Check::Exactly(wanted)) if result >= 0 => result == *wanted,
            (result, Check::Ticks) if result >= 0 => result > 0,
            (error, _) if error == i64::from(SL_ERR_CANCELLED) => extra.may_stop || self.closing,
            (error, _) if error == i64::from(SL_ERR_TIMED_OUT) => extra.deadline || self.program.faults,
            (error, check) => {
                let full = [SL_ERR_AGAIN, SL_ERR_NO_BUFFERS].map(i64::from).contains(&error) && self.program.tight;
                let rough = match check {
                    // One end may be closed while the other still sends.
                    Check::Link(link, _) => self.links[*link].is_rough || self.closing,
                    Check::File(file, check) => self.files[*file].explains(check, error),
                    _ => false,
                };
                full || rough || self.program.faults
            }
        };
        if !fits {
            return Err(format!("result {}, os_error {}", event.result, event.os_error));
        }
        match &self.extras[index].check {
            Check::File(..) => self.judge_file(index, event),
            Check::Link(..) => self.judge_link(index, event),
            _ => Ok(()),
        }
    }

    /// Waits until an operation has ended.
    pub(crate) fn wait_for(&mut self, index: usize) -> Outcome {
        std::mem::take(&mut self.held).into_iter().try_for_each(release)?;
        let until = Instant::now() + PATIENCE;
        let (mut pause_ns, mut rounds) = (1_000_000, 0);
        while self.ledger.entry(index).last.is_none() {
            match self.ledger.entry(index).delivery {
                SL_DELIVER_QUEUE => drop(self.take_queue(pause_ns)?),
                SL_DELIVER_HANDLE => self.take_handle(index, pause_ns)?,
                SL_DELIVER_DISPATCH => self.dispatch(pause_ns)?,
                // A simulated loop goes on while somebody waits, and time with it.
                _ if self.simulated => drop(self.take_queue(pause_ns)?),
                _ => {
                    let calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
                    drop(CALLED.wait_timeout_while(calls, PATIENCE, |calls| calls.is_empty()));
                }
            }
            self.take_calls()?;
            std::mem::take(&mut self.held).into_iter().try_for_each(release)?;
            rounds += 1;
            pause_ns = (pause_ns * 2).min(60_000_000_000);
            let lost = if self.simulated { rounds > 200_000 } else { Instant::now() > until };
            if lost {
                return Err(format!("operation {index} of kind {} never ends", self.ledger.entry(index).kind));
            }
        }
        Ok(())
    }

    fn wait_for_all(&mut self) -> Outcome {
        self.ledger.open().into_iter().try_for_each(|index| self.wait_for(index))
    }

    fn end(&mut self) -> Outcome {
        match self.program.ending {
            Ending::Patient | Ending::CancelAll => {
                let patient = matches!(self.program.ending, Ending::Patient);
                for index in self.ledger.open() {
                    if !patient || !matches!(self.extras[index].check, Check::File(..) | Check::Exactly(_)) {
                        self.cancel(index)?;
                    }
                }
                self.wait_for_all()?;
                self.close_everything()?;
            }
            Ending::CloseResources => {
                self.close_everything()?;
                for index in self.ledger.open() {
                    self.cancel(index)?;
                }
            }
            Ending::ShutDown => return self.shut_down(),
            Ending::CloseLoop => return self.close_loop(),
        }
        self.wait_for_all()?;
        // SAFETY: all-zero is a value of this structure.
        let mut counters: Counters = unsafe { zeroed() };
        counters.size = size_of::<Counters>() as u32;
        // SAFETY: it is valid.
        unsafe { sl_loop_counters(self.id, &mut counters) };
        self.ledger.compare(&counters, self.held.len() as u64)?;
        self.close_loop()
    }

    /// Closes the files and links that are open, and waits for that.
    fn close_everything(&mut self) -> Outcome {
        for file in 0..FILES {
            self.close_file(file)?;
        }
        for link in 0..LINKS {
            self.close_link(link)?;
        }
        Ok(())
    }

    fn shut_down(&mut self) -> Outcome {
        self.closing = true;
        sl_loop_shutdown(self.id);
        let until = Instant::now() + PATIENCE;
        // Handles and callbacks first: the queue says that it is over when the loop's thread has ended.
        while self.take_queue(1_000_000_000)? {
            if Instant::now() > until {
                return Err("the loop does not come to its end".to_owned());
            }
        }
        self.take_handles()?;
        self.dispatch(0)?;
        let open = self.ledger.open();
        if !open.is_empty() {
            return Err(format!("shut down, and without an end: {open:?}"));
        }
        self.close_loop()
    }

    /// Closes the loop, which says how many last events nobody took.
    fn close_loop(&mut self) -> Outcome {
        self.closing = true;
        self.take_calls()?;
        let discarded = sl_loop_close(self.id, PATIENCE.as_nanos() as u64);
        if discarded < 0 {
            return Err(format!("sl_loop_close: {discarded}"));
        }
        self.closed = true;
        self.take_calls()?;
        let open = self.ledger.open().len();
        if open != discarded as usize {
            return Err(format!("sl_loop_close has discarded {discarded} last events; {open} were not taken"));
        }
        Ok(())
    }
}

fn release(buffer: u64) -> Outcome {
    match sl_buffer_release(buffer) {
        0 => Ok(()),
        other => Err(format!("sl_buffer_release: {other}")),
    }
}
