//! Under which names a server answers, against web pages that let a name of theirs point at this machine.

use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header};

use crate::problem::{self, Problem};

/// The names that a request may address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// `None`: any.
    only: Option<Vec<String>>,
}

impl Hosts {
    /// Any name: for a server that asks every caller for a key.
    pub fn any() -> Self {
        Self { only: None }
    }

    /// The names of this machine for itself, the address, and these.
    pub fn loopback(address: IpAddr, more: impl IntoIterator<Item = String>) -> Self {
        let mut names: Vec<String> =
            ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec();
        names.push(match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        });
        names.extend(more.into_iter().map(|name| name.to_ascii_lowercase()));
        Self { only: Some(names) }
    }

    /// Refuses a request that addresses somebody else.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(only) = &self.only else { return Ok(()) };
        let mut named = headers.get_all(header::HOST).into_iter();
        let (Some(host), None) = (named.next(), named.next()) else {
            return Err(problem::BAD_REQUEST.because("name one host in the `Host` header"));
        };
        let addressed = uri.authority().map(axum::http::uri::Authority::as_str);
        let all_known = [host.to_str().ok(), addressed.or(Some(&only[0]))]
            .into_iter()
            .all(|name| name.is_some_and(|name| knows(only, name)));
        if all_known {
            return Ok(());
        }
        Err(problem::HOST_NOT_ALLOWED.because(
            "ask for localhost or the address that the server listens on, or add the name to `serve.allowed_hosts`",
        ))
    }
}

fn knows(only: &[String], host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => &host,
    };
    only.iter().any(|known| known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(host: &str) -> bool {
        let hosts = Hosts::loopback([127, 0, 0, 2].into(), ["Baldur.internal".to_owned()]);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().expect("a value"));
        hosts.check(&Uri::from_static("/healthz"), &headers).is_ok()
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for host in ["localhost", "LOCALHOST:7878", "127.0.0.1:7878", "[::1]:7878", "[::1]"] {
            assert!(answers(host), "{host}");
        }
        assert!(answers("127.0.0.2:1") && answers("baldur.internal"));
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:7878", ""] {
            assert!(!answers(host), "{host}");
        }
    }

    #[test]
    fn a_request_without_a_host_or_with_two_is_refused() {
        let hosts = Hosts::loopback([127, 0, 0, 1].into(), []);
        let uri = Uri::from_static("/healthz");
        assert!(hosts.check(&uri, &HeaderMap::new()).is_err());
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, "localhost".parse().expect("a value"));
        let foreign = Uri::from_static("http://evil.example/healthz");
        assert!(hosts.check(&uri, &headers).is_ok() && hosts.check(&foreign, &headers).is_err());
        headers.append(header::HOST, "localhost".parse().expect("a value"));
        assert!(hosts.check(&uri, &headers).is_err());
        assert!(Hosts::any().check(&uri, &headers).is_ok());
    }
}
