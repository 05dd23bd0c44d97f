//! Opening and closing what the settings name.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use baldur_core::{
    BackendKind, Clock as _, FailedOp, NewFailedOp, SystemClock,
    name::{Domain, ServiceName},
    port::{CaptureError, Gate, ReplayContext, ReplayHandler, ReplayOutcome},
};
use tokio::sync::mpsc;

use crate::{
    Baldur, CaptureFailure, DependencySettings, OpenError, SCHEMES, Settings, StartError,
    StoreOutage, Who,
    recovery::{Arming, Missing, Signal},
};

fn url_of(scheme: &str, directory: &tempfile::TempDir) -> String {
    match scheme {
        "memory" => "memory:".to_owned(),
        "sqlite" => format!("sqlite://{}", directory.path().join("baldur.db").display()),
        #[cfg(feature = "postgres")]
        "postgres" => {
            let url = baldur_services::postgres_url().unwrap_or_else(|missing| panic!("{missing}"));
            secrecy::ExposeSecret::expose_secret(&url).to_owned()
        }
        other => panic!("write down how to open `{other}` for a test"),
    }
}

/// A store that nobody else uses: a server has those of other tests, too.
fn settings_of(scheme: &str, directory: &tempfile::TempDir) -> Settings {
    let mut settings = Settings::at(url_of(scheme, directory));
    let name = format!("t-{}-{}", SystemClock.now().as_micros(), std::process::id());
    settings.namespace = name.parse().expect("a name");
    settings
}

#[tokio::test]
async fn every_built_scheme_opens_keeps_and_closes() {
    for scheme in SCHEMES.iter().filter(|scheme| scheme.built) {
        let directory = tempfile::tempdir().expect("a directory");
        let baldur = Baldur::open(settings_of(scheme.name, &directory)).await.expect(scheme.name);
        let op = NewFailedOp::new("payment", "TIMEOUT");
        let captured = baldur.capture().capture(op, &Who::system()).await.expect("kept");
        assert!(baldur.entries().get(captured.id).await.expect("read").is_some());
        baldur.shutdown(Duration::from_secs(10)).await.expect("closed");
        baldur.shutdown(Duration::from_secs(10)).await.expect("closed again");
        let op = NewFailedOp::new("payment", "TIMEOUT");
        let refused = baldur.capture().capture(op, &Who::system()).await.expect_err("closed");
        let CaptureFailure::Store(CaptureError::Backend(error)) = refused else {
            panic!("{refused}");
        };
        assert_eq!(error.kind(), BackendKind::Closed);
    }
}

async fn refused(url: &str) -> String {
    Baldur::open(Settings::at(url)).await.expect_err("refused").to_string()
}

#[tokio::test]
async fn urls_that_name_no_store_are_refused_without_being_repeated() {
    assert!(matches!(Baldur::open(Settings::default()).await, Err(OpenError::NoStore)));
    assert!(refused("pg://user:secret@host/db").await.starts_with("`pg` is not a kind of store"));
    for url in ["", "secret", "/secret/path.db", "user-secret@host:5"] {
        let said = refused(url).await;
        assert!(said.contains("is not a kind of store"), "{said}");
        assert!(
            !said.contains('@') && !said.contains('/') || said.contains("sqlite:///"),
            "{said}"
        );
    }
    #[cfg(feature = "memory")]
    for url in ["memory", "memory:x", "memory://"] {
        assert!(refused(url).await.contains("memory:"), "{url}");
    }
    #[cfg(feature = "sqlite")]
    for url in
        ["sqlite:", "sqlite:secret.db", "sqlite://secret.db", "sqlite:///", "sqlite:///a?b=c"]
    {
        let said = refused(url).await;
        assert!(said.contains("url") && !said.contains("secret"), "{url}: {said}");
    }
}

