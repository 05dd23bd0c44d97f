//! Where requests go: a URL that was checked.

use std::fmt;

use reqwest::Url;
use secrecy::ExposeSecret;

use crate::{
    allow::AllowedHost,
    config::{AllowedHosts, HttpTargetConfig},
    error::HttpTargetError,
};

/// A URL of an allowed host. Only its origin is ever shown: paths and queries may be secret.
#[derive(Clone)]
pub(crate) struct Endpoint {
    url: Url,
    origin: String,
}

impl Endpoint {
    /// Checks the URL of the settings.
    pub(crate) fn new(config: &HttpTargetConfig) -> Result<Self, HttpTargetError> {
        let mut url = Url::parse(config.url.expose_secret())
            .map_err(|problem| HttpTargetError::Url(problem.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(HttpTargetError::Scheme(url.scheme().chars().take(32).collect()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(HttpTargetError::Userinfo);
        }
        url.set_fragment(None);
        check_host(&url, &config.allowed_hosts)?;
        let origin = url.origin().ascii_serialization();
        Ok(Self { url, origin })
    }

    pub(crate) fn url(&self) -> Url {
        self.url.clone()
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }
}

fn check_host(url: &Url, allowed: &AllowedHosts) -> Result<(), HttpTargetError> {
    let host = AllowedHost::of_url(url)
        .ok_or_else(|| HttpTargetError::Url("it names no host".to_owned()))?;
    let allowed = match allowed {
        AllowedHosts::OfUrl => return Ok(()),
        AllowedHosts::These(allowed) if allowed.is_empty() => {
            return Err(HttpTargetError::NoAllowedHost);
        }
        AllowedHosts::These(allowed) => allowed,
    };
    if allowed.iter().any(|allowed| allowed.covers(url)) {
        return Ok(());
    }
    let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
    Err(HttpTargetError::HostNotAllowed { host: host.to_string(), allowed: allowed.join(", ") })
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/…", self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> HttpTargetError {
        let allowed = vec![AllowedHost::parse("pay.example.com").expect("a host")];
        Endpoint::new(&HttpTargetConfig::new(url, allowed)).expect_err("refused")
    }

    #[test]
    fn urls_that_must_not_be_used_are_refused_without_being_repeated() {
        assert!(matches!(refused("not a url"), HttpTargetError::Url(_)));
        assert!(matches!(refused("ftp://pay.example.com"), HttpTargetError::Scheme(_)));
        assert!(matches!(refused("file:///etc/passwd"), HttpTargetError::Scheme(_)));
        let userinfo = refused("https://user:hunter2@pay.example.com");
        assert!(matches!(userinfo, HttpTargetError::Userinfo));
        assert!(!format!("{userinfo} {userinfo:?}").contains("hunter2"));
        let host = refused("https://169.254.169.254/secret");
        assert_eq!(
            host.to_string(),
            "the handler host 169.254.169.254:443 is not allowed; allowed: pay.example.com"
        );
    }

    #[test]
    fn an_empty_list_allows_nothing() {
        let error = Endpoint::new(&HttpTargetConfig::new("http://a", Vec::new()));
        assert!(matches!(error, Err(HttpTargetError::NoAllowedHost)));
    }

    #[test]
    fn only_the_origin_is_shown() {
        let config = HttpTargetConfig::trusting("https://hooks.example.com/T0/secret?key=secret#x");
        let endpoint = Endpoint::new(&config).expect("valid");
        assert_eq!(format!("{endpoint:?}"), "https://hooks.example.com/…");
        assert_eq!(endpoint.url().fragment(), None);
    }
}
