//! Passwords in URLs and in the connection strings that are none.

use super::text::{Spans, find_from};

/// User names in URLs of this length are access tokens.
const LONG_USER: usize = 20;

/// `scheme://user:password@host`: the password, or a user name that is long enough to be a token.
pub(super) fn find(text: &str, spans: &mut Spans<'_>) {
    let mut at = 0;
    while let Some(start) = find_from(text, at, "://").map(|colon| colon + 3) {
        // Up to the next URL, so that no byte is looked at for more than one.
        let rest = &text[start..find_from(text, start, "://").unwrap_or(text.len())];
        let ends_word = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>');
        let ends_host = |c: char| ends_word(c) || matches!(c, '/' | '?' | '#');
        let mut authority = &rest[..rest.find(ends_host).unwrap_or(rest.len())];
        if !authority.contains('@') && may_hold_password(&text[at..start - 3], authority) {
            // Passwords with `/`, `?` or `#` are wrong there, but people write them.
            authority = &rest[..rest.find(ends_word).unwrap_or(rest.len())];
        }
        if let Some(host) = authority.rfind('@') {
            match authority[..host].find(':') {
                Some(colon) => spans.add(start + colon + 1..start + host),
                None if host >= LONG_USER => spans.add(start..start + host),
                None => {}
            }
        }
        at = start;
    }
}

/// Whether an authority without `@` may be the first half of `user:password`, not `host:port`.
fn may_hold_password(before: &str, authority: &str) -> bool {
    let is_web = before.ends_with("http") || before.ends_with("https");
    match authority.split_once(':') {
        // An IPv6 address is in brackets.
        Some((host, _)) if host.starts_with('[') => false,
        Some((_, port)) => !is_web || port.bytes().any(|b| !b.is_ascii_digit()),
        None => false,
    }
}

/// `user:password@tcp(host)` as Go writes it, and `jdbc:oracle:thin:user/password@host`.
pub(super) fn find_others(text: &str, spans: &mut Spans<'_>) {
    for network in ["@tcp(", "@unix(", "@tcp4(", "@tcp6("] {
        // No byte is looked at for two of them.
        let mut floor = 0;
        for (at, _) in text.match_indices(network) {
            let head = &text[floor..at];
            let start = floor + head.rfind(ends_word).map_or(0, |before| before + 1);
            if let Some(colon) = text[start..at].find(':') {
                spans.add(start + colon + 1..at);
            }
            floor = at;
        }
    }
    for (at, prefix) in text.match_indices("jdbc:oracle:") {
        let start = at + prefix.len();
        let rest = &text[start..find_from(text, start, "jdbc:").unwrap_or(text.len())];
        let rest = &rest[..rest.find(ends_word).unwrap_or(rest.len())];
        if let Some((user, host)) = rest.find('/').zip(rest.rfind('@'))
            && user < host
        {
            spans.add(start + user + 1..start + host);
        }
    }
}

fn ends_word(c: char) -> bool {
    c.is_ascii_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>')
}
