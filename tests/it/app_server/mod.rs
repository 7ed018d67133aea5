//! The app-server over standard input and output, as an editor speaks to it.
//!
//! The cases of the upstream tests (`codex-behaviour.md` 9.8), and where each is held here. `conversation` plays the same lines
//! to Codex 0.169 itself and compares the answers.
//!
//! | upstream | here |
//! |---|---|
//! | getAuthStatus: no auth, API key, no include token, refresh requested | `conversation::an_account_by_api_key_comes_and_goes_as_with_codex` |
//! | getAuthStatus: PAT omits token; account/read: missing plan → unknown | `conversation::what_is_not_known_of_an_account_is_said_to_be_unknown` |
//! | API key when auth not required; account/read: auth not required, AWS provider, managed Bedrock | `conversation::a_model_provider_of_its_own_has_no_account_as_with_codex` |
//! | getAuthStatus, account/read: omitted after permanent failure; after proactive failure (2 calls); token after recovery | `dead` |
//! | API-key login refused when ChatGPT forced; forced method conflicts (2) | `conversation::what_config_toml_forbids_is_refused_in_the_words_of_codex` |
//! | account: logout removes and notifies | `logout::a_logout_revokes_removes_and_tells` |
//! | account: set tokens updates and notifies; external refresh on 401; refresh error, wrong workspace, bad token | `handed_in` |
//! | account/read refresh is a no-op in external mode | `conversation::tokens_that_are_handed_in_count_as_with_codex` |
//! | API-key login succeeds and notifies; device code disabled, succeeds, fails without account update, cancelled; browser login cancelled; external tokens cancel an active login; workspace query parameter | `logins` |
//! | debug overrides of the issuer | `logins`: all of them log in at an authority that is named by the environment |
//! | account/read: none, API key, ChatGPT | `conversation` |
//! | external tokens fail the turn; rate limits need ChatGPT; telemetry | none: turns, limits and telemetry are the next app-server's, and `forwarding` and `real` hold that they reach it |

pub mod client;
mod conversation;
mod dead;
mod forwarding;
mod handed_in;
mod lines;
mod logins;
mod logout;
mod next;
mod real;
mod slow;
mod storage;
mod together;
mod turns;
