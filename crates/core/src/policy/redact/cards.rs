//! Payment-card numbers in runs of digits.

use std::ops::Range;

use super::rules::CardDetection;

/// The shortest and the longest number that a card may have (ISO/IEC 7812-1).
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// The fewest digits of a card.
pub(super) const FEWEST_DIGITS: usize = *CARD_DIGITS.start();

/// A bare JSON number needs this many digits to be taken for a card.
const NUMBER_DIGITS: usize = 15;

/// Separators of groups besides a blank and a dash. Between them only the groups that cards show are looked at, since they
/// stand between other numbers as well.
const OTHER_SEPARATORS: [&str; 9] =
    [".", "_", "/", "\u{a0}", "\u{2009}", "\u{202f}", "\u{2010}", "\u{2011}", "\u{2013}"];

/// The groups of digits on cards.
const SHOWN_GROUPS: [&[usize]; 3] = [&[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4]];

/// Hexadecimal codes of this length are hashes and ids, whatever digits happen to follow each other in them.
const CODE_DIGITS: usize = 24;

/// Groups shorter than this, as in `1 2 3`, are a list and no card.
const GROUP_DIGITS: usize = 2;

/// Whether a JSON number, given without sign, is a card number.
pub(super) fn is_card_number(digits: &str, detection: CardDetection) -> bool {
    digits.len() >= NUMBER_DIGITS && is_card(digits.bytes(), detection)
}

/// Finds card numbers, written as one run of digits or as groups with single spaces or dashes between them.
///
/// A number never starts or ends within a group, so digits inside a longer run are no card, and those of a hash or a UUID
/// neither. Each group is looked at with at most nine successors, so the work is linear.
pub(super) fn find(text: &str, detection: CardDetection, mut found: impl FnMut(Range<usize>)) {
    if detection == CardDetection::Off || text.len() < FEWEST_DIGITS {
        return;
    }
    let bytes = text.as_bytes();
    let mut groups = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        if let Some(shown) = shown_at(text, at)
            && is_card(bytes[shown.clone()].iter().copied().filter(u8::is_ascii_digit), detection)
        {
            at = shown.end;
            found(shown);
            continue;
        }
        let start = at;
        at = read_groups(bytes, at, &mut groups);
        let mut is_code = None;
        for first in 0..groups.len() {
            find_from(bytes, &groups[first..], detection, &mut |range| {
                if !*is_code.get_or_insert_with(|| is_in_code(bytes, start, at)) {
                    found(range);
                }
            });
        }
    }
}

/// Groups as cards show them, with one of the other separators between them.
fn shown_at(text: &str, start: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let end_of_group = |at: usize, len: usize| {
        let is_group = bytes.get(at..at + len).is_some_and(|b| b.iter().all(u8::is_ascii_digit));
        (is_group && bytes.get(at + len).is_none_or(|b| !b.is_ascii_digit())).then_some(at + len)
    };
    let first = end_of_group(start, 4)?;
    if start > 0 && bytes[start - 1].is_ascii_digit() {
        return None;
    }
    let separator = OTHER_SEPARATORS.iter().find(|s| text[first..].starts_with(**s))?;
    SHOWN_GROUPS.iter().find_map(|groups| {
        let end = groups[1..].iter().try_fold(first, |end, len| {
            let next = end + separator.len();
            end_of_group(next, *len).filter(|_| text[end..].starts_with(separator))
        })?;
        Some(start..end)
    })
}

/// Whether these digits stand in a hash, an object id or a UUID.
fn is_in_code(bytes: &[u8], start: usize, end: usize) -> bool {
    let is_code = |b: &u8| b.is_ascii_hexdigit() || *b == b'-';
    let head = bytes[..start].iter().rev().take_while(|b| is_code(b)).count();
    let tail = bytes[end..].iter().take_while(|b| is_code(b)).count();
    let code = &bytes[start - head..end + tail];
    let has_letters = code.iter().any(u8::is_ascii_alphabetic);
    let is_uuid = code.len() == 36 && [8, 13, 18, 23].iter().all(|dash| code[*dash] == b'-');
    let is_word = !code.contains(&b'-') && code.len() >= CODE_DIGITS;
    has_letters && (is_uuid || is_word)
}

