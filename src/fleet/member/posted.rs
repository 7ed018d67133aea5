//! One request with a refresh token, and what it says about the token.

use std::time::Duration;

use codex_auth_platform::boot_clock::BootTime;
use jiff::Timestamp;

use super::error::MemberError;
use super::permit::SpendPermit;
use super::saved_response::{ResponseReservation, SavedResponse};
use crate::authority::{self, Authority, MissingResponse, Refresh, RefusalReason, TokenResponse};
use crate::clock::Clock;
use crate::document::NewTokens;
use crate::failpoint;
use crate::fleet::record::SharedRecord;
use crate::secret::Secret;

/// The codes of refusals that end a token. A proxy or a captive portal does not send them.
const KNOWN_CODES: [&str; 4] =
    ["refresh_token_expired", "refresh_token_invalidated", "refresh_token_reused", "invalid_grant"];
/// How long a response that has arrived is read after the deadline, by a process that was stopped.
const FINAL_POLL: Duration = Duration::from_millis(50);
/// The pause between two looks at the boot clock: a timer does not count the time of a suspended machine.
const LOOK: Duration = Duration::from_secs(1);

/// A token that is about to be sent, once.
pub(super) struct TokenPost {
    pub(super) authority: Authority,
    pub(super) request: Refresh,
    pub(super) permit: SpendPermit,
    /// When the connection is closed.
    pub(super) deadline: BootTime,
    pub(super) record: SharedRecord,
    pub(super) clock: Clock,
    pub(super) reservation: ResponseReservation,
    /// The time limit, for messages.
    pub(super) limit: Duration,
}

/// What became of the token.
pub(super) enum PostOutcome {
    /// It is spent, and its successor is in the response.
    Issued { response: Box<SavedResponse>, saved: Result<(), MemberError> },
    /// It does not work; if not `is_final`, another member confirms that.
    Refused { error: authority::Error, is_final: bool },
    /// It is spent for tokens of another user, which are to be revoked.
    OtherUser(NewTokens),
    /// It was not sent, or is unchanged.
    Unspent(MemberError),
    /// It may be spent.
    Unknown(authority::Error),
}

impl TokenPost {
    /// Sends the token once, and saves the response before anything else.
    pub(super) async fn send(self) -> PostOutcome {
        // The token's lifetime starts before the response arrives.
        let requested_at = self.clock.now();
        failpoint::at("fleet-posting");
        let answer = tokio::select! {
            // A response that is there counts, however late it is.
            biased;
            answer = self.authority.refresh(&self.request) => answer,
            () = ended(self.deadline) => {
                let endpoint = self.request.endpoint.clone();
                let cause = MissingResponse::TimedOut(self.limit);
                Err(authority::Error::Unknown { endpoint, cause })
            }
        };
        let is_sent = self.permit.end();
        failpoint::at("fleet-answered");
        match answer {
            Ok(response) => self.save(response, requested_at),
            // The client had no connection when the permit ended.
            Err(authority::Error::Unknown { .. }) if !is_sent => PostOutcome::Unspent(MemberError::TooLate),
            Err(error) => refusal(error),
        }
    }

    fn save(self, response: TokenResponse, received_at: Timestamp) -> PostOutcome {
        let Self { record, request, reservation, .. } = self;
        let parent = request.refresh_token.fingerprint();
        let child = response.refresh_token.as_ref().map(Secret::fingerprint);
        if child.is_none_or(|child| child == parent) {
            return PostOutcome::Unspent(MemberError::NotRotated);
        }
        if response.is_another_users_than(&record.document().identity()) {
            return PostOutcome::OtherUser(response.into());
        }
        let Ok(document) = record.document().with_new_tokens(&response.into(), received_at) else {
            return PostOutcome::Unspent(MemberError::Internal);
        };
        let response = SavedResponse { login_id: record.login_id().to_owned(), parent, document };
        let saved = reservation.write(&response, record.order().epoch);
        PostOutcome::Issued { response: Box::new(response), saved }
    }
}

fn refusal(error: authority::Error) -> PostOutcome {
    match &error {
        authority::Error::Unknown { .. } => PostOutcome::Unknown(error),
        authority::Error::Permanent { reason, code, .. }
            if code.as_deref().is_some_and(|code| KNOWN_CODES.contains(&code)) =>
        {
            // Only this member may send the token now, so it was spent before and is dead.
            let is_final = *reason == RefusalReason::Reused;
            PostOutcome::Refused { error, is_final }
        }
        _ => PostOutcome::Unspent(error.into()),
    }
}

/// Waits until the boot clock shows `deadline`, and lets the response be read first if the process was stopped.
async fn ended(deadline: BootTime) {
    passed(deadline).await;
    tokio::time::sleep(FINAL_POLL).await;
}

/// Waits until the boot clock shows `moment`.
pub(super) async fn passed(moment: BootTime) {
    loop {
        let left = moment.remaining();
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}
