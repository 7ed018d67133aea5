//! The record that a fleet shares, and every change that a member may make to it.
//!
//! The changes are functions from one record to the next. The writer of the result compares the value of the record in
//! the same transaction. `tests/it/model/fleet` checks the protocol of which they are the steps.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::intent::{IntentId, MemberName, SpendAttempt, SpendIntent, is_name};
use super::record_error::{InvalidRecord, RefusedChange};
use crate::document::AuthDocument;
use crate::secret::Fingerprint;

/// How many spent fingerprints a record has.
const MAX_SPENT: usize = 16;

/// The record: the login of a fleet, and what a member is about to do with it.
#[derive(Clone, Debug)]
pub struct SharedRecord {
    order: RecordOrder,
    login_id: String,
    document: AuthDocument,
    spent: Vec<Fingerprint>,
    intent: Option<SpendIntent>,
    poison: Option<FleetPoison>,
    is_logged_out: bool,
}

/// The position of a record among all that were written, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordOrder {
    /// Counts the sealing keys.
    pub epoch: u64,
    /// Counts the tokens.
    pub generation: u64,
    /// Counts all writes. Without it, a record of the same generation that a backup brought back would look new.
    pub writes: u64,
}

/// Why no member sends the token of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FleetPoison {
    /// The authority refused it for good.
    Refused,
    /// It was sent twice, and no response was saved.
    Lost,
}

/// The content of a record as JSON.
#[derive(Serialize, Deserialize)]
struct Content<'a> {
    order: RecordOrder,
    login_id: String,
    #[serde(borrow)]
    document: &'a RawValue,
    spent: Vec<Fingerprint>,
    intent: Option<SpendIntent>,
    poison: Option<FleetPoison>,
    is_logged_out: bool,
}

impl SharedRecord {
    /// Returns the first record of a fleet.
    ///
    /// # Errors
    /// [`InvalidRecord`]: the document has no refresh token, or the id is not usable.
    pub fn first(login_id: &str, document: AuthDocument) -> Result<Self, InvalidRecord> {
        let order = RecordOrder { epoch: 1, generation: 1, writes: 1 };
        let (login_id, spent) = (login_id.to_owned(), Vec::new());
        Self { order, login_id, document, spent, intent: None, poison: None, is_logged_out: false }.checked()
    }

