//! The parts of redaction, each of which finds one kind of secret.

use std::fmt;

/// One kind of secret, and how it is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Detector {
    /// The values of secret keys in JSON.
    Keys,
    /// JSON in strings.
    NestedJson,
    /// A name and its value side by side: `{"name":"password","value":"x"}`, `["Authorization","x"]`, form parts.
    NamedValues,
    /// `key=value` and `key: value` in text.
    Pairs,
    /// `--password x` in text and in lists of arguments.
    Flags,
    /// `curl -u user:x`, `mysql -px`, `PASSWORD 'x'` and their like.
    Commands,
    /// Payment-card numbers.
    Cards,
    /// International bank account numbers with a correct check sum (ISO 13616).
    Ibans,
    /// Social security numbers of the USA with dashes.
    SocialSecurity,
    /// Passwords in URLs and connection strings.
    Urls,
    /// `Bearer x` and `Basic x`.
    Credentials,
    /// JSON Web Tokens.
    Jwts,
    /// PEM blocks of private keys.
    PrivateKeys,
    /// Tokens that begin as those of a known vendor do (`ghp_…`, `xoxb-…`, `sk_live_…`).
    VendorTokens,
    /// XML elements with a secret name.
    Elements,
    /// Any of the secrets in text behind percent encoding, JSON escapes or Base64.
    Encoded,
}

impl Detector {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Keys,
        Self::NestedJson,
        Self::NamedValues,
        Self::Pairs,
        Self::Flags,
        Self::Commands,
        Self::Cards,
        Self::Ibans,
        Self::SocialSecurity,
        Self::Urls,
        Self::Credentials,
        Self::Jwts,
        Self::PrivateKeys,
        Self::VendorTokens,
        Self::Elements,
        Self::Encoded,
    ];

    fn bit(self) -> u16 {
        1 << (self as u16)
    }
}

/// A set of detectors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Detectors(u16);

impl Detectors {
    pub(super) const ALL: Self = Self(u16::MAX);

    pub(super) fn has(self, detector: Detector) -> bool {
        self.0 & detector.bit() != 0
    }

    pub(super) fn without(self, detector: Detector) -> Self {
        Self(self.0 & !detector.bit())
    }
}

impl fmt::Debug for Detectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Detector::ALL.iter().filter(|detector| self.has(**detector))).finish()
    }
}
