//! Providers: what the manager makes of them, and the commands that a user names.
//!
//! The external cases of the upstream tests (`codex-behaviour.md` 9.2), and where each is held here:
//!
//! | upstream | here |
//! |---|---|
//! | `external_auth_tokens_without_chatgpt_metadata_cannot_seed_chatgpt_auth` | `external::token` (unit) |
//! | `external_bearer_only_auth_manager_uses_cached_provider_token` | `manager::a_commands_token_is_used_for_the_interval_and_no_longer` |
//! | `…_disables_auto_refresh_when_interval_is_zero` | `manager::without_an_interval_a_command_runs_again_only_after_a_401` |
//! | `…_returns_none_when_command_fails` | `manager::a_command_that_fails_gives_no_token_and_says_why` |
//! | `unauthorized_recovery_uses_external_refresh_for_bearer_manager` | `recovery::a_recovery_asks_for_another_token_once` |
//! | `external_chatgpt_auth_manager_refresh_persists_ephemeral_auth` | `manager::a_chatgpt_token_makes_a_document_in_memory_and_nowhere_else` |
//! | `load_auth_reads_access_token_from_env`, `load_auth_reads_personal_access_token_from_env`, `load_auth_keeps_codex_api_key_env_precedence` | `program::the_environment_comes_before_the_store_and_status_says_so` |
//! | `personal_access_token_does_not_offer_unauthorized_recovery` | `recovery::a_credential_of_the_environment_is_served_and_has_no_recovery` |
//! | `enforce_login_restrictions_*`, `auth_manager_rejects_*_workspace_mismatch` | `login::permission` (unit), `login::restrictions`; a rule that is younger than the login is a finding of `cli::doctor`, and nothing is thrown away |
//! | config: provider auth with `env_key` refused | `config::provider` (unit) |

mod command;
mod host;
mod manager;
mod program;
mod recovery;
