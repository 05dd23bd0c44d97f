//! What the loader accepts, and how it refuses the rest.

use super::*;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn refused(text: &str, pairs: &[(&str, &str)]) -> String {
    Settings::parse(text, "baldur.toml", env(pairs)).expect_err("refused").to_string()
}

#[test]
fn variables_win_over_the_file_and_are_read_by_type() {
    let text = "[store]\nurl = 'memory:'\n[replay]\nlease = '45s'\nconcurrency = 2\n";
    let settings = Settings::parse(
        text,
        "baldur.toml",
        env(&[
            ("BALDUR__REPLAY__CONCURRENCY", "16"),
            ("BALDUR__REPLAY__RATE", "2.5"),
            ("BALDUR__REDACTION__EXTRA_KEYS", "employee number, badge"),
            ("BALDUR__REDACTION__CARDS", "any_luhn"),
            ("BALDUR__HANDLERS__PAYMENT__URL", "http://h/x"),
            ("BALDUR__HANDLERS__PAYMENT__HEADERS__X-KEY", "7"),
            ("BALDUR__HANDLERS__PAYMENT__TIMEOUT", "1500ms"),
            ("BALDUR__RECOVERY__ENABLED", "false"),
            ("BALDUR__BREAKERS__SHARED", "false"),
            ("BALDUR__BREAKERS__INTERVAL", "3s"),
            ("BALDUR__RECOVERY__DEPENDENCIES__GATEWAY__PROBE_INTERVAL", "30s"),
            ("BALDUR__NAMESPACE", ""),
            ("PATH", "/bin"),
        ]),
    )
    .expect("valid");
    assert_eq!(settings.replay.lease, Duration::from_secs(45));
    assert_eq!(settings.replay.concurrency, 16);
    assert_eq!(settings.replay.rate, Some(2.5));
    assert_eq!(settings.redaction.extra_keys, ["employee number", "badge"]);
    assert_eq!(settings.redaction.cards, CardSettings::AnyLuhn);
    assert_eq!(settings.namespace, Namespace::default_namespace());
    assert!(!settings.recovery.enabled && !settings.breakers.shared);
    assert_eq!(settings.breakers.interval, Duration::from_secs(3));
    let gateway = &settings.recovery.dependencies["gateway"];
    assert_eq!(gateway.probe_interval, Duration::from_secs(30));
    let handler = &settings.handlers["payment"];
    assert_eq!(handler.timeout, Some(Duration::from_millis(1_500)));
    assert!(handler.headers.contains_key("x-key"));
}

#[test]
fn unknown_keys_are_refused_where_they_stand_with_the_nearest() {
    assert_eq!(
        refused("[store]\nurl = 'memory:'\n\n[replay]\nlaese = '5s'\n", &[]),
        "baldur.toml:5: there is no setting `replay.laese`; did you mean `replay.lease`?"
    );
    assert_eq!(
        refused("[stroe]\nurl = 'memory:'\n", &[]),
        "baldur.toml:1: there is no setting `stroe`; did you mean `store`?"
    );
    assert_eq!(
        refused("", &[("BALDUR__STORE__URI", "memory:")]),
        "BALDUR__STORE__URI: there is no setting `store.uri`; did you mean `store.url`?"
    );
    let far = refused("", &[("BALDUR__REDACTION__ZZZZZZZZ", "1")]);
    assert!(far.contains("known here: extra_keys, cards, max_depth"), "{far}");
    let deep = refused("", &[("BALDUR__A____B", "1")]);
    assert!(deep.contains("two underscores"), "{deep}");
}

#[test]
fn bad_values_are_refused_where_they_stand() {
    for (text, problem) in [
        ("[replay]\nlease = 5", "baldur.toml:2: `replay.lease` must be a duration with its unit"),
        ("[replay]\nlease = '5 parsecs'", "baldur.toml:2: `replay.lease` must be a duration"),
        (
            "[replay]\nconcurrency = -1",
            "baldur.toml:2: `replay.concurrency` must be a whole number",
        ),
        (
            "[replay.backoff]\njitter = 'x'",
            "`replay.backoff.jitter` must be one of none, full, equal",
        ),
        ("namespace = 'A B'", "baldur.toml:1: `namespace` is not usable: namespace has characters"),
        ("replay = 5", "baldur.toml:1: `replay` must be a section of keys, not a whole number"),
        ("[replay]\nlease = 2026-01-01", "`lease` is a date, which no setting takes"),
        ("[capture]\nmax_retries = 99999999999999999999", "`max_retries` is too large a number"),
        ("[store\n", "baldur.toml:1: "),
    ] {
        let said = refused(text, &[]);
        assert!(said.contains(problem), "{text}: {said}");
    }
    let said = refused("", &[("BALDUR__CAPTURE__MAX_RETRIES", "many")]);
    assert!(
        said.starts_with("BALDUR__CAPTURE__MAX_RETRIES: `capture.max_retries` must be"),
        "{said}"
    );
}

