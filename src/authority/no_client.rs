//! What stands for the HTTP client without the feature `http`: nothing is ever sent.

use super::error::HttpClientError;
use super::wire::{ConnectLimit, HttpClient};
use crate::config::Network;

pub(super) fn secure(_: &Network, _: ConnectLimit) -> Result<Box<dyn HttpClient>, HttpClientError> {
    Err(HttpClientError::NotBuilt)
}

pub(super) fn plain(_: ConnectLimit) -> Result<Box<dyn HttpClient>, HttpClientError> {
    Err(HttpClientError::NotBuilt)
}

pub(super) fn is_signed_by(_: Vec<u8>, _: Vec<u8>, _: &[u8], _: &[u8]) -> bool {
    false
}
