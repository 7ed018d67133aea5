//! The commands over a real Secret Service, whose items a test can make and read as another program does.

mod doctor;
mod login;
mod logout;
mod migrate;
mod status;