#[test]
fn secrets_are_shown_by_no_form_and_no_error() {
    let settings = Settings::parse(
        "[store]\nurl = 'sqlite:///secret-path'\ndirect_url = 'postgres://u:secret-password@db/x'\n[handlers.payment]\nurl = 'http://h/secret-url'\n\
         headers = { authorization = 'Bearer secret-token' }\n[recovery.dependencies.gateway]\n\
         probe_url = 'http://h/secret-probe'\nprobe_headers = { cookie = 'secret-cookie' }",
        "baldur.toml",
        [],
    )
    .expect("valid");
    let shown = format!("{settings:?}\n{settings}");
    assert!(!shown.contains("secret-"), "{shown}");
    assert!(shown.contains("authorization"), "{shown}");
    let said = refused("[handlers.payment]\nheaders = { authorization = 4711 }", &[]);
    assert_eq!(said, "baldur.toml:2: `handlers.payment.headers.authorization` must be text");
}

#[test]
fn what_is_shown_is_read_back() {
    let mut settings = Settings::default();
    settings.replay.lease = Duration::from_millis(90_500);
    settings.capture.expires_in = Some(Duration::from_hours(48));
    settings.recovery.dependencies.insert("gateway".to_owned(), DependencySettings::default());
    let shown = settings.to_string();
    assert!(shown.contains("lease = \"1m 30s 500ms\""), "{shown}");
    let read = Settings::parse(&shown, "shown", []).expect("own form");
    assert_eq!(read.to_string(), shown);
    assert_eq!(read.replay.lease, settings.replay.lease);
    assert_eq!(read.capture.expires_in, settings.capture.expires_in);
}

#[test]
fn when_a_record_makes_way_is_set_within_limits() {
    let of = |text: &str| Settings::parse(text, "baldur.toml", []).expect("valid").spool;
    let policy = of("[spool]\npark_attempts = 3\npark_after = '90s'").draining().expect("usable");
    assert_eq!((policy.park_attempts, policy.park_after), (3, Duration::from_secs(90)));
    assert_eq!(of("[spool]\npark_attempts = 0").draining().expect("usable").park_attempts, 0);
    for (text, key) in [
        ("park_attempts = 1", "`spool.park_attempts`"),
        ("park_attempts = 10001", "`spool.park_attempts`"),
        ("park_after = '1ms'", "`spool.park_after`"),
        ("park_after = '8days'", "`spool.park_after`"),
    ] {
        let said = of(&format!("[spool]\n{text}")).draining().expect_err("refused").to_string();
        assert!(said.contains(key), "{said}");
    }
}

#[cfg(feature = "spool")]
#[test]
fn a_spool_is_asked_for_by_its_directory_alone() {
    let settings = Settings::parse("", "baldur.toml", []).expect("valid");
    assert_eq!((settings.spool.max_bytes, settings.spool.segment_bytes), (1 << 30, 16 << 20));
    assert!(settings.spool.config().expect("usable").is_none());
    let dir = std::env::temp_dir().join("spool");
    let variables = [
        ("BALDUR__SPOOL__DIR", dir.to_str().expect("Unicode")),
        ("BALDUR__SPOOL__MAX_BYTES", "1048576"),
        ("BALDUR__SPOOL__SEGMENT_BYTES", "65536"),
    ];
    let settings = Settings::parse("", "baldur.toml", env(&variables)).expect("valid");
    let config = settings.spool.config().expect("usable").expect("asked for");
    assert_eq!((config.dir, config.max_bytes, config.segment_bytes), (dir, 1 << 20, 1 << 16));
    assert_eq!(config.max_record_bytes, 1 << 20, "no record may be longer than the spool");
    let shown = settings.to_string();
    let read = Settings::parse(&shown, "shown", []).expect("own form");
    assert_eq!(read.spool.dir, settings.spool.dir);
    let relative = Settings::parse("[spool]\ndir = 'spool'", "baldur.toml", []).expect("text");
    let said = relative.spool.config().expect_err("refused").to_string();
    assert!(said.contains("`spool.dir`") && said.contains("absolute"), "{said}");
    assert_eq!(refused("[spool]\ndir = 5", &[]), "baldur.toml:2: `spool.dir` must be text");
}

#[test]
fn a_file_that_is_missing_or_too_large_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("baldur.toml");
    let missing = Settings::load(Some(&path), []).expect_err("refused").to_string();
    assert!(missing.contains("baldur.toml"), "{missing}");
    let length = usize::try_from(MAX_FILE_BYTES).expect("small") + 1;
    std::fs::write(&path, "#".repeat(length)).expect("written");
    assert!(Settings::load(Some(&path), []).is_err());
    std::fs::write(&path, "namespace = 'shop'").expect("written");
    let settings = Settings::load(Some(&path), []).expect("valid");
    assert_eq!(settings.namespace.as_str(), "shop");
}