    /// Parses what [`Self::to_json`] returned.
    ///
    /// # Errors
    /// [`InvalidRecord`]; it quotes nothing of the record.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidRecord> {
        let content: Content<'_> = serde_json::from_slice(json).map_err(|_| InvalidRecord::Malformed)?;
        let Content { order, login_id, document, spent, intent, poison, is_logged_out } = content;
        let document =
            AuthDocument::parse(document.get().as_bytes()).map_err(|_| InvalidRecord::Malformed)?;
        Self { order, login_id, document, spent, intent, poison, is_logged_out }.checked()
    }

    /// Returns the record as JSON, tokens included.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let compact = self.document.to_compact();
        let Ok(document) = serde_json::from_slice(&compact) else { return Zeroizing::default() };
        let Self { order, login_id, spent, intent, poison, is_logged_out, .. } = self.clone();
        let content = Content { order, login_id, document, spent, intent, poison, is_logged_out };
        let longest = compact.len() + 4096;
        let mut json = Zeroizing::new(Vec::with_capacity(longest));
        // Writing into memory does not fail.
        let _ = serde_json::to_writer(&mut *json, &content);
        json
    }

    fn checked(self) -> Result<Self, InvalidRecord> {
        if self.document.fingerprint().is_none() {
            return Err(InvalidRecord::NoRefreshToken);
        }
        let is_sound = is_name(&self.login_id)
            && self.spent.len() <= MAX_SPENT
            && self.intent.as_ref().is_none_or(SpendIntent::is_sound);
        if is_sound { Ok(self) } else { Err(InvalidRecord::Malformed) }
    }

    /// Returns its position.
    #[must_use]
    pub fn order(&self) -> RecordOrder {
        self.order
    }

    /// Returns the id of the login.
    #[must_use]
    pub fn login_id(&self) -> &str {
        &self.login_id
    }

    /// Returns the login, refresh token included.
    #[must_use]
    pub fn document(&self) -> &AuthDocument {
        &self.document
    }

    /// Returns the intent, if there is one.
    #[must_use]
    pub fn intent(&self) -> Option<&SpendIntent> {
        self.intent.as_ref()
    }

    /// Returns why no member sends the token, if that is so.
    #[must_use]
    pub fn poison(&self) -> Option<FleetPoison> {
        self.poison
    }

    /// Returns whether the fleet was logged out: the tokens are to be revoked, and nothing else is done with them.
    #[must_use]
    pub fn is_logged_out(&self) -> bool {
        self.is_logged_out
    }

    /// Returns whether the record says that `fingerprint` was spent.
    #[must_use]
    pub fn has_spent(&self, fingerprint: Fingerprint) -> bool {
        self.spent.contains(&fingerprint)
    }

    /// Announces that `member` will send the token, for someone who has seen `generation`.
    ///
    /// # Errors
    /// Every [`RefusedChange`] but [`RefusedChange::NoIntent`].
    pub fn claimed(&self, member: &MemberName, id: IntentId, generation: u64) -> Result<Self, RefusedChange> {
        let spends = self.spendable()?;
        if generation != self.order.generation {
            return Err(RefusedChange::NewerToken);
        }
        if self.poison.is_some() {
            return Err(RefusedChange::Poisoned);
        }
        Ok(self.with_intent(SpendIntent { id, member: member.clone(), spends, attempt: SpendAttempt::First }))
    }

    /// As [`Self::claimed`], under the next sealing key.
    ///
    /// # Errors
    /// As [`Self::claimed`].
    pub fn rekeyed(&self, member: &MemberName, id: IntentId) -> Result<Self, RefusedChange> {
        let mut next = self.claimed(member, id, self.order.generation)?;
        next.order.epoch += 1;
        Ok(next)
    }

    /// Announces that `member` will send `child`, the successor of the poisoned token, which it had saved.
    ///
    /// # Errors
    /// [`RefusedChange::LoggedOut`], [`RefusedChange::Claimed`], [`RefusedChange::Spent`], and
    /// [`RefusedChange::NotPoisoned`].
    pub fn presented(
        &self,
        member: &MemberName,
        id: IntentId,
        child: Fingerprint,
    ) -> Result<Self, RefusedChange> {
        let parent = self.spendable()?;
        if self.poison.is_none() {
            return Err(RefusedChange::NotPoisoned);
        }
        if child == parent || self.has_spent(child) {
            return Err(RefusedChange::Spent);
        }
        let attempt = SpendAttempt::First;
        Ok(self.with_intent(SpendIntent { id, member: member.clone(), spends: child, attempt }))
    }

    /// Carries out the intent `id`: `child` is the response to the token that it spends.
    ///
    /// # Errors
    /// [`RefusedChange::NoIntent`], and [`RefusedChange::Spent`] if the child is no new token.
    pub fn committed(&self, id: IntentId, child: AuthDocument) -> Result<Self, RefusedChange> {
        let intent = self.intent_of(id)?;
        let new = child.fingerprint().ok_or(RefusedChange::Spent)?;
        let mut next = Self { document: child, intent: None, poison: None, ..self.clone() };
        let parents = [self.document.fingerprint(), Some(intent.spends)];
        for parent in parents.into_iter().flatten() {
            if !next.spent.contains(&parent) {
                next.spent.push(parent);
            }
        }
        if next.spent.contains(&new) {
            return Err(RefusedChange::Spent);
        }
        let oldest = next.spent.len().saturating_sub(MAX_SPENT);
        next.spent.drain(..oldest);
        next.order.generation += 1;
        Ok(next.written())
    }

    /// Removes the intent `id`, which was not carried out. The first attempt stays announced.
    ///
    /// # Errors
    /// [`RefusedChange::NoIntent`], also if the attempt was refused by the authority.
    pub fn withdrawn(&self, id: IntentId) -> Result<Self, RefusedChange> {
        let intent = match &self.intent_of(id)?.attempt {
            SpendAttempt::First => None,
            SpendAttempt::Refused => return Err(RefusedChange::NoIntent),
            SpendAttempt::Second { former } => Some(SpendIntent::clone(former)),
        };
        Ok(Self { intent, ..self.clone() }.written())
    }

    /// Records that the authority refused the token of the intent `id`, if `is_final` for good. A refusal that is not
    /// final is confirmed by another member. If no member may confirm it, the login is lost.
    ///
    /// # Errors
    /// [`RefusedChange::NoIntent`].
    pub fn refused(&self, id: IntentId, is_final: bool) -> Result<Self, RefusedChange> {
        let intent = self.intent_of(id)?;
        if Some(intent.spends) != self.document.fingerprint() {
            return Ok(Self { intent: None, ..self.clone() }.written());
        }
        Ok(match &intent.attempt {
            SpendAttempt::First if !is_final => {
                self.with_intent(SpendIntent { attempt: SpendAttempt::Refused, ..intent.clone() })
            }
            SpendAttempt::Second { former } if !is_final && former.attempt == SpendAttempt::First => {
                self.poisoned(FleetPoison::Lost)
            }
            SpendAttempt::Refused => return Err(RefusedChange::NoIntent),
            SpendAttempt::First | SpendAttempt::Second { .. } => self.poisoned(FleetPoison::Refused),
        })
    }

    /// Announces the second attempt, after the wait for the outcome of the first or to confirm a refusal.
    ///
    /// # Errors
    /// - [`RefusedChange::NoIntent`]: there is no first attempt.
    /// - [`RefusedChange::Spent`]: it is the second attempt already, or the token of a late response.
    /// - [`RefusedChange::SameMember`]: a member cannot confirm its own refusal.
    /// - [`RefusedChange::LoggedOut`].
    pub fn succeeded(&self, member: &MemberName, id: IntentId) -> Result<Self, RefusedChange> {
        if self.is_logged_out {
            return Err(RefusedChange::LoggedOut);
        }
        let former = self.intent.as_ref().ok_or(RefusedChange::NoIntent)?;
        let is_second = matches!(former.attempt, SpendAttempt::Second { .. });
        if is_second || Some(former.spends) != self.document.fingerprint() {
            return Err(RefusedChange::Spent);
        }
        if former.attempt == SpendAttempt::Refused && former.member == *member {
            return Err(RefusedChange::SameMember);
        }
        let (spends, attempt) = (former.spends, SpendAttempt::Second { former: Box::new(former.clone()) });
        Ok(self.with_intent(SpendIntent { id, member: member.clone(), spends, attempt }))
    }

    /// Records that the outcome of the last attempt stays unknown, after the wait for it.
    ///
    /// # Errors
    /// [`RefusedChange::NoIntent`]: there is none, or a second attempt may follow.
    pub fn lost(&self) -> Result<Self, RefusedChange> {
        let intent = self.intent.as_ref().ok_or(RefusedChange::NoIntent)?;
        let is_second = matches!(intent.attempt, SpendAttempt::Second { .. });
        if is_second || Some(intent.spends) != self.document.fingerprint() {
            Ok(self.poisoned(FleetPoison::Lost))
        } else {
            Err(RefusedChange::NoIntent)
        }
    }

    /// Replaces the login, whatever the record says of the old one.
    ///
    /// # Errors
    /// [`InvalidRecord`]: the document has no refresh token, or the id is not usable.
    pub fn logged_in(&self, login_id: &str, document: AuthDocument) -> Result<Self, InvalidRecord> {
        let first = Self::first(login_id, document)?;
        let mut order = self.order;
        order.generation += 1;
        Ok(Self { order, ..first }.written())
    }

    /// Ends the login. Its tokens stay in the record, so that any member can revoke them.
    #[must_use]
    pub fn logged_out(&self) -> Self {
        let mut next = Self { intent: None, is_logged_out: true, ..self.clone() };
        next.order.generation += 1;
        next.written()
    }

    /// Returns the fingerprint of the token, if the record is free and the token is not spent.
    fn spendable(&self) -> Result<Fingerprint, RefusedChange> {
        if self.is_logged_out {
            return Err(RefusedChange::LoggedOut);
        }
        if self.intent.is_some() {
            return Err(RefusedChange::Claimed);
        }
        let token = self.document.fingerprint().filter(|token| !self.has_spent(*token));
        token.ok_or(RefusedChange::Spent)
    }

    fn intent_of(&self, id: IntentId) -> Result<&SpendIntent, RefusedChange> {
        self.intent.as_ref().filter(|intent| intent.id == id).ok_or(RefusedChange::NoIntent)
    }

    fn with_intent(&self, intent: SpendIntent) -> Self {
        Self { intent: Some(intent), ..self.clone() }.written()
    }

    fn poisoned(&self, poison: FleetPoison) -> Self {
        Self { intent: None, poison: Some(poison), ..self.clone() }.written()
    }

    fn written(mut self) -> Self {
        self.order.writes += 1;
        self
    }
}
