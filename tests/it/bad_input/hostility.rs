//! Attacks by the working folder and by terminal control sequences.

use std::fs;

use scripted_authority::{Endpoint, Step};

use crate::manager::world::World;
use crate::support::{Machine, TestHome};

#[test]
fn a_configuration_in_the_working_folder_is_ignored() {
    let home = TestHome::new();
    let project = home.beside("project");
    fs::create_dir(project.join(".codex")).unwrap();
    let trap = "cli_auth_credentials_store = \"ephemeral\"\nforced_login_method = \"chatgpt\"\n";
    for file in ["config.toml", ".codex/config.toml"] {
        fs::write(project.join(file), trap).unwrap();
    }
    let there = ["sh", "-c", "cd \"$0\" && exec \"$@\"", project.to_str().unwrap()];
    let login = || home.codex(["login", "--with-api-key"]).input("sk-1");
    login().through(there).run().expect(0);
    assert_eq!(home.codex(["token"]).through(there).run().expect(0).out, "sk-1\n");
    // In the home, the same text takes effect.
    home.write("config.toml", trap);
    login().through(there).run().refused(1);
}

#[test]
fn no_control_character_of_a_response_reaches_the_terminal() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let sequences = "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\r\u{8}";
    let body =
        format!("{{\"error\":{{\"code\":\"odd{0}\",\"message\":\"sorry{0}\"}}}}", sequences.escape_default());
    let body = body.replace("\\u{1b}", "\\u001b").replace("\\u{7}", "\\u0007");
    let body = body.replace("\\u{9b}", "\\u009b").replace("\\u{8}", "\\u0008");
    for status in [400, 401, 403, 500, 503] {
        world.authority.script(Endpoint::Refresh, Step::body(status, "application/json", &body));
        for words in [&["-v", "refresh"][..], &["status"], &["doctor"]] {
            let ended = world.codex(words.iter().copied()).run();
            let shown = format!("{}{}", ended.out, ended.err);
            let control = shown.chars().any(|letter| letter.is_control() && letter != '\n');
            assert!(!control, "{status} {words:?}: {shown:?}");
            assert!(
                words[0] != "-v" || shown.contains("sorry") || shown.contains("odd"),
                "{status}: {shown}"
            );
        }
        world.authority.clear_script();
    }
}
