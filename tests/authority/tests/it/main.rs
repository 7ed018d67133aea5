//! The scripted authority over real connections, as a library and as a program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod client;

mod device;
mod faults;
mod load;
mod login;
mod program;
mod refresh;
mod resource;
