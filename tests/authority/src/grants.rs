//! The states of tokens: a state machine without clock, network or randomness.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::policy::{AccessLife, Policy, Reuse, Revocation, Rotation};

/// An account. An empty field is omitted from the claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Account {
    /// The workspace, `chatgpt_account_id`.
    pub account_id: String,
    /// The user, `chatgpt_user_id`.
    pub user_id: String,
    /// The e-mail address in the id token.
    pub email: String,
    /// The plan, `chatgpt_plan_type`.
    pub plan: String,
}

impl Account {
    /// Returns account number N: `acct-N`, `user-N`, `personN@example.com`, plan `plus`.
    pub fn numbered(number: u32) -> Self {
        Self {
            account_id: format!("acct-{number}"),
            user_id: format!("user-{number}"),
            email: format!("person{number}@example.com"),
            plan: "plus".to_owned(),
        }
    }
}

impl Default for Account {
    fn default() -> Self {
        Self::numbered(1)
    }
}

/// The id of one login; all tokens that descend from it are of this grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId(pub u64);

/// The state of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// It has expired.
    Expired,
    /// It is valid.
    Live,
    /// It was revoked: on request, by the reuse of another token of its grant, or by the test.
    Revoked,
    /// It was spent and has a successor.
    Spent,
    /// It was never issued here.
    Unknown,
}

/// Which tokens a test ends, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The access tokens are revoked; the refresh token stays valid.
    AccessInvalidated,
    /// The refresh token expires.
    RefreshExpired,
    /// The refresh token is revoked; access tokens stay valid.
    RefreshInvalidated,
    /// All tokens of the grant are revoked.
    WholeGrant,
}

/// The access and refresh token of one response, and their expiry.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) access: String,
    pub(crate) access_until: i64,
    pub(crate) refresh: Option<String>,
    pub(crate) refresh_until: i64,
}

#[derive(Debug)]
struct Grant {
    account: Account,
    client_id: String,
    refresh: Option<String>,
}

#[derive(Debug)]
struct Token {
    grant: GrantId,
    until: i64,
    /// `Live` holds only until `until`.
    state: TokenState,
}

impl Token {
    fn state_at(&self, now: i64) -> TokenState {
        if self.state == TokenState::Live && self.until <= now { TokenState::Expired } else { self.state }
    }
}

/// Every grant and token that was ever issued.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    grants: Vec<Grant>,
    refresh: HashMap<String, Token>,
    access: HashMap<String, Token>,
}

impl Grants {
    /// Creates a grant without tokens.
    pub(crate) fn open(&mut self, account: Account, client_id: &str) -> GrantId {
        self.grants.push(Grant { account, client_id: client_id.to_owned(), refresh: None });
        GrantId(self.grants.len() as u64)
    }

    /// Makes a pair valid; its refresh token becomes the newest of the grant.
    pub(crate) fn issue(&mut self, id: GrantId, pair: Pair) {
        let token = |until| Token { grant: id, until, state: TokenState::Live };
        self.access.insert(pair.access, token(pair.access_until));
        if let (Some(refresh), Some(grant)) = (pair.refresh, self.grant_mut(id)) {
            grant.refresh = Some(refresh.clone());
            self.refresh.insert(refresh, token(pair.refresh_until));
        }
    }

    /// Spends a refresh token, or returns why it cannot be spent.
    ///
    /// A token of another client is unknown. The reuse of a spent token may end its grant, by policy.
    pub(crate) fn spend(
        &mut self,
        refresh: &str,
        client_id: &str,
        now: i64,
        policy: &Policy,
    ) -> Result<GrantId, TokenState> {
        let id = self.owner(refresh, client_id).ok_or(TokenState::Unknown)?;
        match self.refresh_state(refresh, now) {
            TokenState::Live => {}
            TokenState::Spent => {
                if policy.reuse == Reuse::RevokesFamily {
                    self.end(id, Ending::WholeGrant);
                }
                return Err(TokenState::Spent);
            }
            dead => return Err(dead),
        }
        if policy.rotation == Rotation::SingleUse
            && let Some(token) = self.refresh.get_mut(refresh)
        {
            token.state = TokenState::Spent;
        }
        if policy.access == AccessLife::UntilRefresh {
            self.end(id, Ending::AccessInvalidated);
        }
        Ok(id)
    }

    /// Revokes an access or refresh token, and returns its previous state.
    pub(crate) fn revoke(&mut self, token: &str, now: i64, revocation: Revocation) -> TokenState {
        let before = self.state(token, now);
        if let Some(found) = self.access.get_mut(token) {
            found.state = TokenState::Revoked;
        } else if let Some(found) = self.refresh.get_mut(token) {
            let id = found.grant;
            // A spent token stays spent, so that its next use is still seen as a reuse.
            if found.state == TokenState::Live {
                found.state = TokenState::Revoked;
            }
            if revocation == Revocation::WholeGrant {
                self.end(id, Ending::WholeGrant);
            }
        }
        before
    }

