//! What one look at the bytes of a text tells: most texts are short words, and it spares them nearly all detectors.

/// Bits for bytes and pairs of bytes that detectors need.
pub(super) const SEPARATOR: u32 = 1;
pub(super) const COLON: u32 = 1 << 1;
pub(super) const SLASH: u32 = 1 << 2;
pub(super) const AT: u32 = 1 << 3;
pub(super) const DASH: u32 = 1 << 4;
pub(super) const ANGLE: u32 = 1 << 5;
pub(super) const PERCENT: u32 = 1 << 6;
pub(super) const BACKSLASH: u32 = 1 << 7;
pub(super) const TILDE: u32 = 1 << 8;
pub(super) const LETTER_B: u32 = 1 << 9;
pub(super) const LETTER_J: u32 = 1 << 10;
pub(super) const BLANK: u32 = 1 << 11;
pub(super) const QUOTE: u32 = 1 << 12;
pub(super) const BRACKET: u32 = 1 << 15;
const DIGIT: u32 = 1 << 13;
/// A byte of a word as tokens and Base64 have them.
const WORD: u32 = 1 << 14;

/// What each byte is.
const CLASSES: [u32; 256] = classes();

const fn classes() -> [u32; 256] {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    loop {
        let mut class = match byte {
            b'=' => SEPARATOR,
            b':' => SEPARATOR | COLON,
            b'%' => SEPARATOR | PERCENT,
            b'/' => SLASH,
            b'@' => AT,
            b'{' | b'[' => BRACKET,
            b'-' => DASH,
            b'<' => ANGLE,
            b'\\' => BACKSLASH,
            b'~' => TILDE,
            b'b' | b'B' => LETTER_B,
            b'J' => LETTER_J,
            b' ' => BLANK,
            b'"' | b'\'' | b'`' => QUOTE,
            b'0'..=b'9' => DIGIT,
            _ => 0,
        };
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'/') {
            class |= WORD;
        }
        classes[byte as usize] = class;
        if byte == u8::MAX {
            return classes;
        }
        byte += 1;
    }
}

/// What a text has.
pub(super) struct Facts {
    bits: u32,
    /// How many digits.
    pub(super) digits: usize,
    /// The length of the longest run of letters, digits, `_`, `-`, `+` and `/`.
    pub(super) longest: usize,
}

impl Facts {
    pub(super) fn of(text: &str) -> Self {
        let (mut bits, mut digits, mut longest, mut run) = (0, 0, 0, 0_usize);
        for byte in text.bytes() {
            let class = CLASSES[usize::from(byte)];
            bits |= class;
            digits += usize::from(class & DIGIT != 0);
            run = if class & WORD == 0 { 0 } else { run + 1 };
            longest = longest.max(run);
        }
        Self { bits, digits, longest }
    }

    /// Whether all of these bits are set.
    pub(super) fn has(&self, bits: u32) -> bool {
        self.bits & bits == bits
    }
}
