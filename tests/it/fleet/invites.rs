//! Invites with a real etcd: one join for each, and nothing in etcd that opens the key.

use std::time::Duration;

use codex_auth::Secret;
use codex_auth::fleet::membership::{
    Invite, MemberId, Membership, MembershipError, SecretPlace, Standing, invite, open_invite, redeem,
    roster, withdraw_member,
};
use codex_auth::fleet::{FleetKey, SharedStore};

use super::etcd::{self, Etcd, URL};
use super::{put, with_network};

const TTL: Duration = Duration::from_secs(60);

fn founder() -> Membership {
    Membership {
        fleet: "work".parse().unwrap(),
        member: "laptop".parse().unwrap(),
        id: MemberId::random().unwrap(),
        endpoints: vec![URL.parse().unwrap()],
        ca: None,
        user: None,
        secrets: SecretPlace::File,
        epoch: 3,
        standing: Standing::Active,
    }
}

async fn invited(store: &SharedStore, key: &FleetKey) -> Invite {
    let line = invite(store, &founder(), key, TTL).await.unwrap().to_line();
    Invite::parse(&Secret::from(line.expose())).unwrap()
}

#[test]
fn of_two_hosts_that_redeem_one_invite_exactly_one_gets_the_key() {
    with_network("fleet::invites::of_two_hosts_that_redeem_one_invite_exactly_one_gets_the_key", || async {
        let _etcd = Etcd::start();
        let store = etcd::store();
        let key = FleetKey::random(3).unwrap();
        for round in 0..5 {
            let invite = invited(&store, &key).await;
            assert_eq!(open_invite(&store, &invite).await.unwrap().to_secret(), key.to_secret());
            let names = [format!("a{round}"), format!("b{round}")].map(|name| name.parse().unwrap());
            let [a, b] = [(); 2].map(|()| MemberId::random().unwrap());
            let (one, other) =
                tokio::join!(redeem(&store, &invite, &names[0], a), redeem(&store, &invite, &names[1], b));
            let (won, lost) = if one.is_ok() { (one, other) } else { (other, one) };
            assert_eq!(won.unwrap().key.to_secret(), key.to_secret());
            assert!(matches!(lost, Err(MembershipError::InviteEnded)), "{lost:?}");
            assert!(matches!(open_invite(&store, &invite).await, Err(MembershipError::InviteEnded)));
        }
        assert_eq!(roster(&store, &founder().fleet).await.unwrap().len(), 5);
    });
}

#[test]
fn an_invite_is_not_used_up_by_a_host_whose_name_is_taken() {
    with_network("fleet::invites::an_invite_is_not_used_up_by_a_host_whose_name_is_taken", || async {
        let _etcd = Etcd::start();
        let store = etcd::store();
        let (key, member) = (FleetKey::random(3).unwrap(), "build".parse().unwrap());
        let [first, second] = [(); 2].map(|()| MemberId::random().unwrap());
        redeem(&store, &invited(&store, &key).await, &member, first).await.unwrap();
        let invite = invited(&store, &key).await;
        let taken = redeem(&store, &invite, &member, second).await;
        assert!(matches!(taken, Err(MembershipError::NameTaken { .. })), "{taken:?}");
        // The host itself joins again, with a new key.
        redeem(&store, &invite, &member, first).await.unwrap();
        let membership = Membership { member: member.clone(), id: second, ..founder() };
        withdraw_member(&store, &membership).await.unwrap();
        assert_eq!(
            roster(&store, &membership.fleet).await.unwrap().len(),
            1,
            "the entry of another host stays"
        );
        withdraw_member(&store, &Membership { id: first, ..membership }).await.unwrap();
        assert!(roster(&store, &founder().fleet).await.unwrap().is_empty());
    });
}

#[test]
fn an_invite_ends_with_its_time_and_one_that_was_changed_in_etcd_opens_nothing() {
    let name = "fleet::invites::an_invite_ends_with_its_time_and_one_that_was_changed_in_etcd_opens_nothing";
    with_network(name, || async {
        let etcd = Etcd::start();
        let store = etcd::store();
        let key = FleetKey::random(3).unwrap();
        let old = invite(&store, &founder(), &key, Duration::from_secs(1)).await.unwrap();
        while etcd.ctl(&["get", "--prefix", "/codex-auth/work/invite/", "--keys-only"]).contains("invite") {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let (member, id) = ("build".parse().unwrap(), MemberId::random().unwrap());
        let ended = redeem(&store, &old, &member, id).await;
        assert!(matches!(ended, Err(MembershipError::InviteEnded)), "{ended:?}");

        let changed = invited(&store, &key).await;
        let listed = etcd.ctl(&["get", "--prefix", "/codex-auth/work/invite/", "--keys-only"]);
        store
            .commit(&[], &[put(listed.trim(), "codex-auth invite 1\nanything that is long enough")])
            .await
            .unwrap();
        let outcome = redeem(&store, &changed, &member, id).await;
        assert!(matches!(outcome, Err(MembershipError::InviteChanged)), "{outcome:?}");
        assert!(roster(&store, &founder().fleet).await.unwrap().is_empty());
    });
}
