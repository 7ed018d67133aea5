//! An unmodified Codex in its own mount, process, user and network namespaces, with an export and nothing else.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use scripted_authority::{Endpoint, Step};

use super::codex::{codex_0169, codex_0171};
use super::container::{
    CLOSED, Container, assert_not_in_files, holders, secrets, thread, turn, unique_parts,
};
use super::shared_daemon::Terminal;
use crate::keeper::exports::{await_export, export, exported_token, folder};
use crate::keeper::process::Process;
use crate::keeper::socket::{get, response_to};
use crate::manager::world::World;
use crate::support::{Machine, eventually, names, now};

/// Defines the tests of each promise: one for each version.
macro_rules! versions {
    ($($promise:ident),+ $(,)?) => {
        versions!(in codex_0_169, codex_0169, [$($promise),+]);
        versions!(in codex_0_171, codex_0171, [$($promise),+]);
    };
    (in $version:ident, $program:ident, [$($promise:ident),+]) => {
        mod $version {
            $(
                #[test]
                fn $promise() {
                    super::$promise(&super::$program());
                }
            )+
        }
    };
}

versions!(
    rotations_are_adopted_and_no_other_token_is_inside,
    a_token_in_its_last_five_minutes_is_replaced_without_a_request,
    a_refused_token_ends_in_a_clear_error_and_harms_nothing_at_home,
    commands_about_the_login_change_nothing_at_home,
    a_keeper_that_is_killed_and_restarted_goes_unnoticed,
    without_a_keeper_the_end_of_the_token_is_a_clear_error,
    a_terminal_answers_and_leaves_no_daemon,
);

const ROTATIONS: usize = 10;
/// The lifetime of a token, in seconds: Codex refreshes in the last five minutes, and the keeper half-way.
const LIFETIME: i64 = 660;

fn rotations_are_adopted_and_no_other_token_is_inside(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::with_policy(&mut machine, |policy| policy.access_lifetime = LIFETIME);
    let _keeper = Process::of(&world);
    let folder = folder(&world, "export");
    export(&world, &folder, &[]);
    let container = Container::new(codex, folder);
    let mut client = container.app_server();
    let conversation = thread(&mut client);
    let mut before = 0;
    for rotation in 0..=ROTATIONS {
        if rotation > 0 {
            world.codex(["refresh"]).run().expect(0);
        }
        await_export(&world, &container.export);
        let token = world.stored_token("access_token");
        // The model refuses every older token.
        container.provider().accept_only(&[&token]);
        let (status, error) = turn(&mut client, &conversation);
        assert_eq!(status, "completed", "rotation {rotation}: {error}");
        let bearers = container.provider().bearers();
        assert!(bearers.len() > before && bearers.last() == Some(&token), "rotation {rotation}");
        before = bearers.len();
        let secrets = secrets(&world);
        assert_eq!(holders(client.pid(), &secrets), Vec::<String>::new(), "rotation {rotation}");
        assert_not_in_files(&container, &secrets);
    }
    // The search finds the token that is inside.
    let inside = unique_parts(&world.stored_token("access_token"));
    assert_ne!(holders(client.pid(), &inside[1..]), Vec::<String>::new());
    assert_eq!(world.requests(), ROTATIONS as u64, "only `codex refresh` has sent requests");
    assert_eq!(world.authority.counters().of(Endpoint::Revoke), 0);
}

/// The clock of Codex cannot be moved, so its token is moved into the last five minutes instead.
fn a_token_in_its_last_five_minutes_is_replaced_without_a_request(codex: &Path) {
    let mut machine = Machine::with_file();
    let mut world = World::empty(&mut machine);
    world.authority.adjust(|policy| policy.access_lifetime = LIFETIME);
    let account = world.grant.account.clone();
    world.log_in_as(account, 303);
    let folder = folder(&world, "export");
    export(&world, &folder, &[]);
    let old = world.stored_token("access_token");
    // Half of its lifetime is over, so the keeper replaces it at once; until then there is none.
    let container = Container::new(codex, folder);
    let hold = world.authority.hold(Endpoint::Refresh, scripted_authority::Moment::Before);
    let _keeper = Process::of(&world);
    hold.arrived(crate::manager::world::TEST_TIMEOUT).unwrap();
    eventually("the old token", || exported_token(&container.export).as_ref() == Some(&old));
    let mut client = container.app_server();
    assert_eq!(client.token(), Some(old.clone()));
    let conversation = thread(&mut client);
    assert_eq!(turn(&mut client, &conversation).0, "completed");
    hold.release();
    eventually("the refresh", || world.stored_token("access_token") != old);
    await_export(&world, &container.export);
    // Until the old token is in its last five minutes, Codex may use it.
    let token = world.stored_token("access_token");
    eventually("the new token to be used", || {
        assert_eq!(turn(&mut client, &conversation).0, "completed");
        container.provider().bearers().last() == Some(&token)
    });
    assert_eq!(client.token(), Some(world.stored_token("access_token")));
    assert_eq!(world.requests(), 1);
}

