//! tokio on one thread; files go to its pool of threads for blocking calls, as it has it.

use rust_peers::{Arguments, Files, Reads, Span, Syncs, Timers, listen_here, open_and_close, run};
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn, spawn_blocking};
use tokio::time::sleep_until;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Runs tasks to their end.
fn block_on_all<F: Future<Output = ()> + Send + 'static>(tasks: impl Iterator<Item = F>) {
    runtime().block_on(async {
        let handles: Vec<JoinHandle<()>> = tasks.map(spawn).collect();
        for handle in handles {
            handle.await.expect("the task ends well");
        }
    });
}

/// Its files know no offsets: a blocking call each is what they would do as well, without the seek.
fn read(arguments: &Arguments) {
    let reads = Arc::new(Reads::open(arguments));
    let file = Arc::new(File::open(&reads.path).expect("the file is there"));
    block_on_all((0..reads.depth).map(|_| {
        let (reads, file) = (reads.clone(), file.clone());
        async move {
            let mut buffer = vec![0; reads.block];
            while let Some(offset) = reads.next() {
                let file = file.clone();
                let job = spawn_blocking(move || file.read_exact_at(&mut buffer, offset).map(|()| buffer));
                buffer = job.await.expect("the job ends well").expect("the file can be read");
                reads.done(offset, &buffer);
            }
        }
    }));
    reads.report();
}

fn files(arguments: &Arguments) {
    let files = Arc::new(Files::open(arguments));
    block_on_all((0..files.depth).map(|_| {
        let files = files.clone();
        async move {
            while let Some((number, path)) = files.next() {
                files.done(number, &tokio::fs::read(path).await.expect("the file can be read"));
            }
        }
    }));
    files.report();
}

fn fsync(arguments: &Arguments) {
    let syncs = Arc::new(Syncs::open(arguments));
    block_on_all((0..syncs.paths.len()).map(|i| {
        let syncs = syncs.clone();
        async move {
            let file = Arc::new(OpenOptions::new().write(true).open(&syncs.paths[i]).expect("the file is there"));
            while syncs.next() {
                let file = file.clone();
                let job = spawn_blocking(move || file.write_all_at(&[b'x'; 4096], 0).and_then(|()| file.sync_all()));
                job.await.expect("the job ends well").expect("the file can be written");
                syncs.done();
            }
        }
    }));
    syncs.report();
}

async fn answer(mut stream: TcpStream) {
    let mut buffer = vec![0; 16384];
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 || stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

fn serve(on_connection: fn(TcpStream)) {
    runtime().block_on(async {
        let listener = TcpListener::from_std(listen_here().expect("a port is free")).expect("a listener");
        loop {
            on_connection(listener.accept().await.expect("a connection").0);
        }
    });
}

fn echo(_: &Arguments) {
    serve(|stream| drop(spawn(answer(stream))));
}

fn accept(_: &Arguments) {
    serve(drop);
}

fn timers(arguments: &Arguments) {
    let mut timers = Timers::open(arguments);
    let mut now = Instant::now();
    let count = timers.count;
    block_on_all((0..count).map(|number| {
        if number % 256 == 0 {
            now = Instant::now();
        }
        let due = now + timers.delay();
        async move {
            sleep_until(due.into()).await;
            Timers::fired(due);
        }
    }));
    timers.report();
}

/// Posts one by one are messages of their own; batches are one message each.
fn post(arguments: &Arguments) {
    if arguments.number("batch", 1) == 1 {
        post_messages(arguments, 1, |_| 0_u64);
    } else {
        post_messages(arguments, arguments.number("batch", 1), |count| vec![0_u64; count as usize]);
    }
}

fn post_messages<T: Send + 'static>(arguments: &Arguments, batch: u64, make: fn(u64) -> T) {
    const THREADS: u64 = 4;
    let each = arguments.number("count", 250_000);
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let begun = Span::begin();
    for _ in 0..THREADS {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for first in (0..each).step_by(batch as usize) {
                assert!(sender.send(make(batch.min(each - first))).is_ok());
            }
        });
    }
    drop(sender);
    runtime().block_on(async {
        let mut messages = Vec::with_capacity(512);
        while receiver.recv_many(&mut messages, 512).await > 0 {
            messages.clear();
        }
    });
    begun.report(each * THREADS);
}

fn open(arguments: &Arguments) {
    open_and_close(arguments, runtime);
}

fn main() {
    run(&[
        ("read", read),
        ("bigread", read),
        ("files", files),
        ("fsync", fsync),
        ("echo", echo),
        ("accept", accept),
        ("timers", timers),
        ("post", post),
        ("open", open),
    ]);
}
