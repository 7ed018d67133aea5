//! The app-server over standard input and output, as an editor uses it.
//!
//! The cases of the upstream tests in `codex-rs/app-server/tests`, and the test of each here. `conversation` sends the same
//! lines to Codex 0.169 and compares the responses.
//!
//! | upstream | here |
//! |---|---|
//! | getAuthStatus: no auth, API key, no include token, refresh requested | `conversation::an_api_key_login_and_logout_match_codex` |
//! | getAuthStatus: PAT omits token; account/read: missing plan → unknown | `conversation::a_missing_plan_is_reported_as_unknown` |
//! | API key when auth not required; account/read: auth not required, AWS provider, managed Bedrock | `conversation::a_model_provider_without_openai_auth_has_no_account_as_in_codex` |
//! | getAuthStatus, account/read: omitted after permanent failure; after proactive failure (2 calls); token after recovery | `dead` |
//! | API-key login refused when ChatGPT forced; forced method conflicts (2) | `conversation::a_login_that_config_toml_forbids_fails_with_the_message_of_codex` |
//! | account: logout removes and notifies | `logout::a_logout_revokes_removes_and_notifies` |
//! | account: set tokens updates and notifies; external refresh on 401; refresh error, wrong workspace, bad token | `handed_in` |
//! | account/read refresh is a no-op in external mode | `conversation::handed_in_tokens_are_used_as_in_codex` |
//! | API-key login succeeds and notifies; device code disabled, succeeds, fails without account update, cancelled; browser login cancelled; external tokens cancel an active login; workspace query parameter | `logins` |
//! | debug overrides of the issuer | `logins`: all of them log in at an authority that the environment names |
//! | account/read: none, API key, ChatGPT | `conversation` |
//! | external tokens fail the turn; rate limits need ChatGPT; telemetry | none: turns, limits and telemetry are the next app-server's, and `forwarding` and `real` hold that they reach it |

mod answers;
pub mod client;
mod conversation;
mod dead;
mod forwarding;
mod handed_in;
mod lines;
mod logins;
mod logout;
pub mod next;
mod real;
mod schema;
mod slow;
mod storage;
mod together;
mod turns;
