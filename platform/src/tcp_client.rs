//! Finds the user at the other end of a TCP connection of this machine.

use std::net::SocketAddr;

/// The owner of the client's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a caller must handle each")]
pub enum TcpClientOwner {
    /// The effective user id of the process that created the socket.
    User(u32),
    /// The client has closed its socket, or begun to, so its owner is no longer known.
    Closed,
    /// The client is on another machine or in another container, or the system does not report owners.
    Unknown,
}

/// Returns the owner of the socket at `client` that is connected to `server`, our own address of the connection.
///
/// The kernel keeps the owner only while the client's socket is open, so call this before responding to the client.
/// Always [`TcpClientOwner::Unknown`] on macOS.
pub fn client_owner(client: SocketAddr, server: SocketAddr) -> TcpClientOwner {
    imp::client_owner(client, server)
}

#[cfg(target_os = "linux")]
mod imp {
    use std::fs;
    use std::io;
    use std::net::{IpAddr, Ipv6Addr, SocketAddr};

    use rustix::net::netlink::SOCK_DIAG;
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
    };

    use super::TcpClientOwner;

    /// `TCP_ESTABLISHED` of `net/tcp_states.h`.
    const ESTABLISHED: u8 = 1;
    /// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`, as a request and as the type of its answer.
    const BY_FAMILY: u16 = 20;
    /// `NLM_F_REQUEST` of `linux/netlink.h`.
    const REQUEST: u16 = 1;
    const TCP: u8 = 6;
    /// The length of the header of a netlink message.
    const HEADER: usize = 16;
    /// The length of `struct inet_diag_req_v2` of `linux/inet_diag.h`.
    const QUESTION: usize = 56;
    /// The offsets of the user id and the inode in `struct inet_diag_msg`.
    const UID: usize = 64;
    const INODE: usize = 68;

    /// One socket as the kernel lists it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct SocketRow {
        state: u8,
        uid: u32,
        inode: u64,
    }

    pub(super) fn client_owner(client: SocketAddr, server: SocketAddr) -> TcpClientOwner {
        let row = diagnosed(client, server).or_else(|_| listed(client, server));
        match row {
            Ok(Some(SocketRow { state: ESTABLISHED, uid, inode })) if inode != 0 => TcpClientOwner::User(uid),
            Ok(Some(_)) => TcpClientOwner::Closed,
            Ok(None) | Err(_) => TcpClientOwner::Unknown,
        }
    }

    /// Asks the kernel for the client's socket, an IPv4 one first and then one for both protocols.
    fn diagnosed(client: SocketAddr, server: SocketAddr) -> io::Result<Option<SocketRow>> {
        let flags = SocketFlags::CLOEXEC;
        let netlink = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(SOCK_DIAG))?;
        let families = [AddressFamily::INET, AddressFamily::INET6];
        for family in families.into_iter().skip(usize::from(client.is_ipv6())) {
            send(&netlink, &question(family, client, server), SendFlags::empty())?;
            let mut answer = [0; 1024];
            let (_, length) = recv(&netlink, &mut answer[..], RecvFlags::empty())?;
            if let Some(row) = row(&answer[..length])? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    fn question(family: AddressFamily, client: SocketAddr, server: SocketAddr) -> Vec<u8> {
        let mut message = Vec::with_capacity(HEADER + QUESTION);
        let length = u32::try_from(HEADER + QUESTION).unwrap_or_default();
        message.extend(length.to_ne_bytes());
        message.extend(BY_FAMILY.to_ne_bytes());
        message.extend(REQUEST.to_ne_bytes());
        // Sequence number and port id.
        message.extend([0; 8]);
        message.extend([u8::try_from(family.as_raw()).unwrap_or_default(), TCP, 0, 0]);
        // Any state.
        message.extend(u32::MAX.to_ne_bytes());
        message.extend(client.port().to_be_bytes());
        message.extend(server.port().to_be_bytes());
        message.extend(address(family, client.ip()));
        message.extend(address(family, server.ip()));
        // Any interface, and no cookie of an earlier answer.
        message.extend(0_u32.to_ne_bytes());
        message.extend([0xff; 8]);
        message
    }

    fn address(family: AddressFamily, ip: IpAddr) -> [u8; 16] {
        match ip {
            IpAddr::V4(ip) if family == AddressFamily::INET => {
                let mut padded = [0; 16];
                padded[..4].copy_from_slice(&ip.octets());
                padded
            }
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        }
    }

    /// Parses the answer; `None` for a socket that does not exist.
    fn row(answer: &[u8]) -> io::Result<Option<SocketRow>> {
        const ERROR: u16 = 2;
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        let word = |at: usize| answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
        match kind {
            Some(BY_FAMILY) => {
                let state = *answer.get(HEADER + 1).ok_or_else(malformed)?;
                let uid = word(HEADER + UID).map(u32::from_ne_bytes).ok_or_else(malformed)?;
                let inode = word(HEADER + INODE).map(u32::from_ne_bytes).ok_or_else(malformed)?;
                Ok(Some(SocketRow { state, uid, inode: inode.into() }))
            }
            Some(ERROR) => {
                let code = word(HEADER).map(i32::from_ne_bytes).ok_or_else(malformed)?;
                if code == -libc::ENOENT { Ok(None) } else { Err(io::Error::from_raw_os_error(-code)) }
            }
            _ => Err(malformed()),
        }
    }

    /// Finds the client's socket in the tables of procfs. A socket for both protocols is in the second one.
    fn listed(client: SocketAddr, server: SocketAddr) -> io::Result<Option<SocketRow>> {
        let mut failure = None;
        for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
            match fs::read_to_string(table) {
                Ok(text) => {
                    if let Some(row) = text.lines().find_map(|line| matching(line, client, server)) {
                        return Ok(Some(row));
                    }
                }
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    fn matching(line: &str, client: SocketAddr, server: SocketAddr) -> Option<SocketRow> {
        let mut fields = line.split_whitespace();
        let (local, remote) = (parsed(fields.nth(1)?)?, parsed(fields.next()?)?);
        let same = |one: SocketAddr, other: SocketAddr| {
            one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
        };
        if !(same(local, client) && same(remote, server)) {
            return None;
        }
        let state = u8::from_str_radix(fields.next()?, 16).ok()?;
        Some(SocketRow { state, uid: fields.nth(3)?.parse().ok()?, inode: fields.nth(1)?.parse().ok()? })
    }

    /// Parses an address of those tables: words of the machine's byte order in hexadecimal, and the port.
    fn parsed(field: &str) -> Option<SocketAddr> {
        let (ip, port) = field.split_once(':')?;
        let mut octets = Vec::with_capacity(16);
        for at in (0..ip.len()).step_by(8) {
            octets.extend(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
        }
        let ip = match *octets.as_slice() {
            [a, b, c, d] => IpAddr::from([a, b, c, d]),
            _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)),
        };
        Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
    }

    #[cfg(test)]
    mod tests {
        use std::net::{TcpListener, TcpStream};

        use super::*;

        /// A connection within this process, its client's address and our own.
        fn connection(listen: &str, connect: &str) -> (TcpStream, TcpStream, SocketAddr, SocketAddr) {
            let listener = TcpListener::bind(listen).unwrap();
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect((connect, port)).unwrap();
            let (server, peer) = listener.accept().unwrap();
            let local = server.local_addr().unwrap();
            (client, server, peer, local)
        }

        type Lookup = fn(SocketAddr, SocketAddr) -> io::Result<Option<SocketRow>>;

        #[test]
        fn both_sources_name_the_owner_of_an_open_socket_and_none_of_a_closed_one() {
            let us = rustix::process::geteuid().as_raw();
            for lookup in [diagnosed as Lookup, listed] {
                for (listen, connect) in
                    [("127.0.0.1:0", "127.0.0.1"), ("[::]:0", "127.0.0.1"), ("[::1]:0", "::1")]
                {
                    let (client, _server, peer, local) = connection(listen, connect);
                    let row = lookup(peer, local).unwrap().unwrap();
                    assert_eq!((row.state, row.uid), (ESTABLISHED, us), "{listen}");
                    assert_ne!(row.inode, 0);
                    drop(client);
                    // The kernel keeps the half-closed connection for a while, without an owner.
                    let row = lookup(peer, local).unwrap().unwrap();
                    assert!(row.state != ESTABLISHED && row.inode == 0, "{row:?}");
                    assert_eq!(client_owner(peer, local), TcpClientOwner::Closed);
                }
            }
        }

        #[test]
        fn a_client_that_is_not_here_is_unknown() {
            let (client, server) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
            for lookup in [diagnosed as Lookup, listed] {
                assert_eq!(lookup(client, server).unwrap(), None);
            }
            assert_eq!(client_owner(client, server), TcpClientOwner::Unknown);
        }

        #[test]
        fn a_line_of_the_table_for_both_protocols_matches_an_ipv4_client() {
            let line = "   1: 0000000000000000FFFF00000100007F:C350 0000000000000000FFFF00000100007F:05AF 01 \
                        00000000:00000000 00:00000000 00000000  1000        0 4712 1 0000000000000000 20 4 0 10 -1";
            let (client, server) = ("127.0.0.1:50000".parse().unwrap(), "127.0.0.1:1455".parse().unwrap());
            let row = matching(line, client, server);
            assert_eq!(row, Some(SocketRow { state: ESTABLISHED, uid: 1000, inode: 4712 }));
        }
    }
}

#[cfg(target_os = "macos")]
mod imp {
    use std::net::SocketAddr;

    pub(super) fn client_owner(_: SocketAddr, _: SocketAddr) -> super::TcpClientOwner {
        super::TcpClientOwner::Unknown
    }
}
