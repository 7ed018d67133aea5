//! The same conversation with Codex 0.171 and with this program in equal homes: every answer is valid by the schema that
//! Codex generates, and only the listed ones differ.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use scripted_authority::{Account, Authority, DeviceFlow, Endpoint, Pacing, Step};
use serde_json::{Value, json};

use super::client::Client;
use super::next::with_path;
use super::schema::Schema;
use crate::interop::codex::codex_0171;
use crate::support::{Run, TestHome, here, in_private_network};

/// What is sent to both programs.
enum Sent {
    Request(&'static str, Value),
    /// A login by browser, which the test carries out.
    Browser(Value),
    /// A login with a device code, which is approved at once.
    Device,
    /// The workspace of the start is known.
    Ready,
    /// This many notifications about the account follow.
    Notified(usize),
}

/// What a program answered, in order; ids and ports are left out.
type Answers = Vec<(String, Value)>;

struct Scene {
    authority: Authority,
    home: TestHome,
    document: Option<String>,
    variables: Vec<(&'static str, String)>,
}

impl Scene {
    fn new(document: impl FnOnce(&Authority) -> Option<String>) -> Self {
        let authority = Authority::start().unwrap();
        authority.visit_as(Account::numbered(1));
        authority.adjust(|policy| (policy.device, policy.pacing) = (DeviceFlow::Approves, Pacing::Ignored));
        let document = document(&authority);
        let home = TestHome::new();
        home.write("config.toml", format!("chatgpt_base_url = \"{}/backend-api\"\n", authority.url()));
        document.iter().for_each(|document| drop(home.write("auth.json", document)));
        Self { authority, home, document, variables: Vec::new() }
    }

    fn client(&self, run: Run) -> Client {
        let url = self.authority.url();
        let run = run
            .envs(self.home.variables())
            .env("HOME", self.home.path())
            .env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", self.authority.token_url())
            .env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", self.authority.revoke_url())
            .env("CODEX_APP_SERVER_LOGIN_ISSUER", url)
            .env("CODEX_AUTHAPI_BASE_URL", url);
        let run = self.variables.iter().fold(run, |run, (name, value)| run.env(name, value));
        Client::from_run(run)
    }

    fn theirs(&self) -> Client {
        self.client(Run::of(&codex_0171(), ["app-server"]))
    }

    fn ours(&self) -> Client {
        let run = self.home.codex(["app-server"]);
        self.client(with_path(run, [codex_0171().parent().unwrap()]))
    }
}

/// Sends everything, and returns what was answered.
fn talk(client: &mut Client, schema: &Schema, sent: &[Sent]) -> Answers {
    let mut answers = Answers::new();
    for sent in sent {
        match sent {
            Sent::Request(method, params) => {
                let outcome = client.outcome(method, params.clone());
                if let Some(result) = outcome.get("result") {
                    schema.check_result(method, result);
                }
                answers.push((format!("{method} {params}"), plain(outcome)));
            }
            Sent::Browser(params) => {
                let started = client.call("account/login/start", params.clone());
                schema.check_result("account/login/start", &started);
                let (_, back) = visit(started["authUrl"].as_str().unwrap());
                let (status, mut end) = visit(&back);
                if end.contains("/success") {
                    assert_eq!(visit(&end).0, 200);
                    // The page is each program's own.
                    end = "a page of its own".to_owned();
                    answers.push(("browser".to_owned(), json!([end])));
                } else {
                    answers.push(("browser".to_owned(), json!([status, end])));
                }
                answers.push(("browser login".to_owned(), plain(started)));
            }
            Sent::Device => {
                let started = client.call("account/login/start", json!({"type": "chatgptDeviceCode"}));
                schema.check_result("account/login/start", &started);
                answers.push(("device login".to_owned(), plain(started)));
            }
            Sent::Ready => {
                let params = client.workspace_ready();
                schema.check_notification("account/updated", &params);
                answers.push(("ready".to_owned(), params));
            }
            Sent::Notified(number) => {
                for _ in 0..*number {
                    let (method, params) = client.account_notification();
                    schema.check_notification(&method, &params);
                    answers.push((method, plain(params)));
                }
            }
        }
    }
    answers
}

/// Leaves out what is random.
fn plain(mut value: Value) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| match name.as_str() {
                "loginId" if value.is_string() => *value = json!("id"),
                "userCode" => *value = json!("code"),
                "lastUsedAt" => *value = json!(0),
                "authToken" if value.is_string() => *value = json!("token"),
                "authUrl" => *value = json!(query(value.as_str().unwrap())),
                "verificationUrl" => *value = json!(value.as_str().unwrap().rsplit('/').next()),
                _ => walk(value),
            }),
            Value::Array(items) => items.iter_mut().for_each(walk),
            _ => {}
        }
    }
    walk(&mut value);
    value
}