    /// Ends the valid tokens of a grant; others keep their state.
    pub(crate) fn end(&mut self, id: GrantId, ending: Ending) {
        let (access, refresh) = match ending {
            Ending::AccessInvalidated => (Some(TokenState::Revoked), None),
            Ending::RefreshExpired => (None, Some(TokenState::Expired)),
            Ending::RefreshInvalidated => (None, Some(TokenState::Revoked)),
            Ending::WholeGrant => (Some(TokenState::Revoked), Some(TokenState::Revoked)),
        };
        for (tokens, becomes) in [(&mut self.access, access), (&mut self.refresh, refresh)] {
            let Some(becomes) = becomes else { continue };
            for token in tokens.values_mut().filter(|token| token.grant == id) {
                if token.state == TokenState::Live {
                    token.state = becomes;
                }
            }
        }
    }

    /// Returns the state of any token.
    pub(crate) fn state(&self, token: &str, now: i64) -> TokenState {
        let found = self.access.get(token).or_else(|| self.refresh.get(token));
        found.map_or(TokenState::Unknown, |found| found.state_at(now))
    }

    /// Returns the state of an access token and its grant.
    pub(crate) fn access(&self, token: &str, now: i64) -> (TokenState, Option<&Account>) {
        let found = self.access.get(token);
        let account = found.and_then(|found| self.account(found.grant));
        (found.map_or(TokenState::Unknown, |found| found.state_at(now)), account)
    }

    /// Returns the refresh token of a grant that can be spent now.
    pub(crate) fn live_refresh(&self, id: GrantId, now: i64) -> Option<&str> {
        let newest = self.grant(id)?.refresh.as_deref()?;
        (self.refresh_state(newest, now) == TokenState::Live).then_some(newest)
    }

    pub(crate) fn account(&self, id: GrantId) -> Option<&Account> {
        self.grant(id).map(|grant| &grant.account)
    }

    fn owner(&self, refresh: &str, client_id: &str) -> Option<GrantId> {
        let id = self.refresh.get(refresh)?.grant;
        (self.grant(id)?.client_id == client_id).then_some(id)
    }

    fn refresh_state(&self, token: &str, now: i64) -> TokenState {
        self.refresh.get(token).map_or(TokenState::Unknown, |found| found.state_at(now))
    }

    fn grant(&self, id: GrantId) -> Option<&Grant> {
        self.grants.get(index(id)?)
    }

    fn grant_mut(&mut self, id: GrantId) -> Option<&mut Grant> {
        self.grants.get_mut(index(id)?)
    }
}

