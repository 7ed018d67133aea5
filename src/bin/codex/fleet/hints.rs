//! What to do about an error of a fleet.

use codex_auth::fleet::membership::{MembershipError, Standing};
use codex_auth::fleet::{self, MemberError};
use codex_auth::keeper::member::FleetError;
use codex_auth::manager::JobFailure;

use crate::error::CommandError;

impl From<FleetError> for CommandError {
    fn from(error: FleetError) -> Self {
        let hint = hint(&error);
        hint.into_iter().fold(Self::from(JobFailure::from(&error)), Self::hint)
    }
}

/// Returns the hint that the remedy of the error does not give.
fn hint(error: &FleetError) -> Option<&'static str> {
    Some(match error {
        FleetError::Membership(error) => return membership_hint(error),
        FleetError::Member(error) => match &**error {
            MemberError::Etcd(error) => return etcd_hint(error),
            _ => return None,
        },
        FleetError::OlderKeeper { .. } => "restart it with this program: codex sync install --now",
        FleetError::HandedIn => "log in here first (codex login), or name another folder with CODEX_HOME",
        FleetError::NotShareable(_) => "log in with a ChatGPT account: codex login",
        FleetError::OtherLogin { .. } => {
            "log out of it (codex logout), or join as an account of its own: codex account add NAME"
        }
        FleetError::LastMember { .. } => {
            "end the login first (codex logout), or add a host: codex fleet invite"
        }
        FleetError::ServedAlready => "see codex fleet status",
        FleetError::Unfinished => "try again when etcd can be reached",
        FleetError::NoPassword { .. } => {
            "put it into the line after the invite: cat invite password | codex fleet join"
        }
        FleetError::NoMemberName => "name this host: --member NAME",
        _ => return None,
    })
}

fn membership_hint(error: &MembershipError) -> Option<&'static str> {
    Some(match error {
        MembershipError::NotAMember => "found a fleet (codex fleet init), or join one: codex fleet join",
        MembershipError::MemberAlready { .. } => {
            "leave it first (codex fleet leave), or use an account of its own: codex account add NAME"
        }
        MembershipError::SetAside { standing: Standing::Detached } => {
            "to return to the fleet: codex logout, then codex fleet resume"
        }
        MembershipError::Unparsable { .. } => {
            "leave the fleet and join again, or use a newer version of this program"
        }
        MembershipError::NoKey { .. } => {
            "on another host: codex fleet invite; here: codex fleet leave, then codex fleet join"
        }
        MembershipError::Etcd(error) => return etcd_hint(error),
        MembershipError::Invite(_) | MembershipError::InviteEnded | MembershipError::InviteChanged => {
            "on a host of the fleet, get a new one: codex fleet invite"
        }
        MembershipError::NameTaken { .. } => "name this host differently: codex fleet join --member NAME",
        MembershipError::FleetExists { .. } => {
            "join it (codex fleet invite on one of its hosts), or found another one: --name FLEET"
        }
        MembershipError::Unclear(_) => {
            "see codex fleet status; if it has not joined, get a new invite: codex fleet invite"
        }
        _ => return None,
    })
}

fn etcd_hint(error: &fleet::Error) -> Option<&'static str> {
    Some(match error {
        fleet::Error::Unreachable { endpoint, .. } if endpoint.to_string().starts_with("http:") => {
            "check the address, which begins with https:// if etcd has a certificate, and the network"
        }
        fleet::Error::Unreachable { .. } => "check the address, the certificates (--ca) and the network",
        fleet::Error::UserRequired { .. } => {
            "name the etcd user: --user NAME, with the password on standard input"
        }
        fleet::Error::WrongPassword { .. } => "check the password, which is read from standard input",
        fleet::Error::Denied { .. } => "grant the user the keys below /codex-auth/FLEET/ (see the README)",
        fleet::Error::AuthenticationDisabled { .. } => "enable it (etcdctl auth enable), or give no --user",
        _ => return None,
    })
}
