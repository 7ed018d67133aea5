//! The settings of the user: environment variables, and the keys of `config.toml` that concern a login.
//!
//! No other module reads the environment. This one parses and edits the text of `config.toml`; [`crate::store`] reads
//! and writes the file.

mod codex;
mod command_line;
mod environment;
mod error;
mod exec_chain;
mod file;
mod network;
mod overrides;
mod provider;
mod restrictions;
mod store;
pub(crate) mod store_name;
mod terminal_env;
mod variables;

pub use self::codex::{TESTED_CODEX_VERSIONS, is_tested_codex};
pub use self::command_line::{
    CODEX_COMMANDS, CODEX_OPTIONS, CodexOption, CommandLine, GivenOption, LineTarget, OptionArity,
    OptionScope,
};
#[cfg(feature = "failpoints")]
pub(crate) use self::environment::failpoint;
pub use self::environment::{Colour, Environment, HistorySetting, HomeSetting, LogLevel, UserFolders};
pub use self::error::Error;
pub use self::exec_chain::ExecChain;
pub(crate) use self::file::STORE_KEY;
pub use self::file::{Config, KeychainEncryption, LegacyToken};
pub use self::network::{Network, NetworkSetting};
pub use self::overrides::{OVERRIDE_KEYS, Overrides};
pub use self::provider::{ModelProvider, OpenAiAuth, ProviderCommand, model_provider, provider_command};
pub use self::restrictions::{ForbiddenLogin, LoginMethod, Restrictions};
pub use self::store::{StoreKind, StoreSelection, StoreSetting};
pub use self::terminal_env::{TerminalEnv, TerminalKind, UserLocation};
pub use self::variables::{CREDENTIAL_VARIABLES, VARIABLES, Variable};
