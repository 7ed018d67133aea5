//! What happens in a round of `publish`, drawn at random.

use std::time::Duration;

use super::Random;
use super::group::Group;
use crate::manager::crashes::{Left, STEPS};

/// The latest start within a round, in milliseconds.
const SPREAD: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// A process is killed at this step, if it refreshes.
    KilledAt(usize, (&'static str, Left)),
    /// A process is killed after this time.
    Killed(usize, Duration),
    KeeperKilled(usize, Duration),
    /// A process is stopped after the first time, for the second.
    Stopped(usize, Duration, Duration),
    Busy,
    Closed,
    Slow(Duration),
}

/// A program that refreshes without our lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    Codex,
    /// It commits so long after its response.
    AsCodex(Duration),
}

/// The schedule of a round.
#[derive(Clone, Debug)]
pub struct Round {
    pub other: Option<(usize, Other)>,
    pub trouble: Trouble,
    /// When each process asks, in milliseconds; `None` if it does not.
    pub starts: Vec<Option<usize>>,
    /// The login whose token `codex token` prints.
    pub printed: Option<usize>,
}

impl Round {
    pub fn draw(random: &mut Random, group: &Group) -> Self {
        let (actors, logins) = (group.actors.len(), group.logins.len());
        let millis = |random: &mut Random, end| Duration::from_millis(random.below(end).try_into().unwrap());
        let other = match random.below(64) {
            0 => Some(Other::Codex),
            1..6 => Some(Other::AsCodex(millis(random, SPREAD))),
            _ => None,
        };
        let other = other.map(|other| (random.below(logins), other));
        let actor = random.below(actors);
        let trouble = match random.below(64) {
            0..5 => Trouble::KilledAt(actor, random.one_of(&STEPS)),
            5..10 => Trouble::Killed(actor, millis(random, SPREAD)),
            10 => Trouble::KeeperKilled(random.below(group.keepers.len()), millis(random, SPREAD)),
            11..13 => {
                let time = random.one_of(&[50, 200, 1_000]);
                Trouble::Stopped(actor, millis(random, SPREAD), Duration::from_millis(time))
            }
            13 => Trouble::Busy,
            14 => Trouble::Closed,
            15 => Trouble::Slow(millis(random, 300)),
            _ => Trouble::None,
        };
        // All of them in some rounds; a few in most, which are done sooner.
        let asks = random.one_of(&[1, 4, 4, 4, 8, 8, 8, 8]);
        let mut starts: Vec<_> =
            (0..actors).map(|_| (random.below(asks) == 0).then(|| random.below(SPREAD))).collect();
        // At least two of each login: if one is killed, the answer of the other comes after the refresh.
        starts[..2 * logins].iter_mut().for_each(|start| *start = start.or(Some(0)));
        // The first process most likely refreshes.
        if let Trouble::KilledAt(actor, _) | Trouble::Killed(actor, _) | Trouble::Stopped(actor, ..) = trouble
        {
            starts[actor] = Some(0);
        }
        let printed = (random.below(16) == 0).then(|| random.below(logins));
        Self { other, trouble, starts, printed }
    }

    /// Whether the authority does not answer its first request.
    pub fn is_fault(&self) -> bool {
        matches!(self.trouble, Trouble::Busy | Trouble::Closed)
    }
}
