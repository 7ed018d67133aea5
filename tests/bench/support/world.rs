//! A home with a login of a scripted authority in the file store.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use codex_auth::{Environment, Home};
use scripted_authority::{Account, Authority};

/// The environment variables that select a world.
const HOME: &str = "CODEX_HOME";
const REFRESH_URL: &str = "CODEX_REFRESH_TOKEN_URL_OVERRIDE";
/// Lifetime of an access token, in seconds.
const LIFETIME: i64 = 3_600;

/// A home with a login, and its authority.
pub struct World {
    /// Contains the home: the folder above a home is watched too, and other programs change the one for temporary
    /// files.
    folder: tempfile::TempDir,
    pub authority: Authority,
}

#[allow(dead_code, reason = "not every benchmark uses it")]
impl World {
    /// A login whose access token is valid for an hour.
    pub fn fresh() -> Self {
        Self::with(0)
    }

    /// A login whose access token has expired; new tokens are valid for an hour.
    pub fn expired() -> Self {
        Self::with(-2 * LIFETIME)
    }

    fn with(clock_offset: i64) -> Self {
        let authority = Authority::start().unwrap();
        authority.adjust(|policy| {
            policy.access_lifetime = LIFETIME;
            policy.clock_offset = clock_offset;
        });
        let grant = authority.grant(Account::numbered(1));
        authority.adjust(|policy| policy.clock_offset = 0);
        let world = Self { folder: tempfile::tempdir().unwrap(), authority };
        fs::create_dir(world.folder.path().join("home")).unwrap();
        let document = world.path().join("auth.json");
        fs::write(&document, grant.auth_json()).unwrap();
        fs::set_permissions(&document, fs::Permissions::from_mode(0o600)).unwrap();
        world
    }

    /// The canonical path of the home.
    pub fn path(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("home")
    }

    pub fn home(&self) -> Home {
        Home::at(self.path()).unwrap()
    }

    /// The environment variables that select this world.
    pub fn variables(&self) -> [(&'static str, String); 2] {
        [(HOME, self.path().display().to_string()), (REFRESH_URL, self.authority.token_url())]
    }

    /// The environment that they make.
    pub fn environment(&self) -> Environment {
        let variables = self.variables();
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        Environment::read(|name| value(name).map(Into::into)).unwrap()
    }
}
