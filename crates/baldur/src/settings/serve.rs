//! How `baldur serve` listens.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::form;

/// How `baldur serve` listens, and whom it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ServeSettings {
    /// The address. One that other machines reach needs `api_keys`.
    #[serde(with = "form::word")]
    pub listen: SocketAddr,
    /// Further names that a server on this machine's own address answers to.
    pub allowed_hosts: Vec<String>,
    /// How many connections there may be, 1 to 65 536.
    pub max_connections: usize,
    /// How many NDJSON streams may run at once, 1 to 1024.
    pub max_streams: usize,
    /// The longest body of a single operation, in bytes, 1 KiB to 64 MiB.
    pub max_body_bytes: usize,
    /// How long the head of a request may take, and a connection may be idle, 100 ms to 5 min.
    #[serde(with = "form::duration")]
    pub header_timeout: Duration,
    /// How long a body or a line may take to arrive, and the store to answer, 100 ms to 1 h.
    #[serde(with = "form::duration")]
    pub request_timeout: Duration,
    /// How long requests may go on when the server stops, and how long closing everything may take then, 10 ms to 1 h.
    #[serde(with = "form::duration")]
    pub grace: Duration,
    /// Who may do what, by the name that evidence has for them. Without any, everybody on this machine may do everything.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub api_keys: BTreeMap<String, ApiKeySettings>,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7878)),
            allowed_hosts: Vec::new(),
            max_connections: 1_024,
            max_streams: 16,
            max_body_bytes: 16 << 20,
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(10),
            api_keys: BTreeMap::new(),
        }
    }
}

/// A key, by itself or by its SHA-256.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ApiKeySettings {
    /// What callers show. Either this or `sha256`.
    #[serde(serialize_with = "form::hide", skip_serializing_if = "Option::is_none")]
    pub key: Option<SecretString>,
    /// The hexadecimal digits of its SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What it is good for: `capture`, `read`, `admin`.
    pub roles: Vec<String>,
}
