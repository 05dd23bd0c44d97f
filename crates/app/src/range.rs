//! Settings within their ranges.

use std::{fmt::Debug, ops::RangeInclusive, time::Duration};

/// The longest that anything waits: a host's "for ever" must not overflow a point in time.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_hours(365 * 24);

/// Whether a value lies in its range; else says which range that is.
pub(crate) fn within<T: PartialOrd + Copy + Debug>(
    what: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), String> {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = range.into_inner();
    Err(format!("{what} is {value:?}; {least:?} to {most:?} is allowed"))
}
