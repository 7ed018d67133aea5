//! What stands for the HTTP client without the feature `http`: nothing is ever sent.

use std::time::Duration;

use super::error::HttpClientError;
use super::wire::HttpClient;
use crate::config::Network;

pub(super) fn secure(_: &Network, _: Duration) -> Result<Box<dyn HttpClient>, HttpClientError> {
    Err(HttpClientError::NotBuilt)
}

pub(super) fn plain(_: Duration) -> Result<Box<dyn HttpClient>, HttpClientError> {
    Err(HttpClientError::NotBuilt)
}

pub(super) fn is_signed_by(_: Vec<u8>, _: Vec<u8>, _: &[u8], _: &[u8]) -> bool {
    false
}
