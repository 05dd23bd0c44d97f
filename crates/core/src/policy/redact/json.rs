//! The rewriter of JSON text (RFC 8259): one pass that copies everything but secrets.

use std::borrow::Cow;
use std::ops::Range;

use super::detector::Detector;
use super::edits::Edits;
use super::escape::unescape;
use super::frames::{Container, Frame, Names};
use super::named::{self, Role};
use super::rules::RedactionRules;
use super::strings::redact_string;
use super::text::{self, Rewritten};
use super::{REDACTED, RedactError, cards, commands};
use crate::policy::bound::push_escaped;

/// JSON inside a string inside a string … is followed this many times; honest documents stay
/// below. Text that only looks like JSON is read again at each level, so the number is kept small.
const MAX_STRING_LEVELS: usize = 4;

/// This many brackets of a text are tried as the start of JSON between its words.
const MAX_EMBEDDED: usize = 16;

/// The marker as a JSON value.
const REDACTED_VALUE: &str = "\"***REDACTED***\"";

/// How deep we are already.
#[derive(Clone, Copy)]
pub(super) struct Depth {
    containers: usize,
    strings: usize,
}

impl Depth {
    pub(super) const TOP: Self = Self { containers: 0, strings: 0 };

    /// The depth of JSON that stands in a string here.
    pub(super) fn within_string(self) -> Result<Self, RedactError> {
        let inner = Self { strings: self.strings + 1, ..self };
        if inner.strings > MAX_STRING_LEVELS {
            return Err(RedactError::TooDeep { max: MAX_STRING_LEVELS });
        }
        Ok(inner)
    }
}

