//! The settings of a target.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use secrecy::SecretString;

use crate::{allow::AllowedHost, codes::CodeSet, error::HttpTargetError};

/// The settings of an [`HttpTarget`](crate::HttpTarget). They are checked when the target is built.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpTargetConfig {
    /// Where requests go: `http` or `https`, without user and password. Secret, since paths and queries of such
    /// URLs often are.
    pub url: SecretString,
    /// The hosts that the URL may name. Required.
    pub allowed_hosts: AllowedHosts,
    /// With which method. POST by default.
    pub method: HttpTargetMethod,
    /// Further headers, such as `Authorization`. Headers of the wire contract can't be given.
    pub headers: BTreeMap<String, SecretString>,
    /// What the body is. The request data by default.
    pub body: HttpTargetBody,
    /// How long one request may take from connecting to the end of the answer: 1 ms to 5 min, 10 s by default.
    pub timeout: Duration,
    /// How long connecting may take: 1 ms to `timeout`, 3 s by default (or `timeout`, when that is less).
    pub connect_timeout: Option<Duration>,
    /// How long entries wait whose target was not reached, or whose answer puts them off without saying how
    /// long: up to a day, 10 s by default.
    pub defer_for: Duration,
    /// The longest wait that `Retry-After` can ask for: up to a day, one hour by default.
    pub max_retry_after: Duration,
    /// Which codes mean that it worked. 200-299 by default.
    pub success: CodeSet,
    /// Which codes mean that it was done before; they win over `success`. 208 by default.
    pub already_done: CodeSet,
    /// Which codes mean that it will never work. By default 400, 410, 411, 413, 414, 422 and 431.
    pub permanent: CodeSet,
    /// Which codes mean that the target did not look at the operation, so that nothing is charged. By default
    /// 300-399, 401, 405, 407, 415, 421, 425, 429, 501, 505 and 511.
    pub deferred: CodeSet,
}

/// What a target may talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHosts {
    /// These hosts.
    These(Vec<AllowedHost>),
    /// The host and port that the URL names. For a URL that a person types for one command; a URL from
    /// settings or from the network needs a list.
    OfUrl,
}

impl HttpTargetConfig {
    /// Sends to `url`, whose host must be one of `allowed_hosts`. Everything else has its default.
    pub fn new(url: impl Into<SecretString>, allowed_hosts: Vec<AllowedHost>) -> Self {
        Self::build(url.into(), AllowedHosts::These(allowed_hosts))
    }

    /// Sends to `url` and trusts it: for a URL that a person typed, not for one from settings.
    pub fn trusting(url: impl Into<SecretString>) -> Self {
        Self::build(url.into(), AllowedHosts::OfUrl)
    }

    fn build(url: SecretString, allowed_hosts: AllowedHosts) -> Self {
        Self {
            url,
            allowed_hosts,
            method: HttpTargetMethod::Post,
            headers: BTreeMap::new(),
            body: HttpTargetBody::Request,
            timeout: Duration::from_secs(10),
            connect_timeout: None,
            defer_for: Duration::from_secs(10),
            max_retry_after: Duration::from_hours(1),
            success: codes("200-299"),
            already_done: codes("208"),
            permanent: codes("400,410,411,413,414,422,431"),
            deferred: codes("300-399,401,405,407,415,421,425,429,501,505,511"),
        }
    }

    /// How long connecting may take, with the default put in.
    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout.unwrap_or(Duration::from_secs(3).min(self.timeout))
    }

    /// Checks what does not concern the URL or the headers.
    pub(crate) fn check(&self) -> Result<(), HttpTargetError> {
        const DAY: Duration = Duration::from_hours(24);
        let millisecond = Duration::from_millis(1);
        range("timeout", self.timeout, millisecond, Duration::from_mins(5))?;
        range("connect_timeout", self.connect_timeout(), millisecond, self.timeout)?;
        range("defer_for", self.defer_for, millisecond, DAY)?;
        range("max_retry_after", self.max_retry_after, millisecond, DAY)?;
        if self.success == CodeSet::empty() {
            return Err(HttpTargetError::NoSuccessCode);
        }
        let lists = [
            ("already_done", &self.already_done),
            ("permanent", &self.permanent),
            ("deferred", &self.deferred),
        ];
        // `already_done` may lie inside `success`, as 208 does; any other overlap is a slip.
        let success = lists[1..].iter().map(|other| (("success", &self.success), *other));
        let rest = [(lists[0], lists[1]), (lists[0], lists[2]), (lists[1], lists[2])];
        for ((one, codes), (other, other_codes)) in success.chain(rest) {
            if let Some(code) = codes.first_common(other_codes) {
                return Err(HttpTargetError::AmbiguousCode { code, one, other });
            }
        }
        Ok(())
    }
}

