//! Redaction, for all documents.

use std::fmt::Write as _;

use baldur_core::policy::redact::{RedactionRules, redact_json, redact_text};
use proptest::prelude::*;
use proptest::sample::select;
use serde::de::IgnoredAny;

/// What must never survive. No harmless text of these tests contains one of them.
const SECRETS: [&str; 5] =
    ["hunter2", "s3cr3t-Value", "4111111111111111", "eyJhbGciOiJ9.eyJzdWIi.c2ln", "Tr0ub4dor/3"];

const SECRET_KEYS: [&str; 8] = [
    "password",
    "apiKey",
    "API_KEY",
    "x-api-key",
    "userPasswordHash",
    "Authorization",
    "ssn",
    "cookies",
];

/// Texts in which `§` stands for a secret that has to be found there.
const SECRET_TEXTS: [&str; 10] = [
    "login failed: password=§",
    "GET https://h.example/p?a=b&access_token=§&c=d",
    "Authorization: Bearer §\nAccept: text",
    "connect postgres://ann:§@db:5432/x failed",
    "bad body {\"user\": \"ann\", \"secret\": \"§\", \"n\": 1",
    "--client-secret § --verbose",
    "Login { user: \"ann\", token: Some(\"§\") }",
    "{'pwd': '§'}",
    "<login><password enc=\"no\">§</password></login>",
    "credentials: [1, {\"a\": \"§\"}] end",
];

/// Strings without secrets, special characters included.
const HARMLESS: [&str; 12] = [
    "",
    "author",
    "a \"quoted\" word",
    "tab\there",
    "caf\u{e9} \u{1d11e}",
    "C:\\dir\\file",
    "[not json",
    "{\"a\": 1",
    "12:30:01",
    "x = 1; y: 2",
    "https://h.example:8080/a?b=c",
    "std::auth::Error: expired",
];

#[derive(Debug, Clone)]
enum Tree {
    Raw(&'static str),
    Text(String),
    List(Vec<Tree>),
    Fields(Vec<(String, Tree)>),
    /// The JSON text of another tree as a string.
    Embedded(Box<Tree>),
}

impl Tree {
    /// Writes JSON text. `style` varies white space and escapes; `strings` counts JSON inside strings.
    fn write(&self, out: &mut String, style: u8, strings: u8) {
        match self {
            Self::Raw(raw) => out.push_str(raw),
            Self::Text(text) => write_string(out, text, style),
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    item.write(out, style, strings);
                }
                out.push_str(if style & 1 == 0 { "]" } else { "\n ]" });
            }
            Self::Fields(fields) => {
                out.push('{');
                for (index, (key, value)) in fields.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    write_string(out, key, style);
                    out.push_str(if style & 1 == 0 { ":" } else { " :\t" });
                    value.write(out, style, strings);
                }
                out.push('}');
            }
            Self::Embedded(tree) if strings < 3 => {
                write_string(out, &tree.text(style, strings + 1), style);
            }
            Self::Embedded(tree) => tree.write(out, style, strings),
        }
    }

    fn text(&self, style: u8, strings: u8) -> String {
        let mut out = String::new();
        self.write(&mut out, style, strings);
        out
    }
}

fn write_string(out: &mut String, text: &str, style: u8) {
    if style & 2 == 0 {
        out.push_str(&serde_json::Value::from(text).to_string());
        return;
    }
    out.push('"');
    for (index, unit) in text.encode_utf16().enumerate() {
        match char::from_u32(u32::from(unit)) {
            Some(c) if index % 3 > 0 && c.is_ascii_alphanumeric() => out.push(c),
            Some(_) | None => {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out.push('"');
}

fn harmless_leaf() -> impl Strategy<Value = Tree> {
    prop_oneof![
        select(&["null", "true", "-0.10e+7", "123456789012345678901", "17"][..])
            .prop_map(Tree::Raw),
        select(&HARMLESS[..]).prop_map(|text| Tree::Text(text.to_owned())),
        "[a-m \\-_é\\\\\"\\n]{0,12}".prop_map(Tree::Text),
    ]
}

fn harmless_key() -> impl Strategy<Value = String> {
    prop_oneof![
        select(&["id", "author", "tokenizer", "a key", "", "caf\u{e9}", "q\"q"][..])
            .prop_map(str::to_owned),
        "[a-m_]{1,8}",
    ]
}

fn containers(
    leaf: impl Strategy<Value = Tree> + 'static,
    field: impl Fn(BoxedStrategy<Tree>) -> BoxedStrategy<(String, Tree)> + 'static,
) -> impl Strategy<Value = Tree> {
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Tree::List),
            prop::collection::vec(field(inner.clone().boxed()), 0..5).prop_map(Tree::Fields),
            inner.prop_map(|tree| Tree::Embedded(Box::new(tree))),
        ]
    })
}

fn harmless_tree() -> impl Strategy<Value = Tree> {
    containers(harmless_leaf(), |value| (harmless_key(), value).boxed())
}

fn secret() -> impl Strategy<Value = String> {
    select(&SECRETS[..]).prop_map(str::to_owned)
}