fn a_refused_token_ends_in_a_clear_error_and_harms_nothing_at_home(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let keeper = Process::of(&world);
    let folder = folder(&world, "export");
    export(&world, &folder, &[]);
    let container = Container::new(codex, folder);
    let before = world.machine.stored_text();
    container.provider().accept_only(&[]);
    let ended = container.exec();
    assert_ne!(ended.code, Some(0), "{ended}");
    assert!(ended.err.contains(CLOSED), "{ended}");
    let mut client = container.app_server();
    let conversation = thread(&mut client);
    let (status, error) = turn(&mut client, &conversation);
    assert!(status == "failed" && error.contains(CLOSED), "{status}: {error}");
    assert_eq!((world.machine.stored_text(), world.authority.journal().len()), (before, 0));
    // The next rotation heals it, without a restart.
    world.codex(["refresh"]).run().expect(0);
    await_export(&world, &container.export);
    container.provider().accept_only(&[&world.stored_token("access_token")]);
    let (status, error) = turn(&mut client, &conversation);
    assert_eq!(status, "completed", "{error}");
    // Without a keeper the token works until it ends.
    keeper.signal("-KILL");
    assert_eq!(keeper.wait().0, None);
    assert_eq!(turn(&mut client, &conversation).0, "completed");
    assert_eq!(container.exec().expect(0).out, "pong\n");
}

fn commands_about_the_login_change_nothing_at_home(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let _keeper = Process::of(&world);
    let folder = folder(&world, "export");
    export(&world, &folder, &[]);
    let container = Container::new(codex, folder);
    let before = world.machine.stored_text();
    let status = container.codex(["login", "status"]).run().expect(0);
    assert_eq!(status.err, "Logged in using ChatGPT\n");
    for (words, input) in [(&["logout"][..], ""), (&["login", "--with-api-key"], "sk-1")] {
        let ended = container.codex(words.iter().copied()).input(input).run().expect(1);
        assert!(ended.err.contains("Read-only file system"), "{ended}");
    }
    assert_eq!(world.machine.stored_text(), before);
    assert_eq!(world.authority.journal().len(), 0, "{:#?}", world.authority.journal());
    assert_eq!(exported_token(&container.export), Some(world.stored_token("access_token")));
    assert_eq!(container.exec().expect(0).out, "pong\n");
}

fn a_keeper_that_is_killed_and_restarted_goes_unnoticed(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut keeper = Process::of(&world);
    let folder = folder(&world, "export");
    export(&world, &folder, &[]);
    let container = Container::new(codex, folder);
    let mut client = container.app_server();
    let conversation = thread(&mut client);
    let socket = container.export.join("sock");
    for _ in 0..3 {
        keeper.signal("-KILL");
        assert_eq!(keeper.wait().0, None);
        assert_eq!(turn(&mut client, &conversation).0, "completed");
        let restarted = Instant::now();
        keeper = Process::start(world.codex(["sync", "run"]));
        let served = || {
            UnixStream::connect(&socket).is_ok() && response_to(&socket, &get("/v1/token")).contains("200 OK")
        };
        eventually("the socket", served);
        println!("tokens again {:.0?} after the start of the next keeper", restarted.elapsed());
        world.codex(["refresh"]).run().expect(0);
        await_export(&world, &container.export);
        container.provider().accept_only(&[&world.stored_token("access_token")]);
        assert_eq!(turn(&mut client, &conversation), ("completed".to_owned(), "null".to_owned()));
    }
}

fn without_a_keeper_the_end_of_the_token_is_a_clear_error(codex: &Path) {
    let mut machine = Machine::with_file();
    let mut world = World::empty(&mut machine);
    // The keeper serves the old token while it cannot refresh.
    world.authority.script_always(Endpoint::Refresh, Step::status(503, "busy"));
    let account = world.grant.account.clone();
    world.log_in_as(account, 15);
    let end = now() + 15;
    let keeper = Process::of(&world);
    let folder = folder(&world, "export");
    export(&world, &folder, &[]);
    await_export(&world, &folder);
    keeper.signal("-KILL");
    assert_eq!(keeper.wait().0, None);
    let container = Container::new(codex, folder);
    eventually("the end of the token", || now() > end);
    let (before, requests) = (world.machine.stored_text(), world.authority.journal().len());
    container.provider().accept_only(&[]);
    let ended = container.exec();
    assert!(ended.code != Some(0) && ended.err.contains(CLOSED), "{ended}");
    assert_eq!((world.machine.stored_text(), world.authority.journal().len()), (before, requests));
    world.authority.clear_script();
    eventually("a refresh at home", || world.codex(["refresh"]).run().code == Some(0));
}

fn a_terminal_answers_and_leaves_no_daemon(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let _keeper = Process::of(&world);
    let folder = folder(&world, "export");
    export(&world, &folder, &[]);
    await_export(&world, &folder);
    let container = Container::new(codex, folder);
    let config = container.home.read(".codex/config.toml");
    let trust = "[projects.\"/home/agent\"]\ntrust_level = \"trusted\"\n";
    container.home.write(".codex/config.toml", container.provider().config() + trust + &config);
    let terminal = Terminal::start(container.codex([]), &container.home.beside("terminal"));
    for _ in 0..2 {
        let before = container.provider().bearers().len();
        terminal.enter("ping", || container.provider().bearers().len() > before);
        eventually("the turn to end", || terminal.shows_the_answer_to("ping"));
        assert_eq!(container.provider().bearers().last(), Some(&world.stored_token("access_token")));
        world.codex(["refresh"]).run().expect(0);
        await_export(&world, &container.export);
        container.provider().accept_only(&[&world.stored_token("access_token")]);
    }
    let names = names(&container.home.file(".codex"));
    assert!(!names.iter().any(|name| name.contains("daemon") || name == "packages"), "{names:?}");
    assert_eq!(world.requests(), 2, "only `codex refresh` has sent requests");
}
