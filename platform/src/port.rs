//! Finds the process that listens on a port of this machine.

use std::path::PathBuf;

/// The process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortListener {
    /// Its process id.
    pub pid: u32,
    /// Its program file, or the name it was called by if the process is closed to inspection.
    pub program: PathBuf,
}

/// Returns the process that listens on `port` of a loopback address or of all addresses. Returns `None` for processes
/// that are closed to inspection, such as those of other users, and always on macOS.
pub fn find_listener(port: u16) -> Option<PortListener> {
    imp::listener(port)
}

#[cfg(target_os = "linux")]
mod imp {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::PortListener;

    /// The state of a listening socket.
    const LISTENS: &str = "0A";

    pub(super) fn listener(port: u16) -> Option<PortListener> {
        let sockets: Vec<_> = ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
            .into_iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .flat_map(|table| inodes(&table, port))
            .map(|inode| PathBuf::from(format!("socket:[{inode}]")))
            .collect();
        if sockets.is_empty() {
            return None;
        }
        fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let holds = fs::read_dir(entry.path().join("fd"))
                .ok()?
                .flatten()
                .any(|file| fs::read_link(file.path()).is_ok_and(|target| sockets.contains(&target)));
            holds.then(|| PortListener { pid, program: program(&entry.path()) })
        })
    }

    /// Returns the inodes of the sockets in `table` that listen on `port`.
    fn inodes(table: &str, port: u16) -> Vec<String> {
        let end = format!(":{port:04X}");
        let listens = |line: &str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let address = fields.get(1)?;
            (address.ends_with(&end) && fields.get(3) == Some(&LISTENS))
                .then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
        };
        table.lines().skip(1).filter_map(listens).collect()
    }

    fn program(folder: &Path) -> PathBuf {
        fs::read_link(folder.join("exe")).unwrap_or_else(|_| {
            let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
            PathBuf::from(name.trim_end())
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_table_names_the_sockets_that_listen_on_the_port() {
            let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode\n\
                0: 0100007F:05AF 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1 0 100 0\n\
                1: 0100007F:05AF 0100007F:C350 01 00000000:00000000 00:00000000 00000000 0 0 4712 1 0 100 0\n\
                2: 0100007F:15AF 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4713 1 0 100 0\n";
            assert_eq!(inodes(table, 1455), ["4711"]);
            assert!(inodes(table, 1457).is_empty());
        }
    }
}

#[cfg(target_os = "macos")]
mod imp {
    pub(super) fn listener(_: u16) -> Option<super::PortListener> {
        None
    }
}
