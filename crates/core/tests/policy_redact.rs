//! Redaction, example by example.

use baldur_core::policy::redact::{
    CardDetection, REDACTED, RedactError, RedactedField, RedactionRules, redact_json,
    redact_json_or_replace, redact_text,
};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

fn json(text: &str) -> String {
    let redacted = redact_json(text, &RedactionRules::default()).expect("the input is JSON");
    let _: IgnoredAny = serde_json::from_str(&redacted.text).expect("the output is JSON");
    redacted.text.into_owned()
}

fn text(text: &str) -> String {
    let redacted = redact_text(text, &RedactionRules::default()).into_owned();
    assert_eq!(redact_text(&redacted, &RedactionRules::default()), redacted);
    redacted
}

#[test]
fn the_whole_value_of_a_secret_key_goes() {
    let marker = r#""***REDACTED***""#;
    for value in ["1", "null", "true", r#""x""#, "[]", "{ }", r#"{"a":[1,{"b":2}]}"#, "[[1],[2]]"] {
        let before = format!(r#"{{ "a" : 1 , "apiKey" :  {value} , "b":[2]}}"#);
        assert_eq!(json(&before), format!(r#"{{ "a" : 1 , "apiKey" :  {marker} , "b":[2]}}"#));
    }
}

#[test]
fn a_key_is_matched_after_unescaping() {
    assert_eq!(json(r#"{"pass\u0077ord":"x"}"#), r#"{"pass\u0077ord":"***REDACTED***"}"#);
}

#[test]
fn everything_else_stays_byte_identical() {
    for kept in [
        "{ \"a\":1.0e+400,\"a\":123456789012345678901234567890,\r\n\t\"b\\u0062\":\"\\/\\ud83d\" }",
        r#"{"author":"Ann","tokenizer":"bpe","authentic":true,"id":"a-1","at":"2024-05-06T07:08:09Z"}"#,
        r#"["see https://example.org:8080/a?b=c#d","a: b","x = y","std::auth::Error","1700000000000"]"#,
        " 17 ",
    ] {
        assert_eq!(json(kept), kept);
    }
}

#[test]
fn secrets_within_strings_go_and_the_rest_stays() {
    assert_eq!(
        json(r#"["caf\u00e9 \"x\": password=hunter2, user=ann"]"#),
        r#"["café \"x\": password=***REDACTED***, user=ann"]"#
    );
    assert_eq!(json(r#"{"4111 1111 1111 1111":1}"#), r#"{"***REDACTED***":1}"#);
}

#[test]
fn json_within_strings_is_redacted_as_json() {
    let inner = json!({ "a": [1], "password": "hunter2" }).to_string();
    let middle = json!([{ "body": inner }]).to_string();
    let outer = json!({ "raw": middle, "n": 1 }).to_string();
    let redacted = json(&outer);
    assert!(!redacted.contains("hunter2"));
    let outer: Value = serde_json::from_str(&redacted).unwrap();
    let middle: Value = serde_json::from_str(outer["raw"].as_str().unwrap()).unwrap();
    let inner: Value = serde_json::from_str(middle[0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(inner, json!({ "a": [1], "password": REDACTED }));
}

#[test]
fn bare_numbers_are_cards_only_of_known_issuers() {
    assert_eq!(json("[4111111111111111,-1]"), r#"["***REDACTED***",-1]"#);
    assert_eq!(json("[4111111111111111.0,4222222222222]"), "[4111111111111111.0,4222222222222]");
    let any = RedactionRules::default().with_cards(CardDetection::AnyLuhn, CardDetection::AnyLuhn);
    assert_eq!(redact_json("9999999999999995", &any).unwrap().redactions, 1);
    assert_eq!(json("9999999999999995"), "9999999999999995");
    let off = RedactionRules::default().with_cards(CardDetection::Off, CardDetection::Off);
    assert_eq!(redact_json("[4111111111111111,\"4111111111111111\"]", &off).unwrap().redactions, 0);
}

#[test]
fn pairs_in_text_lose_their_values() {
    for (before, after) in [
        ("password=hunter2", "password=§"),
        ("user=a&api_key=s3c;ret&b=c", "user=a&api_key=§&b=c"),
        ("https://h/p?access_token=abc&x=1", "https://h/p?access_token=§&x=1"),
        ("Password: 'hun ter2' rejected", "Password: '§' rejected"),
        (r#"bad {"password": "a\"b", "x": 1"#, r#"bad {"password": "§", "x": 1"#),
        (r#"bad {\"password\":\"a\\\"b\",\"x\":1"#, r#"bad {\"password\":\"§\",\"x\":1"#),
        ("{'pwd': 'x', 'n': 2}", "{'pwd': '§', 'n': 2}"),
        (r#"Login { user: "a", secret: Some("x") }"#, r#"Login { user: "a", secret: § }"#),
        (r#"{secret: Secret { a: "}", b: "x" }, c: 1}"#, "{secret: §, c: 1}"),
        ("{'pwd': b'x y', 'n': 2}", "{'pwd': §, 'n': 2}"),
        ("credentials={a: b, c: (d)} end", "credentials=§ end"),
        ("Authorization: Digest a=\"b\", c=d\nHost: h", "Authorization: §\nHost: h"),
        ("Set-Cookie: a=b; Path=/\r\nX: y", "Set-Cookie: §\r\nX: y"),
        ("curl -H 'Cookie: a=b; c=d' -H 'X: y'", "curl -H 'Cookie: §' -H 'X: y'"),
        ("social security number: 078-05-1120.", "social security number: §"),
        ("run --password hunter2 --host h", "run --password § --host h"),
        ("token => abc", "token => §"),
        ("next%3Dtoken%3Dabc", "next%3Dtoken%3D§"),
        ("auth: Token abc def", "auth: § def"),
        ("password=ab,cd}ef, user=x", "password=§, user=x"),
        ("password=\"never closed", "password=\"§"),
        ("author: Ann; tokenizer=bpe; pins", "author: Ann; tokenizer=bpe; pins"),
        ("password=", "password="),
    ] {
        assert_eq!(text(before), after.replace('§', REDACTED), "{before}");
    }
}

#[test]
fn other_secrets_in_text_go() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r";
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----";
    for (before, after) in [
        ("sent Bearer abc.def-1 to h", "sent Bearer § to h"),
        ("BASIC dXNlcjpwYXNz ok", "BASIC § ok"),
        ("the basic plan, a Basic idea", "the basic plan, a Basic idea"),
        (&format!("got ({jwt})"), "got (§)"),
        (&format!("x{}", &jwt[..36]), "x§"),
        ("eyJust.a.", "eyJust.a."),
        (&format!("key:\n{pem}\nend"), "key:\n§\nend"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", "§"),
        ("-----BEGIN CERTIFICATE-----\nMIIE", "-----BEGIN CERTIFICATE-----\nMIIE"),
        ("postgres://ann:p@ss@db:5432/x", "postgres://ann:§@db:5432/x"),
        ("amqp://ann:p/w?d@mq/v", "amqp://ann:§@mq/v"),
        ("https://ann:p/w@h/", "https://ann:§@h/"),
        ("redis://:pw@h:1", "redis://:§@h:1"),
        ("https://ghp_0123456789abcdefghij@git.example/r", "https://§@git.example/r"),
        ("https://h:80/@ann and ssh://git@h", "https://h:80/@ann and ssh://git@h"),
        ("paid 4111-1111-1111-1111 today", "paid § today"),
        (
            "<a><wsse:Password T=\"x\">p<v>w</v></wsse:Password>",
            "<a><wsse:Password T=\"x\">§</wsse:Password>",
        ),
        ("<password>cut", "<password>§"),
        ("<password/>a Result<Token> b", "<password/>a Result<Token> b"),
    ] {
        assert_eq!(text(before), after.replace('§', REDACTED), "{before}");
    }
}

#[test]
fn what_cannot_be_redacted_is_replaced() {
    let rules = RedactionRules::default().with_limits(3, 40);
    for (broken, error) in [
        ("", RedactError::Invalid { at: 0 }),
        ("{\"a\":1", RedactError::Invalid { at: 6 }),
        ("[1,]", RedactError::Invalid { at: 3 }),
        ("{a:1}", RedactError::Invalid { at: 1 }),
        ("[01]", RedactError::Invalid { at: 2 }),
        ("\"\\x\"", RedactError::Invalid { at: 1 }),
        ("\"a\nb\"", RedactError::Invalid { at: 2 }),
        ("1 2", RedactError::Invalid { at: 2 }),
        ("[[[[1]]]]", RedactError::TooDeep { max: 3 }),
        ("[[\"[[1]]\"]]", RedactError::TooDeep { max: 3 }),
        (&"1".repeat(41), RedactError::TooLarge { size: 41, max: 40 }),
    ] {
        let marker = format!(r#"{{"_redaction_failed":true,"original_size":{}}}"#, broken.len());
        let replaced = redact_json_or_replace(broken, &rules);
        assert_eq!(replaced, RedactedField::Replaced { marker: marker.clone(), error });
        assert_eq!(replaced.into_text(), marker);
    }
    assert_eq!(redact_text("[[[[1]]]]", &rules), REDACTED);
}

#[test]
fn the_work_is_linear_for_hostile_input() {
    // Quadratic work on a MiB takes many minutes, linear work a second or two. No clock is read: a square runs
    // into the time limit of the test runner.
    let rules = RedactionRules::default().with_limits(usize::MAX, usize::MAX);
    for unit in [
        "[",
        "{",
        "\"",
        "'",
        "\\",
        "1",
        "12 ",
        "12-",
        "4111 1111 1111 1111 ",
        "eyJ",
        "eyJa.b.",
        "eyJa.",
        "://",
        "a:b://",
        "a:b@://",
        "=",
        ":",
        "a=",
        "a ",
        "password ",
        "password=",
        "password=\"",
        "password=[",
        "\"password\":",
        "--a ",
        "--password ",
        "]a",
        ",a",
        "password=a,",
        "Bearer ",
        "basic a",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "-----END ",
        "%3D",
        "é",
        "aB",
        "a_",
        "tokentoken",
        "[\\\"",
        "\\u0041",
        "[\"password=",
        "cookie: ",
        "<",
        "<password ",
        "<password>",
        "a<token>",
        "cookie:\n",
        "name=password ",
        "name=[",
        "form-data; name=password",
        "-u a:b ",
        "mysql -p",
        "identified by ",
        "login a password ",
        "a@tcp(",
        "jdbc:oracle:",
        "GB82 WEST ",
        "4111.",
        "12345678:",
        "aaaaQ~",
        "%70assword%3D",
        "%2525",
        "[1] ",
        "token=|\n ",
    ] {
        let hostile = unit.repeat((1 << 20) / unit.len());
        let _ = redact_text(&hostile, &rules);
        // An eighth is enough to tell a square from a line, and unoptimised tests take their time.
        let hostile = unit.repeat((1 << 17) / unit.len());
        let quoted = Value::String(hostile.clone()).to_string();
        let key = format!("{{{quoted}:1}}");
        let looks_like_json = Value::String(format!("[{hostile}]")).to_string();
        for document in [&hostile, &quoted, &key, &looks_like_json] {
            let _ = redact_json(document, &rules);
        }
    }
}
