//! Records: which changes are allowed, and what is refused when it is read.

use std::fs;

use codex_auth::fleet::{
    CopyError, FleetKey, FleetKeys, FleetPoison, IntentId, InvalidRecord, MemberName, RecordCopy,
    RefusedChange, SealedRecord, SharedRecord, SpendAttempt,
};
use codex_auth::{AuthDocument, Fingerprint, Secret};

use crate::support::chatgpt;

fn document(refresh_token: &str) -> AuthDocument {
    AuthDocument::parse(chatgpt("ada", refresh_token, 0, 4_000_000_000).as_bytes()).unwrap()
}

fn first() -> SharedRecord {
    SharedRecord::first("login-1", document("rt-marked-0")).unwrap()
}

fn member(name: &str) -> MemberName {
    name.parse().unwrap()
}

fn id() -> IntentId {
    IntentId::random().unwrap()
}

fn generation(record: &SharedRecord) -> u64 {
    record.order().generation
}

fn claim(record: &SharedRecord, name: &str) -> Result<(SharedRecord, IntentId), RefusedChange> {
    let id = id();
    record.claimed(&member(name), id, generation(record)).map(|record| (record, id))
}

/// A record whose second attempt is announced by `b`.
fn second() -> (SharedRecord, IntentId, IntentId) {
    let (claimed, former) = claim(&first(), "a").unwrap();
    let id = id();
    (claimed.succeeded(&member("b"), id).unwrap(), former, id)
}

#[test]
fn a_rotation_claims_and_commits() {
    let (claimed, id) = claim(&first(), "a").unwrap();
    assert_eq!(claimed.intent().unwrap().spends, Fingerprint::of("rt-marked-0"));
    assert_eq!(claim(&claimed, "b").unwrap_err(), RefusedChange::Claimed);
    let next = claimed.committed(id, document("rt-marked-1")).unwrap();
    assert_eq!(next.document().fingerprint(), Some(Fingerprint::of("rt-marked-1")));
    assert!(next.has_spent(Fingerprint::of("rt-marked-0")) && next.intent().is_none());
    assert!(next.order() > claimed.order() && claimed.order() > first().order());
    assert_eq!((generation(&claimed), generation(&next)), (1, 2));
    assert_eq!(next.committed(id, document("rt-marked-2")).unwrap_err(), RefusedChange::NoIntent);
}

#[test]
fn a_claim_for_an_older_token_is_refused() {
    let (claimed, id) = claim(&first(), "a").unwrap();
    let next = claimed.committed(id, document("rt-marked-1")).unwrap();
    let late = next.claimed(&member("b"), IntentId::random().unwrap(), 1);
    assert_eq!(late.unwrap_err(), RefusedChange::NewerToken);
}

#[test]
fn a_spent_token_is_neither_claimed_nor_committed() {
    let (claimed, id) = claim(&first(), "a").unwrap();
    assert_eq!(claimed.committed(id, document("rt-marked-0")).unwrap_err(), RefusedChange::Spent);
    let next = claimed.committed(id, document("rt-marked-1")).unwrap();
    // As a hostile etcd, or a damaged restore, would have it.
    let back = String::from_utf8(next.to_json().to_vec()).unwrap().replace("rt-marked-1", "rt-marked-0");
    let back = SharedRecord::parse(back.as_bytes()).unwrap();
    assert_eq!(claim(&back, "a").unwrap_err(), RefusedChange::Spent);
}

#[test]
fn sixteen_spent_tokens_are_remembered() {
    let mut record = first();
    for number in 1..=20 {
        let (claimed, id) = claim(&record, "a").unwrap();
        record = claimed.committed(id, document(&format!("rt-marked-{number}"))).unwrap();
    }
    let spent = |number| record.has_spent(Fingerprint::of(&format!("rt-marked-{number}")));
    assert_eq!((0..=20).filter(|number| spent(*number)).collect::<Vec<_>>(), (4..20).collect::<Vec<_>>());
}