/// A tree that may hold secrets anywhere, since it is the value of a secret key.
fn secret_value() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        secret().prop_map(Tree::Text),
        Just(Tree::Raw("4111111111111111")),
        harmless_leaf()
    ];
    containers(leaf, |value| (prop_oneof![secret(), harmless_key()], value).boxed())
}

/// A tree with secrets where redaction has to find them.
fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        harmless_leaf(),
        (select(&SECRET_TEXTS[..]), secret())
            .prop_map(|(text, secret)| Tree::Text(text.replace('§', &secret))),
        Just(Tree::Raw("4111111111111111")),
        (select(&SECRET_KEYS[..]), secret_value())
            .prop_map(|(key, value)| Tree::Fields(vec![(key.to_owned(), value)])),
    ];
    containers(leaf, |value| {
        let key = prop_oneof![harmless_key(), Just("card 4111 1111 1111 1111".to_owned())];
        (key, value).boxed()
    })
}

/// Pieces that detectors and parsers look for, in any order.
fn soup() -> impl Strategy<Value = String> {
    let pieces = [
        "password",
        "token",
        "=",
        ":",
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "]",
        "(",
        "<token>",
        "</",
        " ",
        ",",
        "Bearer ",
        "basic ",
        "dXNlcjpwYXNz",
        "4111111111111111",
        "1111-",
        "eyJa.eyJb.c",
        "eyJ",
        ".",
        "://",
        "u:p@h",
        "\n",
        "a",
        "\u{e9}",
        "Cookie",
        "--",
        "%3D",
        "'",
        "***REDACTED***",
        "-----BEGIN PRIVATE KEY-----",
        "-----END ",
        "1",
        ";",
        "&",
        "\\u0041",
        "pin",
        "b'",
        "\"a\":",
        "\"pwd\":",
        "null",
        "Some(",
        "<",
        "@",
        "/",
    ];
    prop::collection::vec(select(pieces.to_vec()), 0..24).prop_map(|pieces| pieces.concat())
}

fn check_all(text: &str, rules: &RedactionRules) -> Result<(), TestCaseError> {
    let once = redact_text(text, rules);
    let twice = redact_text(&once, rules);
    prop_assert_eq!(&twice, &once);

    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    let Ok(once) = redact_json(text, rules) else {
        prop_assert!(!is_json, "valid JSON is not refused");
        return Ok(());
    };
    prop_assert!(is_json, "invalid JSON is refused");
    prop_assert!(serde_json::from_str::<IgnoredAny>(&once.text).is_ok());
    let twice = redact_json(&once.text, rules).map(|twice| (twice.redactions, twice.text));
    prop_assert_eq!(twice, Ok((0, once.text.clone())));
    Ok(())
}

proptest! {
    #[test]
    fn no_secret_survives_and_json_stays_json(tree in tree(), style in 0_u8..4) {
        let rules = RedactionRules::default();
        let text = tree.text(style, 0);
        check_all(&text, &rules)?;
        let redacted = redact_json(&text, &rules).unwrap().text;
        // Escapes would hide a secret from a plain search.
        let value: serde_json::Value = serde_json::from_str(&redacted).unwrap();
        let mut seen = String::new();
        collect(&value, &mut seen);
        for secret in SECRETS {
            prop_assert!(!redacted.contains(secret) && !seen.contains(secret), "{secret} in {redacted}");
        }
    }

    #[test]
    fn text_without_secrets_is_not_touched(tree in harmless_tree(), style in 0_u8..4) {
        let text = tree.text(style, 0);
        let redacted = redact_json(&text, &RedactionRules::default()).unwrap();
        prop_assert_eq!(redacted.redactions, 0);
        prop_assert_eq!(redacted.text.as_ref(), text.as_str());
    }

    #[test]
    fn arbitrary_text_is_redacted_or_refused(text in any::<String>()) {
        check_all(&text, &RedactionRules::default())?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn redacting_pieces_in_any_order_is_stable(text in soup()) {
        let rules = RedactionRules::default();
        check_all(&text, &rules)?;
        check_all(&serde_json::to_string(&text).unwrap(), &rules)?;
        check_all(&format!("{{{}:[1]}}", serde_json::to_string(&text).unwrap()), &rules)?;
    }

    #[test]
    fn a_cut_document_is_refused(tree in tree(), style in 0_u8..4, cut in 0.0_f64..1.0) {
        let text = format!("[{}]", tree.text(style, 0));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
            reason = "a share of a small length")]
        let at = text.floor_char_boundary((text.len() as f64 * cut) as usize);
        prop_assert!(redact_json(&text[..at], &RedactionRules::default()).is_err());
    }
}

/// All keys and strings of a value, those of JSON inside strings included.
fn collect(value: &serde_json::Value, seen: &mut String) {
    match value {
        serde_json::Value::String(text) => {
            seen.push_str(text);
            seen.push('\n');
            if let Ok(inner) = serde_json::from_str(text) {
                collect(&inner, seen);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, seen)),
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                seen.push_str(key);
                seen.push('\n');
                collect(value, seen);
            }
        }
        serde_json::Value::Number(number) => {
            let _ = writeln!(seen, "{number}");
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) => {}
    }
}
