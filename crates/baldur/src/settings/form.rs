//! How single settings are written: durations as `30s`, words by their own rules, secrets never.

use std::{fmt::Display, str::FromStr, time::Duration};

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

/// What stands for a secret wherever settings are shown.
pub(crate) const HIDDEN: &str = "(hidden)";

/// A text that is parsed by its type, and shown by it.
pub(crate) mod word {
    use super::{Deserialize, Deserializer, Display, FromStr, Serializer};
    use serde::de::Error as _;

    pub(crate) fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| D::Error::custom(format_args!("is not usable: {error}")))
    }
}

/// A [`word`] that may be absent.
pub(crate) mod word_opt {
    use super::{Deserializer, Display, FromStr, Serializer, word};

    #[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
    pub(crate) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        word::deserialize(deserializer).map(Some)
    }
}

fn read_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer).map_err(|_| {
        D::Error::custom("must be a duration with its unit, such as 500ms, 30s or 5m")
    })?;
    humantime::parse_duration(&text).map_err(|_| {
        D::Error::custom("must be a duration with its unit, such as 500ms, 30s, 5m, 2h or 7days")
    })
}

/// A duration.
pub(crate) mod duration {
    use super::{Deserializer, Duration, Serializer, read_duration};

    pub(crate) fn serialize<S: Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        read_duration(deserializer)
    }
}

/// A duration that may be absent.
pub(crate) mod duration_opt {
    use super::{Deserializer, Duration, Serializer, read_duration};

    #[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(&humantime::format_duration(*value)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        read_duration(deserializer).map(Some)
    }
}

/// Shows that a secret is there, not what it is.
#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
pub(crate) fn hide<S: Serializer>(
    _secret: &Option<SecretString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(HIDDEN)
}

/// Shows the names of secrets.
pub(crate) fn hide_values<S: Serializer>(
    secrets: &std::collections::BTreeMap<String, SecretString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(secrets.keys().map(|name| (name, HIDDEN)))
}
