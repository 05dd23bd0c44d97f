//! From settings to a server.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use baldur::{ApiKeySettings, Baldur, ServeSettings};
use baldur_http::{ApiKey, ApiKeys, Hosts, Limits, Parts, Render, Role, ServerConfig};

use crate::exit::{Code, Failure};

/// What the settings ask for.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) listen: SocketAddr,
    pub(super) config: ServerConfig,
    keys: ApiKeys,
    hosts: Hosts,
    limits: Limits,
}

impl Plan {
    /// Reads them, and refuses what would open the store to everybody.
    pub(super) fn of(settings: &ServeSettings) -> Result<Self, Failure> {
        let listen = settings.listen;
        let keys = settings.api_keys.iter().map(|(name, key)| api_key(name, key));
        let keys = ApiKeys::new(keys.collect::<Result<_, _>>()?)
            .map_err(|error| Failure::usage("`serve.api_keys` is not usable", &error))?;
        let own = is_own(listen.ip());
        if !own && keys.is_empty() {
            return Err(Failure::new(
                Code::Usage,
                format!("{listen} can be reached by other machines, and no API key is set"),
            )
            .hint("set one (`serve.api_keys`), or listen on this machine only: --listen 127.0.0.1:7878"));
        }
        let hosts = if own {
            Hosts::loopback(listen.ip(), settings.allowed_hosts.iter().cloned())
        } else {
            Hosts::any()
        };
        within("max_connections", settings.max_connections, 1..=65_536)?;
        within("max_streams", settings.max_streams, 1..=1_024)?;
        within("max_body_bytes", settings.max_body_bytes, 1 << 10..=64 << 20)?;
        let (short, long) = (Duration::from_millis(100), Duration::from_hours(1));
        lasts("header_timeout", settings.header_timeout, short..=Duration::from_mins(5))?;
        lasts("request_timeout", settings.request_timeout, short..=long)?;
        lasts("grace", settings.grace, Duration::from_millis(10)..=long)?;
        Ok(Self {
            listen,
            config: ServerConfig {
                connections: settings.max_connections,
                header_timeout: settings.header_timeout,
                grace: settings.grace,
            },
            keys,
            hosts,
            limits: Limits {
                body_bytes: settings.max_body_bytes,
                streams: settings.max_streams,
                request_timeout: settings.request_timeout,
                ..Limits::default()
            },
        })
    }

    pub(super) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The parts of the server.
    pub(super) fn parts(&self, baldur: &Baldur, render: Render) -> Parts {
        Parts {
            capture: baldur.capture().clone(),
            entries: baldur.entries().clone(),
            env: baldur.env().clone(),
            keys: self.keys.clone(),
            hosts: self.hosts.clone(),
            limits: self.limits,
            metrics: Some(render),
        }
    }
}

/// Whether only this machine reaches the address.
fn is_own(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => {
            address.to_ipv4_mapped().map_or(address.is_loopback(), |mapped| mapped.is_loopback())
        }
    }
}

fn api_key(name: &str, settings: &ApiKeySettings) -> Result<ApiKey, Failure> {
    let ApiKeySettings { key, sha256, roles, .. } = settings;
    let place = format!("`serve.api_keys.{name}` is not usable");
    let roles = roles.iter().map(|word| {
        let role = Role::ALL.into_iter().find(|role| role.as_str() == word);
        role.ok_or_else(|| {
            Failure::new(Code::Usage, format!("{place}: a role is capture, read or admin"))
        })
    });
    let roles = roles.collect::<Result<_, _>>()?;
    let made = match (key, sha256) {
        (Some(key), None) => ApiKey::new(name, key, roles),
        (None, Some(digest)) => ApiKey::from_sha256(name, digest, roles),
        (Some(_), Some(_)) | (None, None) => {
            return Err(Failure::new(Code::Usage, format!("{place}: give `key` or `sha256`")));
        }
    };
    made.map_err(|error| Failure::usage(&place, &error))
}

fn within(key: &str, value: usize, range: RangeInclusive<usize>) -> Result<(), Failure> {
    if range.contains(&value) {
        return Ok(());
    }
    let (from, to) = range.into_inner();
    Err(Failure::new(Code::Usage, format!("`serve.{key}` must be {from} to {to}")))
}

fn lasts(key: &str, value: Duration, range: RangeInclusive<Duration>) -> Result<(), Failure> {
    if range.contains(&value) {
        return Ok(());
    }
    let (from, to) = range.into_inner();
    Err(Failure::new(Code::Usage, format!("`serve.{key}` must be {from:?} to {to:?}")))
}

#[cfg(test)]
mod tests {
    use baldur::Settings;

    use super::*;

    fn plan(text: &str) -> Result<Plan, String> {
        let settings = Settings::parse(text, "baldur.toml", []).expect("settings");
        Plan::of(&settings.serve).map_err(|failure| format!("{failure:?}"))
    }

    const KEY: &str = "[serve.api_keys.a]\nkey = 'a-key-that-nobody-can-guess'\nroles = ['read']";

    #[test]
    fn an_address_that_others_reach_needs_a_key() {
        for address in ["0.0.0.0:1", "[::]:1", "192.168.0.1:1", "[::ffff:10.0.0.1]:1"] {
            let listen = format!("[serve]\nlisten = '{address}'\n");
            let refused = plan(&listen).expect_err(address);
            assert!(refused.contains("no API key is set"), "{refused}");
            assert!(plan(&format!("{listen}{KEY}")).is_ok(), "{address}");
        }
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(plan(&format!("[serve]\nlisten = '{address}'\n")).is_ok(), "{address}");
        }
    }

    #[test]
    fn keys_that_are_not_usable_are_named_and_not_shown() {
        for (key, words) in [
            ("key = 'secret'\nroles = ['read']", "at least 20 bytes"),
            ("key = 'secret-secret-secret-secret'\nroles = []", "at least one role"),
            ("key = 'secret-secret-secret-secret'\nroles = ['root']", "capture, read or admin"),
            ("roles = ['read']", "give `key` or `sha256`"),
            ("sha256 = 'secret'\nroles = ['read']", "64 hexadecimal digits"),
        ] {
            let refused = plan(&format!("[serve.api_keys.shop]\n{key}")).expect_err(key);
            assert!(refused.contains(words) && refused.contains("shop"), "{refused}");
            assert!(!refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn bounds_are_checked() {
        for bad in
            ["max_connections = 0", "max_streams = 2000", "grace = '2h'", "max_body_bytes = 1"]
        {
            let refused = plan(&format!("[serve]\n{bad}")).expect_err(bad);
            assert!(refused.contains("must be"), "{refused}");
        }
    }
}