/// The parameters of a URL, without the random ones.
fn query(url: &str) -> BTreeMap<String, String> {
    let (_, query) = url.split_once('?').unwrap();
    let pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
    pairs.filter(|(name, _)| name != "state" && name != "code_challenge").collect()
}

/// Requests a URL as a browser does, and returns the status and the target of a redirect.
fn visit(url: &str) -> (u16, String) {
    let rest = url.strip_prefix("http://").unwrap_or_else(|| url.strip_prefix('/').map_or(url, |_| url));
    let (host, path) = match rest.strip_prefix('/') {
        Some(path) => ("127.0.0.1:1455", path),
        None => rest.split_once('/').unwrap(),
    };
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let status = response.split(' ').nth(1).unwrap().parse().unwrap();
    let location = response.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
    });
    (status, location.unwrap_or_default())
}

/// Talks to both in scenes that `scene` creates alike, and returns the answers that differ: ours, then theirs.
fn differences(scene: &dyn Fn() -> Scene, sent: &[Sent]) -> Vec<(String, Value, Value)> {
    let schema = Schema::of(&codex_0171());
    let (ours, theirs) = (scene(), scene());
    assert_eq!(ours.document.is_some(), theirs.document.is_some());
    let theirs = talk(&mut theirs.theirs(), &schema, sent);
    let ours = talk(&mut ours.ours(), &schema, sent);
    assert_eq!(ours.len(), theirs.len());
    let pairs = ours.into_iter().zip(theirs).filter(|(ours, theirs)| ours != theirs);
    pairs.map(|((what, ours), (_, theirs))| (what, ours, theirs)).collect()
}

fn reads() -> Vec<Sent> {
    vec![
        Sent::Request("account/read", json!({})),
        Sent::Request("account/read", json!({"refreshToken": true})),
        Sent::Request("account/read", json!({})),
        Sent::Request("getAuthStatus", json!({})),
        Sent::Request("getAuthStatus", json!({"includeToken": true})),
        Sent::Request("getAuthStatus", json!({"includeToken": true, "refreshToken": true})),
    ]
}

/// Requests before and after a login, and a logout.
fn around(login: Vec<Sent>) -> Vec<Sent> {
    let logout = [Sent::Request("account/logout", Value::Null), Sent::Notified(1)];
    reads().into_iter().chain(login).chain(reads()).chain(logout).chain(reads()).collect()
}

fn granted(authority: &Authority) -> Option<String> {
    Some(authority.grant(Account::numbered(1)).auth_json())
}

const NONE: Vec<(String, Value, Value)> = Vec::new();

#[test]
fn a_chatgpt_account_is_answered_as_by_codex() {
    in_private_network(here!(), || {
        let sent: Vec<_> = [Sent::Ready].into_iter().chain(around(Vec::new())).collect();
        assert_eq!(differences(&|| Scene::new(granted), &sent), NONE);
    });
}

#[test]
fn an_api_key_is_answered_as_by_codex() {
    in_private_network(here!(), || {
        let mut sent = Vec::new();
        for key in ["", "sk-1", "two words"] {
            let login = Sent::Request("account/login/start", json!({"type": "apiKey", "apiKey": key}));
            sent.extend(around(vec![login, Sent::Notified(2)]));
        }
        assert_eq!(differences(&|| Scene::new(|_| None), &sent), NONE);
    });
}

#[test]
fn logins_by_device_and_browser_are_answered_as_by_codex() {
    in_private_network(here!(), || {
        let mut sent = around(vec![Sent::Device, Sent::Notified(2)]);
        for params in [
            json!({"type": "chatgpt"}),
            json!({"type": "chatgpt", "appBrand": "chatgpt"}),
            json!({"type": "chatgpt", "useHostedLoginSuccessPage": true}),
            json!({"type": "chatgpt", "useHostedLoginSuccessPage": true, "appBrand": "codex"}),
            json!({"type": "chatgpt", "useHostedLoginSuccessPage": true, "appBrand": "chatgpt"}),
            json!({"type": "chatgpt", "useHostedLoginSuccessPage": false, "appBrand": null}),
        ] {
            sent.extend([Sent::Browser(params), Sent::Notified(2)]);
        }
        sent.extend(around(Vec::new()));
        assert_eq!(differences(&|| Scene::new(|_| None), &sent), NONE);
    });
}

