//! Model providers in `config.toml`: the selected one, and its token command.

use std::path::PathBuf;
use std::time::Duration;

use toml_edit::{Item, TableLike};

use super::error::Error;
use super::file::toml;

const PROVIDER_KEY: &str = "model_provider";
const PROVIDERS_KEY: &str = "model_providers";
/// The built-in default provider, which needs no table.
const OPENAI: &str = "openai";
// As in Codex.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_REFRESH_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Keys that name another source of tokens and so exclude a token command.
const CONFLICTING_KEYS: [&str; 3] = ["env_key", "experimental_bearer_token", "requires_openai_auth"];

/// A program that prints a bearer token: `[model_providers.NAME.auth]`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderCommand {
    /// The program: a bare name is searched on `PATH`, a relative path is relative to `folder`.
    pub program: String,
    /// The arguments, which are not interpreted by a shell.
    pub arguments: Vec<String>,
    /// The time limit of one run; never zero.
    pub timeout: Duration,
    /// How long a token is used before the next run; `None`: until a server refuses it.
    pub refresh_interval: Option<Duration>,
    /// The working directory; `None`: that of this process.
    pub folder: Option<PathBuf>,
}

/// Whether a model provider uses the login of the home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there are only two cases")]
pub enum OpenAiAuth {
    /// The provider has its own tokens, or needs none.
    NotRequired,
    /// The provider uses the login.
    Required,
}

/// The selected model provider.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelProvider {
    /// The name in `config.toml`.
    pub name: String,
    /// Whether it uses the login of the home.
    pub openai_auth: OpenAiAuth,
}

/// Returns the model provider that `text`, that of a `config.toml`, selects.
///
/// # Errors
/// [`Error::Toml`].
pub fn model_provider(text: &str) -> Result<ModelProvider, Error> {
    let document = toml(text)?;
    let name = document.get(PROVIDER_KEY).and_then(Item::as_str).unwrap_or(OPENAI);
    let required = table(document.get(PROVIDERS_KEY))
        .and_then(|providers| table(providers.get(name)))
        .and_then(|provider| provider.get("requires_openai_auth"))
        .and_then(Item::as_bool);
    let openai_auth = match required.unwrap_or(name == OPENAI) {
        true => OpenAiAuth::Required,
        false => OpenAiAuth::NotRequired,
    };
    Ok(ModelProvider { name: name.to_owned(), openai_auth })
}

/// Returns the token command of the model provider `name` in `text`, that of a `config.toml`.
///
/// # Errors
/// - [`Error::Toml`].
/// - [`Error::NoProvider`]: there is no such provider, or it has no token command.
/// - [`Error::Provider`]: a key of the provider is invalid. The message does not quote the text.
pub fn provider_command(text: &str, name: &str) -> Result<ProviderCommand, Error> {
    let document = toml(text)?;
    let providers = table(document.get(PROVIDERS_KEY));
    let provider = providers.and_then(|providers| table(providers.get(name)));
    let Some((provider, auth)) = provider.and_then(|provider| Some((provider, provider.get("auth")?))) else {
        let with_command = |(_, item): &(&str, &Item)| {
            table(Some(item)).is_some_and(|provider| provider.contains_key("auth"))
        };
        let known: Vec<_> = providers
            .into_iter()
            .flat_map(TableLike::iter)
            .filter(with_command)
            .map(|(name, _)| name.to_owned())
            .collect();
        return Err(Error::NoProvider { name: name.to_owned(), known });
    };
    if let Some(key) = CONFLICTING_KEYS.into_iter().find(|key| is_set(provider.get(key))) {
        return Err(Error::Provider { key, expected: "left out if auth.command is set" });
    }
    let auth = table(Some(auth)).ok_or(Error::Provider { key: "auth", expected: "a table" })?;
    command(auth)
}

fn command(auth: &dyn TableLike) -> Result<ProviderCommand, Error> {
    let program = auth.get("command").and_then(Item::as_str).filter(|program| !program.trim().is_empty());
    let program =
        program.ok_or(Error::Provider { key: "auth.command", expected: "the name of a program" })?;
    let arguments = match auth.get("args") {
        None => Vec::new(),
        Some(list) => list
            .as_array()
            .and_then(|list| list.iter().map(|item| item.as_str().map(str::to_owned)).collect())
            .ok_or(Error::Provider { key: "auth.args", expected: "a list of strings" })?,
    };
    let timeout = milliseconds(auth, "timeout_ms", "auth.timeout_ms")?.unwrap_or(DEFAULT_TIMEOUT);
    if timeout.is_zero() {
        return Err(Error::Provider { key: "auth.timeout_ms", expected: "greater than zero" });
    }
    let interval = milliseconds(auth, "refresh_interval_ms", "auth.refresh_interval_ms")?;
    let folder = match auth.get("cwd") {
        None => None,
        Some(path) => {
            Some(path.as_str().ok_or(Error::Provider { key: "auth.cwd", expected: "a path" })?.into())
        }
    };
    Ok(ProviderCommand {
        program: program.to_owned(),
        arguments,
        timeout,
        refresh_interval: Some(interval.unwrap_or(DEFAULT_REFRESH_INTERVAL))
            .filter(|interval| !interval.is_zero()),
        folder,
    })
}

