//! Asks an HTTP endpoint whether its service is back.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use baldur_core::port::{Probe, ProbeFailure};
use reqwest::{Client, header::HeaderMap};
use secrecy::SecretString;

use crate::{
    allow::AllowedHost,
    codes::CodeSet,
    config::HttpTargetConfig,
    endpoint::Endpoint,
    error::HttpTargetError,
    headers::own_headers,
    target::{client, innermost},
};

/// The settings of an [`HttpProbe`]. They are checked when the probe is built.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpProbeConfig {
    /// What is asked: `http` or `https`, without user and password. Secret, as a target's is.
    pub url: SecretString,
    /// The hosts that the URL may name. Required.
    pub allowed_hosts: Vec<AllowedHost>,
    /// Headers, such as `Authorization`.
    pub headers: BTreeMap<String, SecretString>,
    /// How long one request may take: 1 ms to 5 min, 3 s by default.
    pub timeout: Duration,
    /// Which codes mean that it is back. 200-299 by default.
    pub success: CodeSet,
}

impl HttpProbeConfig {
    /// Asks `url`, whose host must be one of `allowed_hosts`. Everything else has its default.
    pub fn new(url: impl Into<SecretString>, allowed_hosts: Vec<AllowedHost>) -> Self {
        let url = url.into();
        let success = HttpTargetConfig::new(url.clone(), Vec::new()).success;
        let timeout = Duration::from_secs(3);
        Self { url, allowed_hosts, headers: BTreeMap::new(), timeout, success }
    }
}

/// Asks with one `GET`. Cheap to clone.
///
/// It follows the rules of [`HttpTarget`](crate::HttpTarget): allowed hosts, the same TLS, no redirect, no proxy of the
/// environment. The body of the answer is not read.
#[derive(Clone)]
pub struct HttpProbe(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    headers: HeaderMap,
    client: Client,
    timeout: Duration,
    success: CodeSet,
}

impl HttpProbe {
    /// Checks the settings and builds the client. Sends nothing.
    ///
    /// # Errors
    ///
    /// The first setting that can't be used, in words that name it and what is allowed.
    pub fn new(config: HttpProbeConfig) -> Result<Self, HttpTargetError> {
        let HttpProbeConfig { url, allowed_hosts, headers, timeout, success } = config;
        let mut target = HttpTargetConfig::new(url, allowed_hosts);
        target.timeout = timeout;
        if success == CodeSet::empty() {
            return Err(HttpTargetError::NoSuccessCode);
        }
        target.check()?;
        let endpoint = Endpoint::new(&target)?;
        let headers = own_headers(&headers)?;
        let client = client(&target, &endpoint)?;
        Ok(Self(Arc::new(Inner { endpoint, headers, client, timeout, success })))
    }

    /// Scheme, host and port: what may be shown of its URL.
    pub fn origin(&self) -> &str {
        self.0.endpoint.origin()
    }
}

impl fmt::Debug for HttpProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpProbe").field("endpoint", &self.0.endpoint).finish_non_exhaustive()
    }
}

#[async_trait]
impl Probe for HttpProbe {
    async fn probe(&self) -> Result<(), ProbeFailure> {
        let Inner { endpoint, headers, client, timeout, success } = &*self.0;
        let origin = endpoint.origin();
        let request = client.get(endpoint.url()).headers(headers.clone()).timeout(*timeout);
        match request.send().await {
            Ok(answer) if success.contains(answer.status().as_u16()) => Ok(()),
            Ok(answer) => {
                Err(ProbeFailure::new(format!("{origin} answered {}", answer.status().as_u16())))
            }
            Err(error) if error.is_timeout() => {
                Err(ProbeFailure::new(format!("{origin} gave no answer within {timeout:?}")))
            }
            Err(error) => {
                Err(ProbeFailure::new(format!("{origin} was not reached: {}", innermost(&error))))
            }
        }
    }
}
