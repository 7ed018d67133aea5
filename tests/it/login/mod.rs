//! Logins by browser, by device code and by token, and what happens to the login before.
//!
//! Codex's own tests of its login, and where each is covered here:
//!
//! | upstream | here |
//! |---|---|
//! | `end_to_end_login_flow_persists_auth_json` | `browser`, over both stores |
//! | `creates_missing_codex_home_dir` | `browser` |
//! | `login_server_includes_forced_workspaces_as_one_query_param` | `authority::issuer` (unit), `restrictions` |
//! | `forced_chatgpt_workspace_id_mismatch_blocks_login` | `restrictions`, over both stores |
//! | `oauth_access_denied_missing_entitlement_blocks_login_with_clear_error` | `browser` |
//! | `oauth_access_denied_unknown_reason_uses_generic_error_page` | `browser` |
//! | `falls_back_to_registered_fallback_port_when_default_port_is_in_use` | `ports` |
//! | `cancels_previous_login_server_when_port_is_in_use` | `ports` |
//! | `parse_token_endpoint_error_…` (4) | `browser`, one case each |
//! | `redact_sensitive_…`, `sanitize_url_for_logging_…` | nothing is logged; `browser` searches all output |
//! | `compose_success_url_…` | nothing is composed: `browser` checks that the path is `/success` |
//! | `render_login_error_page_escapes_dynamic_fields`, `…uses_entitlement_copy` | `login::page` (unit), `browser` |
//! | `persist_tokens_async_revokes_previous_auth_without_failing_login` | `transaction` |
//! | `…does_not_revoke_reused_refresh_token` | `transaction` |
//! | device `integration_succeeds` | `device`, over both stores |
//! | device `rejects_workspace_mismatch` | `restrictions` |
//! | device `handles_usercode_http_failure`, `handles_error_payload` | `device` |
//! | device `persists_without_api_key_on_exchange_failure` | `device`: no API key is requested |
//! | certificates (7) | `authority::tls`: it is the same client |

mod browser;
mod callback;
mod cancelled;
mod choice;
// Linux: chromium.
#[cfg(target_os = "linux")]
mod chromium;
mod device;
// Linux: chromium.
#[cfg(target_os = "linux")]
pub mod devtools;
// Linux: mounts.
#[cfg(target_os = "linux")]
mod disks;
mod interruption;
#[cfg(feature = "failpoints")]
mod killed;
mod ports;
mod restrictions;
mod tokens;
mod transaction;
pub mod world;
