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

    /// The text form as ASCII; `None` for years below 0, whose text is longer.
    ///
    /// Stored forms hold several points in time each, so this is worth not going through a general formatter.
    pub(crate) fn to_ascii(self) -> Option<[u8; 27]> {
        const DAY: i64 = 86_400;
        let (seconds, micros) = (self.0.div_euclid(1_000_000), self.0.rem_euclid(1_000_000));
        let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        let (year, month, day) = civil(days);
        if !(0..=9999).contains(&year) {
            return None;
        }
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        put(&mut text[0..4], year);
        put(&mut text[5..7], month);
        put(&mut text[8..10], day);
        put(&mut text[11..13], second / 3600);
        put(&mut text[14..16], second / 60 % 60);
        put(&mut text[17..19], second % 60);
        put(&mut text[20..26], micros);
        Some(text)
    }

    /// The last whole second that jiff can show.
    fn max() -> Self {
        Self(jiff::Timestamp::MAX.as_second() * 1_000_000)
    }
}

/// Year, month and day of a day that is counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Years are counted from March here, so that the leap day is the last one of its year; 400 of them have 146 097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    const DAYS_TO_EPOCH: i64 = 719_468;
    const ERA: i64 = 146_097;
    let days = days + DAYS_TO_EPOCH;
    let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

/// Writes the last digits of a number that is not negative, as many as there is room for.
fn put(digits: &mut [u8], mut number: i64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with exactly six decimals: `2026-01-31T12:00:00.000000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.to_ascii().as_ref().and_then(|text| str::from_utf8(text).ok()) {
            return f.write_str(text);
        }
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_form_is_that_of_jiff(
            micros in jiff::Timestamp::MIN.as_microsecond()..=jiff::Timestamp::MAX.as_microsecond(),
        ) {
            let by_jiff = jiff::Timestamp::from_microsecond(micros).expect("in range");
            prop_assert_eq!(Timestamp(micros).to_string(), format!("{by_jiff:.6}"));
        }

        #[test]
        fn text_form_is_that_of_jiff_on_every_day(day in -719_528..2_932_896_i64, micro in 0..86_400_000_000_i64) {
            let micros = day * 86_400_000_000 + micro;
            let by_jiff = jiff::Timestamp::from_microsecond(micros).expect("in range");
            prop_assert!(Timestamp(micros).to_ascii().is_some());
            prop_assert_eq!(Timestamp(micros).to_string(), format!("{by_jiff:.6}"));
        }
    }

    #[test]
    fn text_form_is_that_of_jiff_around_leap_days_and_turns_of_years() {
        let days =
            (0..=9998).flat_map(|year| [(year, 2, 28), (year, 3, 1), (year, 12, 31), (year, 1, 1)]);
        for (year, month, day) in days {
            let date = jiff::civil::date(year, month, day);
            let at = date.to_zoned(jiff::tz::TimeZone::UTC).expect("in range").timestamp();
            for micros in [-1, 0, 86_399_999_999, 86_400_000_000] {
                let at = Timestamp(at.as_microsecond() + micros);
                let by_jiff = jiff::Timestamp::from_microsecond(at.0).expect("in range");
                assert_eq!(at.to_string(), format!("{by_jiff:.6}"));
            }
        }
    }

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
