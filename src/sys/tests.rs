//! The contract in mod.rs, on whichever platform this runs.

use super::*;
use crate::error;
use mio::{Events, Poll, Token};
use std::ffi::CString;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A folder of the test's own, which goes away with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sideloop-sys-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        Folder(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn sys_path(path: &std::path::Path) -> Path {
    super::path(CString::new(path.to_str().unwrap()).unwrap()).unwrap()
}

const READ: OpenFlags = OpenFlags {
    read: true,
    write: false,
    append: false,
    create: false,
    exclusive: false,
    truncate: false,
    no_follow: false,
    directory: false,
    mode: 0o644,
};
const CREATE: OpenFlags = OpenFlags { write: true, create: true, ..READ };

fn open(path: &std::path::Path, flags: OpenFlags) -> io::Result<Handle> {
    Handle::open(&sys_path(path), &flags)
}

/// A file that is surely there.
pub(crate) fn this_program() -> Handle {
    open(&std::env::current_exe().unwrap(), READ).unwrap()
}

fn status<T>(result: io::Result<T>) -> i32 {
    result.map_or_else(|error| error::Error::from(error).status, |_| 0)
}

fn region(bytes: &mut [u8]) -> Region {
    // SAFETY: every test below uses the region before `bytes` ends, and `bytes` only after that.
    unsafe { Region::new(bytes.as_mut_ptr(), bytes.len()) }
}

fn write(handle: &Handle, text: &str, offset: Option<u64>) -> io::Result<usize> {
    handle.write(&Data::One(region(&mut text.to_owned().into_bytes())), offset)
}

fn read(handle: &Handle, length: usize, offset: Option<u64>) -> io::Result<String> {
    let mut bytes = vec![0; length];
    let count = handle.read(&Data::One(region(&mut bytes)), offset)?;
    bytes.truncate(count);
    Ok(String::from_utf8(bytes).unwrap())
}

#[test]
fn files_are_read_and_written_at_offsets_and_at_their_position() {
    let folder = Folder::new("positions");
    let file = open(&folder.file("f"), CREATE).unwrap();
    assert_eq!(write(&file, "hello", None).unwrap(), 5);
    assert_eq!(write(&file, "J", Some(0)).unwrap(), 1);
    // What has an offset does not move the position.
    assert_eq!(write(&file, " world", None).unwrap(), 6);
    assert_eq!(read(&file, 100, Some(0)).unwrap(), "Jello world");
    assert_eq!(read(&file, 100, Some(11)).unwrap(), "");
    assert_eq!(read(&file, 100, Some(1 << 40)).unwrap(), "");
    assert_eq!(read(&file, 5, None).unwrap(), "");
    // A hole reads as zeros.
    assert_eq!(write(&file, "!", Some(13)).unwrap(), 1);
    assert_eq!(read(&file, 100, None).unwrap(), "\0\0!");
    file.truncate(2).unwrap();
    assert_eq!(read(&file, 100, Some(0)).unwrap(), "Je");
    file.sync(false).unwrap();
    file.sync(true).unwrap();
    file.close().unwrap();
    let file = open(&folder.file("f"), READ).unwrap();
    assert_eq!(read(&file, 1, None).unwrap() + &read(&file, 5, None).unwrap(), "Je");
}

#[test]
fn pieces_are_read_and_written_as_one() {
    let folder = Folder::new("pieces");
    let file = open(&folder.file("f"), CREATE).unwrap();
    let (mut one, mut none, mut two) = (*b"abc", [], *b"defg");
    let mut data = Data::many(vec![region(&mut one), region(&mut none), region(&mut two)]);
    data.advance(1);
    assert_eq!(file.write(&data, Some(3)).unwrap(), 6);
    let (mut one, mut two) = ([0; 5], [0; 50]);
    let data = Data::many(vec![region(&mut one), region(&mut two)]);
    assert_eq!(file.read(&data, None).unwrap(), 9);
    assert_eq!((&one, &two[..4]), (b"\0\0\0bc", &b"defg"[..]));
    assert_eq!(file.read(&data, None).unwrap(), 0);
}

