//! The escapes of JSON strings, decoded.

/// Decodes the escapes of a valid JSON string. Half a surrogate pair becomes U+FFFD.
pub(super) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(backslash) = rest.find('\\') {
        out.push_str(&rest[..backslash]);
        let escape = &rest[backslash..];
        let (c, len) = match escape.as_bytes().get(1) {
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            Some(b'u') => unescape_unicode(escape),
            Some(byte) => (char::from(*byte), 2),
            None => break,
        };
        out.push(c);
        rest = &escape[len..];
    }
    out.push_str(rest);
    out
}

fn unescape_unicode(escape: &str) -> (char, usize) {
    let unit = |from: usize| {
        let is_escape = escape.get(from..from + 2) == Some("\\u");
        let hex = escape.get(from + 2..from + 6).filter(|_| is_escape)?;
        u16::from_str_radix(hex, 16).ok()
    };
    let pair = [unit(0), unit(6)];
    match char::decode_utf16(pair.into_iter().flatten()).next() {
        Some(Ok(c)) => (c, c.len_utf16() * 6),
        Some(Err(_)) | None => (char::REPLACEMENT_CHARACTER, 6),
    }
}
