//! Secrets in commands, where no `=` or `:` tells the key: `curl -u user:x`, `mysql -px`, `PASSWORD 'x'`.

use std::ops::Range;

use super::facts::{self, Facts};
use super::pairs::{is_quote, quoted_end};
use super::text::{Spans, run_end, skip_blanks};

/// Flags before `user:password`.
const USER_FLAGS: [&str; 4] = ["-u", "-U", "--user", "--proxy-user"];

/// Programs that take a password in these flags, joined to them or after a blank.
const PROGRAMS: [(&str, &str, Joint); 9] = [
    ("mysql", "-p", Joint::Joined),
    ("mysqldump", "-p", Joint::Joined),
    ("mysqladmin", "-p", Joint::Joined),
    ("mysqlimport", "-p", Joint::Joined),
    ("mariadb", "-p", Joint::Joined),
    ("mariadb-dump", "-p", Joint::Joined),
    ("sshpass", "-p", Joint::Either),
    ("redis-cli", "-a", Joint::Either),
    ("ldapsearch", "-w", Joint::Either),
];

/// Words before a quoted secret. `token "x"` is what parsers complain about, so it is none of them.
const QUOTED_AFTER: [&str; 6] = ["password", "passwd", "passphrase", "passcode", "passwort", "pwd"];

/// Parts of the words before a secret that is not quoted, in the spellings that people use.
const WORDS: [&str; 3] = ["dentified ", "DENTIFIED ", "login "];

/// Words are compared no further back than this.
const MAX_WORD: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Joint {
    Joined,
    Either,
}

/// Whether this is a flag before `user:password`.
pub(super) fn is_user_flag(flag: &str) -> bool {
    USER_FLAGS.contains(&flag)
}

/// The password of `user:password`; `None` for `1000:1000`, as containers take users and groups, and for what has none.
pub(super) fn password_in(credentials: &str) -> Option<Range<usize>> {
    let colon = credentials.find(':')?;
    let is_id = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (user, password) = (&credentials[..colon], &credentials[colon + 1..]);
    let is_none = password.is_empty() || (is_id(user) && is_id(password));
    (!is_none).then_some(colon + 1..credentials.len())
}

/// Whether a text with blanks can have any of these: flags, quotes, or the words that need none.
pub(super) fn may_be_in(text: &str, facts: &Facts) -> bool {
    facts.has(facts::QUOTE)
        || (facts.has(facts::DASH) && (text.contains(" -") || text.starts_with('-')))
        || WORDS.iter().any(|word| text.contains(word))
}

/// Finds what follows such flags and words. The work is linear.
pub(super) fn find(text: &str, spans: &mut Spans<'_>) {
    let bytes = text.as_bytes();
    let mut program = None;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\n' => program = None,
            b'-' if starts_argument(bytes, at) => {
                let end = run_end(bytes, at, |b| b.is_ascii_alphanumeric() || b == b'-');
                find_flag(text, at, end, program, spans);
                at = end;
                continue;
            }
            b'm' | b's' | b'r' | b'l' if starts_program(bytes, at) => {
                let end = run_end(bytes, at, |b| b.is_ascii_alphanumeric() || b == b'-');
                let word = &text[at..end];
                let named = PROGRAMS.iter().find(|(name, ..)| *name == word);
                program = named.map(|(_, flag, joint)| (*flag, *joint)).or(program);
                at = end;
                continue;
            }
            b' ' => {
                if let Some(value) = statement_value(text, at) {
                    at = value.end;
                    spans.add(value);
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
}

fn starts_argument(bytes: &[u8], at: usize) -> bool {
    at == 0 || bytes[at - 1].is_ascii_whitespace() || is_quote(bytes[at - 1])
}

fn starts_program(bytes: &[u8], at: usize) -> bool {
    starts_argument(bytes, at) || matches!(bytes[at - 1], b'/' | b';' | b'|' | b'(')
}

fn find_flag(
    text: &str,
    at: usize,
    end: usize,
    program: Option<(&str, Joint)>,
    spans: &mut Spans<'_>,
) {
    let bytes = text.as_bytes();
    let flag = &text[at..end];
    let value =
        argument(bytes, skip_blanks(bytes, end + usize::from(bytes.get(end) == Some(&b'='))));
    if is_user_flag(flag) {
        if let Some(password) = password_in(&text[value.clone()]) {
            spans.add(value.start + password.start..value.start + password.end);
        }
        return;
    }
    let Some((secret_flag, joint)) = program else { return };
    let joined = at + secret_flag.len();
    if flag == secret_flag && joint == Joint::Either {
        spans.add(value);
    } else if flag.starts_with(secret_flag) && !flag.starts_with("--") && joined < end
        || flag == secret_flag && bytes.get(end).is_some_and(|b| !b.is_ascii_whitespace())
    {
        spans.add(argument(bytes, joined));
    }
}

/// One argument: up to a blank, or within its quotes.
fn argument(bytes: &[u8], start: usize) -> Range<usize> {
    match bytes.get(start) {
        Some(quote) if is_quote(*quote) => start + 1..quoted_end(bytes, start + 1, *quote, 0).0,
        Some(_) => start..run_end(bytes, start, |b| !b.is_ascii_whitespace() && !is_quote(b)),
        None => start..start,
    }
}

/// The secret after these blanks, where the words before are those of a statement: `PASSWORD 'x'`,
/// `IDENTIFIED BY x`, `login ann password x`.
fn statement_value(text: &str, blank: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let word = word_before(text, blank);
    if word.is_empty() {
        return None;
    }
    let start = skip_blanks(bytes, blank);
    let first = *bytes.get(start)?;
    let is = |known: &str| word.eq_ignore_ascii_case(known);
    if is("by") {
        let before = (blank - word.len()).checked_sub(1).map(|end| word_before(text, end));
        let is_identified = before.unwrap_or_default().eq_ignore_ascii_case("identified");
        let keyword = "password".len();
        let is_keyword =
            bytes.get(start..start + keyword).is_some_and(|b| b.eq_ignore_ascii_case(b"password"));
        return (is_identified && !is_keyword).then(|| argument(bytes, start));
    }
    if is_quote(first) && QUOTED_AFTER.iter().any(|known| is(known)) {
        return Some(argument(bytes, start));
    }
    if is("password") {
        // A line of a `.netrc` file; the user stands between.
        let user_end = blank - word.len();
        let user = text[..user_end].trim_end();
        let user_start = user.rfind(' ').map_or(0, |at| at + 1);
        let is_login = text[..user_start].trim_end().ends_with("login");
        return (is_login && user_start < user_end).then(|| argument(bytes, start));
    }
    None
}

/// The word that ends here, as far as it can be one of those that are looked for.
fn word_before(text: &str, end: usize) -> &str {
    let bytes = text.as_bytes();
    let floor = end.saturating_sub(MAX_WORD);
    let head = &bytes[floor..end];
    let start =
        head.iter().rposition(|b| !b.is_ascii_alphabetic()).map_or(floor, |at| floor + at + 1);
    text.get(start..end).unwrap_or_default()
}
