#![doc = include_str!("../README.md")]
#![cfg_attr(all(test, loom), allow(dead_code, unreachable_pub, unused_imports, reason = "models use a part of it"))]

// Layers: each module uses only those above it.
pub mod error;

mod clock;
mod headroom;
mod lock;
mod table;
mod thread_mark;

mod sys;

mod driver;

mod op;

mod engine;

// Statics keep the open loops, and nothing of loom's can be one.
#[cfg(not(all(test, loom)))]
pub mod ffi;
