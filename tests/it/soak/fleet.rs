//! Five hosts that follow one login through a real etcd, while they, etcd and the authority fail.

use std::time::{Duration, Instant};

use codex_auth::fleet::{Member, MemberError};
use scripted_authority::{Endpoint, Grant, Step};

use super::{Random, Soak};
use crate::fleet::host_process::{HostProcess, Task, performed};
use crate::fleet::hosts::{Fleet, TIMINGS, generation};
use crate::fleet::with_network;
use crate::support::{HelperProcess, here};

const NO_REUSE: &str = "a token was used twice";
const KEPT: &str = "a login was lost";
const FAILOVER: &str = "another refresher came later than two seconds after the lease";

const HOSTS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// The lifetime of access tokens in seconds; half of it is left when they are refreshed.
const LIFETIME: i64 = 6;

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    HostKilled,
    RefresherKilled,
    /// Beyond the lease, and not until a successor acts.
    RefresherStopped,
    /// Until a successor has acted.
    RefresherStoppedLong,
    EtcdKilled,
    EtcdStopped,
    EtcdRestored,
    AuthoritySlow,
    AuthorityBusy,
}

impl Fault {
    const ALL: [Self; 10] = [
        Self::Nothing,
        Self::HostKilled,
        Self::RefresherKilled,
        Self::RefresherStopped,
        Self::RefresherStoppedLong,
        Self::EtcdKilled,
        Self::EtcdStopped,
        Self::EtcdRestored,
        Self::AuthoritySlow,
        Self::AuthorityBusy,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "rotations without a fault",
            Self::HostKilled => "a host killed",
            Self::RefresherKilled => "the refresher killed",
            Self::RefresherStopped => "the refresher stopped beyond its lease",
            Self::RefresherStoppedLong => "the refresher stopped until another has acted",
            Self::EtcdKilled => "etcd killed",
            Self::EtcdStopped => "etcd stopped",
            Self::EtcdRestored => "etcd restored from a backup",
            Self::AuthoritySlow => "a slow server",
            Self::AuthorityBusy => "a busy server",
        }
    }

    /// Whether it may lose a response, or keep it from the record until the access token has ended.
    fn is_exception(self) -> bool {
        matches!(self, Self::HostKilled | Self::RefresherKilled | Self::RefresherStoppedLong)
    }
}

/// The hosts, and what they have reported.
struct World {
    fleet: Fleet,
    test: &'static str,
    hosts: Vec<HelperProcess>,
    backup: Option<String>,
    /// How much later than the first host each host had a new token, in milliseconds.
    delays: Vec<i64>,
    failovers: Vec<Duration>,
}

impl World {
    fn start_host(&self, index: usize) -> HelperProcess {
        HostProcess::of(&self.fleet, HOSTS[index], Task::Follow).started(self.test, "A=a")
    }

    /// The index of the refresher.
    async fn refresher(&self) -> Option<(usize, String)> {
        let leader = Member::read(&self.fleet.parts("x")).await.ok()?.leader?.to_string();
        HOSTS.iter().position(|name| *name == leader).map(|index| (index, leader))
    }

    /// Waits until every host has generation `least`.
    fn until(&mut self, least: u64) {
        let mut first = i64::MAX;
        let mut times = Vec::new();
        for (name, host) in HOSTS.iter().zip(&mut self.hosts) {
            loop {
                let Some(word) = host.next_word_or_end() else { panic!("{name} ended") };
                let (generation, ms) = word.split_once(' ').unwrap_or_else(|| panic!("{word}"));
                if generation.parse::<u64>().unwrap() >= least {
                    let ms = ms.parse().unwrap();
                    first = first.min(ms);
                    times.push(ms);
                    break;
                }
            }
        }
        self.delays.extend(times.into_iter().map(|ms: i64| ms - first));
    }

