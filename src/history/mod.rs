//! The history of a login: what happened to it on this machine, without a secret.
//!
//! A [`HistoryEvent`] has no field that can hold a secret: it names refresh tokens by their [`Fingerprint`], programs and
//! accounts by a [`Label`], and everything else by numbers, times and enums. Each event is one line of JSON in
//! `codex-auth/history/events.jsonl`, mode 0600. When that file would exceed 1 MiB it becomes `events.old.jsonl`, so the
//! newest 1 to 2 MiB are kept.
//!
//! The history is no part of the protocol of a refresh: nothing decides by it what to send or to store, and an event
//! that cannot be recorded is counted and dropped. Its absence proves nothing; a process may be killed between a change
//! and its event.
//!
//! [`Fingerprint`]: crate::secret::Fingerprint

mod cursor;
mod event;
mod file;
mod label;
mod record;
mod words;

pub use self::cursor::HistoryCursor;
pub use self::event::{
    FleetChange, ForeignChange, HistoryEvent, LoginOwnerChange, LogoutResult, RecordedReason, RefreshFailure,
    RefusalCause, RescueLoss, RevocationCause, StoreFailure,
};
pub use self::file::{History, HistoryContent, SEGMENT_BYTES};
pub use self::label::{Label, ProcessLabel};
pub use self::record::HistoryRecord;