#[test]
fn withdrawing_the_second_attempt_leaves_the_first_announced() {
    let (record, former, second) = second();
    let SpendAttempt::Second { former: kept } = &record.intent().unwrap().attempt else {
        panic!("{record:?}")
    };
    assert_eq!(kept.id, former);
    assert_eq!(record.withdrawn(former).unwrap_err(), RefusedChange::NoIntent);
    let withdrawn = record.withdrawn(second).unwrap();
    assert_eq!(withdrawn.intent().unwrap().id, former);
    assert!(withdrawn.order() > record.order());
    assert!(withdrawn.withdrawn(former).unwrap().intent().is_none());
}

#[test]
fn there_is_no_third_attempt() {
    let (record, _, _) = second();
    assert_eq!(record.succeeded(&member("c"), id()).unwrap_err(), RefusedChange::Spent);
    let lost = record.lost().unwrap();
    assert_eq!((lost.poison(), lost.intent()), (Some(FleetPoison::Lost), None));
    assert_eq!(claim(&lost, "c").unwrap_err(), RefusedChange::Poisoned);
    let (claimed, _) = claim(&first(), "a").unwrap();
    assert_eq!(claimed.lost().unwrap_err(), RefusedChange::NoIntent);
}

#[test]
fn a_refusal_that_is_not_final_is_confirmed_by_another_member() {
    let (claimed, former) = claim(&first(), "a").unwrap();
    let refused = claimed.refused(former, false).unwrap();
    assert_eq!(refused.poison(), None);
    assert_eq!(refused.withdrawn(former).unwrap_err(), RefusedChange::NoIntent);
    assert_eq!(refused.succeeded(&member("a"), id()).unwrap_err(), RefusedChange::SameMember);
    let second = id();
    let confirmed = refused.succeeded(&member("b"), second).unwrap().refused(second, false).unwrap();
    assert_eq!(confirmed.poison(), Some(FleetPoison::Refused));
    assert_eq!(claimed.refused(former, true).unwrap().poison(), Some(FleetPoison::Refused));
}

#[test]
fn a_refusal_that_nobody_may_confirm_loses_the_login() {
    let (record, _, second) = second();
    assert_eq!(record.refused(second, false).unwrap().poison(), Some(FleetPoison::Lost));
    assert_eq!(record.refused(second, true).unwrap().poison(), Some(FleetPoison::Refused));
}

#[test]
fn a_late_response_heals_a_poisoned_record() {
    let (record, _, _) = second();
    let child = Fingerprint::of("rt-marked-1");
    assert_eq!(first().presented(&member("a"), id(), child).unwrap_err(), RefusedChange::NotPoisoned);
    let lost = record.lost().unwrap();
    let own = lost.presented(&member("a"), id(), Fingerprint::of("rt-marked-0"));
    assert_eq!(own.unwrap_err(), RefusedChange::Spent);
    let third = id();
    let presented = lost.presented(&member("a"), third, child).unwrap();
    // No other member has the child, so none succeeds.
    assert_eq!(presented.succeeded(&member("b"), id()).unwrap_err(), RefusedChange::Spent);
    assert_eq!(presented.refused(third, true).unwrap().poison(), Some(FleetPoison::Lost));
    let healed = presented.committed(third, document("rt-marked-2")).unwrap();
    assert_eq!((healed.poison(), generation(&healed)), (None, 2));
    assert!(healed.has_spent(child) && healed.has_spent(Fingerprint::of("rt-marked-0")));
}

#[test]
fn a_login_replaces_everything_and_a_logout_ends_it() {
    let (record, _, second) = second();
    let out = record.logged_out();
    assert!(out.is_logged_out() && out.intent().is_none() && generation(&out) == 2);
    assert_eq!(claim(&out, "a").unwrap_err(), RefusedChange::LoggedOut);
    assert_eq!(out.committed(second, document("rt-marked-1")).unwrap_err(), RefusedChange::NoIntent);
    let again = out.logged_in("login-2", document("rt-marked-9")).unwrap();
    assert!(!again.is_logged_out() && again.order() > out.order());
    assert_eq!((again.login_id(), generation(&again)), ("login-2", 3));
    assert!(claim(&again, "a").is_ok());
}

