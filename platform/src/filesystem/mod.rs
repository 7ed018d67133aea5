//! The type of a file system, mount points, file identity, and whether a folder can be watched.

mod description;
mod identity;

pub use description::{
    Error, FileSystem, FileSystemKind, MountPoint, WatchSupport, describe, is_mount_point, watch_support,
};
pub(crate) use description::{is_mounted_in_another_view, parent_folder};
pub use identity::{FileId, InvalidFileId, Presence, identity, presence};