#[test]
fn appending_goes_to_the_end_whatever_the_offset() {
    let folder = Folder::new("append");
    let path = folder.file("f");
    std::fs::write(&path, "old").unwrap();
    let file = open(&path, OpenFlags { append: true, ..READ }).unwrap();
    let other = open(&path, OpenFlags { append: true, ..READ }).unwrap();
    assert_eq!(read(&file, 1, None).unwrap(), "o");
    write(&file, "-one", None).unwrap();
    write(&other, "-two", Some(0)).unwrap();
    write(&file, "-three", None).unwrap();
    assert_eq!(read(&file, 10, None).unwrap(), "");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old-one-two-three");
    let cut = open(&path, OpenFlags { append: true, truncate: true, ..READ }).unwrap();
    write(&cut, "new", Some(99)).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
}

#[test]
fn opening_fails_for_the_reason_that_there_is() {
    let folder = Folder::new("opening");
    let path = folder.file("f");
    assert_eq!(status(open(&path, READ)), error::SL_ERR_NOT_FOUND);
    let exclusive = OpenFlags { exclusive: true, ..CREATE };
    assert_eq!(status(open(&path, exclusive)), 0);
    assert_eq!(status(open(&path, exclusive)), error::SL_ERR_EXISTS);
    assert_eq!(status(open(&folder.0, OpenFlags { write: true, ..READ })), error::SL_ERR_IS_DIRECTORY);
    assert_eq!(status(open(std::path::Path::new(""), READ)), error::SL_ERR_NOT_FOUND);
    // A directory may be opened, and is none to read from.
    let directory = open(&folder.0, READ).unwrap();
    assert_eq!(directory.stat().unwrap().kind, FileKind::Directory);
    assert_eq!(status(read(&directory, 1, Some(0))), error::SL_ERR_IS_DIRECTORY);
    // Neither is a file one to write to that is open for reading, nor the other way round.
    let reads = open(&path, READ).unwrap();
    assert_eq!(status(write(&reads, "x", Some(0))), error::SL_ERR_BAD_DESCRIPTOR);
    let writes = open(&path, OpenFlags { read: false, ..CREATE }).unwrap();
    assert_eq!(status(read(&writes, 1, Some(0))), error::SL_ERR_BAD_DESCRIPTOR);
}

#[test]
fn open_files_can_be_renamed_and_removed() {
    let folder = Folder::new("removed");
    let file = open(&folder.file("f"), CREATE).unwrap();
    std::fs::rename(folder.file("f"), folder.file("g")).unwrap();
    std::fs::remove_file(folder.file("g")).unwrap();
    write(&file, "still here", None).unwrap();
    assert_eq!(read(&file, 100, Some(0)).unwrap(), "still here");
}

#[test]
fn a_file_created_without_write_permission_is_read_only() {
    let folder = Folder::new("mode");
    let path = folder.file("f");
    let file = open(&path, OpenFlags { mode: 0o444, ..CREATE }).unwrap();
    // It was created by this very open, which may write.
    write(&file, "x", None).unwrap();
    assert_eq!(file.stat().unwrap().mode, 0o444);
    assert_eq!(Handle::stat_path(&sys_path(&path), true).unwrap().mode, 0o444);
    drop(file);
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    #[allow(clippy::permissions_set_readonly_false, reason = "the file goes away")]
    permissions.set_readonly(false);
    std::fs::set_permissions(&path, permissions).unwrap();
}

#[test]
fn stat_tells_what_is_there() {
    let folder = Folder::new("stat");
    let path = folder.file("f");
    let file = open(&path, CREATE).unwrap();
    write(&file, "twelve bytes", None).unwrap();
    file.sync(false).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64;
    for stat in [file.stat().unwrap(), Handle::stat_path(&sys_path(&path), false).unwrap()] {
        assert_eq!((stat.kind, stat.length, stat.links), (FileKind::File, 12, 1));
        assert!((now - stat.modified_ns).abs() < 60_000_000_000, "{} is not about {now}", stat.modified_ns);
        assert!(stat.allocated >= 12, "{}", stat.allocated);
        assert_ne!(stat.mode & 0o200, 0);
    }
    assert_eq!(status(Handle::stat_path(&sys_path(&folder.file("none")), true)), error::SL_ERR_NOT_FOUND);
}

