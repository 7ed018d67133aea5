//! Tests finding the process that listens on a port.

use std::net::TcpListener;

use codex_auth_platform::port;

#[test]
fn a_listener_is_named_while_it_listens_and_not_after() {
    for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
        let Ok(listener) = TcpListener::bind(address) else { continue };
        let number = listener.local_addr().unwrap().port();
        let found = port::find_listener(number).unwrap();
        assert_eq!(found.pid, std::process::id(), "{address}");
        assert_eq!(found.program, std::env::current_exe().unwrap(), "{address}");
        drop(listener);
        assert_eq!(port::find_listener(number), None, "{address}");
    }
}
