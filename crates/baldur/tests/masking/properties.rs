//! Random secrets in random places, through every use case, on both stores.

use baldur::{CapturePolicy, policy::RedactionRules, policy::redact::Detector};
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestError, TestRunner},
};

use crate::{
    dictionary::{self, Planted},
    logs,
    places::{self, Around, Fields},
    world::{Says, Story, ann},
};

/// Text that ends where a word may start.
const BEFORE: [&str; 7] =
    ["", "x ", "failed: ", "line one\nline two\n", "(", "at 12:30, ", "caf\u{e9} "];

/// Text that ends an unquoted value.
const AFTER: [&str; 5] = ["", " tail", "\nmore", ", x=1", "\t\u{e9}"];

/// A secret, where it stands, and what handlers make of it.
#[derive(Clone, Debug)]
struct Leak {
    planted: Vec<(Planted, Around, Fields)>,
    says: Says,
    /// Limits that cannot be kept have to be failed closed.
    limits: Option<(usize, usize)>,
    known_actor: bool,
}

fn leaks(only: Option<Detector>) -> impl Strategy<Value = Leak> {
    let dictionary = move |salt| {
        let mut all = dictionary::all(salt);
        all.retain(|planted| only.is_none_or(|only| planted.detector == only));
        all
    };
    let count = dictionary(0).len();
    let planted =
        (1_u64..1_000_000, 0..count).prop_map(move |(salt, at)| dictionary(salt).swap_remove(at));
    let around = (select(&BEFORE[..]), select(&AFTER[..]), vec(0_u8..6, 0..5))
        .prop_map(|(before, after, shells)| Around { before, after, shells });
    let fields = prop_oneof![any::<u16>().prop_map(Fields), Just(Fields::ALL)];
    let limits = prop_oneof![
        4 => Just(None),
        1 => (0_usize..6, 8_usize..400).prop_map(Some),
    ];
    (vec((planted, around, fields), 1..3), select(&Says::ALL[..]), limits, any::<bool>()).prop_map(
        |(planted, says, limits, known_actor)| Leak { planted, says, limits, known_actor },
    )
}

fn story(leak: &Leak, rules: RedactionRules) -> Story {
    let redaction = match leak.limits {
        Some((depth, bytes)) => rules.with_limits(depth, bytes),
        None => rules,
    };
    let ops = leak.planted.iter().map(|(planted, around, fields)| {
        let who = if leak.known_actor { ann() } else { places::who(planted) };
        (places::op(planted, around, *fields), who)
    });
    let (first, around, _) = &leak.planted[0];
    Story {
        ops: ops.collect(),
        spoken: places::text(first, around),
        says: leak.says,
        policy: CapturePolicy { redaction, ..CapturePolicy::default() },
    }
}

/// The first secret that is left over, and in what.
fn left_over(leak: &Leak, left: &str) -> Option<String> {
    leak.planted.iter().find_map(|(planted, ..)| {
        let needle = planted.found_in(left)?;
        let at = left.find(needle).unwrap_or_default();
        let around = left.floor_char_boundary(at.saturating_sub(200));
        let end = left.floor_char_boundary(at + 200);
        Some(format!("{needle} of {:?} in …{}…", planted.text, &left[around..end]))
    })
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// Silences the panics that handlers are asked for: their text is a secret.
fn without_panic_messages() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !panic.payload().is::<String>()
                || panic.location().is_none_or(|l| !l.file().ends_with("world.rs"))
            {
                usual(panic);
            }
        }));
    });
}

/// Which way operations go.
#[derive(Clone, Copy, Debug)]
enum Way {
    Memory,
    Disk,
    Spool,
}

fn check(leak: &Leak, rules: RedactionRules, way: Way) -> Result<(), TestCaseError> {
    let story = story(leak, rules);
    let left = block_on(async {
        match way {
            Way::Memory => story.in_memory().await,
            Way::Disk => story.on_disk().await,
            Way::Spool => story.in_a_spool().await,
        }
    });
    let logged = logs::taken().to_lowercase();
    for (place, text) in [("what is left", &left), ("the log", &logged)] {
        if let Some(found) = left_over(leak, text) {
            return Err(TestCaseError::fail(format!("{place} has {found}")));
        }
    }
    Ok(())
}

fn run(cases: u32, only: Option<Detector>, rules: &RedactionRules, way: Way) -> Result<(), String> {
    logs::keep();
    without_panic_messages();
    // A failure of a twin is expected, so nothing is written down for later runs.
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&leaks(only), |leak| check(&leak, rules.clone(), way));
    result.map_err(|error| match error {
        TestError::Fail(why, leak) => format!("{why}\nby {leak:?}"),
        TestError::Abort(why) => format!("aborted: {why}"),
    })
}

#[test]
fn no_planted_secret_is_left_in_memory() {
    run(256, None, &RedactionRules::default(), Way::Memory)
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn no_planted_secret_is_left_in_any_byte_on_disk() {
    run(48, None, &RedactionRules::default(), Way::Disk).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn rules_without_one_detector_leave_secrets_behind() {
    for detector in Detector::ALL {
        let twin = RedactionRules::default().without(detector);
        let caught = run(100, Some(detector), &twin, Way::Memory);
        assert!(caught.is_err(), "rules without {detector:?} are not noticed");
    }
}

#[test]
fn a_secret_that_reaches_a_file_is_noticed() {
    let twin = RedactionRules::default().without(Detector::Keys);
    let caught = run(50, Some(Detector::Keys), &twin, Way::Disk);
    assert!(caught.is_err(), "files are not searched");
}

#[test]
fn no_planted_secret_is_left_in_any_file_of_a_spool() {
    run(32, None, &RedactionRules::default(), Way::Spool).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_secret_that_reaches_a_file_of_a_spool_is_noticed() {
    let twin = RedactionRules::default().without(Detector::Keys);
    let caught = run(50, Some(Detector::Keys), &twin, Way::Spool);
    assert!(caught.is_err_and(|why| why.contains("what is left has")), "files are not searched");
}
