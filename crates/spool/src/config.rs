//! Settings of a spool.

use std::{path::PathBuf, time::Duration};

use baldur_core::{BackendError, BackendKind};

use crate::{error::said, frame::MAX_RECORD_BYTES};

/// Where a spool lives and how it works. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolConfig {
    /// The directory. It is created with mode 0700 when it does not exist, and refused when others own it or can write into it.
    pub dir: PathBuf,
    /// How many bytes the segments of the own lane and of adopted ones may have together, 64 KiB to 1 TiB; default 1 GiB.
    pub max_bytes: u64,
    /// At which size a segment is sealed and the next one begun, 4 KiB to 256 MiB and at most `max_bytes`; default 16 MiB.
    pub segment_bytes: u64,
    /// How many bytes of records all processes together may have put aside in `refused/`, 64 KiB to 1 TiB; default 256 MiB. Beyond, records
    /// stay in their lanes. One is always taken.
    pub max_refused_bytes: u64,
    /// The longest record, 1 KiB to 64 MiB and at most `max_bytes`; default 16 MiB.
    pub max_record_bytes: u64,
    /// How many records one write takes along, 1 to 100 000; default 1024.
    pub group_records: usize,
    /// After how many bytes one write takes no further records along, 4 KiB to 64 MiB; default 4 MiB.
    pub group_bytes: usize,
    /// How many records may wait to be written, 1 to 1 000 000; default 65 536. When they are that many, callers wait.
    pub queue_records: usize,
    /// How many bytes may wait to be written, 4 KiB to 1 GiB; default 64 MiB. When they are that many, callers wait.
    pub queue_bytes: usize,
    /// How many bytes one look at the oldest records reads at most, 4 KiB to 64 MiB; default 8 MiB. One record is always read.
    pub peek_bytes: usize,
    /// How long callers wait for a place in the queue, 1 ms to 10 min; default 5 s.
    pub queue_wait: Duration,
    /// How long the disk may take for an answer, 1 ms to 1 h; default 60 s. What it does after that is unknown to the caller.
    pub answer_timeout: Duration,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

impl SpoolConfig {
    /// The defaults for a directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            max_bytes: 1 << 30,
            segment_bytes: 16 * MIB,
            max_refused_bytes: 256 * MIB,
            max_record_bytes: 16 * MIB,
            group_records: 1_024,
            group_bytes: 4 << 20,
            queue_records: 65_536,
            queue_bytes: 64 << 20,
            peek_bytes: 8 << 20,
            queue_wait: Duration::from_secs(5),
            answer_timeout: Duration::from_mins(1),
        }
    }

    /// Checks the ranges.
    pub(crate) fn validate(&self) -> Result<(), BackendError> {
        let Self {
            dir,
            max_bytes,
            segment_bytes,
            max_refused_bytes,
            max_record_bytes,
            group_records,
            group_bytes,
            queue_records,
            queue_bytes,
            peek_bytes,
            queue_wait,
            answer_timeout,
        } = self;
        let some = 4 << 10..=64 << 20;
        let problem = if dir.as_os_str().is_empty() {
            "the directory of the spool is not named"
        } else if !(64 * KIB..=1 << 40).contains(max_bytes) {
            "`max_bytes` must be 64 KiB to 1 TiB"
        } else if !(4 * KIB..=(256 * MIB).min(*max_bytes)).contains(segment_bytes) {
            "`segment_bytes` must be 4 KiB to 256 MiB, and at most `max_bytes`"
        } else if !(64 * KIB..=1 << 40).contains(max_refused_bytes) {
            "`max_refused_bytes` must be 64 KiB to 1 TiB"
        } else if !(KIB..=MAX_RECORD_BYTES.min(*max_bytes)).contains(max_record_bytes) {
            "`max_record_bytes` must be 1 KiB to 64 MiB, and at most `max_bytes`"
        } else if !(1..=100_000).contains(group_records) {
            "`group_records` must be 1 to 100000"
        } else if !some.contains(group_bytes) {
            "`group_bytes` must be 4 KiB to 64 MiB"
        } else if !(1..=1_000_000).contains(queue_records) {
            "`queue_records` must be 1 to 1000000"
        } else if !(4 << 10..=1 << 30).contains(queue_bytes) {
            "`queue_bytes` must be 4 KiB to 1 GiB"
        } else if !some.contains(peek_bytes) {
            "`peek_bytes` must be 4 KiB to 64 MiB"
        } else if !(Duration::from_millis(1)..=Duration::from_mins(10)).contains(queue_wait) {
            "`queue_wait` must be 1 ms to 10 min"
        } else if !(Duration::from_millis(1)..=Duration::from_hours(1)).contains(answer_timeout) {
            "`answer_timeout` must be 1 ms to 1 h"
        } else {
            return Ok(());
        };
        Err(said("open", BackendKind::Refused, problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_refused() {
        let good = || SpoolConfig::new("spool");
        assert!(good().validate().is_ok());
        let bad = [
            SpoolConfig { dir: PathBuf::new(), ..good() },
            SpoolConfig { max_bytes: 1, ..good() },
            SpoolConfig { segment_bytes: 1, ..good() },
            SpoolConfig { max_bytes: 1 << 20, ..good() },
            SpoolConfig { max_refused_bytes: 1, ..good() },
            SpoolConfig { max_record_bytes: 0, ..good() },
            SpoolConfig { max_record_bytes: 65 << 20, ..good() },
            SpoolConfig { group_records: 0, ..good() },
            SpoolConfig { group_bytes: 0, ..good() },
            SpoolConfig { queue_records: 0, ..good() },
            SpoolConfig { queue_bytes: 0, ..good() },
            SpoolConfig { peek_bytes: 0, ..good() },
            SpoolConfig { queue_wait: Duration::ZERO, ..good() },
            SpoolConfig { answer_timeout: Duration::MAX, ..good() },
        ];
        for config in bad {
            let error = config.validate().expect_err("out of range");
            assert_eq!(error.kind(), BackendKind::Refused, "{config:?}");
        }
    }
}
