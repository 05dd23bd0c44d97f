//! API keys: who may do what.

use std::fmt;

use axum::http::{HeaderMap, HeaderValue, header};
use baldur_core::name::{Actor, NameError};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::problem::{self, Problem};

/// The shortest key that is accepted, in bytes.
pub const MIN_KEY_BYTES: usize = 20;

/// What a key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Capturing, and nothing else.
    Capture,
    /// Reading entries and metrics, payloads included.
    Read,
    /// Everything.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Capture, Self::Read, Self::Admin];

    /// The name in settings and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

/// A key that callers may show. Only its SHA-256 is kept.
#[derive(Clone)]
pub struct ApiKey {
    name: Actor,
    digest: [u8; 32],
    roles: Vec<Role>,
}

/// Why a key can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The name can't stand in evidence.
    #[error("the name of a key is not usable: {0}")]
    Name(NameError),
    /// It can be guessed.
    #[error("a key has at least {MIN_KEY_BYTES} bytes; make one with `openssl rand -hex 32`")]
    TooShort,
    /// It can't stand in a header.
    #[error("a key has visible ASCII characters only, and no blanks")]
    Charset,
    /// The digest is none.
    #[error("`sha256` must be the 64 hexadecimal digits of the key's SHA-256")]
    Digest,
    /// It would be good for nothing.
    #[error("a key needs at least one role: capture, read or admin")]
    NoRole,
    /// Two keys would be the same.
    #[error("two keys are the same; give each caller a key of its own")]
    Repeated,
}

impl ApiKey {
    /// A key, by what callers show.
    ///
    /// # Errors
    ///
    /// See [`KeyError`].
    pub fn new(name: &str, key: &SecretString, roles: Vec<Role>) -> Result<Self, KeyError> {
        let key = key.expose_secret().as_bytes();
        if key.len() < MIN_KEY_BYTES {
            return Err(KeyError::TooShort);
        }
        if !key.iter().all(u8::is_ascii_graphic) {
            return Err(KeyError::Charset);
        }
        Self::of(name, Sha256::digest(key).into(), roles)
    }

    /// A key, by the hexadecimal digits of its SHA-256.
    ///
    /// # Errors
    ///
    /// See [`KeyError`].
    pub fn from_sha256(name: &str, hex: &str, roles: Vec<Role>) -> Result<Self, KeyError> {
        let digest = digest(hex).ok_or(KeyError::Digest)?;
        Self::of(name, digest, roles)
    }

    fn of(name: &str, digest: [u8; 32], roles: Vec<Role>) -> Result<Self, KeyError> {
        if roles.is_empty() {
            return Err(KeyError::NoRole);
        }
        let name = Actor::parse(name).map_err(KeyError::Name)?;
        Ok(Self { name, digest, roles })
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, digest: _, roles } = self;
        f.debug_struct("ApiKey").field("name", name).field("roles", roles).finish_non_exhaustive()
    }
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if hex.len() != 64 {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(digest)
}

/// The keys of a server. Without any, whoever reaches it may do everything.
#[derive(Clone, Debug, Default)]
pub struct ApiKeys(Vec<ApiKey>);

impl ApiKeys {
    /// These keys.
    ///
    /// # Errors
    ///
    /// [`KeyError::Repeated`].
    pub fn new(keys: Vec<ApiKey>) -> Result<Self, KeyError> {
        for (index, key) in keys.iter().enumerate() {
            if keys[..index].iter().any(|other| other.digest == key.digest) {
                return Err(KeyError::Repeated);
            }
        }
        Ok(Self(keys))
    }

    /// Whether there are none, so that nobody is asked for one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who calls.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        if self.is_empty() {
            let name = Actor::parse("http").unwrap_or_else(|_| Actor::system());
            return Ok(Caller { name, roles: vec![Role::Admin] });
        }
        let shown = shown(headers)?;
        let unknown = || unauthorized("this key is not known here");
        // A digest may be that of anything, also of nothing at all.
        if shown.len() < MIN_KEY_BYTES {
            return Err(unknown());
        }
        let digest: [u8; 32] = Sha256::digest(shown).into();
        // Every key is compared, and each in constant time: how long it takes tells nothing.
        let mut found = None;
        for key in &self.0 {
            if bool::from(key.digest.ct_eq(&digest)) {
                found = Some(key);
            }
        }
        let key = found.ok_or_else(unknown)?;
        Ok(Caller { name: key.name.clone(), roles: key.roles.clone() })
    }
}

