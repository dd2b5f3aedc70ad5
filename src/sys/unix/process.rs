//! The wake descriptor, threads and forks on Unix: see the contract in ../mod.rs.

use super::super::THREAD_STACK;
#[cfg(target_os = "linux")]
use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
#[cfg(target_os = "linux")]
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

/// A descriptor that is readable exactly while it is set. Not thread-safe: its owner keeps it behind a lock.
#[derive(Debug)]
pub(crate) enum Wake {
    /// eventfd(2): one descriptor.
    #[cfg(target_os = "linux")]
    Event(File),
    /// The reading and the writing end of a socket pair.
    Pair(UnixStream, UnixStream),
}

impl Wake {
    /// Makes one, not set. `socket`: it shall be a socket.
    pub(crate) fn new(socket: bool) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if !socket {
            // SAFETY: no memory is involved; a negative result is an error.
            let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the system has just given us this descriptor, and nobody else has it.
            return Ok(Wake::Event(unsafe { File::from_raw_fd(fd) }));
        }
        let _ = socket;
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Wake::Pair(reader, writer))
    }

    /// The descriptor to wait for.
    pub(crate) fn descriptor(&self) -> isize {
        match self {
            #[cfg(target_os = "linux")]
            Wake::Event(file) => file.as_raw_fd() as isize,
            Wake::Pair(reader, _) => reader.as_raw_fd() as isize,
        }
    }

    /// Makes it readable. Called when it is not.
    pub(crate) fn set(&self) {
        use io::Write;
        // Neither blocks: the counter is 0, the socket's buffer is empty.
        super::super::insist(|| match self {
            #[cfg(target_os = "linux")]
            Wake::Event(file) => (&*file).write(&1u64.to_ne_bytes()),
            Wake::Pair(_, writer) => (&*writer).write(&[1]),
        });
    }

    /// Makes it unreadable. Called when it is readable.
    pub(crate) fn clear(&self) {
        use io::Read;
        let mut bytes = [0; 8];
        super::super::insist(|| match self {
            #[cfg(target_os = "linux")]
            Wake::Event(file) => (&*file).read(&mut bytes),
            Wake::Pair(reader, _) => (&*reader).read(&mut bytes),
        });
    }
}

/// Starts a thread that blocks every signal: a new thread inherits the mask of the one that starts it (pthread_create(3)), so
/// there is no moment in which a handler of the host's could run on it.
pub(crate) fn spawn_thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    // SAFETY: a sigset_t is plain bytes, and sigfillset and pthread_sigmask fill them.
    let old = unsafe {
        let mut all: libc::sigset_t = zeroed();
        let mut old: libc::sigset_t = zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut old);
        old
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(THREAD_STACK).spawn(body);
    // SAFETY: `old` is the mask that this thread had.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &old, std::ptr::null_mut()) };
    thread
}

/// Calls on a thread that is not ours, where the system is to answer with an error alone: for a write that nobody reads, or beyond the
/// size that files may have, it also sends the thread a signal, which ends a program that is not prepared for it.
pub(crate) fn without_signals<R>(call: impl FnOnce() -> R) -> R {
    fn pending() -> libc::sigset_t {
        // SAFETY: a sigset_t is plain bytes, which sigpending fills.
        unsafe {
            let mut pending = zeroed();
            libc::sigpending(&mut pending);
            pending
        }
    }
    // SAFETY: a sigset_t is plain bytes, and these calls fill them.
    let old = unsafe {
        let mut both: libc::sigset_t = zeroed();
        let mut old: libc::sigset_t = zeroed();
        libc::sigemptyset(&mut both);
        libc::sigaddset(&mut both, libc::SIGPIPE);
        libc::sigaddset(&mut both, libc::SIGXFSZ);
        libc::pthread_sigmask(libc::SIG_BLOCK, &both, &mut old);
        old
    };
    let before = pending();
    let result = call();
    let after = pending();
    for signal in [libc::SIGPIPE, libc::SIGXFSZ] {
        // SAFETY: both sets were filled above.
        if unsafe { libc::sigismember(&after, signal) == 1 && libc::sigismember(&before, signal) == 0 } {
            take_signal(signal);
        }
    }
    // SAFETY: `old` is the mask that this thread had.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &old, std::ptr::null_mut()) };
    result
}

/// Takes back a signal that is pending and blocked.
fn take_signal(signal: libc::c_int) {
    // SAFETY: a sigset_t is plain bytes, which sigemptyset fills.
    let only = unsafe {
        let mut only: libc::sigset_t = zeroed();
        libc::sigemptyset(&mut only);
        libc::sigaddset(&mut only, signal);
        only
    };
    #[cfg(not(target_vendor = "apple"))]
    // SAFETY: the set and the time outlive the call, and it does not wait: another thread may have taken it first.
    unsafe {
        let no_time: libc::timespec = zeroed();
        libc::sigtimedwait(&only, std::ptr::null_mut(), &no_time);
    }
    #[cfg(target_vendor = "apple")]
    // SAFETY: the set and the number outlive the call. It does not wait, for the signal was sent to this very thread.
    unsafe {
        let mut taken = 0;
        libc::sigwait(&only, &mut taken);
    }
}

/// Whether the program runs with more rights than whoever started it: set-user-ID, set-group-ID, or with file capabilities
/// (getauxval(3), AT_SECURE; issetugid(2)).
pub(crate) fn is_privileged() -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // SAFETY: it only reads what the kernel put into the auxiliary vector.
    return unsafe { libc::getauxval(libc::AT_SECURE) != 0 };
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    // SAFETY: it takes nothing, and cannot fail.
    return unsafe { libc::issetugid() != 0 };
}

static FORKS: AtomicU64 = AtomicU64::new(0);

extern "C" fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// How many forks lie between the first caller's process and this one.
pub(crate) fn fork_generation() -> u64 {
    static HANDLER: Once = Once::new();
    // The handler stays registered when the library is unloaded, and the library stays loaded (-z nodelete).
    // SAFETY: `forked` only adds to an atomic, which is allowed in the child of a program with threads.
    HANDLER.call_once(|| unsafe {
        libc::pthread_atfork(None, None, Some(forked));
    });
    FORKS.load(Ordering::Relaxed)
}
