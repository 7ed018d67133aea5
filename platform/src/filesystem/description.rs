//! The type of a file system, mount points, and whether a folder can be watched.

use std::io;
use std::path::{Path, PathBuf};

use imp::{kind_and_name, mount_point_at};

/// Returns whether another mount of the same folder has something mounted on the file `path`. Such a mount prevents
/// renaming over the file or removing it, as a mount at `path` itself does. `mount` is the id of the mount that
/// `path` is reached through.
pub(crate) use imp::is_mounted_in_another_view;

/// Where a file system stores its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileSystemKind {
    /// On a disk of this machine.
    Local,
    /// In memory; lost at a restart.
    Memory,
    /// On another machine or on the host of a virtual one, which can change files without notice to this kernel.
    Network,
    /// In a FUSE program.
    Fuse,
    /// Not known.
    Unknown,
}

/// The file system at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileSystem {
    /// Where its bytes are stored.
    pub kind: FileSystemKind,
    /// Its type as the system names it, such as `nfs` or `apfs`; the type number in hexadecimal if it has no known
    /// name.
    pub name: String,
}

/// Whether something is mounted at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a path is a mount point or it is not")]
pub enum MountPoint {
    /// Something is mounted at the path, which can be neither renamed over nor removed.
    Yes,
    /// Nothing is mounted there, or the path does not exist.
    No,
}

/// How changes in a folder can be noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchSupport {
    /// The system reports every change.
    Native,
    /// The system may miss changes, so the folder must be polled.
    Poll {
        /// The reason, for people.
        reason: String,
    },
}

/// The file system of a path could not be determined.
#[derive(Debug, thiserror::Error)]
#[error("cannot determine the file system of {path}")]
#[non_exhaustive]
pub struct Error {
    /// The path in question.
    pub path: PathBuf,
    /// The error of the system.
    #[source]
    pub source: io::Error,
}

/// Returns the file system of `path`, or of its folder if `path` does not exist yet. Links are followed.
///
/// # Errors
/// [`Error`] if the path cannot be reached, or neither it nor its folder exists.
pub fn describe(path: &Path) -> Result<FileSystem, Error> {
    let failed = |source| Error { path: path.to_owned(), source };
    match describe_existing(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            describe_existing(parent_folder(path)).map_err(failed)
        }
        outcome => outcome.map_err(failed),
    }
}

/// Returns whether something, a folder or a single file, is mounted at `path` itself. A link is not followed.
///
/// # Errors
/// Fails if the path cannot be reached.
pub fn is_mount_point(path: &Path) -> io::Result<MountPoint> {
    match mount_point_at(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(MountPoint::No),
        outcome => outcome,
    }
}

/// Returns how to notice changes of the files in the folder `path`: natively on local disks and in memory, by polling
/// on file systems that another machine or a program may change.
pub fn watch_support(path: &Path) -> WatchSupport {
    let reason = match describe(path) {
        Ok(FileSystem { kind: FileSystemKind::Local | FileSystemKind::Memory, .. }) => {
            return WatchSupport::Native;
        }
        Ok(FileSystem { kind: FileSystemKind::Network, name, .. }) => {
            format!("{name}: changes by other machines are not reported here")
        }
        Ok(FileSystem { kind: FileSystemKind::Fuse, name, .. }) => {
            format!("{name}: a program decides which changes are reported")
        }
        Ok(FileSystem { name, .. }) => format!("{name}: unknown type of file system"),
        Err(error) => format!("{error}: {}", error.source),
    };
    WatchSupport::Poll { reason }
}

/// Returns the folder part of a path; the working directory for a bare name.
pub(crate) fn parent_folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn describe_existing(path: &Path) -> io::Result<FileSystem> {
    kind_and_name(path).map(|(kind, name)| FileSystem { kind, name })
}

#[cfg(target_os = "linux")]
mod imp {
    //! Linux: `statfs` gives the type number, `statx` the mount point attribute.

    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
    use rustix::io::Errno;

    use super::{FileSystemKind, MountPoint, Path, PathBuf, io, parent_folder};