fn milliseconds(table: &dyn TableLike, name: &str, key: &'static str) -> Result<Option<Duration>, Error> {
    let Some(item) = table.get(name) else { return Ok(None) };
    let number = item.as_integer().and_then(|number| u64::try_from(number).ok());
    let number = number.ok_or(Error::Provider { key, expected: "a whole number of milliseconds" })?;
    Ok(Some(Duration::from_millis(number)))
}

/// Returns whether the key is present and not `false`.
fn is_set(item: Option<&Item>) -> bool {
    item.is_some_and(|item| item.as_bool() != Some(false))
}

fn table(item: Option<&Item>) -> Option<&dyn TableLike> {
    item?.as_table_like()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corp(auth: &str) -> Result<ProviderCommand, Error> {
        provider_command(
            &format!("[model_providers.corp]\nname = \"Corp\"\n[model_providers.corp.auth]\n{auth}"),
            "corp",
        )
    }

    #[test]
    fn a_command_is_read_with_the_defaults_of_codex() {
        let command = corp("command = \"token\"").unwrap();
        assert_eq!((command.program.as_str(), command.arguments.len()), ("token", 0));
        assert_eq!(
            (command.timeout, command.refresh_interval),
            (DEFAULT_TIMEOUT, Some(DEFAULT_REFRESH_INTERVAL))
        );
        assert_eq!(command.folder, None);
        let all = "command = \"./t\"\nargs = [\"-a\", \"b c\"]\ntimeout_ms = 250\nrefresh_interval_ms = 0\ncwd = \"/x\"";
        let command = corp(all).unwrap();
        assert_eq!(command.arguments, ["-a", "b c"]);
        assert_eq!((command.timeout, command.refresh_interval), (Duration::from_millis(250), None));
        assert_eq!(command.folder, Some("/x".into()));
        let inline = "model_providers = { corp = { auth = { command = \"t\" } } }";
        assert_eq!(provider_command(inline, "corp").unwrap().program, "t");
    }

    #[test]
    fn an_invalid_key_is_named_and_its_value_is_not_quoted() {
        for (auth, wrong) in [
            ("args = []", "auth.command"),
            ("command = \" \"", "auth.command"),
            ("command = \"t\"\nargs = \"marked\"", "auth.args"),
            ("command = \"t\"\nargs = [\"marked\", 1]", "auth.args"),
            ("command = \"t\"\ntimeout_ms = 0", "auth.timeout_ms"),
            ("command = \"t\"\ntimeout_ms = -1", "auth.timeout_ms"),
            ("command = \"t\"\ntimeout_ms = \"marked\"", "auth.timeout_ms"),
            ("command = \"t\"\nrefresh_interval_ms = 1.5", "auth.refresh_interval_ms"),
            ("command = \"t\"\ncwd = 1", "auth.cwd"),
        ] {
            let error = corp(auth).unwrap_err();
            assert!(matches!(error, Error::Provider { key, .. } if key == wrong), "{auth}: {error}");
            assert!(!error.to_string().contains("marked"), "{error}");
        }
        let flat = "[model_providers.corp]\nauth = \"marked\"";
        assert!(matches!(provider_command(flat, "corp"), Err(Error::Provider { key: "auth", .. })));
    }

    /// Upstream: provider auth with `env_key` is refused.
    #[test]
    fn a_command_excludes_other_sources_of_tokens() {
        for (key, refused) in [
            ("env_key = \"KEY\"", true),
            ("experimental_bearer_token = \"marked\"", true),
            ("requires_openai_auth = true", true),
            ("requires_openai_auth = false", false),
        ] {
            let text =
                format!("[model_providers.corp]\n{key}\n[model_providers.corp.auth]\ncommand = \"t\"\n");
            assert_eq!(provider_command(&text, "corp").is_err(), refused, "{key}");
        }
    }

    #[test]
    fn an_error_lists_the_providers_that_have_a_command() {
        let text = "[model_providers.a]\nname = \"A\"\n[model_providers.b.auth]\ncommand = \"t\"\n";
        for name in ["a", "c"] {
            let Err(Error::NoProvider { known, .. }) = provider_command(text, name) else {
                panic!("{name} has none")
            };
            assert_eq!(known, ["b"]);
        }
        assert!(
            matches!(provider_command("", "a"), Err(Error::NoProvider { known, .. }) if known.is_empty())
        );
    }

    #[test]
    fn only_openai_and_providers_that_require_it_use_the_login() {
        for (text, required) in [
            ("", OpenAiAuth::Required),
            ("model_provider = \"openai\"", OpenAiAuth::Required),
            ("model_provider = \"x\"\n[model_providers.x]\nname = \"X\"", OpenAiAuth::NotRequired),
            (
                "model_provider = \"x\"\n[model_providers.x]\nrequires_openai_auth = true",
                OpenAiAuth::Required,
            ),
            ("[model_providers.x]\nrequires_openai_auth = false", OpenAiAuth::Required),
            ("model_provider = \"ollama\"", OpenAiAuth::NotRequired),
        ] {
            assert_eq!(model_provider(text).unwrap().openai_auth, required, "{text}");
        }
    }
}
