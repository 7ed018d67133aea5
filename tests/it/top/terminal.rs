//! What the dashboard needs of a terminal, and how it leaves one.

use super::{USUAL, dashboard, start};
use crate::interop::shared_daemon::signal;
use crate::login::world::World;
use crate::support::{Machine, Run, Screen, children, eventually};

#[test]
fn without_a_terminal_or_a_cursor_it_names_the_commands_that_need_none() {
    let machine = Machine::with_file();
    let ended = machine.codex(["top"]).run().refused(1);
    insta::assert_snapshot!(ended, @r"
    exit 1
    --- stdout
    --- stderr
    error: the dashboard needs a terminal
    hint: for scripts: codex status --json, or codex watch --json
    ");
    let ended = machine.codex(["top"]).env("TERM", "dumb").on_a_terminal().run().expect(1);
    assert!(ended.out.contains("TERM is dumb or not set") && ended.out.contains("codex watch"), "{ended}");
}

#[test]
fn the_screen_follows_the_size_of_the_window() {
    let machine = &mut Machine::with_file();
    let world = World::new(machine);
    world.log_in(1);
    let screen = dashboard(&world);
    screen.resize((120, 40));
    screen.shows(&"─".repeat(118));
    assert_eq!(screen.text().lines().count(), 40);
    screen.resize((50, 10));
    screen.shows("this window has 50x10 characters");
    screen.resize(USUAL);
    screen.shows("person1@example.com (plus)");
}

#[test]
fn colours_are_left_out_where_the_user_wants_none() {
    let machine = &mut Machine::with_file();
    let world = World::new(machine);
    world.log_in(1);
    let coloured = |run: Run| {
        let screen = start(run, USUAL);
        screen.shows("usable");
        // Green, as a number of a palette or as a colour of its own.
        let styled = screen.styled_text();
        styled.contains("38;5;2m") || styled.contains("[32m")
    };
    assert!(coloured(world.codex(["top"])));
    assert!(!coloured(world.codex(["top"]).env("NO_COLOR", "1")));
}

/// The program under the shell of a terminal.
fn program(screen: &Screen) -> u32 {
    children(screen.pid())[0]
}

#[test]
fn a_signal_that_ends_it_restores_the_terminal() {
    for name in ["TERM", "HUP", "INT"] {
        let machine = &mut Machine::with_file();
        let world = World::new(machine);
        let screen = dashboard(&world);
        assert!(screen.is_alternate());
        let during = screen.settings();
        signal(program(&screen), name);
        screen.shows("exit code 130");
        assert_restored(&screen, &during);
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn a_panic_restores_the_terminal_and_then_shows_its_message() {
    let machine = &mut Machine::with_file();
    let world = World::new(machine);
    let screen = start(world.codex(["top"]).env("CODEX_AUTH_FAILPOINT", "overview=panic"), USUAL);
    screen.shows("exit code 101");
    screen.shows("a test asked for this panic");
    assert_restored(&screen, "-icanon");
}

#[test]
fn ctrl_z_stops_it_and_fg_brings_it_back() {
    let machine = &mut Machine::with_file();
    let world = World::new(machine);
    world.log_in(1);
    let shell = [
        "bash",
        "--norc",
        "--noprofile",
        "-i",
        "-c",
        "set -m; \"$@\"; echo stopped; read -r line; fg; echo \"exit code $?\"; exec sleep 600",
        "sh",
    ];
    let run = world.codex(["top"]).env("TERM", "xterm-256color").env("LANG", "C.UTF-8").through(shell);
    let screen = Screen::start(run, USUAL);
    screen.shows("person1@example.com (plus)");
    let during = screen.settings();
    screen.press("C-z");
    screen.shows("stopped");
    assert_restored(&screen, &during);
    screen.press("Enter");
    screen.shows("person1@example.com (plus)");
    eventually("the alternate screen", || screen.is_alternate());
    assert_eq!(screen.settings(), during);
    screen.press("q");
    screen.shows("exit code 0");
    assert_restored(&screen, &during);
}

/// Checks that the screen and the settings are those of the shell again. `during` are the settings of the dashboard.
#[track_caller]
fn assert_restored(screen: &Screen, during: &str) {
    assert!(during.contains("-icanon"), "{during}");
    eventually("the screen of the shell", || !screen.is_alternate());
    let settings = screen.settings();
    for on in ["icanon", "echo", "isig", "icrnl"] {
        assert!(
            settings.split_whitespace().any(|word| word.trim_end_matches(';') == on),
            "{on} in\n{settings}"
        );
    }
}
