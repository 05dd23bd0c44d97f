//! What "stored" means: never more than the server really does.

use std::sync::OnceLock;

use baldur_contract::proxy::Ending;
use baldur_core::{
    BackendKind, Outcome,
    port::{CaptureStore, Disposition, Durability},
};
use baldur_postgres::PostgresStore;
use baldur_services::{PostgresOptions, PostgresServer};
use secrecy::ExposeSecret;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, postgres::PgConnectOptions};

use crate::{
    faults_lab::{FaultLab, becomes, ends, impatient},
    faults_trial::{Trial, Write},
    lab::{Lab, keep},
    support::{config, own_server, own_server_with},
};

async fn connect(server: &PostgresServer) -> PgConnection {
    let options: PgConnectOptions = server.url().expose_secret().parse().expect("a URL");
    options.connect().await.expect("the server answers")
}

async fn run(server: &PostgresServer, sql: &str) {
    let mut conn = connect(server).await;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.expect("it can be done");
}

/// Each write notes the setting that its transaction has.
const WATCH: &str = "CREATE TABLE public.seen (setting text); \
     CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS \
     'BEGIN INSERT INTO public.seen SELECT current_setting(''synchronous_commit''); RETURN NULL; END'; \
     CREATE TRIGGER look AFTER INSERT OR UPDATE ON baldur.states EXECUTE FUNCTION public.look(); \
     CREATE TRIGGER look AFTER INSERT ON baldur.evidence EXECUTE FUNCTION public.look()";

/// The settings that transactions had, each once, after a write of each kind.
async fn settings(server: &PostgresServer, lab: &FaultLab) -> Vec<String> {
    for write in Write::ALL {
        let trial = Trial::prepare(lab, write, &format!("set_{write:?}").to_lowercase()).await;
        trial.ask(lab, &lab.store).await.expect("a write");
    }
    let seen = "SELECT DISTINCT setting FROM public.seen ORDER BY setting";
    sqlx::query_scalar(seen).fetch_all(&mut connect(server).await).await.expect("they were noted")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_a_role_does_not_wait_for_are_waited_for_nevertheless() {
    let server = own_server().await;
    run(&server, "ALTER ROLE baldur SET synchronous_commit = off").await;
    let lab = FaultLab::on(server.url().clone(), impatient).await;
    run(&server, WATCH).await;
    assert_eq!(lab.store.level(), Some("postgres synchronous_commit=local"));
    let kept = keep(&lab.store, lab.captures.an_op().build()).await.expect("a capture");
    let level = "postgres synchronous_commit=local".into();
    assert_eq!(kept.durability, Durability::Stored { level });
    assert_eq!(settings(&server, &lab).await, ["local"]);
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_changes_its_mind_lowers_no_level_that_was_named() {
    let server = own_server().await;
    let lab = FaultLab::on(server.url().clone(), impatient).await;
    run(&server, WATCH).await;
    run(&server, "ALTER ROLE baldur SET synchronous_commit = off").await;
    // New connections begin with what the role has now.
    lab.proxy.end(Ending::Close);
    assert_eq!(lab.store.level(), Some("postgres synchronous_commit=on"));
    assert_eq!(settings(&server, &lab).await, ["on"]);
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_sync_is_named() {
    let settings = vec![("fsync".to_owned(), "off".to_owned())];
    let server = own_server_with(PostgresOptions { settings, ..PostgresOptions::default() }).await;
    let store = PostgresStore::open(config(server.url())).await.expect("it opens");
    assert_eq!(store.level(), Some("postgres synchronous_commit=on, fsync=off"));
    store.close().await;
}

/// Has commits wait for a standby that is not there, or no longer.
async fn standby(server: &PostgresServer, names: &str) {
    run(server, &format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'")).await;
    run(server, "SELECT pg_reload_conf()").await;
    becomes("the setting is read", || async {
        let shown: String = sqlx::query_scalar("SHOW synchronous_standby_names")
            .fetch_one(&mut connect(server).await)
            .await
            .expect("a setting");
        shown == names
    })
    .await;
}

/// Ends the waits of commits for a standby, as an administrator does.
async fn end_waits(server: &PostgresServer, how: &str) {
    let end = format!("SELECT {how}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    let mut conn = connect(server).await;
    becomes("a commit waits", || async {
        let mut conn = connect(server).await;
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        let waits: i64 = sqlx::query_scalar(waits).fetch_one(&mut conn).await.expect("a count");
        waits > 0
    })
    .await;
    sqlx::raw_sql(AssertSqlSafe(end)).execute(&mut conn).await.expect("they can be ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_waits_for_a_standby_ends_for_its_caller_and_is_unknown() {
    let server = own_server().await;
    let lab = Lab::on(server.url().clone(), impatient).await;
    // Another commit of the same server, so that nothing is left to prepare.
    lab.keep(lab.captures.an_op().build()).await.expect("a capture");
    standby(&server, "nowhere").await;

    // No statement timeout ends it; ours does.
    let late = lab.captures.an_op().build();
    let error = ends("a capture", lab.keep(late.clone())).await.expect_err("nobody confirms it");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
    assert_eq!(kind(&error), BackendKind::Timeout);

    // An administrator ends the backend: it is committed here, perhaps nowhere else.
    let ended = lab.captures.an_op().build();
    let (answer, ()) = ends("a capture", async {
        tokio::join!(lab.keep(ended.clone()), end_waits(&server, "pg_terminate_backend"))
    })
    .await;
    let error = answer.expect_err("the connection ended");
    assert_eq!((error.outcome(), kind(&error)), (Outcome::Unknown, BackendKind::Unavailable));

    standby(&server, "").await;
    for capture in [late, ended] {
        let id = capture.op.id;
        // Its first backend may still be about to notice that it need not wait any more.
        let kept = OnceLock::new();
        becomes("it is answered", || async {
            let again = lab.store.capture_batch(vec![capture.clone()]).await;
            again.into_iter().flatten().all(|answer| kept.set(answer).is_ok())
                && kept.get().is_some()
        })
        .await;
        let kept = kept.into_inner().expect("an answer");
        assert_eq!((kept.id, kept.disposition), (id, Disposition::Repeated));
    }
    lab.store.close().await;
}

fn kind(error: &baldur_core::port::CaptureError) -> BackendKind {
    let baldur_core::port::CaptureError::Backend(error) = error else {
        panic!("no fault of the store: {error}")
    };
    error.kind()
}
