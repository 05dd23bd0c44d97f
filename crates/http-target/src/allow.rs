//! The hosts that a target may be on.

use std::{fmt, net::IpAddr, str::FromStr};

use reqwest::Url;

/// A host that requests may be sent to: `pay.example.com`, `10.0.0.7:8080`, `[::1]:8080` or `*.example.com`.
///
/// Without a port, only the scheme's own port is meant (80 or 443). `*.` stands for one or more labels, so
/// `*.example.com` covers `a.example.com` and `a.b.example.com`, but not `example.com`. Names are compared, not
/// addresses: who controls the name's DNS decides where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    host: HostPattern,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    /// Exactly this host, in lower case; addresses in their usual form and without brackets.
    Exact(String),
    /// Any host that ends with this text, which starts with a dot.
    Below(String),
}

/// A text that is no [`AllowedHost`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no allowed host; write host, host:port, [ipv6]:port or *.example.com")]
pub struct AllowedHostError(String);

impl AllowedHost {
    /// Reads an allowed host.
    ///
    /// # Errors
    ///
    /// When the text has a scheme, a path, a wildcard elsewhere than as the whole first label, or no host.
    pub fn parse(text: &str) -> Result<Self, AllowedHostError> {
        Self::read(text).ok_or_else(|| AllowedHostError(text.chars().take(128).collect()))
    }

    fn read(text: &str) -> Option<Self> {
        let (host, port) = split_port(text)?;
        let host = if let Some(below) = host.strip_prefix("*.") {
            // A wildcard over a whole top-level domain would allow nearly everything.
            below.contains('.').then_some(())?;
            HostPattern::Below(format!(".{}", name(below)?))
        } else if let Ok(address) = host.parse::<IpAddr>() {
            HostPattern::Exact(address.to_string())
        } else {
            HostPattern::Exact(name(host)?)
        };
        Some(Self { host, port })
    }

    /// The host and port of a URL, and nothing else.
    pub(crate) fn of_url(url: &Url) -> Option<Self> {
        let host = HostPattern::Exact(bare_host(url)?.to_owned());
        Some(Self { host, port: Some(url.port_or_known_default()?) })
    }

    /// Whether requests may be sent to this URL.
    pub(crate) fn covers(&self, url: &Url) -> bool {
        let Some(host) = bare_host(url) else { return false };
        let host_fits = match &self.host {
            HostPattern::Exact(exact) => exact == host,
            HostPattern::Below(end) => host.len() > end.len() && host.ends_with(end.as_str()),
        };
        // `Url::port` is `None` exactly when the port is the scheme's own.
        let port_fits = match self.port {
            Some(port) => url.port_or_known_default() == Some(port),
            None => url.port().is_none(),
        };
        host_fits && port_fits
    }
}

/// The host without the brackets of IPv6 and without the dot of a fully qualified name.
fn bare_host(url: &Url) -> Option<&str> {
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
    Some(host.strip_suffix('.').unwrap_or(host)).filter(|host| !host.is_empty())
}

fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(self::port(port)?))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        // An IPv6 address without brackets has no port.
        Some((_, rest)) if rest.contains(':') => Some((text, None)),
        Some((host, port)) => Some((host, Some(self::port(port)?))),
        None => Some((text, None)),
    }
}

fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// A host name in lower case. Names with other than ASCII letters must be written in their `xn--` form.
fn name(text: &str) -> Option<String> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let fits = text.len() <= 253 && text.split('.').all(label);
    fits.then(|| text.to_ascii_lowercase())
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HostPattern::Exact(host) if host.contains(':') => write!(f, "[{host}]")?,
            HostPattern::Exact(host) => f.write_str(host)?,
            HostPattern::Below(end) => write!(f, "*{end}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl FromStr for AllowedHost {
    type Err = AllowedHostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(allowed: &str, url: &str) -> bool {
        let url = Url::parse(url).expect("a url");
        AllowedHost::parse(allowed).expect("an allowed host").covers(&url)
    }

    #[test]
    fn exactly_the_named_hosts_are_covered() {
        for (allowed, url) in [
            ("pay.example.com", "https://pay.example.com/x"),
            ("PAY.example.com", "https://Pay.Example.com"),
            ("pay.example.com", "https://pay.example.com./x"),
            ("pay.example.com:443", "https://pay.example.com/x"),
            ("pay.example.com:8443", "https://pay.example.com:8443/x"),
            ("*.example.com", "http://a.example.com"),
            ("*.example.com", "http://a.b.example.com"),
            ("127.0.0.1:80", "http://127.0.0.1"),
            ("127.0.0.1", "http://2130706433/"),
            ("[::1]:8080", "http://[0:0::1]:8080"),
            ("::1", "http://[::1]"),
        ] {
            assert!(covers(allowed, url), "{allowed} {url}");
        }
        for (allowed, url) in [
            ("pay.example.com", "https://pay.example.com:8443"),
            ("pay.example.com", "https://evilpay.example.com"),
            ("pay.example.com", "https://pay.example.com.evil.net"),
            ("pay.example.com", "https://evil.net/pay.example.com"),
            ("*.example.com", "https://example.com"),
            ("*.example.com", "https://evil-example.com"),
            ("127.0.0.1:80", "http://localhost"),
        ] {
            assert!(!covers(allowed, url), "{allowed} {url}");
        }
    }

    #[test]
    fn junk_is_refused_and_the_rest_prints_as_it_reads() {
        for junk in [
            "",
            "*",
            "*.com",
            "*.",
            "a.*.com",
            "https://a",
            "a/b",
            "a:",
            "a:0",
            "a:+1",
            "a:70000",
            "a..b",
            "u@a",
            "[::1",
            "[a]:1",
            "ä.example",
        ] {
            assert!(AllowedHost::parse(junk).is_err(), "{junk}");
        }
        for text in ["a.example:81", "*.a.example", "[::1]:81", "[::1]", "10.0.0.1"] {
            assert_eq!(AllowedHost::parse(text).expect("valid").to_string(), text);
        }
    }
}
