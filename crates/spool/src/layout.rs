//! Names in the directory of a spool.

use std::path::{Path, PathBuf};

/// Where files go that are damaged or foreign.
pub(crate) const QUARANTINE: &str = "quarantine";

/// Where records go that the store will never take.
pub(crate) const REFUSED: &str = "refused";

/// The file in a lane whose lock says that its process lives.
pub(crate) const LOCK: &str = "lock";

/// The file in a lane that says how far its records were removed.
pub(crate) const CURSOR: &str = "cursor";

const LANE: &str = "lane-";
const SEGMENT: &str = ".seg";

/// The name of the lane of a process. Lanes sort by when their processes started.
pub(crate) fn lane_name(millis: u64, process: u32, entropy: [u8; 8]) -> String {
    format!("{LANE}{millis:014}-{process:010}-{:016x}", u64::from_be_bytes(entropy))
}

/// Whether a name is one of a lane.
pub(crate) fn is_lane(name: &str) -> bool {
    let parts: Vec<&str> = name.strip_prefix(LANE).unwrap_or_default().split('-').collect();
    let of = |part: &str, length: usize, hex: bool| {
        part.len() == length
            && part.bytes().all(|byte| byte.is_ascii_digit() || hex && matches!(byte, b'a'..=b'f'))
    };
    matches!(parts[..], [millis, process, entropy]
        if of(millis, 14, false) && of(process, 10, false) && of(entropy, 16, true))
}

/// The file of a segment.
pub(crate) fn segment(lane: &Path, number: u64) -> PathBuf {
    lane.join(format!("{number:020}{SEGMENT}"))
}

/// The number of a segment, by the name of its file.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SEGMENT)?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// How far the records of a lane were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cursor {
    /// Everything in segments with smaller numbers was removed.
    pub(crate) segment: u64,
    /// Everything in this segment that ends here or before was removed.
    pub(crate) offset: u64,
}

impl Cursor {
    /// The content of the file. The sum covers the lane's name: the cursor of another lane is none.
    pub(crate) fn to_bytes(self, lane: &str) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.segment.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        let sum = Self::sum(lane, &bytes[..16]);
        bytes[16..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the content of the file. It is not synced, so a crash may tear it; then records come back, which the store knows.
    pub(crate) fn from_bytes(lane: &str, bytes: &[u8]) -> Option<Self> {
        let sum = u32::from_le_bytes(bytes.get(16..20)?.try_into().ok()?);
        let segment = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
        let offset = u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?);
        (sum == Self::sum(lane, &bytes[..16])).then_some(Self { segment, offset })
    }

    fn sum(lane: &str, numbers: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(lane.as_bytes());
        hasher.update(numbers);
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_not() {
        let name = lane_name(1_764_000_000_123, 4711, [0xab; 8]);
        assert!(is_lane(&name), "{name}");
        for other in ["lane-", "lane-1-2-3", "lost+found", "quarantine", &name[1..]] {
            assert!(!is_lane(other), "{other}");
        }
        let file = segment(Path::new("a"), 7);
        let file = file.file_name().and_then(|name| name.to_str()).expect("a name");
        assert_eq!(segment_number(file), Some(7));
        for other in ["7.seg", "00000000000000000007.seg.old", "+0000000000000000007.seg", ".seg"] {
            assert_eq!(segment_number(other), None, "{other}");
        }
    }

    #[test]
    fn a_cursor_that_is_torn_or_of_another_lane_is_none() {
        let cursor = Cursor { segment: 3, offset: 4711 };
        let bytes = cursor.to_bytes("one");
        assert_eq!(Cursor::from_bytes("one", &bytes), Some(cursor));
        assert_eq!(Cursor::from_bytes("other", &bytes), None);
        assert_eq!(Cursor::from_bytes("one", &bytes[..19]), None);
        let mut torn = bytes;
        torn[3] ^= 1;
        assert_eq!(Cursor::from_bytes("one", &torn), None);
    }
}
