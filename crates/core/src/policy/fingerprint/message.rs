//! The shape of an error message: what remains when ids, numbers and quoted values are taken out.

use std::net::{IpAddr, SocketAddr};

use crate::policy::bound::cut;

/// The longest normalised message, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 512;

/// Of a message only this much is looked at, in bytes. It is more than [`MAX_MESSAGE_BYTES`], so that ids of
/// different lengths do not move the end of what counts.
const MAX_INPUT_BYTES: usize = 4096;

/// Text in quotes is a value up to this length, in bytes; what is longer is prose with an apostrophe.
const MAX_QUOTED_BYTES: usize = 256;

/// Runs of letters and digits of this length that mix both are ids.
const MIN_ID_CHARS: usize = 8;

/// Replaces what changes from one occurrence of an error to the next.
///
/// Quoted text becomes `<str>`, an e-mail address `<email>`, an IP address `<ip>`, a UUID `<uuid>`, a date or a time
/// `<time>`, and numbers, hexadecimal ids of at least eight digits and other mixed ids `<n>`, also within paths and
/// words (`user42` is `user<n>`). White space collapses. The result has at most [`MAX_MESSAGE_BYTES`].
pub fn normalize_message(message: &str) -> String {
    let mut rest = cut(message, MAX_INPUT_BYTES).trim_start();
    let mut shape = String::new();
    let mut previous = ' ';
    while let Some(c) = rest.chars().next() {
        if shape.len() >= MAX_MESSAGE_BYTES {
            break;
        }
        let len = if c.is_whitespace() {
            shape.push(' ');
            rest.len() - rest.trim_start().len()
        } else if let Some(len) = quoted_len(rest, previous) {
            shape.push_str("<str>");
            len
        } else if is_word_char(c) {
            let word = &rest[..rest.find(|c| !is_word_char(c)).unwrap_or(rest.len())];
            push_word(&mut shape, word);
            word.len()
        } else {
            shape.push(c);
            c.len_utf8()
        };
        previous = rest[..len].chars().next_back().unwrap_or(' ');
        rest = &rest[len..];
    }
    shape.truncate(cut(&shape, MAX_MESSAGE_BYTES).trim_end().len());
    shape
}

/// The length of quoted text, quotes included. An apostrophe within a word opens nothing.
fn quoted_len(text: &str, previous: char) -> Option<usize> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    if quote == '\'' && previous.is_alphanumeric() {
        return None;
    }
    let inner = cut(&text[1..], MAX_QUOTED_BYTES);
    let ends = inner.match_indices(quote).map(|(end, _)| end);
    let closes =
        |end: &usize| quote != '\'' || !text[end + 2..].starts_with(|c: char| c.is_alphanumeric());
    ends.into_iter().find(closes).map(|end| end + 2)
}

/// Characters of a word, which may be a path, an address or a time.
fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/' | '@' | '+' | '%' | '\\')
}

fn push_word(shape: &mut String, word: &str) {
    let bare = word.trim_end_matches(['.', ':', '-', '/']);
    if is_email(bare) {
        shape.push_str("<email>");
    } else if bare.parse::<IpAddr>().is_ok() || bare.parse::<SocketAddr>().is_ok() {
        shape.push_str("<ip>");
    } else if is_time(bare) {
        shape.push_str("<time>");
    } else {
        push_parts(shape, bare);
    }
    shape.push_str(&word[bare.len()..]);
}

fn is_email(word: &str) -> bool {
    word.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && !name.contains('/') && host.contains('.') && !host.contains([':', '@'])
    })
}

/// `2024-05-06…` or `07:08…`.
fn is_time(word: &str) -> bool {
    let fits = |pattern: &[u8]| {
        word.len() >= pattern.len()
            && word.bytes().zip(pattern).all(|(b, p)| match p {
                b'0' => b.is_ascii_digit(),
                p => b == *p,
            })
    };
    (fits(b"0000-00-00") || fits(b"00:00"))
        && word.chars().all(|c| c.is_ascii_digit() || "-:.+TZ".contains(c))
}

/// Goes through a word part by part: ids and numbers are replaced, punctuation and letters are kept.
fn push_parts(shape: &mut String, word: &str) {
    let mut rest = word;
    while let Some(c) = rest.chars().next() {
        let run = &rest[..rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len())];
        let len = if let Some(uuid) = rest.get(..36).filter(|text| is_uuid(text)) {
            shape.push_str("<uuid>");
            uuid.len()
        } else if run.is_empty() {
            let is_sign = c == '-' && shape.chars().next_back().is_none_or(|c| "( =:/".contains(c));
            // The sign of a number changes as its digits do.
            if !(is_sign && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
                shape.push(c);
            }
            c.len_utf8()
        } else if is_id(run) {
            shape.push_str("<n>");
            // All digits may also be the start of a number with a fraction.
            run.len().max(number_len(rest))
        } else if c.is_ascii_digit() {
            shape.push_str("<n>");
            number_len(rest)
        } else {
            shape.push(c);
            c.len_utf8()
        };
        rest = &rest[len..];
    }
}

fn is_uuid(text: &str) -> bool {
    text.bytes().enumerate().all(|(at, b)| match at {
        8 | 13 | 18 | 23 => b == b'-',
        _ => b.is_ascii_hexdigit(),
    })
}

/// A hexadecimal id, or letters and digits that change places at least three times.
fn is_id(run: &str) -> bool {
    let has_digit = run.bytes().any(|b| b.is_ascii_digit());
    if run.len() < MIN_ID_CHARS || !has_digit || !run.is_ascii() {
        return false;
    }
    let changes = run
        .as_bytes()
        .windows(2)
        .filter(|w| w[0].is_ascii_digit() != w[1].is_ascii_digit())
        .count();
    changes >= 3 || run.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The length of a number with its fraction (`2.5`).
fn number_len(text: &str) -> usize {
    let digits = |from: usize| {
        text[from..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |len| from + len)
    };
    let integer = digits(0);
    if !text[integer..].starts_with('.') {
        return integer;
    }
    let fraction = digits(integer + 1);
    if fraction > integer + 1 { fraction } else { integer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_taken_out() {
        for (message, shape) in [
            ("  order\t17   failed ", "order <n> failed"),
            ("took 2.5s, not -3s.", "took <n>s, not <n>s."),
            ("user42 at /users/42/x?y=7", "user<n> at /users/<n>/x?y=<n>"),
            ("id 550e8400-e29b-41d4-a716-446655440000.", "id <uuid>."),
            ("/o/550e8400-e29b-41d4-a716-446655440000/l", "/o/<uuid>/l"),
            ("commit deadbeef1 cus_9s6XKzkNRiz8i3", "commit <n> cus_<n>"),
            ("no column \"ab c\" in 'x'", "no column <str> in <str>"),
            ("can't connect to 10.0.0.1:5432", "can't connect to <ip>"),
            ("ping ::1 and fe80::1.", "ping <ip> and <ip>."),
            ("ann@example.org at 2024-05-06T07:08:09.5Z", "<email> at <time>"),
            ("2024-05-06 07:08:09 late", "<time> <time> late"),
            ("facade of sha256 (x=-1)", "facade of sha<n> (x=<n>)"),
        ] {
            assert_eq!(normalize_message(message), shape);
        }
    }

    #[test]
    fn only_the_start_of_a_long_message_counts() {
        let long = "word ".repeat(1000);
        assert_eq!(normalize_message(&long), normalize_message(&format!("{long}more")));
        assert!(normalize_message(&long).len() <= MAX_MESSAGE_BYTES);
    }
}
