//! Settings of a store.

use std::{path::PathBuf, time::Duration};

use baldur_core::{BackendError, BackendKind, name::Namespace};

use crate::error::said;

/// Where a store lives and how it works.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteConfig {
    /// The database file. It is created with mode 0600 when it does not exist, its directory with 0700.
    pub path: PathBuf,
    /// The deployment that this handle serves; it sees nothing of others in the same file.
    pub namespace: Namespace,
    /// How long to wait for other processes on the file, and for a free reader or place in the queue.
    /// 1 ms to 10 min; default 5 s.
    pub busy_timeout: Duration,
    /// How long a write may take in all, queue and commit included, before its caller is told that its outcome is
    /// unknown: a disk that hangs must not hang its callers. 1 ms to 1 h; default 60 s.
    pub answer_timeout: Duration,
    /// How many reads run at a time, 1 to 64; default 4.
    pub max_readers: u32,
    /// How many writes may wait for the writer, 1 to 65 536; default 1024. When it is full, callers wait.
    pub queue: usize,
    /// After how many rows a commit takes no further writes along, 1 to 100 000; default 512. One
    /// write is never split, so a single larger batch makes a larger commit.
    pub max_rows_per_commit: usize,
    /// The largest size of the database file in bytes, at least 1 MiB; writes beyond it fail with `Full`, as on a full
    /// disk. As large as the disk allows when absent.
    pub max_bytes: Option<u64>,
}

/// The smallest limit on the size of the file: the schema alone needs a fifth of it.
const LEAST_MAX_BYTES: u64 = 1 << 20;

impl SqliteConfig {
    /// The defaults for a file and a namespace.
    pub fn new(path: impl Into<PathBuf>, namespace: Namespace) -> Self {
        Self {
            path: path.into(),
            namespace,
            busy_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_mins(1),
            max_readers: 4,
            queue: 1024,
            max_rows_per_commit: 512,
            max_bytes: None,
        }
    }

    /// Checks the ranges.
    pub(crate) fn validate(&self) -> Result<(), BackendError> {
        let Self {
            path,
            namespace: _,
            busy_timeout,
            answer_timeout,
            max_readers,
            queue,
            max_rows_per_commit,
            max_bytes,
        } = self;
        let problem = if path.as_os_str().is_empty() {
            "the path of the database is empty"
        } else if !(Duration::from_millis(1)..=Duration::from_mins(10)).contains(busy_timeout) {
            "`busy_timeout` must be 1 ms to 10 min"
        } else if !(Duration::from_millis(1)..=Duration::from_hours(1)).contains(answer_timeout) {
            "`answer_timeout` must be 1 ms to 1 h"
        } else if !(1..=64).contains(max_readers) {
            "`max_readers` must be 1 to 64"
        } else if !(1..=65_536).contains(queue) {
            "`queue` must be 1 to 65536"
        } else if !(1..=100_000).contains(max_rows_per_commit) {
            "`max_rows_per_commit` must be 1 to 100000"
        } else if max_bytes.is_some_and(|bytes| bytes < LEAST_MAX_BYTES) {
            "`max_bytes` must be 1 MiB or more"
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
        let good = || SqliteConfig::new("a.db", Namespace::default_namespace());
        assert!(good().validate().is_ok());
        let bad = [
            SqliteConfig { path: PathBuf::new(), ..good() },
            SqliteConfig { busy_timeout: Duration::ZERO, ..good() },
            SqliteConfig { answer_timeout: Duration::ZERO, ..good() },
            SqliteConfig { max_readers: 0, ..good() },
            SqliteConfig { queue: 0, ..good() },
            SqliteConfig { max_rows_per_commit: 0, ..good() },
            SqliteConfig { max_bytes: Some(4096), ..good() },
        ];
        for config in bad {
            let error = config.validate().expect_err("out of range");
            assert_eq!(error.kind(), BackendKind::Refused, "{config:?}");
        }
    }
}