/// The one key that a request shows.
fn shown(headers: &HeaderMap) -> Result<&[u8], Problem> {
    let bearer = headers.get_all(header::AUTHORIZATION).into_iter().map(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
    });
    let plain = headers.get_all("x-api-key").into_iter().map(|value| Some(value.as_bytes()));
    let mut keys = bearer.chain(plain);
    match (keys.next(), keys.next()) {
        (None, _) => Err(unauthorized("show a key: `Authorization: Bearer …` or `X-Api-Key: …`")),
        (Some(None), _) => Err(unauthorized("`Authorization` takes `Bearer` and a key")),
        (Some(Some(key)), None) => Ok(key),
        (Some(Some(_)), Some(_)) => Err(unauthorized("show one key, once")),
    }
}

fn unauthorized(detail: &'static str) -> Problem {
    problem::UNAUTHORIZED
        .because(detail)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"baldur\""))
}

/// Who calls, and what they may do.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) name: Actor,
    roles: Vec<Role>,
}

impl Caller {
    /// Refuses who may not do this.
    pub(crate) fn must(&self, role: Role) -> Result<(), Problem> {
        if self.roles.contains(&role) || self.roles.contains(&Role::Admin) {
            return Ok(());
        }
        let needed = role.as_str();
        Err(problem::FORBIDDEN.because(format!("this key lacks the role `{needed}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "a-key-that-nobody-can-guess";

    fn keys() -> ApiKeys {
        let one = ApiKey::new("checkout", &KEY.into(), vec![Role::Capture]).expect("usable");
        let other = Sha256::digest("another-key-for-the-dashboard");
        let hex = format!("{other:x}");
        let two = ApiKey::from_sha256("dashboard", &hex, vec![Role::Read]).expect("usable");
        ApiKeys::new(vec![one, two]).expect("different")
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn a_key_is_known_by_either_header_and_by_its_digest() {
        let bearer = format!("bearer {KEY}");
        for pair in [("authorization", bearer.as_str()), ("x-api-key", KEY)] {
            let caller = keys().caller(&headers(&[pair])).expect("known");
            assert_eq!(caller.name.as_str(), "checkout");
            assert!(caller.must(Role::Capture).is_ok());
            assert!(caller.must(Role::Read).is_err() && caller.must(Role::Admin).is_err());
        }
        let other = headers(&[("x-api-key", "another-key-for-the-dashboard")]);
        assert_eq!(keys().caller(&other).expect("known").name.as_str(), "dashboard");
    }

    #[test]
    fn what_is_not_exactly_one_known_key_is_refused_without_repeating_it() {
        let basic = ("authorization", "Basic c2VjcmV0OnNlY3JldA==");
        for pairs in [
            &[][..],
            &[("x-api-key", "secret-secret-secret-secret")],
            &[("x-api-key", "")],
            &[basic],
            &[("authorization", "secret")],
            &[("x-api-key", KEY), ("x-api-key", KEY)],
            &[("x-api-key", KEY), basic],
        ] {
            let problem = keys().caller(&headers(pairs)).expect_err("refused");
            let shown = format!("{problem:?}");
            assert!(!shown.contains("secret"), "{shown}");
        }
    }

    #[test]
    fn keys_that_protect_nothing_are_refused() {
        let new = |key: &str, roles| ApiKey::new("a", &key.into(), roles).map(|_| ());
        assert_eq!(new("short", vec![Role::Read]), Err(KeyError::TooShort));
        assert_eq!(new("with a blank in the middle", vec![Role::Read]), Err(KeyError::Charset));
        assert_eq!(new(KEY, vec![]), Err(KeyError::NoRole));
        let hex = ApiKey::from_sha256("a", "abc", vec![Role::Read]).map(|_| ());
        assert_eq!(hex, Err(KeyError::Digest));
        let twice = ["a", "b"].map(|name| ApiKey::new(name, &KEY.into(), vec![Role::Read]));
        let twice = twice.into_iter().collect::<Result<Vec<_>, _>>().expect("usable");
        assert_eq!(ApiKeys::new(twice).map(|_| ()), Err(KeyError::Repeated));
    }

    #[test]
    fn a_key_that_is_too_short_to_be_one_is_never_known() {
        // What `printf '' | sha256sum` says, such as where a variable was not set.
        let hex = format!("{:x}", Sha256::digest(""));
        let key = ApiKey::from_sha256("a", &hex, vec![Role::Admin]).expect("a digest");
        let keys = ApiKeys::new(vec![key]).expect("one");
        for pair in [("x-api-key", ""), ("authorization", "Bearer ")] {
            assert!(keys.caller(&headers(&[pair])).is_err(), "{pair:?}");
        }
    }

    #[test]
    fn no_form_shows_a_key_or_its_digest() {
        let shown = format!("{:?}", keys());
        assert!(shown.contains("checkout") && !shown.contains(KEY), "{shown}");
        assert!(!shown.contains("digest"), "{shown}");
    }
}
