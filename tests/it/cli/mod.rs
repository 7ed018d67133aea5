//! The program, command by command, as a person or a script meets it.

mod doctor;
mod generated;
mod hand_over;
mod login;
mod logout;
mod migrate;
mod second_name;
mod status;
mod sync;
mod talk;
mod token;