/// Redacts JSON objects and arrays that stand between words.
pub(super) fn redact_embedded(
    text: &str,
    rules: &RedactionRules,
    depth: Depth,
) -> Result<Option<Rewritten>, RedactError> {
    let mut edits = Edits::default();
    let mut at = 0;
    for _ in 0..MAX_EMBEDDED {
        let Some(start) = text[at..].find(['{', '[']).map(|found| at + found) else { break };
        let mut rewriter = Rewriter::new(&text[start..], rules, depth);
        at = match rewriter.run() {
            Ok(()) => start + rewriter.at,
            Err(RedactError::Invalid { .. }) => {
                at = start + 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        let end = at - start;
        if !rewriter.edits.are_none() {
            let (text, redactions) = rewriter.edits.apply(&rewriter.input[..end]);
            edits.push(start..at, Cow::Owned(text), redactions);
        }
    }
    if edits.are_none() {
        return Ok(None);
    }
    let (text, redactions) = edits.apply(text);
    Ok(Some(Rewritten { text, redactions }))
}

/// Redacts a JSON document; `None` means that there is nothing to redact.
pub(super) fn rewrite(
    input: &str,
    rules: &RedactionRules,
    depth: Depth,
) -> Result<Option<Rewritten>, RedactError> {
    let mut rewriter = Rewriter::new(input, rules, depth);
    rewriter.run()?;
    if rewriter.at < input.len() {
        return Err(rewriter.invalid());
    }
    let edits = rewriter.edits;
    if edits.are_none() {
        return Ok(None);
    }
    let (text, redactions) = edits.apply(input);
    Ok(Some(Rewritten { text, redactions }))
}

enum Next {
    Value,
    Key,
    AfterValue,
}

/// The value of a secret key: where it starts and how many containers are around it.
struct Secret {
    start: usize,
    level: usize,
}

/// A recursive grammar without recursion, so that no depth can exhaust the thread's stack.
struct Rewriter<'i, 'r> {
    input: &'i str,
    bytes: &'i [u8],
    at: usize,
    stack: Vec<Frame>,
    secret: Option<Secret>,
    depth: Depth,
    rules: &'r RedactionRules,
    edits: Edits,
}

impl<'i, 'r> Rewriter<'i, 'r> {
    fn new(input: &'i str, rules: &'r RedactionRules, depth: Depth) -> Self {
        Self {
            input,
            bytes: input.as_bytes(),
            at: 0,
            stack: Vec::new(),
            secret: None,
            depth,
            rules,
            edits: Edits::default(),
        }
    }
}

impl Rewriter<'_, '_> {
    /// Reads one value and the white space around it.
    fn run(&mut self) -> Result<(), RedactError> {
        let mut next = Next::Value;
        loop {
            self.skip_space();
            next = match next {
                Next::Value => self.value()?,
                Next::Key => self.key()?,
                Next::AfterValue => {
                    let Some(frame) = self.stack.last() else { break };
                    self.after_value(frame.container)?
                }
            };
        }
        Ok(())
    }

    fn value(&mut self) -> Result<Next, RedactError> {
        let start = self.at;
        let mut names = Names::Nothing;
        match self.peek() {
            Some(b'{') => return self.open(Container::Object, b'}', Next::Key),
            Some(b'[') => return self.open(Container::Array, b']', Next::Value),
            Some(b'"') => {
                let raw = self.string()?;
                if self.secret.is_none() {
                    names = self.string_value(raw)?;
                }
            }
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.literal("true")?,
            Some(b'f') => self.literal("false")?,
            Some(b'n') => self.literal("null")?,
            Some(_) | None => return Err(self.invalid()),
        }
        self.finish_value(start, names);
        Ok(Next::AfterValue)
    }

    fn open(&mut self, container: Container, close: u8, first: Next) -> Result<Next, RedactError> {
        if self.depth.containers + self.stack.len() >= self.rules.max_depth {
            return Err(RedactError::TooDeep { max: self.rules.max_depth });
        }
        let start = self.at;
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(close) {
            self.at += 1;
            self.finish_value(start, Names::Nothing);
            return Ok(Next::AfterValue);
        }
        self.stack.push(Frame::new(container, start));
        Ok(first)
    }

    fn key(&mut self) -> Result<Next, RedactError> {
        if self.peek() != Some(b'"') {
            return Err(self.invalid());
        }
        let raw = self.string()?;
        let is_secret = self.secret.is_none() && self.redact_key(raw);
        self.skip_space();
        self.expect(b':')?;
        self.skip_space();
        if is_secret {
            self.secret = Some(Secret { start: self.at, level: self.stack.len() });
        }
        Ok(Next::Value)
    }

    /// Redacts secrets within a key and says whether its value is secret.
    fn redact_key(&mut self, raw: RawString) -> bool {
        let key = self.decode(raw);
        if let Some(frame) = self.stack.last_mut() {
            frame.role = Role::of(&key);
        }
        let is_secret = self.is_secret_key(&key);
        let Some(Rewritten { text, redactions }) = text::redact(&key, self.rules) else {
            return is_secret;
        };
        // The rewritten key counts as well, so that a second pass sees nothing new.
        let is_secret = is_secret || self.is_secret_key(&text);
        self.replace_string(raw, &text, redactions);
        is_secret
    }

    fn is_secret_key(&self, key: &str) -> bool {
        self.rules.has(Detector::Keys) && self.rules.is_secret_key(key)
    }

    /// Redacts a string and says what it tells of the next item of a list.
    fn string_value(&mut self, raw: RawString) -> Result<Names, RedactError> {
        let decoded = self.decode(raw);
        let depth = Depth {
            containers: self.depth.containers + self.stack.len(),
            strings: self.depth.strings,
        };
        let names = self.names(&decoded);
        let cut = self.without_password(&decoded);
        let before = cut.as_deref().unwrap_or(&decoded);
        let rewritten = redact_string(before, self.rules, depth)?;
        let (text, redactions) = match (rewritten, cut) {
            (Some(Rewritten { text, redactions }), _) => (text, redactions),
            (None, Some(cut)) => (cut, 1),
            (None, None) => return Ok(names),
        };
        self.replace_string(raw, &text, redactions);
        // As with keys, the rewritten text counts as well.
        let rewritten = self.names(&text);
        Ok(if names == Names::Nothing { rewritten } else { names })
    }

    /// `user:password` after a flag such as `-u`, without the password.
    fn without_password(&self, text: &str) -> Option<String> {
        let follows = self.stack.last().is_some_and(|frame| frame.before == Names::Credentials);
        let password = commands::password_in(text).filter(|_| follows)?;
        let is_redacted = &text[password.clone()] == REDACTED;
        (!is_redacted).then(|| format!("{}{REDACTED}", &text[..password.start]))
    }

    /// What a string says of its neighbours. A member of an object that names a secret is remembered at once.
    fn names(&mut self, text: &str) -> Names {
        let (has_flags, has_names) =
            (self.rules.has(Detector::Flags), self.rules.has(Detector::NamedValues));
        let has_commands = self.rules.has(Detector::Commands);
        let rules = self.rules;
        let Some(frame) = self.stack.last_mut() else { return Names::Nothing };
        match (frame.container, frame.role) {
            (Container::Object, Role::Name) if has_names => {
                if named::is_secret_name(text, rules) {
                    frame.name_secret();
                }
                Names::Nothing
            }
            (Container::Object, _) => Names::Nothing,
            (Container::Array, _) if text.starts_with('-') => {
                if has_commands && commands::is_user_flag(text) {
                    Names::Credentials
                } else if has_flags && text.starts_with("--") && named::is_secret_name(text, rules)
                {
                    Names::Argument
                } else {
                    Names::Nothing
                }
            }
            (Container::Array, _) => {
                let may_name = has_names
                    && frame.is_at_name()
                    && frame.before == Names::Nothing
                    && !text.contains(char::is_whitespace);
                if may_name && named::is_secret_name(text, rules) {
                    Names::Value
                } else {
                    Names::Nothing
                }
            }
        }
    }

    fn after_value(&mut self, container: Container) -> Result<Next, RedactError> {
        let (close, next) = match container {
            Container::Object => (b'}', Next::Key),
            Container::Array => (b']', Next::Value),
        };
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(next)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                self.close();
                Ok(Next::AfterValue)
            }
            Some(_) | None => Err(self.invalid()),
        }
    }

    /// Ends the innermost container: now it is known which of its values are secret.
    fn close(&mut self) {
        let Some(frame) = self.stack.pop() else { return };
        let start = frame.start;
        if self.secret.is_none() {
            let secrets: Vec<Range<usize>> = frame
                .secrets()
                .filter(|range| &self.input[range.clone()] != REDACTED_VALUE)
                .collect();
            self.edits.cover(&secrets, REDACTED_VALUE);
        }
        self.finish_value(start, Names::Nothing);
    }

    /// Replaces the value that has just ended, if it is that of a secret key.
    fn finish_value(&mut self, start: usize, names: Names) {
        if let Some(Secret { start, .. }) =
            self.secret.take_if(|secret| secret.level == self.stack.len())
            && &self.input[start..self.at] != REDACTED_VALUE
        {
            self.redact(start);
        }
        if self.secret.is_none()
            && let Some(frame) = self.stack.last_mut()
        {
            frame.end_value(start..self.at, names);
        }
    }

    /// Puts the marker in place of what stands between `start` and here.
    fn redact(&mut self, start: usize) {
        self.edits.push(start..self.at, Cow::Borrowed(REDACTED_VALUE), 1);
    }

    fn number(&mut self) -> Result<(), RedactError> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let integer = self.at;
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            Some(_) | None => return Err(self.invalid()),
        }
        let integer = &self.input[integer..self.at];
        let mut is_integer = true;
        if self.peek() == Some(b'.') {
            is_integer = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            is_integer = false;
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        let may_be_card = is_integer && self.secret.is_none();
        let may_be_card = may_be_card && self.rules.has(Detector::Cards);
        if may_be_card && cards::is_card_number(integer, self.rules.number_cards) {
            self.redact(start);
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), RedactError> {
        let start = self.at;
        self.at = text::run_end(self.bytes, start, |b| b.is_ascii_digit());
        if self.at > start { Ok(()) } else { Err(self.invalid()) }
    }

    fn literal(&mut self, word: &str) -> Result<(), RedactError> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.invalid());
        }
        self.at += word.len();
        Ok(())
    }

    /// Reads a string, which starts here.
    fn string(&mut self) -> Result<RawString, RedactError> {
        let start = self.at + 1;
        let mut is_escaped = false;
        self.at = start;
        loop {
            self.at = text::run_end(self.bytes, self.at, |b| !matches!(b, b'"' | b'\\' | ..=0x1f));
            match self.peek() {
                Some(b'"') => {
                    let end = self.at;
                    self.at += 1;
                    return Ok(RawString { start, end, is_escaped });
                }
                Some(b'\\') => {
                    is_escaped = true;
                    self.escape()?;
                }
                Some(_) | None => return Err(self.invalid()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), RedactError> {
        let len = match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => {
                let hex = self.bytes.get(self.at + 2..self.at + 6);
                if !hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.invalid());
                }
                6
            }
            Some(_) | None => return Err(self.invalid()),
        };
        self.at += len;
        Ok(())
    }

    fn replace_string(&mut self, raw: RawString, text: &str, redactions: u32) {
        let mut escaped = String::with_capacity(text.len());
        text.chars().for_each(|c| push_escaped(&mut escaped, c));
        self.edits.push(raw.start..raw.end, Cow::Owned(escaped), redactions);
    }

    fn expect(&mut self, byte: u8) -> Result<(), RedactError> {
        if self.peek() != Some(byte) {
            return Err(self.invalid());
        }
        self.at += 1;
        Ok(())
    }

    fn skip_space(&mut self) {
        self.at = text::run_end(self.bytes, self.at, |b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'));
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn invalid(&self) -> RedactError {
        RedactError::Invalid { at: self.at }
    }
}

impl<'i> Rewriter<'i, '_> {
    fn decode(&self, raw: RawString) -> Cow<'i, str> {
        let text = &self.input[raw.start..raw.end];
        if raw.is_escaped { Cow::Owned(unescape(text)) } else { Cow::Borrowed(text) }
    }
}

/// A string as it stands in the input, without its quotes.
#[derive(Clone, Copy)]
struct RawString {
    start: usize,
    end: usize,
    is_escaped: bool,
}
