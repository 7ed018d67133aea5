//! The app-server over standard input and output, as an editor speaks to it.

pub mod client;
mod conversation;
mod dead;
mod forwarding;
mod handed_in;
mod lines;
mod logins;
mod logout;
mod next;
mod real;
mod storage;
mod together;
