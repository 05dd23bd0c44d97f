//! Numbers of persons and accounts that have a form of their own.

use super::text::{Spans, starts_word};

/// The longest number of an account (ISO 13616).
const MAX_IBAN: usize = 34;

/// Finds international bank account numbers, in one run or in groups with single blanks or dashes between them.
///
/// The length that their country prescribes and the check sum keep other codes out: one in a hundred passes the latter.
pub(super) fn find_ibans(text: &str, spans: &mut Spans<'_>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at + 4 < bytes.len() {
        let end = if starts_word(bytes, at) { iban_end(bytes, at) } else { None };
        at = end.map_or(at + 1, |end| {
            spans.add(at..end);
            end
        });
    }
}

fn iban_end(bytes: &[u8], start: usize) -> Option<usize> {
    let country = [bytes[start].to_ascii_uppercase(), bytes[start + 1].to_ascii_uppercase()];
    let is_checked = bytes[start + 2].is_ascii_digit() && bytes[start + 3].is_ascii_digit();
    let length = is_checked.then(|| iban_length(country))??;
    let mut number = [0_u8; MAX_IBAN];
    let (mut at, mut read) = (start, 0);
    while read < length {
        let byte = *bytes.get(at)?;
        let is_joint = matches!(byte, b' ' | b'-') && read > 0 && bytes[at - 1] != byte;
        if byte.is_ascii_alphanumeric() {
            number[read] = byte.to_ascii_uppercase();
            read += 1;
        } else if !is_joint {
            return None;
        }
        at += 1;
    }
    let ends_word = bytes.get(at).is_none_or(|b| !b.is_ascii_alphanumeric());
    (ends_word && passes_mod_97(&number[..length])).then_some(at)
}

/// The check of ISO 7064: the first four characters moved to the end, letters as two digits.
fn passes_mod_97(number: &[u8]) -> bool {
    let (head, tail) = number.split_at(4);
    let rest = tail.iter().chain(head).fold(0_u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    rest == 1
}

/// The lengths of the registry of ISO 13616.
fn iban_length(country: [u8; 2]) -> Option<usize> {
    Some(match &country {
        b"NO" => 15,
        b"BE" => 16,
        b"DK" | b"FI" | b"FK" | b"FO" | b"GL" | b"NL" | b"SD" => 18,
        b"MK" | b"SI" => 19,
        b"AT" | b"BA" | b"EE" | b"KZ" | b"LT" | b"LU" | b"MN" | b"XK" => 20,
        b"CH" | b"HR" | b"LI" | b"LV" => 21,
        b"BG" | b"BH" | b"CR" | b"DE" | b"GB" | b"GE" | b"IE" | b"ME" | b"RS" | b"VA" => 22,
        b"AE" | b"GI" | b"IL" | b"IQ" | b"OM" | b"SO" | b"TL" => 23,
        b"AD" | b"CZ" | b"ES" | b"MD" | b"PK" | b"RO" | b"SA" | b"SE" | b"SK" | b"TN" | b"VG" => 24,
        b"LY" | b"PT" | b"ST" => 25,
        b"IS" | b"TR" => 26,
        b"BI" | b"DJ" | b"FR" | b"GR" | b"IT" | b"MC" | b"MR" | b"SM" => 27,
        b"AL" | b"AZ" | b"BY" | b"CY" | b"DO" | b"GT" | b"HN" | b"HU" | b"LB" | b"NI" | b"PL"
        | b"SV" => 28,
        b"BR" | b"EG" | b"PS" | b"QA" | b"UA" => 29,
        b"JO" | b"KW" | b"MU" | b"YE" => 30,
        b"MT" | b"SC" => 31,
        b"LC" => 32,
        b"RU" => 33,
        _ => return None,
    })
}

/// Finds social security numbers of the USA, `AAA-GG-SSSS` with the areas and groups that are given out.
pub(super) fn find_social_security(text: &str, spans: &mut Spans<'_>) {
    let bytes = text.as_bytes();
    for (dash, _) in text.match_indices('-') {
        let Some(start) = dash.checked_sub(3) else { continue };
        let Some(number) = bytes.get(start..start + 11) else { break };
        let is_shaped = number[3] == b'-'
            && number[6] == b'-'
            && [&number[..3], &number[4..6], &number[7..]]
                .iter()
                .all(|part| part.iter().all(u8::is_ascii_digit));
        let joins = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        let is_apart = (start == 0 || !joins(&bytes[start - 1]))
            && bytes.get(start + 11).is_none_or(|b| !b.is_ascii_alphanumeric() && *b != b'-');
        if is_shaped && is_apart && is_given_out(number) {
            spans.add(start..start + 11);
        }
    }
}

fn is_given_out(number: &[u8]) -> bool {
    !matches!(&number[..3], b"000" | b"666" | [b'9', ..])
        && &number[4..6] != b"00"
        && &number[7..] != b"0000"
}

#[cfg(test)]
mod tests {
    use super::super::{REDACTED, RedactionRules, redact_text};

    fn text(text: &str) -> String {
        redact_text(text, &RedactionRules::default()).replace(REDACTED, "§")
    }

    #[test]
    fn account_numbers_go_in_every_spelling() {
        for number in [
            "DE89370400440532013000",
            "DE89 3704 0044 0532 0130 00",
            "GB82-WEST-1234-5698-7654-32",
            "fr1420041010050500013m02606",
            "NO9386011117947",
        ] {
            assert_eq!(text(&format!("to {number}, today")), "to §, today", "{number}");
        }
    }

    #[test]
    fn codes_that_only_look_like_account_numbers_stay() {
        for code in [
            "DE88370400440532013000",
            "DE8937040044053201300",
            "ZZ89370400440532013000",
            "GB82 WEST",
            "XDE89370400440532013000",
        ] {
            assert_eq!(text(code), code);
        }
    }

    #[test]
    fn social_security_numbers_go_and_other_groups_of_digits_stay() {
        assert_eq!(text("for 078-05-1120, born"), "for §, born");
        for code in ["000-05-1120", "900-05-1120", "078-05-11201", "1-078-05-1120", "078-051-120"] {
            assert_eq!(text(code), code);
        }
    }
}
