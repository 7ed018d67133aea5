//! Sets up the container of a scene: its login, authority and background processes.

use std::time::Duration;

use scripted_authority::{Account, Authority, DeviceFlow, Endpoint, Step};

use super::container::{Access, Container};
use super::terminal::Terminal;
use crate::docs::scene::Scene;
use crate::support::program;
use crate::support::session::PrivateSession;

/// A container with its authority.
pub struct Stage {
    pub authority: Authority,
    pub container: Container,
    /// Background processes.
    _keeper: Option<Terminal>,
}

impl Stage {
    /// A container without the program, and an authority that approves every login as Ada.
    pub fn bare(session: Option<PrivateSession>) -> Self {
        let authority = Authority::start().unwrap();
        authority.visit_as(Self::ada());
        let mut container = Container::new(session);
        container.set("CODEX_REFRESH_TOKEN_URL_OVERRIDE", authority.token_url());
        container.set("CODEX_REVOKE_TOKEN_URL_OVERRIDE", authority.revoke_url());
        container.set("CODEX_APP_SERVER_LOGIN_ISSUER", authority.url());
        container.set("CODEX_AUTHAPI_BASE_URL", authority.url());
        Self { authority, container, _keeper: None }
    }

    /// The container of a scene.
    pub fn set(scene: Scene) -> Self {
        let keychain = matches!(scene, Scene::Keychain | Scene::Locked).then(PrivateSession::unlocked);
        let mut stage = Self::bare(keychain);
        stage.container.mount(&program(), "opt/bin/codex", Access::ReadOnly);
        stage.container.set("API", stage.authority.resource_url());
        stage.authority.adjust(|policy| policy.device = DeviceFlow::ApprovesAfter(1));
        match scene {
            Scene::Expired => stage.log_in(-4_000),
            Scene::LoggedIn => stage.log_in(0),
            Scene::NoRevocation => {
                stage.log_in(0);
                stage.authority.script_always(Endpoint::Revoke, Step::status(400, "odd"));
            }
            Scene::Locked => {
                stage.log_in(0);
                let moved = stage.container.terminal().run("codex migrate --to keychain");
                assert_eq!(moved.code, 0, "{}", moved.shown);
                stage.container.lock_keychain();
            }
            Scene::Keeper => {
                stage.log_in(0);
                let mut keeper = stage.container.terminal();
                keeper.type_in("codex sync run");
                let ready = "keeping the login fresh";
                keeper.await_on_screen(Duration::from_secs(60), ready, |screen| screen.contains(ready));
                let export = stage.container.home("codex-export");
                std::fs::create_dir(&export).unwrap();
                stage.container.mount(&export, "run/codex-auth", Access::ReadOnly);
                stage._keeper = Some(keeper);
            }
            Scene::AccessToken => {
                let token = stage.authority.personal_access_token(Self::ada());
                stage.container.set("CODEX_ACCESS_TOKEN", token);
            }
            Scene::Keychain => {}
            Scene::Newcomer | Scene::NotRun(_) => {
                unreachable!("there is no stage for {scene:?}")
            }
        }
        stage
    }

    fn ada() -> Account {
        Account { email: "ada@example.com".into(), ..Account::numbered(1) }
    }

    /// Logs Ada in with an access token that was issued `from_now` seconds from now.
    fn log_in(&self, from_now: i64) {
        self.authority.adjust(|policy| policy.clock_offset = from_now);
        let grant = self.authority.grant(Self::ada());
        self.authority.adjust(|policy| policy.clock_offset = 0);
        self.container.write("home/ada/.codex/auth.json", &grant.auth_json());
    }
}
