//! Providers of tokens: host applications, commands and environment variables.
//!
//! The tests of Codex for external tokens, and the tests here that correspond to them:
//!
//! | upstream | here |
//! |---|---|
//! | `external_auth_tokens_without_chatgpt_metadata_cannot_seed_chatgpt_auth` | `external::token` (unit) |
//! | `external_bearer_only_auth_manager_uses_cached_provider_token` | `manager::the_token_of_a_command_is_used_for_the_refresh_interval` |
//! | `…_disables_auto_refresh_when_interval_is_zero` | `manager::without_a_refresh_interval_a_command_runs_again_only_after_a_401` |
//! | `…_returns_none_when_command_fails` | `manager::a_failing_command_is_an_error_with_its_stderr` |
//! | `unauthorized_recovery_uses_external_refresh_for_bearer_manager` | `recovery::a_recovery_requests_one_new_token` |
//! | `external_chatgpt_auth_manager_refresh_persists_ephemeral_auth` | `manager::a_chatgpt_token_makes_a_document_only_in_memory` |
//! | `load_auth_reads_access_token_from_env`, `load_auth_reads_personal_access_token_from_env`, `load_auth_keeps_codex_api_key_env_precedence` | `program::the_environment_takes_precedence_over_the_store_and_status_reports_it` |
//! | `personal_access_token_does_not_offer_unauthorized_recovery` | `recovery::a_credential_in_the_environment_has_no_recovery` |
//! | `enforce_login_restrictions_*`, `auth_manager_rejects_*_workspace_mismatch` | `login::permission` (unit), `login::restrictions`; `doctor` reports a login that a later rule forbids (`cli::doctor`) |
//! | config: provider auth with `env_key` refused | `config::provider` (unit) |

mod command;
mod host;
mod manager;
mod program;
mod recovery;