#[cfg(unix)]
#[test]
fn links_are_followed_or_not() {
    let folder = Folder::new("links");
    std::os::unix::fs::symlink("nowhere", folder.file("link")).unwrap();
    let link = sys_path(&folder.file("link"));
    assert_eq!(Handle::stat_path(&link, false).unwrap().kind, FileKind::Link);
    assert_eq!(status(Handle::stat_path(&link, true)), error::SL_ERR_NOT_FOUND);
    let flags = OpenFlags { no_follow: true, ..READ };
    assert_eq!(status(Handle::open(&link, &flags)), error::SL_ERR_LINKS);
}

/// Gives the descriptor away.
fn give(file: std::fs::File) -> isize {
    #[cfg(unix)]
    return std::os::fd::IntoRawFd::into_raw_fd(file) as isize;
    #[cfg(windows)]
    return std::os::windows::io::IntoRawHandle::into_raw_handle(file) as isize;
}

#[test]
fn an_adopted_file_goes_on_where_it_was() {
    let folder = Folder::new("adopted");
    std::fs::write(folder.file("f"), "0123456789").unwrap();
    let mut file = std::fs::File::options().read(true).write(true).open(folder.file("f")).unwrap();
    file.seek(SeekFrom::Start(4)).unwrap();
    let descriptor = give(file);
    check_file_descriptor(descriptor).unwrap();
    assert_eq!(check_stream_descriptor(descriptor).unwrap_err().status, error::SL_ERR_UNSUPPORTED);
    assert_eq!(check_listener_descriptor(descriptor).unwrap_err().status, error::SL_ERR_UNSUPPORTED);
    // SAFETY: `give` has just given it away.
    let file = unsafe { adopt_file(descriptor) }.unwrap();
    assert_eq!(file.descriptor(), descriptor);
    assert_eq!(read(&file, 2, None).unwrap(), "45");
    assert_eq!(read(&file, 2, Some(8)).unwrap(), "89");
    write(&file, "x", None).unwrap();
    assert_eq!(read(&file, 9, None).unwrap(), "789");
    file.close().unwrap();
    for check in [check_file_descriptor, check_stream_descriptor, check_listener_descriptor] {
        for wrong in [-1, -10, isize::MIN, isize::MAX, 0x00de_ad00] {
            assert_eq!(check(wrong).unwrap_err().status, error::SL_ERR_BAD_DESCRIPTOR, "{wrong}");
        }
    }
}

#[cfg(windows)]
#[test]
fn an_adopted_file_may_end_its_calls_later() {
    use std::os::windows::fs::OpenOptionsExt;
    let folder = Folder::new("overlapped");
    std::fs::write(folder.file("f"), "0123456789").unwrap();
    let flag = windows_sys::Win32::Storage::FileSystem::FILE_FLAG_OVERLAPPED;
    let file = std::fs::File::options().read(true).write(true).custom_flags(flag).open(folder.file("f")).unwrap();
    // SAFETY: `give` has just given it away.
    let file = unsafe { adopt_file(give(file)) }.unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let file = &file;
            scope.spawn(move || {
                for _ in 0..100 {
                    assert_eq!(read(file, 2, Some(thread * 2)).unwrap(), ["01", "23", "45", "67"][thread as usize]);
                }
            });
        }
    });
    assert_eq!(read(&file, 4, None).unwrap() + &read(&file, 40, None).unwrap(), "0123456789");
    assert_eq!(read(&file, 4, None).unwrap(), "");
}

/// A poll that tells of one handle's readiness.
struct Watched {
    poll: Poll,
    registration: Option<Registration>,
}

impl Watched {
    fn new(handle: &Handle) -> Self {
        let poll = Poll::new().unwrap();
        let registration = Registration::new(handle, poll.registry(), Token(7)).unwrap();
        Watched { poll, registration: Some(registration) }
    }

    /// Makes a call, and repeats it at every edge of readiness while it would block.
    fn wait<T>(&mut self, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            match self.registration.as_ref().unwrap().attempt(&mut call) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            let mut events = Events::with_capacity(8);
            self.poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
            assert!(Instant::now() < end, "never ready");
            assert!(events.iter().all(|event| event.token() == Token(7)));
        }
    }

    fn quiet(&mut self, time: Duration) -> bool {
        let mut events = Events::with_capacity(8);
        self.poll.poll(&mut events, Some(time)).unwrap();
        events.is_empty()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.registration.take().unwrap().remove(self.poll.registry()).unwrap();
    }
}

const OPTIONS: ListenOptions = ListenOptions { reuse_port: false, ipv6_only: false, backlog: 16 };

