//! Reading a login touches no file of the history.

use std::fs;

use crate::why::world::World;

#[test]
fn a_fresh_token_is_printed_without_the_history() {
    let world = World::new();
    let folder = world.home.file("codex-auth/history");
    let before = world.home.tree();
    let trace = world.user.join("trace");
    for words in [&["token"][..], &["status"], &["log"], &["why"]] {
        let strace = ["strace", "-f", "-e", "trace=%file", "-o", trace.to_str().unwrap()];
        world.codex(words.iter().copied()).through(strace).run().expect(0);
        let calls = fs::read_to_string(&trace).unwrap();
        assert!(calls.contains("auth.json"), "{calls}");
        let touched = calls.lines().filter(|call| call.contains(folder.to_str().unwrap()));
        let is_read = ["log", "why"].contains(&words[0]);
        let wrong: Vec<_> =
            touched.filter(|call| !is_read || call.contains("O_WRONLY") || call.contains("O_RDWR")).collect();
        assert!(wrong.is_empty(), "{words:?}: {wrong:#?}");
    }
    assert_eq!(world.home.tree(), before);
}
