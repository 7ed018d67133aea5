//! Four host applications, each with what it needs of the public interface and nothing else.

mod asks_a_keeper;
mod embeds_the_manager;
mod own_tests;
mod provides_tokens;
mod tls_client;