#[test]
fn a_new_key_is_a_claim() {
    let (claimed, _) = claim(&first(), "a").unwrap();
    assert_eq!(claimed.rekeyed(&member("a"), id()).unwrap_err(), RefusedChange::Claimed);
    let rekeyed = first().rekeyed(&member("a"), id()).unwrap();
    assert_eq!((rekeyed.order().epoch, generation(&rekeyed)), (2, 1));
    assert!(rekeyed.intent().is_some());
}

#[test]
fn only_a_login_with_a_refresh_token_is_shared() {
    let key = AuthDocument::with_api_key(&Secret::from("sk-marked"));
    assert_eq!(SharedRecord::first("login-1", key).unwrap_err(), InvalidRecord::NoRefreshToken);
    assert!(SharedRecord::first("", document("rt-marked-0")).is_err());
    for name in ["", "a b", "a/b", "ü", &"a".repeat(65)] {
        assert_eq!(name.parse::<MemberName>().unwrap_err(), InvalidRecord::Name);
    }
}

#[test]
fn a_sealed_record_shows_nothing_and_opens_with_its_key_only() {
    let key = FleetKey::random(1).unwrap();
    let sealed = SealedRecord::seal(first(), &key, "fleet").unwrap();
    let bytes = sealed.bytes().to_vec();
    assert!(!String::from_utf8_lossy(&bytes).contains("marked"));
    assert_ne!(SealedRecord::seal(first(), &key, "fleet").unwrap().bytes(), bytes);

    let again = FleetKey::from_secret(&key.to_secret()).unwrap();
    let opened = SealedRecord::open(bytes.clone(), &again, "fleet").unwrap();
    assert_eq!(opened.record().to_json(), first().to_json());

    let open = |bytes: &[u8], key: &FleetKey, fleet: &str| {
        SealedRecord::open(bytes.to_vec(), key, fleet).unwrap_err()
    };
    assert_eq!(open(&bytes, &FleetKey::random(1).unwrap(), "fleet"), InvalidRecord::WrongKey);
    assert_eq!(open(&bytes, &key, "other"), InvalidRecord::WrongKey);
    let other = InvalidRecord::OtherEpoch { sealed: 1, key: 2 };
    assert_eq!(open(&bytes, &FleetKey::random(2).unwrap(), "fleet"), other);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        open(&changed, &key, "fleet");
        open(&bytes[..at], &key, "fleet");
    }
    assert!(!format!("{key:?} {opened:?}").contains("marked"), "{key:?} {opened:?}");
}

#[test]
fn a_key_that_is_none_is_refused() {
    for text in ["", "1", "1:", ":AAAA", "x:AAAA", "1:not base64", "1:AAAA"] {
        assert_eq!(
            FleetKey::from_secret(&Secret::from(text)).unwrap_err(),
            InvalidRecord::WrongKey,
            "{text}"
        );
    }
}

#[test]
fn the_copy_on_the_disk_never_becomes_older() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record");
    let key = FleetKey::random(1).unwrap();
    let keys = FleetKeys::new("fleet", key);
    let seal = |record: &SharedRecord| keys.seal(record.clone()).unwrap();
    let mut copy = RecordCopy::load(&path, &keys).unwrap();
    assert!(copy.newest().is_none());
    let (claimed, id) = claim(&first(), "a").unwrap();
    copy.save(seal(&claimed)).unwrap();
    assert!(matches!(copy.save(seal(&first())), Err(CopyError::Older)));
    let next = claimed.committed(id, document("rt-marked-1")).unwrap();
    copy.save(seal(&next)).unwrap();
    let loaded = RecordCopy::load(&path, &keys).unwrap();
    assert_eq!(loaded.newest().unwrap().bytes(), copy.newest().unwrap().bytes());
    assert!(!String::from_utf8_lossy(&fs::read(&path).unwrap()).contains("marked"));

    let other = FleetKeys::new("fleet", FleetKey::random(1).unwrap());
    let error = RecordCopy::load(&path, &other).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}
