//! Positions in a list, as opaque text.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{id::EntryId, query::ListOrder, time::Timestamp};

/// Where a page ended. Give it back to get the next page of the same list.
///
/// The text form is versioned and checked; it stays valid while the store keeps its entries, also when the
/// entry it points at is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The direction of the list that it belongs to.
    pub order: ListOrder,
    /// The time of capture of the last item.
    pub created_at: Timestamp,
    /// The id of the last item.
    pub id: EntryId,
}

/// A text that is no [`Cursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this list; take `next` from the page before, unchanged")]
pub struct CursorError;

const VERSION: u8 = 1;
const LEN: usize = 1 + 1 + 8 + 16 + 4;

impl Cursor {
    /// The position of an item of a list.
    pub fn at(order: ListOrder, position: (Timestamp, EntryId)) -> Self {
        Self { order, created_at: position.0, id: position.1 }
    }

    /// Whether an item at this position comes after the cursor.
    pub fn precedes(&self, position: (Timestamp, EntryId)) -> bool {
        match self.order {
            ListOrder::NewestFirst => position < (self.created_at, self.id),
            ListOrder::OldestFirst => position > (self.created_at, self.id),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.push(VERSION);
        bytes.push(match self.order {
            ListOrder::NewestFirst => 0,
            ListOrder::OldestFirst => 1,
        });
        bytes.extend(self.created_at.as_micros().to_be_bytes());
        bytes.extend(self.id.as_bytes());
        bytes.extend(checksum(&bytes));
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        let bytes: [u8; LEN] = bytes.try_into().map_err(|_| CursorError)?;
        let (body, check) = bytes.split_at(LEN - 4);
        if checksum(body) != check || body[0] != VERSION {
            return Err(CursorError);
        }
        let order = match body[1] {
            0 => ListOrder::NewestFirst,
            1 => ListOrder::OldestFirst,
            _ => return Err(CursorError),
        };
        let micros: [u8; 8] = body[2..10].try_into().map_err(|_| CursorError)?;
        let created_at =
            Timestamp::from_micros(i64::from_be_bytes(micros)).map_err(|_| CursorError)?;
        let id: [u8; 16] = body[10..26].try_into().map_err(|_| CursorError)?;
        Ok(Self { order, created_at, id: EntryId::from_bytes(id) })
    }
}

/// Four bytes that catch typing errors and cut texts. It is no protection against forgery, nor need it be:
/// a cursor is a position, not a permission.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let digest = crate::evidence::Digest::of(bytes);
    let [a, b, c, d, ..] = *digest.as_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_form_is_frozen() {
        let cursor = Cursor {
            order: ListOrder::OldestFirst,
            created_at: Timestamp::from_micros(1_764_000_000_000_001).expect("in range"),
            id: EntryId::from_bytes([0xab; 16]),
        };
        let frozen = include_str!("../tests/wire/cursor/v1.txt").trim();
        assert_eq!(cursor.to_string(), frozen);
        assert_eq!(frozen.parse(), Ok(cursor));
    }

    proptest! {
        #[test]
        fn round_trips(newest in any::<bool>(), micros in 0_i64..4_000_000_000_000_000, id in any::<[u8; 16]>()) {
            let cursor = Cursor {
                order: if newest { ListOrder::NewestFirst } else { ListOrder::OldestFirst },
                created_at: Timestamp::from_micros(micros).expect("in range"),
                id: EntryId::from_bytes(id),
            };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn junk_is_refused(junk in ".{0,60}") {
            prop_assert!(junk.parse::<Cursor>().is_err());
        }
    }
}