fn listener() -> (Handle, SocketAddr) {
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), &OPTIONS).unwrap();
    let address = listener.local_address().unwrap();
    (listener, address)
}

fn pair() -> (Handle, Handle) {
    let (listener, address) = listener();
    let stream = start_stream(address).unwrap();
    match stream.connect(address) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        other => other.unwrap(),
    }
    let accepted = Watched::new(&listener).wait(|| listener.accept()).unwrap();
    Watched::new(&stream).wait(|| stream.connect_outcome()).unwrap();
    assert_eq!(stream.peer_address().unwrap(), address);
    assert_eq!(accepted.peer_address().unwrap(), stream.local_address().unwrap());
    (stream, accepted)
}

fn send(stream: &Handle, text: &str) -> io::Result<usize> {
    stream.send(&Data::One(region(&mut text.to_owned().into_bytes())))
}

fn receive(stream: &Handle) -> io::Result<String> {
    let mut bytes = vec![0; 100];
    let count = stream.receive(region(&mut bytes))?;
    bytes.truncate(count);
    Ok(String::from_utf8(bytes).unwrap())
}

#[test]
fn readiness_comes_again_after_every_would_block() {
    let (ours, theirs) = pair();
    let mut watched = Watched::new(&theirs);
    for turn in 0..20 {
        assert_eq!(
            watched.registration.as_ref().unwrap().attempt(|| receive(&theirs)).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        assert_eq!(send(&ours, &turn.to_string()).unwrap(), turn.to_string().len());
        assert_eq!(watched.wait(|| receive(&theirs)).unwrap(), turn.to_string());
    }
    ours.shutdown().unwrap();
    assert_eq!(watched.wait(|| receive(&theirs)).unwrap(), "");
    // The other direction goes on.
    send(&theirs, "bye").unwrap();
    assert_eq!(Watched::new(&ours).wait(|| receive(&ours)).unwrap(), "bye");
    assert_eq!(status(send(&ours, "x")), error::SL_ERR_BROKEN_PIPE);
}

#[test]
fn a_full_stream_would_block_and_then_takes_more() {
    let (ours, theirs) = pair();
    let mut bytes = vec![7; 1 << 20];
    let mut second = vec![8; 1 << 20];
    let data = Data::many(vec![region(&mut bytes), region(&mut second)]);
    let mut sent = 0;
    let mut watched = Watched::new(&ours);
    while sent < 256 << 20 {
        match watched.registration.as_ref().unwrap().attempt(|| ours.send(&data)) {
            Ok(count) => sent += count,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                break;
            }
        }
    }
    assert!(sent < 256 << 20, "it takes everything");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut watched = Watched::new(&theirs);
            let (mut buffer, mut got) = (vec![0; 1 << 16], 0);
            while got < sent + 1 {
                got += watched.wait(|| theirs.receive(region(&mut buffer))).unwrap();
            }
        });
        watched.wait(|| send(&ours, "x")).unwrap();
    });
}

#[test]
fn a_registration_ends_with_remove_and_leaves_the_handle_open() {
    let (ours, theirs) = pair();
    let mut watched = Watched::new(&theirs);
    let _ = watched.wait(|| theirs.connect_outcome());
    watched.registration.take().unwrap().remove(watched.poll.registry()).unwrap();
    send(&ours, "quiet").unwrap();
    assert!(watched.quiet(Duration::from_millis(50)));
    watched.registration = Some(Registration::new(&theirs, watched.poll.registry(), Token(7)).unwrap());
    assert_eq!(watched.wait(|| receive(&theirs)).unwrap(), "quiet");
}

#[test]
fn connecting_where_nobody_listens_is_refused() {
    let (listener, address) = listener();
    listener.close().unwrap();
    let stream = start_stream(address).unwrap();
    let outcome = match stream.connect(address) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Watched::new(&stream).wait(|| stream.connect_outcome()),
        other => other,
    };
    assert_eq!(status(outcome), error::SL_ERR_CONNECTION_REFUSED);
}

#[test]
fn an_address_has_one_listener() {
    let (_listener, address) = listener();
    assert_eq!(listen(address, &OPTIONS).unwrap_err().status, error::SL_ERR_ADDRESS_IN_USE);
    let shared = ListenOptions { reuse_port: true, ..OPTIONS };
    let expected = if cfg!(windows) { Err(error::SL_ERR_UNSUPPORTED) } else { Ok(()) };
    let shared = listen((Ipv4Addr::LOCALHOST, 0).into(), &shared).map(drop).map_err(|error| error.status);
    assert_eq!(shared, expected);
}

