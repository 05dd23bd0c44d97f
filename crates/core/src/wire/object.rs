//! Writing JSON objects field by field, straight into bytes.
//!
//! Stored forms are written far more often than they are read: once for each append, insert and exported line. Writing them from borrowed
//! values makes no copy of a text and no tree. What is written equals what `serde_json` writes, to the byte.

use serde_json::value::RawValue;

use crate::{id::EntryId, json::Json, time::Timestamp};

/// An object that is being written. It is open until [`end`](Self::end).
#[derive(Debug)]
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    pub(super) fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Writes a field whose name is a plain word.
    pub(super) fn field(&mut self, name: &'static str, value: impl Value) {
        value.write(self.named(name));
    }

    /// Begins a field, whose value is to be written next.
    pub(super) fn named(&mut self, name: &'static str) -> &mut Vec<u8> {
        self.out.extend_from_slice(if self.empty { b"\"" } else { b",\"" });
        self.empty = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// Writes a field whose name may be any text.
    pub(super) fn any(&mut self, name: &str, value: impl Value) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        name.write(self.out);
        self.out.push(b':');
        value.write(self.out);
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }
}

/// The text that was written. Only texts, and bytes of ASCII between them, are ever written.
pub(super) fn finished(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}

/// Something that stands in a field.
pub(super) trait Value {
    fn write(self, out: &mut Vec<u8>);
}

impl<T: Value> Value for Option<T> {
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.write(out),
            None => out.extend_from_slice(b"null"),
        }
    }
}

impl Value for u64 {
    fn write(self, out: &mut Vec<u8>) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut left = self;
        loop {
            at -= 1;
            digits[at] = b'0' + low_digit(left);
            left /= 10;
            if left == 0 {
                break;
            }
        }
        out.extend_from_slice(&digits[at..]);
    }
}

impl Value for u32 {
    fn write(self, out: &mut Vec<u8>) {
        u64::from(self).write(out);
    }
}

impl Value for u16 {
    fn write(self, out: &mut Vec<u8>) {
        u64::from(self).write(out);
    }
}

fn low_digit(number: u64) -> u8 {
    u8::try_from(number % 10).unwrap_or(0)
}

impl Value for Timestamp {
    fn write(self, out: &mut Vec<u8>) {
        out.push(b'"');
        match self.to_ascii() {
            Some(text) => out.extend_from_slice(&text),
            // Its text has digits and signs only, in every year.
            None => out.extend_from_slice(self.to_string().as_bytes()),
        }
        out.push(b'"');
    }
}

impl Value for EntryId {
    fn write(self, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(&self.to_ascii());
        out.push(b'"');
    }
}

impl Value for &Json {
    fn write(self, out: &mut Vec<u8>) {
        let text = self.as_str();
        // By far the most payloads are empty, and need no check.
        if text == "{}" {
            out.extend_from_slice(b"{}");
            return;
        }
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => out.extend_from_slice(raw.get().as_bytes()),
            // As the payload's own `Serialize` does: what was wrongly trusted stays visible.
            Err(_) => text.write(out),
        }
    }
}

impl Value for &str {
    fn write(self, out: &mut Vec<u8>) {
        out.push(b'"');
        let mut rest = self.as_bytes();
        while let Some(at) = first_special(rest) {
            out.extend_from_slice(&rest[..at]);
            escape(rest[at], out);
            rest = &rest[at + 1..];
        }
        out.extend_from_slice(rest);
        out.push(b'"');
    }
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Where the first byte stands that a string can't hold as it is.
fn first_special(bytes: &[u8]) -> Option<usize> {
    // Without an early end in it, the inner loop is done by the vector unit.
    const CHUNK: usize = 32;
    let clean = |chunk: &&[u8]| !chunk.iter().fold(false, |any, byte| any | is_special(*byte));
    let skipped = bytes.chunks_exact(CHUNK).take_while(clean).count() * CHUNK;
    let rest = bytes.get(skipped..)?;
    rest.iter().position(|byte| is_special(*byte)).map(|at| skipped + at)
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        _ => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: impl Value) -> String {
        let mut out = Vec::new();
        value.write(&mut out);
        finished(out)
    }

    fn by_serde(value: impl serde::Serialize) -> String {
        serde_json::to_string(&value).expect("serialises")
    }

    #[test]
    fn every_character_of_one_byte_is_written_as_serde_does() {
        for byte in 0..0x80_u8 {
            for text in
                [char::from(byte).to_string(), format!("{}{}é", "x".repeat(40), byte as char)]
            {
                assert_eq!(written(text.as_str()), by_serde(&text), "{byte}");
            }
        }
    }

    #[test]
    fn a_payload_that_was_wrongly_trusted_is_written_as_serde_does() {
        for text in ["{broken", "", "{} {}", " {\"a\": 1} ", "{}", "null", "\"\u{1}\""] {
            let json = Json::from_trusted(text);
            assert_eq!(written(&json), by_serde(&json), "{text}");
        }
    }

    proptest! {
        #[test]
        fn texts_are_written_as_serde_does(text in "\\PC*|(?s:.{0,100})") {
            prop_assert_eq!(written(text.as_str()), by_serde(&text));
        }

        #[test]
        fn numbers_are_written_as_serde_does(number in any::<u64>(), shift in 0..64_u32) {
            prop_assert_eq!(written(number >> shift), by_serde(number >> shift));
        }
    }
}
