//! What restricts changes of a file besides its permissions: flags, mounts and privileges.

use std::fmt;
use std::path::Path;

use crate::text::shell_word;

pub(super) use imp::{has_acl, may_act_for, may_give_to, of_entry, of_folder};

/// A flag of a file or folder that forbids changes to every user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Flag {
    /// Nothing about the file may change, and no name in such a folder.
    Immutable,
    /// The file may only grow. In such a folder, files can be created but not renamed or removed.
    AppendOnly,
}

impl Flag {
    /// Returns the command that removes this flag from `path`.
    pub(super) fn removal(self, path: &Path) -> String {
        format!("{} {}", imp::removal(self), shell_word(path))
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Immutable => "immutable",
            Self::AppendOnly => "append-only",
        })
    }
}

/// Attributes of a file or folder besides its metadata; `None` where the system reports nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) flag: Option<Flag>,
    /// The id of the mount that it is reached through.
    pub(super) mount: Option<u64>,
}

/// Returns whether the user `uid` exists in the user namespace of this process. The kernel shows all that do not as
/// one.
#[must_use]
pub fn is_mapped_user(uid: u32) -> bool {
    imp::is_mapped("uid", uid)
}

#[cfg(target_os = "linux")]
mod imp {
    //! Linux: `statx` reports flags and mounts; the capabilities of this process are its privileges.

    use std::ffi::OsStr;
    use std::fs::File;

    use rustix::fs::{AtFlags, Statx, StatxAttributes, StatxFlags};
    use rustix::thread::CapabilitySet;

    use super::{Attributes, Flag};

    pub(super) fn removal(flag: Flag) -> &'static str {
        match flag {
            Flag::Immutable => "chattr -i",
            Flag::AppendOnly => "chattr -a",
        }
    }

    pub(in super::super) fn of_folder(folder: &File) -> Attributes {
        attributes(rustix::fs::statx(folder, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID))
    }

    pub(in super::super) fn of_entry(folder: &File, name: &OsStr) -> Attributes {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        attributes(rustix::fs::statx(folder, name, flags, StatxFlags::MNT_ID))
    }

    /// Returns whether an access control list decides who may access `file`, so that its mode alone says too much.
    pub(in super::super) fn has_acl(file: &File) -> bool {
        // Without a buffer, the call returns the size of the attribute.
        rustix::fs::fgetxattr(file, "system.posix_acl_access", &mut [0_u8; 0]).is_ok()
    }

    fn attributes(found: rustix::io::Result<Statx>) -> Attributes {
        // Linux before 4.11, and containers whose system call filter forbids the call.
        let Ok(found) = found else { return Attributes::default() };
        let has = |attribute| found.stx_attributes.contains(attribute);
        let flag = if has(StatxAttributes::IMMUTABLE) {
            Some(Flag::Immutable)
        } else {
            has(StatxAttributes::APPEND).then_some(Flag::AppendOnly)
        };
        let has_mount = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID);
        Attributes { flag, mount: has_mount.then_some(found.stx_mnt_id) }
    }

    /// Returns whether this process may change a file of these owners as they may.
    pub(in super::super) fn may_act_for(uid: u32, gid: u32) -> bool {
        has(CapabilitySet::FOWNER) && is_mapped("uid", uid) && is_mapped("gid", gid)
    }

    /// Returns whether this process may give its own file to these owners.
    pub(in super::super) fn may_give_to(uid: u32, gid: u32) -> bool {
        has(CapabilitySet::CHOWN) && is_mapped("uid", uid) && is_mapped("gid", gid)
    }

    fn has(capability: CapabilitySet) -> bool {
        rustix::thread::capabilities(None).map_or(true, |sets| sets.effective.contains(capability))
    }

    /// Returns whether `id` exists in this process's user namespace, where alone its capabilities count.
    pub(super) fn is_mapped(kind: &str, id: u32) -> bool {
        let Ok(map) = std::fs::read_to_string(format!("/proc/self/{kind}_map")) else { return true };
        map.lines().any(|line| {
            let mut numbers = line.split_whitespace().map(str::parse::<u64>);
            let (Some(Ok(first)), _, Some(Ok(count))) = (numbers.next(), numbers.next(), numbers.next())
            else {
                return false;
            };
            (first..first.saturating_add(count)).contains(&id.into())
        })
    }
}

#[cfg(target_os = "macos")]
mod imp {
    //! macOS: `stat` reports flags, and root may act for every user.

    use std::ffi::OsStr;
    use std::fs::File;

    use rustix::fs::{AtFlags, Stat};

    use super::{Attributes, Flag};

    /// Each flag exists once for the owner and once for the system.
    pub(super) fn removal(flag: Flag) -> &'static str {
        match flag {
            Flag::Immutable => "chflags nouchg,noschg",
            Flag::AppendOnly => "chflags nouappnd,nosappnd",
        }
    }

    pub(in super::super) fn of_folder(folder: &File) -> Attributes {
        attributes(rustix::fs::fstat(folder))
    }

    pub(in super::super) fn of_entry(folder: &File, name: &OsStr) -> Attributes {
        attributes(rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW))
    }

    /// Access control lists are not part of the mode.
    pub(in super::super) fn has_acl(_: &File) -> bool {
        false
    }

    fn attributes(found: rustix::io::Result<Stat>) -> Attributes {
        let Ok(found) = found else { return Attributes::default() };
        let flag = if found.st_flags & (libc::UF_IMMUTABLE | libc::SF_IMMUTABLE) != 0 {
            Some(Flag::Immutable)
        } else {
            (found.st_flags & (libc::UF_APPEND | libc::SF_APPEND) != 0).then_some(Flag::AppendOnly)
        };
        Attributes { flag, mount: None }
    }

    pub(super) fn is_mapped(_: &str, _: u32) -> bool {
        true
    }

    pub(in super::super) fn may_act_for(_: u32, _: u32) -> bool {
        rustix::process::geteuid().is_root()
    }

    pub(in super::super) fn may_give_to(_: u32, _: u32) -> bool {
        rustix::process::geteuid().is_root()
    }
}