#[test]
fn sockets_are_adopted() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    #[cfg(unix)]
    use std::os::fd::IntoRawFd as Give;
    #[cfg(windows)]
    use std::os::windows::io::IntoRawSocket as Give;
    #[cfg(unix)]
    let (listener, theirs) = (Give::into_raw_fd(listener) as isize, Give::into_raw_fd(theirs) as isize);
    #[cfg(windows)]
    let (listener, theirs) = (Give::into_raw_socket(listener) as isize, Give::into_raw_socket(theirs) as isize);
    check_listener_descriptor(listener).unwrap();
    check_stream_descriptor(theirs).unwrap();
    assert_eq!(check_listener_descriptor(theirs).unwrap_err().status, error::SL_ERR_UNSUPPORTED);
    assert_eq!(check_stream_descriptor(listener).unwrap_err().status, error::SL_ERR_UNSUPPORTED);
    // SAFETY: both were given away just now.
    let (listener, theirs) = unsafe { (adopt_listener(listener).unwrap(), adopt_stream(theirs).unwrap()) };
    assert_eq!(status(receive(&theirs)), status::<()>(Err(ErrorKind::WouldBlock.into())));
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    ours.write_all(b"hi").unwrap();
    assert_eq!(Watched::new(&theirs).wait(|| receive(&theirs)).unwrap(), "hi");
    theirs.set_option(SocketOption::NoDelay, 1).unwrap();
    assert_eq!(theirs.get_option(SocketOption::NoDelay).unwrap(), 1);
    theirs.set_option(SocketOption::Linger, 0).unwrap();
    assert_eq!(theirs.get_option(SocketOption::Linger).unwrap(), 0);
    theirs.close().unwrap();
}

/// Whether a host's own loop would find the descriptor readable just now.
fn readable(descriptor: isize) -> bool {
    #[cfg(unix)]
    {
        let mut poll = libc::pollfd { fd: descriptor as i32, events: libc::POLLIN, revents: 0 };
        // SAFETY: `poll` is the one entry that the count says.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 }
    }
    #[cfg(windows)]
    {
        use windows_sys::Win32::Networking::WinSock::{POLLRDNORM, WSAPOLLFD, WSAPoll};
        let mut poll = WSAPOLLFD { fd: descriptor as usize, events: POLLRDNORM, revents: 0 };
        // SAFETY: `poll` is the one entry that the count says.
        unsafe { WSAPoll(&mut poll, 1, 0) == 1 }
    }
}

#[test]
fn a_wake_is_readable_exactly_while_set() {
    for socket in [false, true] {
        let wake = Wake::new(socket).unwrap();
        for _ in 0..200 {
            assert!(!readable(wake.descriptor()));
            wake.set();
            assert!(readable(wake.descriptor()));
            wake.clear();
        }
        // To clear what is clear, as after a host that read the byte, is harmless.
        wake.clear();
        wake.set();
        assert!(readable(wake.descriptor()));
    }
}

#[cfg(unix)]
#[test]
fn our_threads_block_every_signal() {
    fn blocked() -> bool {
        // SAFETY: a sigset_t is plain bytes, which pthread_sigmask fills.
        unsafe {
            let mut mask: libc::sigset_t = std::mem::zeroed();
            libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut mask);
            [libc::SIGINT, libc::SIGTERM, libc::SIGPIPE, libc::SIGCHLD, libc::SIGUSR1]
                .iter()
                .all(|&signal| libc::sigismember(&mask, signal) == 1)
        }
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    spawn_thread("sideloop-test", move || sender.send(blocked()).unwrap()).unwrap().join().unwrap();
    assert!(receiver.recv().unwrap());
    assert!(!blocked(), "the caller's own mask is as it was");
}

#[test]
fn threads_have_their_name() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let body = move || sender.send(std::thread::current().name().map(str::to_owned)).unwrap();
    spawn_thread("sideloop-test", body).unwrap().join().unwrap();
    assert_eq!(receiver.recv().unwrap().as_deref(), Some("sideloop-test"));
    assert_eq!(fork_generation(), 0);
}