#[cfg(feature = "memory")]
#[tokio::test]
async fn settings_out_of_range_are_refused_by_name() {
    type Spoil = fn(&mut Settings);
    let cases: &[(Spoil, &str)] = &[
        (|s| s.capture.max_retries = 0, "capture.max_retries"),
        (|s| s.redaction.extra_keys = vec!["--".to_owned()], "redaction.extra_keys"),
        (|s| s.redaction.max_depth = 0, "redaction.max_depth"),
        (|s| s.replay.concurrency = 0, "replay"),
        (|s| s.replay.ramp_from = Some(1.0), "replay.ramp_from"),
        (|s| s.replay.backoff.factor = 0.5, "replay.backoff"),
        (|s| s.recovery.per_second = -1.0, "recovery"),
        (|s| s.recovery.housekeeping_interval = Duration::ZERO, "recovery"),
        (|s| s.recovery.excluded_domains = vec!["A b".to_owned()], "recovery.excluded_domains"),
        (|s| s.breakers.interval = Duration::ZERO, "breakers"),
        (|s| s.breakers.store_timeout = Duration::from_mins(2), "breakers"),
        (|s| s.recovery.dependencies = gateway("", |_| {}), "recovery.dependencies"),
        (|s| s.recovery.dependencies = gateway("gateway", |g| g.probe_successes = 0), "recovery"),
        #[cfg(feature = "http-target")]
        (
            |s| s.recovery.dependencies = gateway("gateway", |g| g.probe_url = Some("x".into())),
            "recovery.dependencies.gateway",
        ),
    ];
    for (spoil, key) in cases {
        let mut settings = Settings::at("memory:");
        spoil(&mut settings);
        let said = Baldur::open(settings).await.expect_err(key).to_string();
        assert!(said.starts_with(&format!("the setting `{key}` is not usable: ")), "{said}");
    }
}

#[cfg(all(feature = "memory", feature = "http-target"))]
#[tokio::test]
async fn handlers_of_the_settings_are_checked() {
    for (text, problem) in [
        ("[handlers.payment]", "`handlers.payment.url` is not usable: it is missing"),
        ("[handlers.payment]\nurl = 'http://h/x'", "handlers.payment"),
        ("[handlers.payment]\nurl = 'http://h/x'\nallowed_hosts = ['other']", "handlers.payment"),
        (
            "[handlers.payment]\nurl = 'http://h/x'\nallowed_hosts = ['h']\nmethod = 'GET'",
            "handlers.payment.method",
        ),
        (
            "[handlers.payment]\nurl = 'http://h/x'\nallowed_hosts = ['h']\nsuccess = 'ok'",
            "handlers.payment.success",
        ),
        ("[handlers.'Not A Domain']\nurl = 'http://h/x'", "no domain"),
    ] {
        let text = format!("store.url = 'memory:'\n{text}");
        let settings = Settings::parse(&text, "baldur.toml", []).expect("a known shape");
        let said = Baldur::open(settings).await.expect_err(problem).to_string();
        assert!(said.contains(problem), "{text}: {said}");
    }
}

#[cfg(feature = "memory")]
mod host {
    //! What hosts bring.

    use std::sync::Arc;

    use async_trait::async_trait;
    use baldur_core::{
        FailedOp, NewFailedOp, Status,
        name::Domain,
        port::{Gate, ReplayContext, ReplayHandler, ReplayOutcome},
    };

    use crate::{Baldur, OpenError, Settings, Who};

    #[derive(Debug)]
    struct Works;

    #[async_trait]
    impl ReplayHandler for Works {
        async fn can_replay(&self, _op: &FailedOp) -> Gate {
            Gate::Open
        }

        async fn replay(&self, _op: &FailedOp, _context: ReplayContext) -> ReplayOutcome {
            ReplayOutcome::Succeeded { note: "done".to_owned() }
        }
    }

    #[tokio::test]
    async fn a_host_brings_its_own_handler() {
        let domain = Domain::parse("payment").expect("a domain");
        let baldur = Baldur::builder(Settings::at("memory:"))
            .handler(domain.clone(), Arc::new(Works))
            .open()
            .await
            .expect("opened");
        let op = NewFailedOp::new("payment", "TIMEOUT");
        let id = baldur.capture().capture(op, &Who::system()).await.expect("kept").id;
        let result = baldur.replay().retry(id, false, &Who::system()).await.expect("replayed");
        assert_eq!(result.status, Some(Status::Resolved));

        let twice = Baldur::builder(Settings::at("memory:"))
            .handler(domain.clone(), Arc::new(Works))
            .handler(domain, Arc::new(Works));
        assert!(matches!(twice.open().await, Err(OpenError::Handler(_))));
    }
}

