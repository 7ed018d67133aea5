//! A full-screen program's part of job control, and waiting for its keyboard.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_current_process_group, kill_process};

/// The number of SIGTSTP, which Ctrl-Z sends.
#[must_use]
pub fn stop_request() -> i32 {
    Signal::TSTP.as_raw()
}

/// The number of SIGCONT, which continues a stopped process.
#[must_use]
pub fn resumption() -> i32 {
    Signal::CONT.as_raw()
}

/// Sends SIGTSTP to this process and to the others of its group, as Ctrl-Z does while the terminal handles keys.
pub fn request_stop() {
    // A process may always signal itself.
    let _ = kill_current_process_group(Signal::TSTP);
}

/// Stops this process. Returns when it is continued.
pub fn stop_self() {
    let _ = kill_process(getpid(), Signal::STOP);
}

/// Returns whether the terminal behind `input` is gone, so that every read ends at once. Waits for nothing.
#[must_use]
pub fn is_gone(input: impl AsFd) -> bool {
    let mut inputs = [PollFd::new(&input, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let lost = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    poll(&mut inputs, Some(&now)).is_ok_and(|_| inputs[0].revents().intersects(lost))
}

/// Waits until `input` has something to read. Reads nothing.
///
/// # Errors
/// The terminal is gone, or the system cannot wait for it.
pub fn wait_until_readable(input: impl AsFd) -> io::Result<()> {
    loop {
        let mut inputs = [PollFd::new(&input, PollFlags::IN)];
        match poll(&mut inputs, None) {
            Ok(_) if inputs.iter().all(|input| input.revents() == PollFlags::IN) => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::BrokenPipe.into()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_whose_other_end_is_closed_is_gone() {
        let (ours, theirs) = std::io::pipe().unwrap();
        assert!(!is_gone(&ours));
        drop(theirs);
        assert!(is_gone(&ours));
    }
}
