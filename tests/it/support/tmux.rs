//! A program in a terminal of tmux, whose screen a test reads and whose keys it presses.

use std::fs::File;
use std::process::Command;

use super::{Run, eventually, search_path};

/// A terminal, which is ended on drop.
pub struct Screen {
    folder: tempfile::TempDir,
}

impl Screen {
    /// Starts `run` in a terminal of `columns` and `lines`.
    pub fn start(run: Run, (columns, lines): (u16, u16)) -> Self {
        let screen = Self { folder: tempfile::tempdir().unwrap() };
        let command = run.into_command();
        let mut tmux =
            screen.tmux(["new-session", "-d", "-x", &columns.to_string(), "-y", &lines.to_string()]);
        if let Some(folder) = command.get_current_dir() {
            tmux.arg("-c").arg(folder);
        }
        tmux.arg("--").arg(command.get_program()).args(command.get_args());
        tmux.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        assert!(tmux.status().expect("tmux is installed").success());
        screen
    }

    fn tmux<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.env_clear().env("PATH", search_path()).env("TERM", "xterm-256color").env("LANG", "C.UTF-8");
        tmux.arg("-S").arg(self.folder.path().join("tmux")).args(["-f", "/dev/null"]).args(arguments);
        tmux
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let output = self.tmux(arguments.iter().copied()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.ask(&["capture-pane", "-p"])
    }

    /// What is on the screen, with the sequences of its colours and weights.
    pub fn styled_text(&self) -> String {
        self.ask(&["capture-pane", "-p", "-e"])
    }

    /// Waits until the screen has `text`.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        self.shows_when(text, |screen| screen.contains(text));
    }

    /// Waits until the screen has `text` no more.
    #[track_caller]
    pub fn shows_no(&self, text: &str) {
        self.shows_when(text, |screen| !screen.contains(text));
    }

    #[track_caller]
    fn shows_when(&self, text: &str, is_so: impl Fn(&str) -> bool) {
        let mut last = String::new();
        let is_in_time = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(text, || {
                last = self.text();
                is_so(&last)
            });
        }));
        assert!(is_in_time.is_ok(), "{text:?} in\n{last}");
    }

    /// Types `text`.
    pub fn types(&self, text: &str) {
        assert!(self.tmux(["send-keys", "-l", text]).status().unwrap().success());
    }

    /// Presses a key by tmux's name for it, such as `Enter` or `C-c`.
    pub fn press(&self, key: &str) {
        assert!(self.tmux(["send-keys", key]).status().unwrap().success());
    }

    /// Gives the terminal another size.
    pub fn resize(&self, (columns, lines): (u16, u16)) {
        let size = [columns, lines].map(|size| size.to_string());
        let words = ["resize-window", "-x", &size[0], "-y", &size[1]];
        assert!(self.tmux(words).status().unwrap().success());
    }

    /// Whether a program has the alternate screen.
    pub fn is_alternate(&self) -> bool {
        self.ask(&["display-message", "-p", "#{alternate_on}"]).trim() == "1"
    }

    /// The process that the terminal was started with.
    pub fn pid(&self) -> u32 {
        self.ask(&["display-message", "-p", "#{pane_pid}"]).trim().parse().unwrap()
    }

    /// The settings of the terminal.
    pub fn settings(&self) -> String {
        let path = self.ask(&["display-message", "-p", "#{pane_tty}"]);
        let output = Command::new("stty").arg("-a").stdin(File::open(path.trim()).unwrap()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.tmux(["kill-server"]).status();
    }
}
