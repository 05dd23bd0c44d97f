//! Identifiers.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::time::Timestamp;

/// Names one captured operation. Opaque to callers: never parse it, never sort by it.
///
/// Ids that Baldur mints have the shape of a UUID version 7 (RFC 9562 §5.7); a caller may bring any other UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(Uuid);

/// A text that is no [`EntryId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an entry id; ids look like 01890a5d-ac96-774b-bcce-b302099a8057")]
pub struct EntryIdError(String);

impl EntryId {
    /// Builds an id from a time, a route and eight random bytes.
    ///
    /// Layout: 48 bits of milliseconds, version, 12 random bits, variant, 14 bits of route, 48 random bits.
    pub fn mint(at: Timestamp, route: Route, entropy: [u8; 8]) -> Self {
        let [e0, e1, e2, e3, e4, e5, e6, e7] = entropy;
        let millis = at.as_unix_millis().to_be_bytes();
        let [r0, r1] = route.0.to_be_bytes();
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&millis[2..]);
        bytes[6..].copy_from_slice(&[
            0x70 | (e0 & 0x0f),
            e1,
            0x80 | (r0 & 0x3f),
            r1,
            e2,
            e3,
            e4,
            e5,
            e6,
            e7,
        ]);
        Self(Uuid::from_bytes(bytes))
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The bytes of the id, most significant first.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The text form as ASCII.
    pub(crate) fn to_ascii(self) -> [u8; 36] {
        let mut text = [0; 36];
        self.0.as_hyphenated().encode_lower(&mut text);
        text
    }

    /// The route that the id carries. For an id that Baldur did not mint it is arbitrary but fixed.
    pub fn route(&self) -> Route {
        let bytes = self.0.as_bytes();
        Route(u16::from_be_bytes([bytes[8] & 0x3f, bytes[9]]))
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.as_hyphenated(), f)
    }
}

impl FromStr for EntryId {
    type Err = EntryIdError;

    /// Reads 32 hexadecimal digits of either case, with hyphens at the usual places or without any.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape_is_known = matches!(text.len(), 32 | 36);
        match Uuid::try_parse(text) {
            Ok(id) if shape_is_known => Ok(Self(id)),
            Ok(_) | Err(_) => Err(EntryIdError(text.chars().take(64).collect())),
        }
    }
}

/// Which partition of a store an entry belongs to, as 14 bits. Stores without partitions ignore it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Route(u16);

impl Route {
    /// The route of a key: the first 14 bits of its SHA-256. It never changes between versions.
    pub fn of(key: &str) -> Self {
        let digest = Sha256::digest(key.as_bytes());
        Self(u16::from_be_bytes([digest[0], digest[1]]) >> 2)
    }

    /// The route with these bits; the upper two are dropped.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & 0x3fff)
    }

    /// The 14 bits.
    pub const fn bits(self) -> u16 {
        self.0
    }
}

/// Where new ids come from.
pub trait IdGen: fmt::Debug + Send + Sync + 'static {
    /// Eight bytes that no other call, in this process or another, is likely to return.
    fn entropy(&self) -> [u8; 8];
}

/// Mints the id of an entry. Its route is that of `routed_by`, or random without one.
pub fn mint(ids: &dyn IdGen, at: Timestamp, routed_by: Option<&str>) -> EntryId {
    let route = routed_by.map_or_else(
        || {
            let [a, b, ..] = ids.entropy();
            Route::from_bits(u16::from_be_bytes([a, b]))
        },
        Route::of,
    );
    EntryId::mint(at, route, ids.entropy())
}

/// The fence of a claim. It grows with each claim and each lapse of an entry and is never reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimToken(pub u64);

impl ClaimToken {
    /// The token that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for ClaimToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_id_is_a_uuid_of_version_7_and_carries_time_and_route() {
        let at = Timestamp::from_micros(1_764_000_000_123_456).expect("in range");
        let id = EntryId::mint(at, Route::of("order-1"), [0xff; 8]);
        let uuid = Uuid::from_bytes(*id.as_bytes());
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(uuid.as_u128() >> 80, 1_764_000_000_123);
        assert_eq!(id.route(), Route::of("order-1"));
    }

    #[test]
    fn text_forms_are_read_and_junk_is_not() {
        let id = EntryId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().replace('-', "").parse(), Ok(id));
        for junk in ["", "1", "not-an-id", "{abababab-abab-abab-abab-abababababab}"] {
            assert!(junk.parse::<EntryId>().is_err(), "{junk}");
        }
    }

    #[test]
    fn routes_are_stable() {
        assert_eq!(Route::of("order-1").bits(), 747);
    }
}
