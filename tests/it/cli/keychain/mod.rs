//! The commands with a real Secret Service.

mod doctor;
mod login;
mod logout;
mod migrate;
mod status;