fn index(id: GrantId) -> Option<usize> {
    usize::try_from(id.0).ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const CLIENT: &str = "client";

    /// A grant with the tokens `a0` and `r0`; each refresh makes the next number.
    struct Family {
        grants: Grants,
        id: GrantId,
        next: usize,
        policy: Policy,
    }

    impl Family {
        fn new(policy: Policy) -> Self {
            let mut grants = Grants::default();
            let id = grants.open(Account::default(), CLIENT);
            let mut family = Self { grants, id, next: 0, policy };
            family.issue(0);
            family
        }

        fn issue(&mut self, now: i64) {
            let number = self.next;
            self.next += 1;
            let pair = Pair {
                access: format!("a{number}"),
                access_until: now + 100,
                refresh: (number == 0 || self.policy.rotation == Rotation::SingleUse)
                    .then(|| format!("r{number}")),
                refresh_until: now + 1_000,
            };
            self.grants.issue(self.id, pair);
        }

        fn refresh(&mut self, number: usize, now: i64) -> Result<(), TokenState> {
            self.grants.spend(&format!("r{number}"), CLIENT, now, &self.policy)?;
            self.issue(now);
            Ok(())
        }

        fn living(&self, now: i64) -> Vec<usize> {
            (0..self.next).filter(|n| self.grants.state(&format!("r{n}"), now) == TokenState::Live).collect()
        }
    }

    #[test]
    fn a_refresh_token_is_spent_once() {
        let mut family = Family::new(Policy::default());
        assert_eq!(family.refresh(0, 1), Ok(()));
        assert_eq!(family.refresh(0, 1), Err(TokenState::Spent));
        assert_eq!(family.refresh(1, 1), Ok(()), "a reuse ends no other token without family revocation");
        assert_eq!(family.grants.live_refresh(family.id, 1), Some("r2"));
    }

    #[test]
    fn a_reuse_revokes_the_grant_by_policy() {
        let mut family = Family::new(Policy { reuse: Reuse::RevokesFamily, ..Policy::default() });
        assert_eq!(family.refresh(0, 1), Ok(()));
        assert_eq!(family.refresh(0, 1), Err(TokenState::Spent));
        assert_eq!(family.refresh(1, 1), Err(TokenState::Revoked));
        assert_eq!(family.grants.access("a1", 1).0, TokenState::Revoked);
        assert_eq!(family.grants.live_refresh(family.id, 1), None);
    }

    #[test]
    fn a_token_that_is_not_rotated_can_be_spent_repeatedly() {
        let mut family = Family::new(Policy { rotation: Rotation::Keeps, ..Policy::default() });
        assert_eq!(family.refresh(0, 1), Ok(()));
        assert_eq!(family.refresh(0, 2), Ok(()));
        assert_eq!(family.grants.live_refresh(family.id, 2), Some("r0"));
    }

    #[test]
    fn revocation_reaches_as_far_as_the_policy_says() {
        let mut family = Family::new(Policy::default());
        assert_eq!(family.grants.revoke("r0", 1, Revocation::TokenOnly), TokenState::Live);
        assert_eq!(family.grants.state("r0", 1), TokenState::Revoked);
        assert_eq!(family.grants.state("a0", 1), TokenState::Live);

        let mut family = Family::new(Policy::default());
        assert_eq!(family.refresh(0, 1), Ok(()));
        assert_eq!(family.grants.revoke("r0", 1, Revocation::WholeGrant), TokenState::Spent);
        assert_eq!(family.living(1), Vec::<usize>::new(), "an ancestor takes its descendants along");
        assert_eq!(family.grants.state("a1", 1), TokenState::Revoked);
        assert_eq!(family.refresh(0, 1), Err(TokenState::Spent));
    }

    #[test]
    fn a_refresh_revokes_the_old_access_token_by_policy() {
        let mut family = Family::new(Policy { access: AccessLife::UntilRefresh, ..Policy::default() });
        assert_eq!(family.refresh(0, 1), Ok(()));
        assert_eq!(family.grants.access("a0", 1).0, TokenState::Revoked);
        assert_eq!(family.grants.access("a1", 1).0, TokenState::Live);
    }

    #[test]
    fn tokens_expire_and_are_unknown_to_other_clients() {
        let mut family = Family::new(Policy::default());
        assert_eq!(family.grants.access("a0", 100).0, TokenState::Expired);
        assert_eq!(family.refresh(0, 1_000), Err(TokenState::Expired));
        assert_eq!(family.grants.spend("r0", "other", 1, &Policy::default()), Err(TokenState::Unknown));
        family.grants.end(family.id, Ending::RefreshExpired);
        assert_eq!(family.refresh(0, 1), Err(TokenState::Expired));
    }

    #[derive(Clone, Debug)]
    enum Act {
        Refresh(usize),
        Revoke(usize),
        Wait(i64),
        End(Ending),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            8 => (0..12_usize).prop_map(Act::Refresh),
            1 => (0..12_usize).prop_map(Act::Revoke),
            2 => (0..300_i64).prop_map(Act::Wait),
            1 => prop_oneof![
                Just(Ending::AccessInvalidated),
                Just(Ending::RefreshExpired),
                Just(Ending::RefreshInvalidated),
                Just(Ending::WholeGrant)
            ]
            .prop_map(Act::End),
        ]
    }

    proptest! {
        #[test]
        fn no_token_is_spent_twice_or_becomes_valid_again(
            acts in prop::collection::vec(act(), 0..60),
            family_revoke in any::<bool>(),
            whole_grant in any::<bool>(),
        ) {
            let reuse = if family_revoke { Reuse::RevokesFamily } else { Reuse::RefusesToken };
            let revocation = if whole_grant { Revocation::WholeGrant } else { Revocation::TokenOnly };
            let mut family = Family::new(Policy { reuse, revocation, ..Policy::default() });
            let (mut now, mut spent, mut over) = (0, HashSet::new(), HashSet::new());
            for act in acts {
                let before = family.living(now);
                match act {
                    Act::Refresh(number) => {
                        let answer = family.refresh(number, now);
                        prop_assert_eq!(answer.is_ok(), before.contains(&number));
                        if answer.is_ok() {
                            prop_assert!(spent.insert(number), "{} was spent twice", number);
                        } else if spent.contains(&number) {
                            prop_assert_eq!(answer, Err(TokenState::Spent));
                            if family_revoke {
                                prop_assert!(family.living(now).is_empty());
                            } else {
                                prop_assert_eq!(&family.living(now), &before);
                            }
                        }
                    }
                    Act::Revoke(number) => {
                        let was = family.grants.revoke(&format!("r{number}"), now, revocation);
                        prop_assert!(!family.living(now).contains(&number));
                        if whole_grant && was != TokenState::Unknown {
                            prop_assert!(family.living(now).is_empty());
                        }
                    }
                    Act::Wait(seconds) => now += seconds,
                    Act::End(ending) => family.grants.end(family.id, ending),
                }
                let living = family.living(now);
                prop_assert!(living.len() <= 1, "a family has one live refresh token at most");
                prop_assert!(living.iter().all(|number| !over.contains(number)));
                over.extend(before.into_iter().filter(|number| !living.contains(number)));
            }
        }
    }
}