/// The defaults are constants of this file, which the test below reads; a slip would make an empty set there.
fn codes(text: &str) -> CodeSet {
    text.parse().unwrap_or_default()
}

fn range(
    what: &'static str,
    given: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), HttpTargetError> {
    if (least..=most).contains(&given) {
        return Ok(());
    }
    Err(HttpTargetError::Duration { what, given, least, most })
}

/// The method of the request. All of these carry a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HttpTargetMethod {
    /// `POST`.
    #[default]
    Post,
    /// `PUT`.
    Put,
    /// `PATCH`.
    Patch,
    /// `DELETE`.
    Delete,
}

impl HttpTargetMethod {
    /// The method's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for HttpTargetMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names none of the known values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not known; use {allowed}")]
pub struct UnknownWord {
    given: String,
    allowed: &'static str,
}

impl FromStr for HttpTargetMethod {
    type Err = UnknownWord;

    /// Reads a method's name in upper or lower case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Post, Self::Put, Self::Patch, Self::Delete]
            .into_iter()
            .find(|method| method.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownWord {
                given: text.chars().take(32).collect(),
                allowed: "POST, PUT, PATCH or DELETE",
            })
    }
}

/// What the body of the request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HttpTargetBody {
    /// The entry's request data, byte for byte.
    #[default]
    Request,
    /// A versioned JSON object that describes the entry and holds its request data, byte for byte.
    Envelope,
}

impl FromStr for HttpTargetBody {
    type Err = UnknownWord;

    /// Reads `request` or `envelope`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "request" => Ok(Self::Request),
            "envelope" => Ok(Self::Envelope),
            _ => Err(UnknownWord {
                given: text.chars().take(32).collect(),
                allowed: "request or envelope",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> HttpTargetConfig {
        HttpTargetConfig::trusting("http://127.0.0.1:1/")
    }

    #[test]
    fn the_defaults_are_in_range_and_complete() {
        let config = config();
        config.check().expect("valid");
        for set in [&config.success, &config.already_done, &config.permanent, &config.deferred] {
            assert_ne!(*set, CodeSet::empty());
        }
    }

    #[test]
    fn values_out_of_range_are_refused_with_the_range() {
        let error = HttpTargetConfig { timeout: Duration::ZERO, ..config() }.check();
        assert_eq!(
            error.expect_err("refused").to_string(),
            "timeout is 0ns; it must be 1ms to 300s"
        );
        let long = Some(Duration::from_secs(11));
        assert!(HttpTargetConfig { connect_timeout: long, ..config() }.check().is_err());
        let short = HttpTargetConfig { timeout: Duration::from_millis(5), ..config() };
        assert_eq!(short.connect_timeout(), Duration::from_millis(5));
        short.check().expect("the default connect timeout follows");
    }

    #[test]
    fn a_code_with_two_meanings_is_refused() {
        let error = HttpTargetConfig { permanent: codes("204"), ..config() }.check();
        assert_eq!(
            error.expect_err("refused").to_string(),
            "the status code 204 is listed both as success and as permanent"
        );
        let error = HttpTargetConfig { already_done: codes("400"), ..config() }.check();
        assert!(error.is_err());
        let none = HttpTargetConfig { success: CodeSet::empty(), ..config() }.check();
        assert!(matches!(none, Err(HttpTargetError::NoSuccessCode)));
    }

    #[test]
    fn debug_shows_neither_url_nor_header_values() {
        let mut config = HttpTargetConfig::trusting("http://h/secret-path");
        config.headers.insert("authorization".to_owned(), "Bearer secret-token".into());
        let debug = format!("{config:?}");
        assert!(!debug.contains("secret-"), "{debug}");
    }
}