#[cfg(feature = "memory")]
mod modes {
    //! For what captures wait.

    use std::time::Duration;

    use baldur_core::{BackendKind, NewFailedOp, port::CaptureError, port::Durability};

    use crate::{Baldur, CaptureFailure, CaptureMode, Settings, Who};

    async fn opened(text: &str) -> Baldur {
        let text = format!("store.url = 'memory:'\n{text}");
        let settings = Settings::parse(&text, "baldur.toml", []).expect("settings");
        Baldur::open(settings).await.expect("opened")
    }

    fn op() -> NewFailedOp {
        NewFailedOp::new("payment", "TIMEOUT")
    }

    #[tokio::test]
    async fn a_queued_capture_is_stored_by_a_flush() {
        let baldur = opened("capture.mode = 'async'\n[outbox]\nlinger = '10s'").await;
        let who = Who::system();
        let captured = baldur.capture().capture(op(), &who).await.expect("queued");
        assert_eq!(captured.durability, Durability::Queued);
        assert_eq!(baldur.ledger().sums().queued, 1);
        baldur.flush(Duration::from_secs(30)).await.expect("written");
        assert!(baldur.entries().get(captured.id).await.expect("read").is_some());
        let sums = baldur.ledger().sums();
        assert!(sums.balances() && sums.stored == 1, "{sums:?}");
    }

    #[tokio::test]
    async fn each_call_may_name_its_mode() {
        let baldur = opened("").await;
        let who = Who::system();
        for (mode, level) in [
            (CaptureMode::Sync, "stored"),
            (CaptureMode::Async, "queued"),
            // There is no spool, and the store is no worse.
            (CaptureMode::Durable, "stored"),
        ] {
            let captured = baldur.capture().capture_as(op(), &who, mode).await.expect("kept");
            assert_eq!(captured.durability.as_str(), level, "{mode:?}");
        }
    }

    #[tokio::test]
    async fn a_shutdown_writes_what_is_queued_and_refuses_the_rest() {
        let baldur = opened("[outbox]\nlinger = '10s'").await;
        let who = Who::system();
        for _ in 0..100 {
            let queued = baldur.capture().capture_as(op(), &who, CaptureMode::Async).await;
            assert!(queued.is_ok());
        }
        baldur.shutdown(Duration::from_secs(30)).await.expect("closed");
        let sums = baldur.ledger().sums();
        assert!(sums.balances() && sums.stored == 100, "{sums:?}");
        let refused = baldur.capture().capture_as(op(), &who, CaptureMode::Async).await;
        let Err(CaptureFailure::Store(CaptureError::Backend(error))) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(error.kind(), BackendKind::Closed);
        assert_eq!(baldur.ledger().sums().rejected["outbox_closed"], 1);
    }

    #[tokio::test]
    async fn an_outbox_out_of_range_is_refused_by_name() {
        for (text, key) in [
            ("[outbox]\nmax_entries = 0", "outbox"),
            ("[outbox]\nlinger = '1m'", "outbox"),
            ("[capture]\nstore_timeout = '1ms'", "capture.store_timeout"),
        ] {
            let text = format!("store.url = 'memory:'\n{text}");
            let settings = Settings::parse(&text, "baldur.toml", []).expect("a known shape");
            let said = Baldur::open(settings).await.expect_err(key).to_string();
            assert!(said.starts_with(&format!("the setting `{key}` is not usable: ")), "{said}");
        }
    }
}
fn gateway(
    name: &str,
    change: impl FnOnce(&mut DependencySettings),
) -> BTreeMap<String, DependencySettings> {
    let mut settings = DependencySettings::default();
    change(&mut settings);
    BTreeMap::from([(name.to_owned(), settings)])
}

/// Says whom it was called for.
#[derive(Debug)]
struct Telling(mpsc::UnboundedSender<FailedOp>);

#[async_trait]
impl ReplayHandler for Telling {
    async fn can_replay(&self, _op: &FailedOp) -> Gate {
        Gate::Open
    }

    async fn replay(&self, op: &FailedOp, _context: ReplayContext) -> ReplayOutcome {
        let _ = self.0.send(op.clone());
        ReplayOutcome::Succeeded { note: String::new() }
    }
}

