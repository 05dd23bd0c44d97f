//! Settings within their ranges.

use std::{fmt::Debug, ops::RangeInclusive};

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