    async fn strike(&mut self, fault: Fault, random: &mut Random) {
        match fault {
            Fault::Nothing => {}
            Fault::HostKilled => {
                let index = random.below(HOSTS.len());
                self.hosts[index] = self.start_host(index);
            }
            Fault::RefresherKilled => {
                let Some((index, former)) = self.refresher().await else { return };
                self.hosts[index].signal("-KILL");
                let began = Instant::now();
                while self.refresher().await.is_none_or(|(_, now)| now == former) {
                    assert!(began.elapsed() < Duration::from_secs(60), "no other refresher");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                self.failovers.push(began.elapsed());
                self.hosts[index] = self.start_host(index);
            }
            Fault::RefresherStopped | Fault::RefresherStoppedLong => {
                let Some((index, _)) = self.refresher().await else { return };
                let wait = TIMINGS.lease + TIMINGS.request + TIMINGS.margin;
                let is_long = fault == Fault::RefresherStoppedLong;
                let time = if is_long { wait * 2 } else { TIMINGS.lease + Duration::from_secs(1) };
                self.hosts[index].signal("-STOP");
                tokio::time::sleep(time).await;
                self.hosts[index].signal("-CONT");
            }
            Fault::EtcdKilled => self.fleet.etcd.restart(),
            Fault::EtcdStopped => {
                self.fleet.etcd.suspend();
                tokio::time::sleep(Duration::from_secs(1 + random.below(7) as u64)).await;
                self.fleet.etcd.resume();
            }
            Fault::EtcdRestored => {
                if let Some(backup) = self.backup.take() {
                    self.fleet.etcd.restore(&backup);
                }
            }
            Fault::AuthoritySlow => {
                let step = Step::default().delayed(TIMINGS.request / 2);
                self.fleet.authority.script(Endpoint::Refresh, step);
            }
            Fault::AuthorityBusy => {
                self.fleet.authority.script(Endpoint::Refresh, Step::status(503, "busy"));
            }
        }
        if self.backup.is_none() {
            self.backup = Some(self.fleet.etcd.back_up());
        }
    }

    /// The generation of the record, or the new one after a login, if the old login is lost.
    async fn generation(&self, grant: &mut Grant) -> (u64, bool) {
        let user = self.fleet.open("user").await;
        let state = loop {
            match user.recover().await {
                Err(MemberError::Restored | MemberError::Etcd(_)) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                state => break state.unwrap(),
            }
        };
        let is_lost = state.record.as_ref().unwrap().poison().is_some();
        if is_lost {
            *grant = self.fleet.log_in(&user).await;
        }
        (generation(&user.state()), is_lost)
    }
}

#[test]
fn keeps_its_promises() {
    let test = here!();
    if performed() {
        return;
    }
    with_network(test, async || {
        let mut soak = Soak::begin(&[NO_REUSE, KEPT, FAILOVER]);
        let fleet = Fleet::start();
        fleet.authority.adjust(|policy| policy.access_lifetime = LIFETIME);
        let mut grant = fleet.log_in(&fleet.open("user").await).await;
        let (hosts, backup) = (Vec::new(), None);
        let mut world = World { fleet, test, hosts, backup, delays: Vec::new(), failovers: Vec::new() };
        world.hosts = (0..HOSTS.len()).map(|index| world.start_host(index)).collect();
        world.until(1);
        world.delays.clear();
        let (mut reuses, mut lost) = (0, 0);
        while soak.has_time() {
            let fault = soak.random.one_of(&Fault::ALL);
            world.strike(fault, &mut soak.random).await;
            soak.count(fault.name(), 1);
            // A second look: the outcome of an attempt may be known only when the access token has ended.
            for _ in 0..2 {
                let (generation, is_lost) = world.generation(&mut grant).await;
                lost += usize::from(is_lost);
                soak.hold(KEPT, !is_lost || fault.is_exception(), || format!("after {fault:?}"));
                let next = if is_lost { generation } else { generation + 1 };
                world.until(next);
            }
            let now = world.fleet.reuses();
            soak.hold(NO_REUSE, now == reuses || fault.is_exception(), || format!("after {fault:?}"));
            soak.count("used twice: the response was lost or kept in a stopped process", now - reuses);
            reuses = now;
        }
        world.delays.sort_unstable();
        let median = world.delays.get(world.delays.len() / 2).copied().unwrap_or_default();
        let longest = world.failovers.iter().max().copied().unwrap_or_default();
        soak.hold(FAILOVER, longest <= TIMINGS.lease + Duration::from_secs(2), || format!("{longest:?}"));
        println!("new token on every host: median {median} ms; longest failover {longest:?}");
        soak.count("rotations", usize::try_from(world.fleet.refreshes()).unwrap());
        soak.count("logins lost with a killed or stopped process", lost);
        world.fleet.assert_sealed();
        soak.finish();
    });
}
