//! Points in time, and where they come from.

use std::{fmt, str::FromStr, sync::OnceLock, time::Duration};

/// A point in time: UTC, whole microseconds, from year -9999 to 9999.
///
/// Every adapter keeps microseconds, so a timestamp that went through a store equals the one that went in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A text or number that is no [`Timestamp`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a point in time; write RFC 3339, such as 2026-01-31T12:00:00Z")]
pub struct TimestampError(String);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self(0);

    /// The point that is `micros` microseconds after the Unix epoch (before it, when negative).
    ///
    /// # Errors
    ///
    /// When the year would lie outside -9999 to 9999.
    pub fn from_micros(micros: i64) -> Result<Self, TimestampError> {
        jiff::Timestamp::from_microsecond(micros)
            .map(|_| Self(micros))
            .map_err(|_| TimestampError(micros.to_string()))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch, 0 for points before it.
    pub const fn as_unix_millis(self) -> u64 {
        if self.0 < 0 { 0 } else { self.0.unsigned_abs() / 1_000 }
    }

    /// This point and `by` later; stops at the end of the range. Fractions of a microsecond are cut.
    #[must_use]
    pub fn saturating_add(self, by: Duration) -> Self {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(by).min(Self::max().0))
    }

    /// This point and `by` earlier; stops at the start of the range.
    #[must_use]
    pub fn saturating_sub(self, by: Duration) -> Self {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(by).max(jiff::Timestamp::MIN.as_microsecond()))
    }

    /// How long after `earlier` this point is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The last whole second that jiff can show.
    fn max() -> Self {
        Self(jiff::Timestamp::MAX.as_second() * 1_000_000)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with exactly six decimals: `2026-01-31T12:00:00.000000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at:.6}"),
            // Construction keeps the range, so this arm shows a broken invariant, not a lie.
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at: jiff::Timestamp = text.parse().map_err(|_| TimestampError(text.to_owned()))?;
        Ok(Self(at.as_microsecond()))
    }
}

/// Where time comes from.
///
/// Services and adapters hold one as `Arc<dyn Clock>`; nothing reads the machine's clock directly.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Now, by the wall clock. It may jump.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary, fixed origin. It never goes back, so differences can be trusted.
    fn mono(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_microsecond())
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    fn mono(&self) -> Duration {
        static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
        ORIGIN.get_or_init(std::time::Instant::now).elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_with_six_decimals() {
        let at = Timestamp::from_micros(1_764_000_000_000_001).expect("in range");
        assert_eq!(at.to_string(), "2025-11-24T16:00:00.000001Z");
        assert_eq!(at.to_string().parse::<Timestamp>().expect("own text form"), at);
    }

    #[test]
    fn nanoseconds_are_cut_and_offsets_are_converted() {
        let at: Timestamp = "2026-01-01T01:00:00.123456789+01:00".parse().expect("RFC 3339");
        assert_eq!(at.to_string(), "2026-01-01T00:00:00.123456Z");
    }

    #[test]
    fn arithmetic_stops_at_the_ends_of_the_range() {
        let end = Timestamp::UNIX_EPOCH.saturating_add(Duration::MAX);
        assert_eq!(end.to_string(), "9999-12-30T22:00:00.000000Z");
        assert_eq!(Timestamp::UNIX_EPOCH.since(end), Duration::ZERO);
        assert!(Timestamp::UNIX_EPOCH.saturating_sub(Duration::MAX) < Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn junk_is_refused() {
        assert!("yesterday".parse::<Timestamp>().is_err());
        assert!(Timestamp::from_micros(i64::MAX).is_err());
    }
}
