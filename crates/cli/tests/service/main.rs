//! The service as its users meet it: the real binary with a real model, over real sockets.
//!
//! Nothing here waits for a fixed time: what takes a while is asked for until it is so, within a generous bound.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod answers;
mod api;
mod bad_days;
mod browser;
mod chat;
mod harness;
mod jobs;
mod keys;
