//! The texts of wide scripts: names that nearly meet, names that nobody would choose, texts that break what reads them.

use proptest::{option, prelude::*, sample::select};

use crate::{
    cases::hostile::TEXTS,
    script::{Text, text},
};

/// Names that are the same to whoever compares them carelessly: by case, composition, pattern or trailing letters. Few, so
/// that they meet.
const NEAR: [&str; 7] = ["a", "A", "a%", "é", "e\u{301}", "a'", "a\\"];

/// Names at the edges of what the types admit, beside those of the suite.
const STRANGE: [&str; 12] = [
    "\u{ffff}",
    "\u{10ffff}",
    "\u{fffd}",
    "\u{200d}",
    "a\u{2028}b\u{2029}c",
    "a\u{3000}b",
    "\u{e000}",
    "\u{d7ff}",
    "{\"a\":[1]}",
    "--",
    "/*a*/",
    "E'\\x00'",
];

/// Texts that no name may be.
const FREE: [&str; 10] = [
    "",
    " ",
    "a\nb\r\n\tc ",
    "\u{7f}\u{1b}[31m",
    "\u{1}\u{1f}\u{80}\u{9f}",
    "\"\\\"\\\\",
    "\u{fffe}\u{ffff}",
    "\u{2028}",
    "{\"nested\": \"\\u0000\"}",
    "e\u{301}\u{301}\u{301}",
];

/// JSON that is only kept to the letter by who does not read it.
const PAYLOADS: [&str; 12] = [
    "{}",
    "null",
    r#"{"amount": 1999}"#,
    r#"{"a":1, "a":2}"#,
    r#"{"b":1,"a":2 , "":[]}"#,
    "1e400",
    "-0.0",
    "12345678901234567890123.450",
    r#""\u0000""#,
    r#""\ud83d\ude00 \/""#,
    r#"["é","e\u0301","\u00e9"]"#,
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
];

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = Text> {
    select(texts).prop_map(text)
}

/// A name of any type that takes printable characters, up to 128 bytes.
pub(super) fn name() -> BoxedStrategy<Text> {
    let longest = select(&[("x", 128), ("é", 64), ("\u{1f525}", 32), ("%", 128)][..])
        .prop_map(|(piece, times)| text(piece).times(times));
    // Of every category but control characters and the unassigned; blanks at the ends are no name.
    let any = "\\PC{1,12}".prop_map(|any| match any.trim() {
        "" => text("x"),
        trimmed => text(trimmed.to_owned()),
    });
    prop_oneof![
        16 => one_of(&NEAR),
        3 => one_of(TEXTS),
        2 => one_of(&STRANGE),
        1 => longest,
        2 => any,
    ]
    .boxed()
}

/// A name that there may be none of.
pub(super) fn maybe(likely: f64) -> impl Strategy<Value = Option<Text>> {
    option::weighted(likely, name())
}

/// A key that there may be none of, and that others have too.
pub(super) fn key(likely: f64) -> impl Strategy<Value = Option<Text>> {
    option::weighted(likely, prop_oneof![1 => one_of(&NEAR[..2]), 1 => name()])
}

/// A text without rules.
pub(super) fn free() -> BoxedStrategy<Text> {
    let long = select(&[("x", 70_000), ("é\n", 3_000), ("\u{1f525}", 250)][..])
        .prop_map(|(piece, times)| text(piece).times(times));
    prop_oneof![
        20 => name(),
        16 => one_of(&FREE),
        2 => long,
        // No store keeps it.
        1 => Just(text("a\0b")),
        6 => any::<String>().prop_map(text),
    ]
    .boxed()
}

/// A payload: JSON, or what becomes a JSON string.
pub(super) fn payload() -> BoxedStrategy<Text> {
    prop_oneof![6 => one_of(&PAYLOADS), 1 => free()].boxed()
}
