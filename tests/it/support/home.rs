//! A temporary home, and runs of the program in it.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use codex_auth::{Environment, Home, Stores, Timestamp};
use serde_json::{Value, json};

use super::program::Run;
use super::session::{PrivateSession, no_keychain};

/// A temporary `CODEX_HOME`, without a keychain unless a session is given.
pub struct TestHome {
    folder: tempfile::TempDir,
    environment: Vec<(String, OsString)>,
}

impl Drop for TestHome {
    fn drop(&mut self) {
        // A process that outlives its command may write here once more, and a removal then finds a folder that is not
        // empty.
        let end = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir_all(self.folder.path()).is_err_and(|error| error.kind() != ErrorKind::NotFound) {
            if Instant::now() > end {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl TestHome {
    /// An empty home where no keychain can be reached.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        Self { environment: no_keychain(folder.path()), folder }
    }

    /// An empty home in the session of a real keyring.
    pub fn within(session: &PrivateSession) -> Self {
        Self::with_variables(session.environment())
    }

    /// An empty home whose programs get these variables.
    pub fn with_variables(environment: Vec<(String, OsString)>) -> Self {
        let mut home = Self::new();
        home.environment = environment;
        home
    }

    /// The canonical path of the home.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("home").canonicalize().unwrap()
    }

    /// A file of the home.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// `auth.json`.
    pub fn document(&self) -> PathBuf {
        self.file("auth.json")
    }

    /// A folder beside the home, which is removed with it.
    pub fn beside(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        folder.canonicalize().unwrap()
    }

    /// Writes a file of the home, mode 0600.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The content of a file of the home.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }

    /// The names in the home, sorted.
    pub fn names(&self) -> Vec<String> {
        names(&self.path())
    }

    /// The environment variables that select this home.
    pub fn variables(&self) -> Vec<(String, OsString)> {
        let mut variables = self.environment.clone();
        variables.push(("CODEX_HOME".to_owned(), self.path().into()));
        variables
    }

    /// Every file below the home, with its mode and content; folders and links have a description as content.
    pub fn tree(&self) -> Vec<(PathBuf, u32, Vec<u8>)> {
        tree(&self.path())
    }

    /// A run of the program in this home.
    pub fn codex<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        Run::new(arguments).envs(self.variables())
    }

    /// The home as the library's type.
    pub fn home(&self) -> Home {
        Home::at(self.path()).unwrap()
    }

    /// The stores of the home.
    pub fn stores(&self) -> Stores {
        Stores::open(self.home(), &self.environment()).unwrap()
    }

    /// The environment that a program in this home has.
    pub fn environment(&self) -> Environment {
        let home = self.path();
        Environment::read(move |name| (name == "CODEX_HOME").then(|| home.clone().into())).unwrap()
    }
}

/// Every file below `folder`, with its mode and content; folders and links have a description as content. What a process
/// removes meanwhile is left out.
pub fn tree(folder: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let mut found = Vec::new();
    for name in names(folder) {
        let path = folder.join(name);
        let content = || -> std::io::Result<_> {
            let metadata = fs::symlink_metadata(&path)?;
            let content = match metadata.file_type() {
                kind if kind.is_file() => fs::read(&path)?,
                kind if kind.is_dir() => b"a folder".to_vec(),
                kind => format!("{kind:?}").into_bytes(),
            };
            Ok((metadata, content))
        };
        let (metadata, content) = match content() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            read => read.unwrap(),
        };
        found.push((path.clone(), metadata.permissions().mode(), content));
        if metadata.is_dir() {
            found.extend(tree(&path));
        }
    }
    found
}

/// Replaces the file or link at `link` with a link to `target`.
pub fn link_to(target: &Path, link: &Path) {
    let new = link.with_file_name("new-link");
    symlink(target, &new).unwrap();
    fs::rename(new, link).unwrap();
}

/// The names in `folder`, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A JWT with this payload and no valid signature.
pub fn jwt(payload: &Value) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload.to_string()))
}

/// A ChatGPT login as Codex writes it, whose access token is valid from `issued` to `expires` (seconds since 1970).
pub fn chatgpt(account: &str, refresh_token: &str, issued: i64, expires: i64) -> String {
    let claims =
        json!({"chatgpt_account_id": account, "chatgpt_user_id": "user-1", "chatgpt_plan_type": "plus"});
    let id_token = jwt(&json!({"email": "ada@example.com", "https://api.openai.com/auth": claims}));
    let access_token = jwt(&json!({"iat": issued, "exp": expires, "for": account}));
    let document = json!({
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": null,
        "tokens": {
            "id_token": id_token,
            "access_token": access_token,
            "refresh_token": refresh_token,
            "account_id": account,
        },
        "last_refresh": format!("{:.9}", Timestamp::from_second(issued).unwrap()),
    });
    format!("{document:#}")
}
