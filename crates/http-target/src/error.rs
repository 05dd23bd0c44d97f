//! Why a target can't be built.

use std::time::Duration;

/// Why an [`HttpTarget`](crate::HttpTarget) was refused. No text repeats the URL or a header's value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpTargetError {
    /// The URL can't be read.
    #[error("the handler url is not valid: {0}")]
    Url(String),
    /// The URL is of another scheme.
    #[error("the handler url has the scheme `{0}`; use http or https")]
    Scheme(String),
    /// The URL holds a user or a password.
    #[error("the handler url holds a user or a password; give credentials as a header instead")]
    Userinfo,
    /// Nothing is allowed.
    #[error("no allowed host is given; name at least one, such as pay.example.com")]
    NoAllowedHost,
    /// The URL's host is not allowed.
    #[error("the handler host {host} is not allowed; allowed: {allowed}")]
    HostNotAllowed {
        /// The host and port of the URL.
        host: String,
        /// What is allowed.
        allowed: String,
    },
    /// A header's name is not valid.
    #[error("`{0}` is no header name")]
    HeaderName(String),
    /// A header belongs to the wire contract or to HTTP itself.
    #[error("the header `{0}` is set by Baldur and can't be given")]
    HeaderReserved(String),
    /// A header's value can't be sent.
    #[error("the value of the header `{0}` has characters that a header can't hold")]
    HeaderValue(String),
    /// A duration is out of range.
    #[error("{what} is {given:?}; it must be {least:?} to {most:?}")]
    Duration {
        /// Which setting.
        what: &'static str,
        /// What was given.
        given: Duration,
        /// The least that is allowed.
        least: Duration,
        /// The most that is allowed.
        most: Duration,
    },
    /// A code has two meanings.
    #[error("the status code {code} is listed both as {one} and as {other}")]
    AmbiguousCode {
        /// The code.
        code: u16,
        /// One list.
        one: &'static str,
        /// The other list.
        other: &'static str,
    },
    /// No code means success.
    #[error("no status code is listed as success")]
    NoSuccessCode,
    /// The HTTP client can't be built, for example because the machine has no root certificates.
    #[error("the http client can't be built")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}
