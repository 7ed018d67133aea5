//! All environment variables that the library and the program read.

/// An environment variable that this library or program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Variable {
    /// The name.
    pub name: &'static str,
    /// The purpose, in one line.
    pub purpose: &'static str,
}

pub(super) const HOME: Variable = Variable {
    name: "CODEX_HOME",
    purpose: "the folder of the login; it must exist (default: .codex in the home directory)",
};
pub(super) const ACCOUNT: Variable = Variable {
    name: "CODEX_AUTH_ACCOUNT",
    purpose: "the account to use, by name; --account takes precedence (default: the pinned or the active one)",
};
pub(super) const API_KEY: Variable = Variable {
    name: "CODEX_API_KEY",
    purpose: "an API key that `codex token` prints instead of the stored token",
};
pub(super) const ACCESS_TOKEN: Variable = Variable {
    name: "CODEX_ACCESS_TOKEN",
    purpose: "a personal access token (at-…) or agent identity token, if CODEX_API_KEY is not set",
};
pub(super) const LOCK_TIMEOUT: Variable = Variable {
    name: "CODEX_AUTH_LOCK_TIMEOUT",
    purpose: "how long to wait for a process that is changing the login (default: 60s)",
};
pub(super) const KEYCHAIN_TIMEOUT: Variable = Variable {
    name: "CODEX_AUTH_KEYCHAIN_TIMEOUT",
    purpose: "how long one keychain call may take (default: 5s)",
};
pub(super) const REFRESH_URL: Variable = Variable {
    name: "CODEX_REFRESH_TOKEN_URL_OVERRIDE",
    purpose: "the URL for refreshing tokens: https, or http to this machine",
};
pub(super) const REVOKE_URL: Variable = Variable {
    name: "CODEX_REVOKE_TOKEN_URL_OVERRIDE",
    purpose: "the URL for revoking tokens (default: /oauth/revoke on the host of CODEX_REFRESH_TOKEN_URL_OVERRIDE)",
};
pub(super) const LOGIN_ISSUER: Variable = Variable {
    name: "CODEX_APP_SERVER_LOGIN_ISSUER",
    purpose: "the authority for new logins (default: https://auth.openai.com)",
};
pub(super) const AUTHAPI_URL: Variable = Variable {
    name: "CODEX_AUTHAPI_BASE_URL",
    purpose: "the base URL for checking personal access tokens (default: https://auth.openai.com/api/accounts)",
};
pub(super) const CA_CERTIFICATE: Variable = Variable {
    name: "CODEX_CA_CERTIFICATE",
    purpose: "a PEM file of certificates to trust in addition to those of the system",
};
pub(super) const SSL_CERT_FILE: Variable =
    Variable { name: "SSL_CERT_FILE", purpose: "the same, if CODEX_CA_CERTIFICATE is not set" };
pub(super) const SSL_CERT_DIR: Variable = Variable {
    name: "SSL_CERT_DIR",
    purpose: "a folder of certificates to trust in addition to those of the system; ignored on macOS",
};
pub(super) const HTTPS_PROXY: Variable =
    Variable { name: "HTTPS_PROXY", purpose: "the proxy for https requests: an http, https or socks5 URL" };
pub(super) const HTTPS_PROXY_LOWER: Variable =
    Variable { name: "https_proxy", purpose: "the same, if HTTPS_PROXY is not set" };
pub(super) const ALL_PROXY: Variable =
    Variable { name: "ALL_PROXY", purpose: "the same, if neither HTTPS_PROXY nor https_proxy is set" };
pub(super) const ALL_PROXY_LOWER: Variable =
    Variable { name: "all_proxy", purpose: "the same, if none of the three is set" };
pub(super) const NO_PROXY: Variable =
    Variable { name: "NO_PROXY", purpose: "hosts to connect to without a proxy, separated by commas" };
pub(super) const NO_PROXY_LOWER: Variable =
    Variable { name: "no_proxy", purpose: "the same, if NO_PROXY is not set" };