#[test]
fn a_personal_access_token_is_answered_as_by_codex() {
    in_private_network(here!(), || {
        let stored = || {
            Scene::new(|authority| {
                let token = authority.personal_access_token(Account::numbered(7));
                Some(json!({"personal_access_token": token}).to_string())
            })
        };
        let sent: Vec<_> = [Sent::Ready].into_iter().chain(around(Vec::new())).collect();
        assert_eq!(differences(&stored, &sent), NONE);
        let in_the_environment = || {
            let mut scene = Scene::new(|_| None);
            let token = scene.authority.personal_access_token(Account::numbered(7));
            scene.variables.push(("CODEX_ACCESS_TOKEN", token));
            scene
        };
        let sent: Vec<_> = [Sent::Ready].into_iter().chain(reads()).collect();
        assert_eq!(differences(&in_the_environment, &sent), NONE);
        let unknown = || Scene::new(|_| Some(json!({"personal_access_token": "at-unknown"}).to_string()));
        assert_eq!(differences(&unknown, &reads()), NONE);
    });
}

#[test]
fn a_workspace_that_cannot_be_looked_up_is_an_error_as_in_codex() {
    in_private_network(here!(), || {
        let workspace = |origin: Value, constraint: Value| {
            let account = json!({
                "id": "acct-1", "name": null, "workspace_backend_origin": origin, "account_routing_override": constraint,
            });
            Step::body(200, "application/json", &json!({"accounts": [account]}).to_string())
        };
        for step in [
            Step::status(500, "down"),
            Step::status(401, "no"),
            Step::body(200, "application/json", "no json"),
            Step::body(200, "application/json", r#"{"accounts": []}"#),
            workspace(json!("http://a.example"), json!("us")),
            workspace(json!("https://u:p@a.example"), json!("us")),
            workspace(json!("https://a.example/x"), json!("us")),
            workspace(json!("https://a.example"), json!("mars")),
            workspace(json!("https://a.example"), Value::Null),
            workspace(Value::Null, json!("us")),
            workspace(json!("https://A.example:443"), json!("us_cr")),
            Step::body(200, "application/json", r#"{"accounts": [{"id": "acct-1"}, {"id": "acct-1"}]}"#),
        ] {
            let scene = || {
                let scene = Scene::new(granted);
                scene.authority.script_always(Endpoint::Workspaces, step.clone());
                scene
            };
            let sent = [Sent::Request("account/read", json!({})), Sent::Request("getAuthStatus", json!({}))];
            assert_eq!(differences(&scene, &sent), NONE, "{step:?}");
        }
    });
}

#[test]
fn a_switch_of_workspaces_is_answered_as_by_codex_and_followed() {
    in_private_network(here!(), || {
        let switch = json!({"sessionId": "user-1", "accountId": "shared"});
        let sent = [
            Sent::Ready,
            Sent::Request("accountSession/list", json!({})),
            Sent::Request("accountSession/list", json!({"refreshWorkspaceMetadata": true})),
            Sent::Request("accountSession/switch", switch),
            Sent::Notified(1),
            Sent::Request("account/read", json!({})),
            Sent::Request("accountSession/list", json!({})),
            Sent::Request("account/read", json!({"refreshToken": true})),
        ];
        assert_eq!(differences(&|| Scene::new(granted), &sent), NONE);
    });
}

/// A login is stored before the workspace is looked up, and this program says so; Codex says that it failed.
#[test]
fn a_stored_login_is_reported_as_one_whatever_its_workspace_says() {
    in_private_network(here!(), || {
        let scene = || {
            let scene = Scene::new(|_| None);
            scene.authority.script_always(Endpoint::Workspaces, Step::status(500, "down"));
            scene
        };
        let different = differences(&scene, &[Sent::Device, Sent::Notified(1)]);
        let [(what, ours, theirs)] = &different[..] else { panic!("{different:?}") };
        assert_eq!(what, "account/login/completed");
        assert_eq!((&ours["success"], &theirs["success"]), (&true.into(), &false.into()));
    });
}

#[test]
fn the_user_agent_has_the_version_of_the_next_codex() {
    in_private_network(here!(), || {
        let scene = Scene::new(|_| None);
        let agent = |run: Run| {
            let mut client = Client::start(run.envs(scene.home.variables()).into_command());
            client.initialize(&Value::Null)["userAgent"].as_str().unwrap().to_owned()
        };
        let before = with_path(scene.home.codex(["app-server"]), [codex_0171().parent().unwrap()]);
        let (ours, theirs) = (agent(before), agent(Run::of(&codex_0171(), ["app-server"])));
        let version = |agent: &str| agent.split(' ').next().unwrap().to_owned();
        assert_eq!((version(&ours), version(&theirs)), ("editor/0.171.0".to_owned(), version(&ours)));
        assert!(ours.ends_with("(editor; 1.2.3)") && theirs.ends_with("(editor; 1.2.3)"), "{ours} {theirs}");
        let mut client = Client::start(scene.home.codex(["app-server"]).into_command());
        let info = json!({"name": "a\nb", "version": "1"});
        let refused = client.error("initialize", json!({"clientInfo": info}), -32600);
        assert_eq!(refused, "Invalid clientInfo.name: 'a\nb'. Must be a valid HTTP header value.");
    });
}