#[tokio::test]
async fn recovery_replays_on_every_store_and_ends_with_it() {
    for scheme in SCHEMES.iter().filter(|scheme| scheme.built) {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = settings_of(scheme.name, &directory);
        let (called, mut calls) = mpsc::unbounded_channel();
        let domain = Domain::parse("payment").expect("a domain");
        let builder = Baldur::builder(settings).handler(domain, Arc::new(Telling(called)));
        let baldur = builder.open().await.expect(scheme.name);
        for dependency in ["ledger", "gateway"] {
            let op = NewFailedOp::new("payment", "TIMEOUT").dependency(dependency);
            baldur.capture().capture(op, &Who::system()).await.expect("kept");
        }
        let gateway = ServiceName::parse("gateway").expect("a name");
        let arming = baldur.recovery().arming(&gateway).await.expect("read");
        assert_eq!((arming.arming, arming.pending), (Arming::Armed, 1));
        // Nothing runs before it is started.
        baldur.recovery().notice(&gateway, Signal::Manual);
        baldur.start_recovery().expect("started");
        assert_eq!(baldur.start_recovery(), Err(StartError::Repeated));
        baldur.recovery().notice(&gateway, Signal::Manual);
        let op = calls.recv().await.expect("called");
        assert_eq!(op.dependency, gateway);
        baldur.shutdown(Duration::from_secs(10)).await.expect("closed");
        assert!(calls.is_empty(), "another dependency was touched");
    }
}