    /// Numbers of `linux/magic.h`, or of the file system's own source.
    const KNOWN: &[(u32, FileSystemKind, &str)] = &[
        (0x0000_ef53, FileSystemKind::Local, "ext4"),
        (0x5846_5342, FileSystemKind::Local, "xfs"),
        (0x9123_683e, FileSystemKind::Local, "btrfs"),
        (0xca45_1a4e, FileSystemKind::Local, "bcachefs"),
        (0x2fc1_2fc1, FileSystemKind::Local, "zfs"),
        (0xf2f5_2010, FileSystemKind::Local, "f2fs"),
        (0x794c_7630, FileSystemKind::Local, "overlay"),
        (0x0000_f15f, FileSystemKind::Local, "ecryptfs"),
        (0x5265_4973, FileSystemKind::Local, "reiserfs"),
        (0x3153_464a, FileSystemKind::Local, "jfs"),
        (0x0000_4d44, FileSystemKind::Local, "vfat"),
        (0x2011_bab0, FileSystemKind::Local, "exfat"),
        (0x7366_746e, FileSystemKind::Local, "ntfs3"),
        (0x7371_7368, FileSystemKind::Local, "squashfs"),
        (0xe0f5_e1e2, FileSystemKind::Local, "erofs"),
        (0x0102_1994, FileSystemKind::Memory, "tmpfs"),
        (0x8584_58f6, FileSystemKind::Memory, "ramfs"),
        (0x0000_6969, FileSystemKind::Network, "nfs"),
        (0xff53_4d42, FileSystemKind::Network, "cifs"),
        (0xfe53_4d42, FileSystemKind::Network, "smb2"),
        (0x0000_517b, FileSystemKind::Network, "smb"),
        (0x00c3_6400, FileSystemKind::Network, "ceph"),
        (0x5346_414f, FileSystemKind::Network, "afs"),
        (0x7375_7245, FileSystemKind::Network, "coda"),
        (0x0bd0_0bd0, FileSystemKind::Network, "lustre"),
        (0x0116_1970, FileSystemKind::Network, "gfs2"),
        (0x7461_636f, FileSystemKind::Network, "ocfs2"),
        // Folders of the host: WSL drives and many virtual machines.
        (0x0102_1997, FileSystemKind::Network, "9p"),
        (0x5346_4846, FileSystemKind::Network, "wslfs"),
        (0x786f_4256, FileSystemKind::Network, "vboxsf"),
        // Also the number of virtiofs.
        (0x6573_5546, FileSystemKind::Fuse, "fuse"),
    ];

    pub(super) fn kind_and_name(path: &Path) -> io::Result<(FileSystemKind, String)> {
        // The field has another width and sign on almost every architecture; the number has 32 bits.
        let number = rustix::fs::statfs(path)?.f_type as u32;
        let known = KNOWN.iter().find(|(magic, ..)| *magic == number);
        Ok(known.map_or_else(
            || (FileSystemKind::Unknown, format!("{number:#x}")),
            |(_, kind, name)| (*kind, (*name).to_owned()),
        ))
    }

    pub(super) fn mount_point_at(path: &Path) -> io::Result<MountPoint> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        match rustix::fs::statx(CWD, path, flags, StatxFlags::empty()) {
            Ok(found) if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
                let root = found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
                Ok(if root { MountPoint::Yes } else { MountPoint::No })
            }
            // Linux before 5.8, and containers whose system call filter forbids `statx`.
            Ok(_) | Err(Errno::NOSYS | Errno::PERM) => mount_point_listed(path),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns whether `/proc/self/mountinfo` lists the path.
    pub(super) fn mount_point_listed(path: &Path) -> io::Result<MountPoint> {
        let name = path.file_name();
        let folder = parent_folder(path).canonicalize()?;
        let path = name.map_or_else(|| path.canonicalize(), |name| Ok(folder.join(name)))?;
        let list = std::fs::read("/proc/self/mountinfo")?;
        let mut lines = list.split(|byte| *byte == b'\n');
        let found = lines.any(|line| {
            let point = line.split(|byte| *byte == b' ').nth(4).map(unescaped);
            point.is_some_and(|point| Path::new(OsStr::from_bytes(&point)) == path)
        });
        Ok(if found { MountPoint::Yes } else { MountPoint::No })
    }

    pub(crate) fn is_mounted_in_another_view(mount: u64, path: &Path) -> bool {
        let Some(name) = path.file_name() else { return false };
        let Ok(folder) = parent_folder(path).canonicalize() else { return false };
        let Ok(list) = std::fs::read("/proc/self/mountinfo") else { return false };
        let mounts = || list.split(|byte| *byte == b'\n').filter_map(Mount::read);
        let by_id = |id| mounts().find(|mount| mount.id == id);
        let Some(ours) = by_id(mount) else { return false };
        let Some(file) = ours.inner(&folder.join(name)) else { return false };
        // Few mounts have the name of our file, so few parents are looked up.
        mounts().filter(|mount| mount.point.file_name() == Some(name)).any(|mount| {
            by_id(mount.parent).is_some_and(|parent| {
                parent.device == ours.device && parent.inner(&mount.point).as_ref() == Some(&file)
            })
        })
    }

