//! The wake descriptor, threads and forks on Unix: see the contract in ../mod.rs.

use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd};
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
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    // SAFETY: `old` is the mask that this thread had.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &old, std::ptr::null_mut()) };
    thread
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
