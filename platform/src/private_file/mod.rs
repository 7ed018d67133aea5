//! Owner-only files with atomic replacement.
//!
//! A file written here has mode 0600, whatever the umask. It is replaced by renaming a finished, synced file over it,
//! so that a reader, a crash or a `kill -9` sees all of the old content or all of the new. Nothing here takes a lock:
//! two concurrent writers leave one of the two contents, and readers need no lock.
//!
//! **Links.** Only the last component of a path is checked, and the caller chooses with [`Links`]. Links among the
//! folders above it are followed; as root, a link in another user's folder only to a folder of the same user.
//!
//! **Owners.** Root, in another user's folder, gives whatever it creates to that user before it appears under its
//! name. It changes the owner of new files only: a user may put a hard link to root's files into a folder of their
//! own.
//!
//! Temporary files are named `.{name}.{16 hex digits}.tmp`; see [`remove_leftovers`].

mod appending;
mod attributes;
mod changes;
mod contents;
mod directory;
mod error;
mod folder;
mod held;
mod paths;
mod predicate;
mod replacement;
mod reserved;
mod sharing;
mod symlink;
mod temporary;
mod walk;

pub use appending::append_line;
pub use attributes::{Flag, is_mapped_user};
pub use changes::{Removal, leftovers, names, remove, remove_leftovers, rename, repair};
pub use contents::{Contents, Exposure, FileOwnership, Stamp, ownership, read, stamp, stamp_of_any};
pub use directory::{DirectoryState, create_directory, directory_state, remove_directory};
pub use error::Error;
pub use held::HeldFolder;
pub use paths::{FolderLocation, Links, canonical, links_on_the_way, locate_folder, resolve};
pub use predicate::{check_can_create_directory, check_can_remove, check_can_replace, check_can_reserve};
pub use replacement::{
    FileMode, MountPolicy, Replacement, ReplacementNote, replace, replace_shared, test_replacement,
};
pub use reserved::{ReservedFile, is_blank};
pub use sharing::{SharedAccess, share};
pub use symlink::{create_link, read_link, remove_link, remove_tree, replace_with_link};
pub use temporary::unique_name;
pub use walk::{UnsafeLink, check_link_target};

pub(crate) use folder::{OpenFolder, check_writable};
pub(crate) use predicate::check_can_replace_in;
pub(crate) use temporary::{TemporaryFile, is_contended, random};
pub(crate) use walk::open_file;
