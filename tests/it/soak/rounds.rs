//! Rounds in which the token has expired for every process at once; in many of them the refreshing process is killed.

use codex_auth::Secret;
use scripted_authority::{Account, Outcome, Reuse, TokenState};
use serde_json::Value;

use super::{Random, Soak};
use crate::manager::crashes::{Left, STEPS};
use crate::manager::rounds::{ROUND, play};
use crate::manager::world::World;
use crate::support::{HelperProcess, Machine, here, role};

const PROCESSES: usize = 4;
/// The latest start within a round, in milliseconds.
const SPREAD: usize = 30;

/// The schedule of a round.
#[derive(Debug, PartialEq, Eq)]
struct Round {
    /// Tasks per process.
    tasks: usize,
    /// When each process starts, in milliseconds.
    starts: [usize; PROCESSES],
    /// The process that is killed if it refreshes, and the step at which it is.
    kill: Option<(usize, (&'static str, Left))>,
}

impl Round {
    fn draw(random: &mut Random) -> Self {
        let tasks = random.one_of(&[1, 1, 1, 8]);
        let mut starts = [0; PROCESSES].map(|_| random.below(SPREAD));
        let killed_process = random.below(PROCESSES);
        let step = random.one_of(&STEPS);
        let kill = (random.below(3) > 0).then_some((killed_process, step));
        // A process that starts first is most likely the one that refreshes.
        if kill.is_some() {
            starts[killed_process] = 0;
        }
        Self { tasks, starts, kill }
    }
}

fn start(test: &str, world: &World<'_>, kill: Option<&str>) -> HelperProcess {
    let failpoint = kill.map(|step| format!("CODEX_AUTH_FAILPOINT={step}=kill"));
    let way: Vec<&str> = ["env"].into_iter().chain(failpoint.as_deref()).collect();
    let mut actor = HelperProcess::start_through(&way, test, "process", &world.machine.home);
    actor.send(&world.authority.token_url());
    actor.await_word("ready");
    actor
}

#[test]
fn keeps_its_promises() {
    let test = here!();
    if role().is_some() {
        return play();
    }
    let mut soak = Soak::begin(&["torn", "foreign", "lost", "leftovers", "wrong requests", "wrong answers"]);
    let mut machine = Machine::with_file();
    let mut world = World::fresh(&mut machine);
    world.authority.adjust(|policy| policy.reuse = Reuse::RevokesFamily);
    let mut actors: Vec<_> = (0..PROCESSES).map(|_| start(test, &world, None)).collect();
    let mut number = 0;
    let mut usual = None;
    while soak.has_time() {
        number += 1;
        let round = Round::draw(&mut soak.random);
        let detail = || format!("round {number}, {round:?}");
        let passed = number * ROUND;
        world.authority.adjust(|policy| policy.clock_offset = passed);
        if let Some((killed_process, (step, _))) = round.kill {
            std::mem::replace(&mut actors[killed_process], start(test, &world, Some(step))).finish();
        }
        let (requests, refused) = (world.requests(), world.requests_with(Outcome::Refused));

        for (actor, start) in actors.iter_mut().zip(round.starts) {
            actor.send(&format!("{passed} {start} {}", round.tasks));
        }
        let answers: Vec<_> = actors.iter_mut().map(HelperProcess::next_word_or_end).collect();
        soak.count("rounds", 1);
        soak.count("operations", PROCESSES * round.tasks);

        let document = serde_json::from_str::<Value>(&world.machine.stored_text().unwrap_or_default());
        soak.hold("torn", document.is_ok(), detail);
        let tokens = document.unwrap_or_default()["tokens"].take();
        let token = |name: &str| tokens[name].as_str().unwrap_or_default().to_owned();
        let known = world.authority.state_of(&token("refresh_token")) != TokenState::Unknown;
        soak.hold("foreign", known, detail);

        let killed = round.kill.filter(|(killed_process, _)| answers[*killed_process].is_none());
        soak.count("kills", usize::from(killed.is_some()));
        // At this step alone a kill loses the token: it has arrived and is not on disk yet.
        if killed.is_some_and(|(_, (_, left))| left == Left::Lost) {
            soak.count("kills that lose the token, as they must", 1);
            world.grant = world.authority.grant(Account::numbered(1));
            world.sign_in(&world.grant);
        } else {
            let (requests, refused) =
                (world.requests() - requests, world.requests_with(Outcome::Refused) - refused);
            let access_token = Secret::from(token("access_token").as_str()).fingerprint().to_string();
            soak.hold("lost", Some(token("refresh_token")) == world.live_refresh_token(), detail);
            soak.hold("wrong requests", (requests, refused) == (1, 0), || {
                format!("{requests} requests, {refused} refused, {}", detail())
            });
            let right = answers.iter().enumerate().all(|(process, answer)| match answer {
                Some(answer) => *answer == access_token,
                None => killed.is_some_and(|(killed_process, _)| killed_process == process),
            });
            soak.hold("wrong answers", right, || format!("{answers:?}, {}", detail()));
            // A process killed after the commit leaves the rescue to the next refresh.
            if killed.is_none_or(|(_, (_, left))| left != Left::InStore) {
                let paths: Vec<_> = world.machine.home.tree().into_iter().map(|(path, ..)| path).collect();
                let usual = usual.get_or_insert_with(|| paths.clone());
                soak.hold("leftovers", paths == *usual, || format!("{paths:#?}, {}", detail()));
            }
        }
        // The next round chooses another process.
        if let Some((killed_process, _)) = round.kill {
            let armed = std::mem::replace(&mut actors[killed_process], start(test, &world, None));
            if killed.is_none() {
                armed.finish();
            }
        }
    }
    actors.into_iter().for_each(HelperProcess::finish);
    soak.finish();
}
