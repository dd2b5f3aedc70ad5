//! compio on its io_uring driver: one issuer with deferred work, reads of connections by multishot from its pool of
//! buffers.

use compio::BufResult;
use compio::driver::ProactorBuilder;
use compio::fs::{File, OpenOptions};
use compio::io::{AsyncReadAt, AsyncReadMulti, AsyncWriteAtExt, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream};
use compio::runtime::{JoinHandle, Runtime, RuntimeBuilder, spawn};
use futures_util::StreamExt;
use rust_peers::{Arguments, Files, Reads, Syncs, listen_here, open_and_close, run};
use std::future::Future;
use std::io::ErrorKind;
use std::num::NonZero;
use std::pin::pin;
use std::rc::Rc;

fn runtime() -> Runtime {
    let mut driver = ProactorBuilder::new();
    driver.single_issuer(true).defer_taskrun(true);
    driver.buffer_pool_size(NonZero::new(1024).expect("not 0")).buffer_pool_buffer_len(16384);
    RuntimeBuilder::new().with_proactor(driver).build().expect("a runtime")
}

/// Runs tasks to their end.
fn block_on_all<F: Future<Output = ()> + 'static>(tasks: impl Iterator<Item = F>) {
    runtime().block_on(async {
        let handles: Vec<JoinHandle<()>> = tasks.map(spawn).collect();
        for handle in handles {
            handle.await.expect("the task ends well");
        }
    });
}

fn read(arguments: &Arguments) {
    let reads = Rc::new(Reads::open(arguments));
    block_on_all((0..reads.depth).map(|_| {
        let reads = reads.clone();
        async move {
            let file = File::open(&reads.path).await.expect("the file is there");
            let mut buffer = Vec::with_capacity(reads.block);
            while let Some(offset) = reads.next() {
                buffer.clear();
                let BufResult(count, filled) = file.read_at(buffer, offset).await;
                count.expect("the file can be read");
                reads.done(offset, &filled);
                buffer = filled;
            }
        }
    }));
    reads.report();
}

fn files(arguments: &Arguments) {
    let files = Rc::new(Files::open(arguments));
    block_on_all((0..files.depth).map(|_| {
        let files = files.clone();
        async move {
            let mut buffer = Vec::with_capacity(65536);
            while let Some((number, path)) = files.next() {
                let file = File::open(path).await.expect("the file is there");
                buffer.clear();
                let BufResult(count, filled) = file.read_at(buffer, 0).await;
                count.expect("the file can be read");
                files.done(number, &filled);
                buffer = filled;
                file.close().await.expect("the file can be closed");
            }
        }
    }));
    files.report();
}

fn fsync(arguments: &Arguments) {
    let syncs = Rc::new(Syncs::open(arguments));
    block_on_all((0..syncs.paths.len()).map(|i| {
        let syncs = syncs.clone();
        async move {
            let file = OpenOptions::new().write(true).open(&syncs.paths[i]).await.expect("the file is there");
            let mut data = vec![b'x'; 4096];
            while syncs.next() {
                let BufResult(written, back) = (&file).write_all_at(data, 0).await;
                written.expect("the file can be written");
                data = back;
                file.sync_all().await.expect("the file can be made safe");
                syncs.done();
            }
        }
    }));
    syncs.report();
}

/// Where all buffers are out, it begins to receive again; some are back by then.
async fn answer(stream: TcpStream) {
    let (mut receiving, mut sending) = (&stream, &stream);
    loop {
        let mut pieces = pin!(receiving.read_multi(0));
        loop {
            match pieces.next().await {
                Some(Ok(piece)) => {
                    if sending.write_all(piece).await.0.is_err() {
                        return;
                    }
                }
                Some(Err(error)) if error.kind() == ErrorKind::ResourceBusy => break,
                _ => return,
            }
        }
    }
}

fn serve(on_connection: fn(TcpStream)) {
    runtime().block_on(async {
        let listener = TcpListener::from_std(listen_here().expect("a port is free")).expect("a listener");
        let mut connections = pin!(listener.incoming());
        while let Some(stream) = connections.next().await {
            on_connection(stream.expect("a connection"));
        }
    });
}

fn echo(_: &Arguments) {
    serve(|stream| spawn(answer(stream)).detach());
}

fn accept(_: &Arguments) {
    serve(drop);
}

fn open(arguments: &Arguments) {
    open_and_close(arguments, || Runtime::new().expect("a runtime"));
}

fn main() {
    run(&[
        ("read", read),
        ("bigread", read),
        ("files", files),
        ("fsync", fsync),
        ("echo", echo),
        ("accept", accept),
        ("open", open),
    ]);
}
