//! The dictionary of planted secrets: where each stands, which detector finds it, and what it looks like encoded.

use std::fmt::Write as _;

use baldur::policy::redact::Detector;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// One line each: detector, `text` or `json`, a template in which `§` stands for the secret, and what the secret is made of.
/// Prefixes of tokens stand apart from the rest, so that nobody takes them for leaked ones.
const LINES: &str = include_str!("dictionary.tsv");

/// What stands for the secret in a template.
const PLACE: char = '§';

/// A secret in its place.
#[derive(Clone, Debug)]
pub(crate) struct Planted {
    /// Which detector has to find it.
    pub(crate) detector: Detector,
    /// Whether the text is JSON.
    pub(crate) is_json: bool,
    /// The text that holds the secret.
    pub(crate) text: String,
    /// The secret in every form in which it must not be found, in lower case.
    pub(crate) needles: Vec<String>,
}

impl Planted {
    /// The first of these forms that a text in lower case has.
    pub(crate) fn found_in(&self, lower: &str) -> Option<&str> {
        self.needles.iter().map(String::as_str).find(|needle| lower.contains(needle))
    }
}

/// The whole dictionary; another salt makes other secrets.
pub(crate) fn all(salt: u64) -> Vec<Planted> {
    LINES.lines().zip(0..).map(|(line, number)| planted(line, salt * 10_007 + number)).collect()
}

fn planted(line: &str, seed: u64) -> Planted {
    let [detector, kind, template, body] = line.split('\t').collect::<Vec<_>>()[..] else {
        panic!("four columns: {line}")
    };
    let detector = Detector::ALL.into_iter().find(|known| format!("{known:?}") == detector);
    let is_json = kind == "json";
    let (secret, written) = body_of(body, seed);
    let text = unescaped(template).replace(PLACE, &written);
    let mut needles = forms(&secret);
    if written != secret {
        needles.extend(forms(&written));
    }
    Planted { detector: detector.expect("the name of a detector"), is_json, text, needles }
}

/// Line breaks, tabs and backslashes are written with a backslash in the file.
fn unescaped(template: &str) -> String {
    let mut out = String::new();
    let mut chars = template.chars();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { Some(c) };
        out.push(match (c, escaped) {
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            ('\\', Some('t')) => '\t',
            (_, Some(c)) => c,
            (_, None) => panic!("a backslash at the end: {template}"),
        });
    }
    out
}

/// The secret, and how it is written in the template.
fn body_of(body: &str, seed: u64) -> (String, String) {
    if let Some(fixed) = body.strip_prefix('=') {
        return (fixed.to_owned(), fixed.to_owned());
    }
    let word = format!("{}-{}.9", picked(LETTERS, 6, seed), picked(ALNUM, 7, seed ^ 1));
    let digits = body.find(|c: char| c.is_ascii_digit()).unwrap_or(body.len());
    let (kind, len) = body.split_at(digits);
    let len = len.parse().unwrap_or(0);
    match (kind, body) {
        (_, "b64pair") => (word.clone(), STANDARD.encode(format!("ann:{word}"))),
        (_, "b64json") => (word.clone(), STANDARD.encode(format!(r#"{{"password":"{word}"}}"#))),
        (_, "b64form") => (word.clone(), STANDARD.encode(format!("user=ann&password={word}&x=1"))),
        ("word", _) => (word.clone(), word),
        ("alnum", _) => doubled(format!("Z9{}", picked(ALNUM, len - 2, seed))),
        ("upper", _) => doubled(picked("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", len, seed)),
        ("hex", _) => doubled(picked("0123456789abcdef", len, seed)),
        ("digits", _) => doubled(format!("7{}", picked("123456789", len - 1, seed))),
        _ => panic!("no kind of secret: {body}"),
    }
}

fn doubled(secret: String) -> (String, String) {
    (secret.clone(), secret)
}

const LETTERS: &str = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ";

const ALNUM: &str = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789";

/// Characters in an order that only the seed decides.
fn picked(from: &str, len: usize, seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).expect("31 bits")
    };
    (0..len).map(|_| char::from(from.as_bytes()[next() % from.len()])).collect()
}

/// A secret as it is, escaped, percent-encoded, in hexadecimal digits, and in Base64 wherever it starts there.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned()];
    let escaped = baldur::Json::string(secret).as_str().to_owned();
    forms.push(escaped.trim_matches('"').to_owned());
    forms.push(encoded(secret, |byte| format!("%{byte:02x}")));
    forms.push(secret.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }));
    let groups: Vec<&str> = secret.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    if groups.len() > 1 && groups.iter().all(|group| group.bytes().all(|b| b.is_ascii_digit())) {
        // What cleans names replaces separators.
        forms.extend(["", "_", " ", "-"].map(|separator| groups.join(separator)));
    }
    for offset in 0..3 {
        let bytes = [vec![0; offset], secret.as_bytes().to_vec()].concat();
        let (skip, whole) = ((offset * 8).div_ceil(6), bytes.len() * 8 / 6);
        for code in [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
            forms.push(code[skip..whole].to_owned());
        }
    }
    for form in &mut forms {
        // Names are stored in lower case.
        *form = form.to_lowercase();
    }
    forms.sort();
    forms.dedup();
    forms
}

fn encoded(text: &str, encode: impl Fn(u8) -> String) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { encode(b) }).collect()
}

#[test]
fn the_dictionary_is_large_and_every_detector_has_a_part_of_it() {
    let dictionary = all(0);
    assert!(dictionary.len() >= 200, "{} secrets", dictionary.len());
    for detector in Detector::ALL {
        let found = dictionary.iter().filter(|planted| planted.detector == detector).count();
        assert!(found >= 3, "{detector:?} has {found}");
    }
    for planted in &dictionary {
        let lower = planted.text.to_lowercase();
        assert!(planted.found_in(&lower).is_some(), "{} holds its secret", planted.text);
        assert!(planted.needles.iter().all(|needle| needle.len() >= 7), "{:?}", planted.needles);
        if planted.is_json {
            baldur::Json::parse(&planted.text).expect("JSON");
        }
    }
}
