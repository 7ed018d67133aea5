//! The program, command by command, as a person or a script meets it.

mod doctor;
mod hand_over;
mod login;
mod logout;
mod migrate;
mod status;
mod sync;
mod talk;
mod token;
