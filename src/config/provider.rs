//! Model providers as `config.toml` describes them: which one is used, and the command that gives it tokens.

use std::path::PathBuf;
use std::time::Duration;

use toml_edit::{Item, TableLike};

use super::Error;
use super::file::toml;

const SELECTED: &str = "model_provider";
const PROVIDERS: &str = "model_providers";
/// The provider that is used where none is named. It is built in and needs no table.
const OPENAI: &str = "openai";
/// How long the command may take where nothing is said, and how long its token is used (`codex-behaviour.md` 6).
const TIMEOUT: Duration = Duration::from_secs(5);
const REFRESH_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// What cannot stand beside a command: each says in its own way where the token comes from.
const RIVALS: [&str; 3] = ["env_key", "experimental_bearer_token", "requires_openai_auth"];

/// A program that prints a bearer token: `[model_providers.NAME.auth]`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderCommand {
    /// The program: a bare name is looked for on `PATH`, a relative path begins at `folder`.
    pub program: String,
    /// Its arguments, as they are; no shell sees them.
    pub arguments: Vec<String>,
    /// How long it may take; never zero.
    pub timeout: Duration,
    /// How often it is asked again; `None`: only when a server has refused its token.
    pub refresh_interval: Option<Duration>,
    /// Where it runs; the folder of whoever asks if nothing is said.
    pub folder: Option<PathBuf>,
}

/// Whether a model provider uses the login of the home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "it does or it does not")]
pub enum OpenAiAuth {
    /// It does not: it has tokens of its own, or needs none.
    NotRequired,
    /// It does.
    Required,
}

/// The model provider that is used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelProvider {
    /// Its name in `config.toml`.
    pub name: String,
    /// Whether it uses the login of the home.
    pub openai_auth: OpenAiAuth,
}

/// The model provider that the text of a `config.toml` selects.
///
/// # Errors
/// [`Error::Toml`].
pub fn model_provider(text: &str) -> Result<ModelProvider, Error> {
    let document = toml(text)?;
    let name = document.get(SELECTED).and_then(Item::as_str).unwrap_or(OPENAI);
    let said = table(document.get(PROVIDERS))
        .and_then(|providers| table(providers.get(name)))
        .and_then(|provider| provider.get("requires_openai_auth"))
        .and_then(Item::as_bool);
    let openai_auth = match said.unwrap_or(name == OPENAI) {
        true => OpenAiAuth::Required,
        false => OpenAiAuth::NotRequired,
    };
    Ok(ModelProvider { name: name.to_owned(), openai_auth })
}

/// The command that gives tokens to the model provider `name`, by the text of a `config.toml`.
///
/// # Errors
/// - [`Error::Toml`].
/// - [`Error::NoProvider`]: there is no provider of that name, or no command for it.
/// - [`Error::Provider`]: a key of it makes no sense. None of the text is in the message.
pub fn provider_command(text: &str, name: &str) -> Result<ProviderCommand, Error> {
    let document = toml(text)?;
    let providers = table(document.get(PROVIDERS));
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
        return Err(Error::NoProvider { known });
    };
    if let Some(rival) = RIVALS.into_iter().find(|rival| is_said(provider.get(rival))) {
        return Err(Error::Provider { key: rival, expected: "left out where there is a command in auth" });
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
            .ok_or(Error::Provider { key: "auth.args", expected: "a list of texts" })?,
    };
    let timeout = milliseconds(auth, "timeout_ms", "auth.timeout_ms")?.unwrap_or(TIMEOUT);
    if timeout.is_zero() {
        return Err(Error::Provider { key: "auth.timeout_ms", expected: "more than nothing" });
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
        refresh_interval: Some(interval.unwrap_or(REFRESH_INTERVAL)).filter(|interval| !interval.is_zero()),
        folder,
    })
}

fn milliseconds(table: &dyn TableLike, name: &str, key: &'static str) -> Result<Option<Duration>, Error> {
    let Some(item) = table.get(name) else { return Ok(None) };
    let number = item.as_integer().and_then(|number| u64::try_from(number).ok());
    let number = number.ok_or(Error::Provider { key, expected: "a whole number of milliseconds" })?;
    Ok(Some(Duration::from_millis(number)))
}

/// A flag that is off says nothing.
fn is_said(item: Option<&Item>) -> bool {
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
    fn a_command_is_read_with_what_codex_takes_where_nothing_is_said() {
        let command = corp("command = \"token\"").unwrap();
        assert_eq!((command.program.as_str(), command.arguments.len()), ("token", 0));
        assert_eq!((command.timeout, command.refresh_interval), (TIMEOUT, Some(REFRESH_INTERVAL)));
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
    fn a_key_that_makes_no_sense_is_named_and_not_quoted() {
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
    fn a_command_does_not_stand_beside_another_source_of_tokens() {
        for (rival, refused) in [
            ("env_key = \"KEY\"", true),
            ("experimental_bearer_token = \"marked\"", true),
            ("requires_openai_auth = true", true),
            ("requires_openai_auth = false", false),
        ] {
            let text =
                format!("[model_providers.corp]\n{rival}\n[model_providers.corp.auth]\ncommand = \"t\"\n");
            assert_eq!(provider_command(&text, "corp").is_err(), refused, "{rival}");
        }
    }

    #[test]
    fn a_provider_without_a_command_is_told_of_those_that_have_one() {
        let text = "[model_providers.a]\nname = \"A\"\n[model_providers.b.auth]\ncommand = \"t\"\n";
        for name in ["a", "c"] {
            let Err(Error::NoProvider { known }) = provider_command(text, name) else {
                panic!("{name} has none")
            };
            assert_eq!(known, ["b"]);
        }
        assert!(matches!(provider_command("", "a"), Err(Error::NoProvider { known }) if known.is_empty()));
    }

    #[test]
    fn only_openai_itself_and_those_who_say_so_use_the_login() {
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