/// Reads groups of digits from `at` and gives the end of the last one.
fn read_groups(bytes: &[u8], mut at: usize, groups: &mut Vec<Range<usize>>) -> usize {
    groups.clear();
    loop {
        let start = at;
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        // Digits after a decimal point are a fraction.
        let is_fraction =
            start >= 2 && bytes[start - 1] == b'.' && bytes[start - 2].is_ascii_digit();
        if !is_fraction {
            groups.push(start..at);
        }
        let is_joined = matches!(bytes.get(at), Some(b' ' | b'-'))
            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        if !is_joined {
            return at;
        }
        at += 1;
    }
}

fn find_from(
    bytes: &[u8],
    groups: &[Range<usize>],
    detection: CardDetection,
    found: &mut dyn FnMut(Range<usize>),
) {
    let mut total = 0;
    for group in groups {
        total += group.len();
        if total > *CARD_DIGITS.end() || group.len() < GROUP_DIGITS {
            return;
        }
        let whole = groups[0].start..group.end;
        let digits = bytes[whole.clone()].iter().copied().filter(u8::is_ascii_digit);
        if CARD_DIGITS.contains(&total) && is_card(digits, detection) {
            found(whole);
        }
    }
}

fn is_card(digits: impl DoubleEndedIterator<Item = u8> + Clone, detection: CardDetection) -> bool {
    let len = digits.clone().count();
    if !CARD_DIGITS.contains(&len) {
        return false;
    }
    let may_be = match detection {
        CardDetection::Off => false,
        CardDetection::KnownIssuers => is_known_issuer(digits.clone(), len),
        CardDetection::AnyLuhn => true,
    };
    may_be && passes_luhn(digits)
}

/// The Luhn check of ISO/IEC 7812-1, annex B.
fn passes_luhn(digits: impl DoubleEndedIterator<Item = u8>) -> bool {
    let sum: u32 = digits
        .rev()
        .map(|digit| u32::from(digit - b'0'))
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => digit,
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// First four digits and lengths of the ranges that issuers publish, kept coarse on the safe side.
fn is_known_issuer(digits: impl Iterator<Item = u8>, len: usize) -> bool {
    let prefix = digits.take(4).fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    match prefix {
        3400..=3499 | 3700..=3799 => len == 15,
        3000..=3059 | 3095 | 3600..=3699 | 3800..=3999 => len >= 14,
        4000..=4999 => len == 13 || len >= 16,
        2200..=2204 | 2221..=2720 | 3528..=3589 | 5100..=5599 | 8100..=8299 => len >= 16,
        5000..=5099 | 5600..=5899 | 6000..=6999 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        let mut all = Vec::new();
        find(text, CardDetection::KnownIssuers, |range| all.push(&text[range]));
        all
    }

    #[test]
    fn cards_of_the_known_issuers_are_found() {
        for card in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "5555555555554444",
            "378282246310005",
            "3782 822463 10005",
            "30569309025904",
            "6011111111111117",
            "3530111333300000",
            "2223003122003222",
            "6200000000000005",
            "4222222222222",
        ] {
            assert_eq!(found(&format!("paid with {card}, thanks")), [card]);
            assert_eq!(found(&format!("x{card}y 12")), [card]);
        }
        assert_eq!(found("12 4111 1111 1111 1111 99"), ["4111 1111 1111 1111"]);
    }

    #[test]
    fn other_digits_are_no_cards() {
        for text in [
            "4111111111111112",
            "14111111111111111",
            "41111111111111110000",
            "1700000000000",
            "0.4111111111111111",
            "1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6",
            "4111  1111 1111 1111",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_short_number_is_an_id() {
        assert!(is_card_number("4111111111111111", CardDetection::KnownIssuers));
        assert!(!is_card_number("4222222222222", CardDetection::KnownIssuers));
        assert!(!is_card_number("4111111111111111", CardDetection::Off));
    }
}
