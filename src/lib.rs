#![doc = include_str!("../README.md")]

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

pub mod ffi;