#[cfg(feature = "memory")]
#[tokio::test]
async fn without_permission_recovery_says_so_and_stays_away() {
    let mut settings = Settings::at("memory:");
    settings.recovery.enabled = false;
    settings.recovery.dependencies = gateway("gateway", |_| {});
    let baldur = Baldur::open(settings).await.expect("opened");
    baldur.start_recovery().expect("the housekeeping is started all the same");
    let overview = baldur.recovery().overview().await.expect("read");
    let [row] = &overview[..] else { panic!("{overview:?}") };
    assert_eq!(row.arming.missing(), [Missing::Permission, Missing::Handler]);
    baldur.shutdown(Duration::from_secs(10)).await.expect("closed");
}
#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breakers_of_one_file_are_shared_until_shutdown() {
    use baldur_core::{
        name::ServiceName,
        policy::{BreakerPolicy, BreakerState},
        port::{ForcedBreaker, ForcedState},
    };
    let directory = tempfile::tempdir().expect("a directory");
    let open = async || Baldur::open(Settings::at(url_of("sqlite", &directory))).await;
    let (here, there) = (open().await.expect("opens"), open().await.expect("opens beside it"));
    let name = ServiceName::parse("gateway").expect("a name");
    here.breakers().get(&name, BreakerPolicy::default());
    let breaker = there.breakers().get(&name, BreakerPolicy::default());
    let mut events = there.breakers().subscribe();
    let order = ForcedBreaker { state: ForcedState::Open, lasts: None };
    here.breakers().force(&name, order, &Who::system()).expect("known");
    let told = tokio::time::timeout(Duration::from_secs(30), events.recv()).await;
    let told = told.expect("it is told").expect("and heard");
    assert_eq!((told.to, told.forced, told.shared), (BreakerState::Open, true, true));
    assert!(breaker.admit().expect_err("ordered").forced);
    let stored = here.breaker_store().load(vec![name]).await.expect("loads");
    assert!(stored[0].as_ref().is_some_and(|breaker| breaker.forced == Some(order)));
    for baldur in [here, there] {
        baldur.shutdown(Duration::from_secs(10)).await.expect("closed");
    }
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_recovers_a_dependency_that_only_another_process_calls() {
    use baldur_core::{
        policy::{BreakerPolicy, BreakerState},
        port::{ForcedBreaker, ForcedState},
    };
    let directory = tempfile::tempdir().expect("a directory");
    let (called, mut calls) = mpsc::unbounded_channel();
    let settings = || {
        let mut settings = Settings::at(url_of("sqlite", &directory));
        settings.breakers.interval = Duration::from_millis(10);
        settings.recovery.jitter = Duration::ZERO;
        settings
    };
    let host = Baldur::open(settings()).await.expect("opens");
    let domain = Domain::parse("payment").expect("a domain");
    let server = Baldur::builder(settings()).handler(domain, Arc::new(Telling(called)));
    let server = server.open().await.expect("opens beside it");
    let mut events = server.breakers().subscribe();
    server.start_recovery().expect("started");
    let gateway = ServiceName::parse("gateway").expect("a name");
    host.breakers().get(&gateway, BreakerPolicy::default());
    for dependency in ["ledger", "gateway"] {
        let op = NewFailedOp::new("payment", "TIMEOUT").dependency(dependency);
        host.capture().capture(op, &Who::system()).await.expect("kept");
    }
    let order = ForcedBreaker { state: ForcedState::Open, lasts: None };
    host.breakers().force(&gateway, order, &Who::system()).expect("known");
    let told = tokio::time::timeout(Duration::from_secs(30), events.recv()).await;
    let told = told.expect("it is told").expect("and heard");
    assert_eq!((told.to, told.forced, told.shared), (BreakerState::Open, true, true));
    assert!(calls.is_empty(), "it is down");
    host.breakers().lift(&gateway, &Who::system()).expect("known");
    let op = tokio::time::timeout(Duration::from_secs(30), calls.recv()).await;
    assert_eq!(op.expect("in time").expect("called").dependency, gateway);
    assert_eq!(server.breakers().states(), []);
    for baldur in [server, host] {
        baldur.shutdown(Duration::from_secs(10)).await.expect("closed");
    }
    assert!(calls.is_empty(), "another dependency was touched");
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn breakers_are_not_shared_when_the_settings_say_so() {
    use baldur_core::{
        name::ServiceName,
        policy::BreakerPolicy,
        port::{ForcedBreaker, ForcedState},
    };
    let directory = tempfile::tempdir().expect("a directory");
    let open = async |shared| {
        let mut settings = Settings::at(url_of("sqlite", &directory));
        settings.breakers.shared = shared;
        settings.breakers.interval = Duration::from_millis(10);
        Baldur::open(settings).await.expect("opens")
    };
    let (alone, sharing) = (open(false).await, open(true).await);
    let names = ["alone", "shared"].map(|name| ServiceName::parse(name).expect("a name"));
    let order = ForcedBreaker { state: ForcedState::Open, lasts: None };
    for (baldur, name) in [(&alone, &names[0]), (&sharing, &names[1])] {
        baldur.breakers().get(name, BreakerPolicy::default());
        baldur.breakers().force(name, order, &Who::system()).expect("known");
    }
    let load = async || sharing.breaker_store().load(names.to_vec()).await.expect("loads");
    while load().await[1].is_none() {
        tokio::task::yield_now().await;
    }
    alone.shutdown(Duration::from_secs(10)).await.expect("closed");
    assert!(load().await[0].is_none());
    sharing.shutdown(Duration::from_secs(10)).await.expect("closed");
}

#[cfg(all(feature = "sqlite", feature = "spool"))]
#[tokio::test]
async fn in_an_outage_captures_are_spooled_and_reach_the_store_after_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut settings = Settings::at(url_of("sqlite", &directory));
    settings.spool.dir = Some(directory.path().join("spool"));
    settings.capture.store_timeout = Duration::from_millis(10);
    let baldur = Baldur::open(settings.clone()).await.expect("opened");
    let outage = StoreOutage::begin(&settings.store).await.expect("begun");
    let op = NewFailedOp::new("payment", "TIMEOUT");
    let captured = baldur.capture().capture(op, &Who::system()).await.expect("kept");
    assert_eq!(captured.durability, baldur_core::port::Durability::Spooled);
    assert!(baldur.entries().get(captured.id).await.expect("read").is_none());
    drop(outage);
    let drainer = baldur.drainer().expect("there is a spool");
    assert!(drainer.drained(Duration::from_secs(30)).await, "{:?}", drainer.status());
    assert!(baldur.entries().get(captured.id).await.expect("read").is_some());
    baldur.shutdown(Duration::from_secs(10)).await.expect("closed");
}

#[tokio::test]
async fn an_outage_needs_a_store_that_others_can_reach() {
    for url in ["memory:", "nosuch://user:hunter2@host/"] {
        let error = StoreOutage::begin(&Settings::at(url).store).await.expect_err(url);
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