pub(super) const SOCKET: Variable = Variable {
    name: "CODEX_AUTH_SOCKET",
    purpose: "the socket of the keeper that `codex token` asks (default: the one in CODEX_HOME)",
};
pub(super) const LOG: Variable = Variable {
    name: "CODEX_AUTH_LOG",
    purpose: "the log level on stderr: error, warn, info, debug or trace; no level logs secrets",
};
pub(super) const HISTORY: Variable = Variable {
    name: "CODEX_AUTH_HISTORY",
    purpose: "`off` records no events for `codex log` and `codex why` (default: on)",
};
pub(super) const RUNTIME_FOLDER: Variable = Variable {
    name: "XDG_RUNTIME_DIR",
    purpose: "the folder of the keeper's socket if the path of CODEX_HOME is too long for one",
};
pub(super) const NO_COLOR: Variable = Variable { name: "NO_COLOR", purpose: "turns colours off" };
pub(super) const CLICOLOR_FORCE: Variable = Variable {
    name: "CLICOLOR_FORCE",
    purpose: "turns colours on without a terminal, unless it is 0 or NO_COLOR is set",
};
pub(super) const CONFIG: Variable = Variable {
    name: "CODEX_AUTH_CONFIG",
    purpose: "overrides of config.toml, as TOML; -c sets it for the program's child processes",
};
pub(super) const VISITED: Variable = Variable {
    name: "CODEX_AUTH_VISITED",
    purpose: "the programs called codex that passed this command line on; set by the program itself",
};
pub(super) const PASS: Variable = Variable {
    name: "CODEX_AUTH_PASS",
    purpose: "if it is 1, the program `codex` passes every command line on to the next codex, without the variable",
};
pub(super) const PAGER: Variable = Variable {
    name: "PAGER",
    purpose: "the program that shows long output on a terminal (default: less -FRX); `cat` for none",
};
pub(super) const PATH: Variable =
    Variable { name: "PATH", purpose: "the folders that are searched for other programs called codex" };

pub(super) const SSH_CONNECTION: Variable =
    Variable { name: "SSH_CONNECTION", purpose: "if set, the user is at another machine" };
pub(super) const SSH_TTY: Variable = Variable { name: "SSH_TTY", purpose: "the same" };
pub(super) const DISPLAY: Variable =
    Variable { name: "DISPLAY", purpose: "if set, a browser can open here, even over SSH" };
pub(super) const WAYLAND_DISPLAY: Variable = Variable { name: "WAYLAND_DISPLAY", purpose: "the same" };
pub(super) const TERM: Variable = Variable {
    name: "TERM",
    purpose: "the type of the terminal; `dumb` turns the QR code and the large letters off",
};
pub(super) const LC_ALL: Variable =
    Variable { name: "LC_ALL", purpose: "if it ends in UTF-8, the terminal shows Unicode" };
pub(super) const LC_CTYPE: Variable =
    Variable { name: "LC_CTYPE", purpose: "the same, if LC_ALL is not set" };
pub(super) const LANG: Variable =
    Variable { name: "LANG", purpose: "the same, if neither LC_ALL nor LC_CTYPE is set" };

/// The variables that a service manager sets for the processes it starts.
pub(super) const SERVICE_VARIABLES: [Variable; 3] = [
    Variable {
        name: "NOTIFY_SOCKET",
        purpose: "the socket on which the keeper notifies systemd that it is ready; set by systemd",
    },
    Variable { name: "SYSTEMD_EXEC_PID", purpose: "the process that systemd started; set by systemd" },
    Variable { name: "XPC_SERVICE_NAME", purpose: "the agent that launchd started; set by launchd" },
];

/// All variables that this library and program read.
pub const VARIABLES: &[Variable] = &[
    HOME,
    ACCOUNT,
    API_KEY,
    ACCESS_TOKEN,
    LOCK_TIMEOUT,
    KEYCHAIN_TIMEOUT,
    SOCKET,
    LOG,
    HISTORY,
    RUNTIME_FOLDER,
    REFRESH_URL,
    REVOKE_URL,
    LOGIN_ISSUER,
    AUTHAPI_URL,
    CA_CERTIFICATE,
    SSL_CERT_FILE,
    SSL_CERT_DIR,
    HTTPS_PROXY,
    HTTPS_PROXY_LOWER,
    ALL_PROXY,
    ALL_PROXY_LOWER,
    NO_PROXY,
    NO_PROXY_LOWER,
    NO_COLOR,
    CLICOLOR_FORCE,
    CONFIG,
    VISITED,
    PASS,
    PATH,
    PAGER,
    SSH_CONNECTION,
    SSH_TTY,
    DISPLAY,
    WAYLAND_DISPLAY,
    TERM,
    LC_ALL,
    LC_CTYPE,
    LANG,
    SERVICE_VARIABLES[0],
    SERVICE_VARIABLES[1],
    SERVICE_VARIABLES[2],
];

/// The variables that hold a credential. Token commands do not inherit them.
pub const CREDENTIAL_VARIABLES: &[Variable] = &[API_KEY, ACCESS_TOKEN];