    /// A line of `/proc/self/mountinfo`.
    struct Mount<'a> {
        id: u64,
        parent: u64,
        device: &'a [u8],
        /// The part of the file system that is mounted.
        root: PathBuf,
        point: PathBuf,
    }

    impl<'a> Mount<'a> {
        fn read(line: &'a [u8]) -> Option<Self> {
            let mut fields = line.split(|byte| *byte == b' ');
            let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
            let (id, parent) = (number()?, number()?);
            let device = fields.next()?;
            let mut path = || Some(PathBuf::from(OsString::from_vec(unescaped(fields.next()?))));
            Some(Self { id, parent, device, root: path()?, point: path()? })
        }

        /// Maps a path below the mount point to the path inside the file system.
        fn inner(&self, path: &Path) -> Option<PathBuf> {
            Some(self.root.join(path.strip_prefix(&self.point).ok()?))
        }
    }

    /// Decodes `/proc/self/mountinfo`, which writes blanks, tabs, line ends and backslashes as a backslash and three
    /// octal digits.
    fn unescaped(field: &[u8]) -> Vec<u8> {
        let mut plain = Vec::with_capacity(field.len());
        let mut rest = field;
        while let Some((first, after)) = rest.split_first() {
            match (first, after) {
                (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                    plain.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                    rest = after;
                }
                _ => {
                    plain.push(*first);
                    rest = after;
                }
            }
        }
        plain
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn mountinfo_and_statx_agree() {
            for path in ["/", "/proc", "/proc/self/status", "/etc", "/dev", "/etc/hostname"] {
                let path = Path::new(path);
                assert_eq!(
                    mount_point_listed(path).unwrap(),
                    mount_point_at(path).unwrap(),
                    "{}",
                    path.display()
                );
            }
            assert_eq!(mount_point_listed(Path::new("/proc")).unwrap(), MountPoint::Yes);
            assert_eq!(mount_point_listed(Path::new("/proc/self/status")).unwrap(), MountPoint::No);
        }

        #[test]
        fn escapes_in_mountinfo_are_decoded() {
            assert_eq!(unescaped(br"/a\040b\011c\134d"), b"/a b\tc\\d");
            assert_eq!(unescaped(br"/a\04"), br"/a\04");
        }
    }
}

#[cfg(target_os = "macos")]
mod imp {
    //! macOS: `statfs` gives the type name and the path that the file system is mounted at.

    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::{FileSystemKind, MountPoint, Path, io, parent_folder};

    pub(super) fn kind_and_name(path: &Path) -> io::Result<(FileSystemKind, String)> {
        let found = rustix::fs::statfs(path)?;
        let name = String::from_utf8_lossy(&text(&found.f_fstypename)).into_owned();
        let local = found.f_flags & libc::MNT_LOCAL.cast_unsigned() != 0;
        let kind = match name.as_str() {
            "apfs" | "hfs" | "msdos" | "exfat" => FileSystemKind::Local,
            "tmpfs" => FileSystemKind::Memory,
            name if name.contains("fuse") => FileSystemKind::Fuse,
            _ if !local => FileSystemKind::Network,
            _ => FileSystemKind::Unknown,
        };
        Ok((kind, name))
    }

    pub(super) fn mount_point_at(path: &Path) -> io::Result<MountPoint> {
        let name = path.file_name();
        let folder = parent_folder(path).canonicalize()?;
        let path = name.map_or_else(|| path.canonicalize(), |name| Ok(folder.join(name)))?;
        if path.symlink_metadata()?.is_symlink() {
            return Ok(MountPoint::No);
        }
        let point = text(&rustix::fs::statfs(&path)?.f_mntonname);
        Ok(if Path::new(OsStr::from_bytes(&point)) == path { MountPoint::Yes } else { MountPoint::No })
    }

    /// macOS has no bind mounts and mounts nothing on single files.
    pub(crate) fn is_mounted_in_another_view(_: u64, _: &Path) -> bool {
        false
    }

    fn text(field: &[libc::c_char]) -> Vec<u8> {
        field.iter().take_while(|unit| **unit != 0).map(|unit| unit.cast_unsigned()).collect()
    }
}
