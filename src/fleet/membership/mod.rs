//! What makes a home a member of a fleet: the file that says so, its keys, and the invites that bring new members.
//!
//! A home is a member if it has a [`Membership`], in `codex-auth/fleet/membership.json`. An account has a folder of its
//! own, so each account may be in another fleet. The keys are in the keychain where the login is, else in files that only
//! the user can read ([`SecretPlace`]).
//!
//! In etcd a fleet has the keys below `/codex-auth/FLEET/`: `record`, `leader`, `members/NAME` and `invite/ID`.

mod error;
mod fleet_name;
mod invitation;
mod invite;
mod local_login;
mod member_id;
mod membership_file;
mod roster;
mod secrets;
mod standing;

pub use self::error::{InvalidInvite, MembershipError};
pub use self::fleet_name::FleetName;
pub use self::invitation::{Redeemed, invite, open_invite, redeem, withdraw_member};
pub use self::invite::Invite;
pub use self::local_login::{LocalChange, LocalFinding, LocalLogin, LocalPlace};
pub use self::member_id::MemberId;
pub use self::membership_file::Membership;
pub use self::roster::{ListedMember, MemberEntry, report_generation, roster};
pub use self::secrets::{FleetSecrets, SecretPlace, SecretSlot};
pub use self::standing::Standing;
