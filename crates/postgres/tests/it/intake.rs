//! Captures inside transactions of hosts: by the program and by SQL.

use std::{collections::BTreeSet, time::Duration};

use baldur_core::{
    EntryId, ListQuery,
    command::Capture,
    port::{
        CaptureError, Captured, Durability, Enlisted, EnlistedForm, EntryReader, Finished, Intake,
        IntakeError, TakeEnlisted,
    },
};
use baldur_postgres::PostgresStore;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{
    database::{Database, run},
    lab::Lab,
};

const HOLD: Duration = Duration::from_secs(30);

async fn take(store: &PostgresStore, limit: usize) -> Vec<Enlisted> {
    store.take(TakeEnlisted { limit, hold: HOLD }).await.expect("it answers")
}

fn ids(taken: &[Enlisted]) -> Vec<EntryId> {
    taken.iter().map(|enlisted| enlisted.id).collect()
}

async fn finish(store: &PostgresStore, enlisted: &Enlisted, refused: Option<&str>) {
    let finished = Finished { position: enlisted.position, refused: refused.map(str::to_owned) };
    store.finish(vec![finished]).await.expect("it answers");
}

/// Captures in a transaction that the caller ends.
async fn enlist(
    lab: &Lab,
    transaction: &mut sqlx::Transaction<'_, sqlx::Postgres>,
    captures: &[Capture],
) -> Vec<Result<Captured, CaptureError>> {
    lab.store.capture_in(transaction, captures.to_vec()).await
}

async fn committed(lab: &Lab, captures: &[Capture]) {
    let mut conn = lab.raw().await;
    let mut transaction = conn.begin().await.expect("it begins");
    for answer in enlist(lab, &mut transaction, captures).await {
        answer.expect("enlisted");
    }
    transaction.commit().await.expect("it commits");
}

#[tokio::test]
async fn a_capture_is_there_if_its_transaction_commits_and_only_then() {
    let lab = Lab::new().await;
    let [kept, rolled, cut] = [(); 3].map(|()| lab.captures.an_op().build());

    let mut conn = lab.raw().await;
    let mut transaction = conn.begin().await.expect("it begins");
    let answers = enlist(&lab, &mut transaction, &[rolled]).await;
    assert_eq!(answers[0].as_ref().expect("enlisted").durability, Durability::Enlisted);
    assert_eq!(take(&lab.store, 10).await.len(), 0, "nothing is committed");
    transaction.rollback().await.expect("it rolls back");

    let mut transaction = conn.begin().await.expect("it begins");
    enlist(&lab, &mut transaction, &[cut]).await[0].as_ref().expect("enlisted");
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut *transaction)
        .await
        .expect("a number");
    let kill = sqlx::query("SELECT pg_terminate_backend($1, 30000)").bind(pid);
    kill.execute(&mut lab.raw().await).await.expect("it ends");
    transaction.commit().await.expect_err("the connection is gone");

    let mut conn = lab.raw().await;
    let mut transaction = conn.begin().await.expect("it begins");
    let answers = enlist(&lab, &mut transaction, std::slice::from_ref(&kept)).await;
    assert_eq!(answers[0].as_ref().expect("enlisted").id, kept.op.id);
    assert_eq!(take(&lab.store, 10).await.len(), 0, "nothing is committed");
    transaction.commit().await.expect("it commits");

    let taken = take(&lab.store, 10).await;
    assert_eq!(ids(&taken), [kept.op.id]);
    let EnlistedForm::Prepared(capture) = &taken[0].form else { panic!("{taken:?}") };
    assert_eq!(capture.op, kept.op);
    assert_eq!(lab.store.list(ListQuery::default()).await.expect("a list").items, []);
    lab.store.close().await;
}

#[tokio::test]
async fn what_a_transaction_can_not_take_is_told_and_ends_it() {
    let lab = Lab::new().await;
    let mut conn = lab.raw().await;
    let mut transaction = conn.begin().await.expect("it begins");
    let broken = sqlx::query("SELECT 1 / 0").execute(&mut *transaction).await;
    broken.expect_err("no number");
    let answers = enlist(&lab, &mut transaction, &[lab.captures.an_op().build()]).await;
    let error = answers[0].as_ref().expect_err("the transaction is over");
    assert!(matches!(error, CaptureError::Backend(_)), "{error:?}");
    transaction.rollback().await.expect("it rolls back");
    assert_eq!(lab.store.status().await.expect("a status").waiting, 0);
    lab.store.close().await;
}

#[tokio::test]
async fn what_is_taken_comes_again_when_its_hold_is_over() {
    let lab = Lab::new().await;
    let captures: Vec<Capture> = (0..5).map(|_| lab.captures.an_op().build()).collect();
    committed(&lab, &captures).await;
    let all: Vec<EntryId> = captures.iter().map(|capture| capture.op.id).collect();

    let first = take(&lab.store, 2).await;
    assert_eq!(ids(&first), all[..2]);
    let other = lab.another().await;
    let second = take(&other, 10).await;
    assert_eq!(ids(&second), all[2..]);
    assert_eq!(take(&lab.store, 10).await.len(), 0, "all are held");
    let status = lab.store.status().await.expect("a status");
    assert_eq!((status.waiting, status.refused), (5, 0));
    assert!(status.oldest.is_some());

    finish(&lab.store, &first[0], None).await;
    finish(&other, &second[0], Some("it is too odd")).await;
    // Again, as after an answer that was lost.
    finish(&lab.store, &first[0], None).await;
    lab.clock.advance(HOLD.saturating_sub(Duration::from_micros(1)));
    assert_eq!(take(&lab.store, 10).await.len(), 0, "the rest is held");
    lab.clock.advance(Duration::from_micros(1));
    assert_eq!(ids(&take(&lab.store, 10).await), [all[1], all[3], all[4]]);
    let status = lab.store.status().await.expect("a status");
    assert_eq!((status.waiting, status.refused), (3, 1));
    other.close().await;
    lab.store.close().await;
}

#[tokio::test]
async fn terms_out_of_range_are_refused() {
    let lab = Lab::new().await;
    for (limit, hold) in [(0, HOLD), (1001, HOLD), (1, Duration::ZERO), (1, HOLD * 121)] {
        let refused = lab.store.take(TakeEnlisted { limit, hold }).await;
        assert!(matches!(refused, Err(IntakeError::Invalid(_))), "{refused:?}");
    }
    lab.store.close().await;
}

#[tokio::test]
async fn what_another_version_wrote_and_nobody_can_read_is_told_apart() {
    let lab = Lab::new().await;
    let add = "INSERT INTO baldur.intake (ns, id, at, form, body) \
         VALUES ($1, gen_random_uuid(), 0, 'prepared', '{\"secret\":\"hunter2\"}')";
    sqlx::query(add).bind(lab.ns().await).execute(&mut lab.raw().await).await.expect("added");
    let taken = take(&lab.store, 1).await;
    let EnlistedForm::Unreadable(reason) = &taken[0].form else { panic!("{taken:?}") };
    assert!(!reason.contains("hunter2"), "{reason}");
    lab.store.close().await;
}

/// A role that may call the function, and nothing else.
struct Caller {
    database: Database,
    store: PostgresStore,
    conn: PgConnection,
    role: String,
}

impl Caller {
    async fn new() -> Self {
        let database = Database::fresh().await;
        let url = database.url().parse().expect("a URL");
        let namespace = baldur_core::name::Namespace::default_namespace();
        let config = baldur_postgres::PostgresConfig::new(url, namespace);
        let store = PostgresStore::open(config).await.expect("it opens");
        let role = format!("{}_role", database.name);
        let grants = format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'p'; GRANT USAGE ON SCHEMA baldur TO {role}; \
             GRANT EXECUTE ON FUNCTION baldur.capture(json, text) TO {role}; \
             CREATE SCHEMA theirs AUTHORIZATION {role}"
        );
        run(&mut database.connect().await, &grants).await;
        let url = database.url_as(&role, "p");
        let conn = PgConnection::connect(&url).await.expect("it may connect");
        Self { database, store, conn, role }
    }

    /// What the function answers.
    async fn capture(&mut self, operation: &str) -> Result<String, sqlx::Error> {
        let call = "SELECT baldur.capture($1::json)::text";
        sqlx::query_scalar(call).bind(operation).fetch_one(&mut self.conn).await
    }

    /// What the server says to an operation that it refuses.
    async fn refusal(&mut self, operation: &str) -> String {
        let error = self.capture(operation).await.expect_err(operation);
        error.as_database_error().expect("the server's words").message().to_owned()
    }

    async fn close(self) {
        self.conn.close().await.expect("it closes");
        self.store.close().await;
        let mut conn = self.database.connect().await;
        let role = self.role;
        run(&mut conn, &format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
        self.database.remove().await;
    }
}

#[tokio::test]
async fn a_role_that_may_only_call_the_function_captures_and_reads_nothing() {
    let mut caller = Caller::new().await;
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let op = format!(r#"{{"domain":"a","failure_type":"b","id":"{id}","request_data":{{"n":1}}}}"#);
    assert_eq!(caller.capture(&op).await.expect("captured"), id);
    let other = caller.capture(r#"{"domain":"a","failure_type":"b","id":null}"#).await;
    let other: EntryId = other.expect("captured").parse().expect("an id");

    let tables = "SELECT table_name::text FROM information_schema.tables \
         WHERE table_schema = 'baldur' UNION SELECT relname::text FROM pg_class \
         WHERE relnamespace = 'baldur'::regnamespace AND relkind = 'r'";
    let tables: Vec<String> =
        sqlx::query_scalar(tables).fetch_all(&mut caller.conn).await.expect("names");
    assert!(tables.len() > 15, "{tables:?}");
    for table in tables {
        for sql in [
            format!("SELECT 1 FROM baldur.{table}"),
            format!("DELETE FROM baldur.{table}"),
            format!("INSERT INTO baldur.{table} DEFAULT VALUES"),
        ] {
            let tried = sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut caller.conn).await;
            let error = tried.expect_err(&sql);
            let code = error.as_database_error().and_then(|error| error.code().map(String::from));
            assert_eq!(code.as_deref(), Some("42501"), "{sql}: {error}");
        }
    }
    let taken = take(&caller.store, 10).await;
    assert_eq!(ids(&taken), [id.parse().expect("an id"), other]);
    let EnlistedForm::Described(text) = &taken[0].form else { panic!("{taken:?}") };
    assert_eq!(*text, op, "byte for byte");
    caller.close().await;
}

#[tokio::test]
async fn mistakes_in_sql_are_told_and_no_value_is_repeated() {
    let mut caller = Caller::new().await;
    let with = |more: &str| format!(r#"{{"domain":"a","failure_type":"b",{more}}}"#);
    for (operation, words) in [
        ("[]".to_owned(), "must be a JSON object"),
        ("\"hunter2\"".to_owned(), "must be a JSON object"),
        ("null".to_owned(), "must be a JSON object"),
        (r#"{"failure_type":"hunter2"}"#.to_owned(), "needs the text \"domain\""),
        (r#"{"domain":"a"}"#.to_owned(), "needs the text \"failure_type\""),
        (r#"{"domain":4711,"failure_type":"b"}"#.to_owned(), "needs the text \"domain\""),
        (r#"{"domain":"a","failure_type":null}"#.to_owned(), "needs the text \"failure_type\""),
        (with(r#""id":"hunter2""#), "the \"id\" of the operation is no UUID"),
        (with(r#""id":4711"#), "the \"id\" of the operation is no UUID"),
        // PostgreSQL would read these; nobody else does.
        (with(r#""id":"{01890a5d-ac96-774b-bcce-b302099a8057}""#), "no UUID"),
        (with(r#""id":"0189-0a5d-ac96-774b-bcce-b302-099a-8057""#), "no UUID"),
        (with(r#""id":"01890a5d-ac96-774b-bcce-b302099a8057\n""#), "no UUID"),
        (with(&format!(r#""request_data":"{}""#, "x".repeat(1 << 24))), "at most 16777216 are"),
        (with(&format!(r#""request_data":{}"#, "[".repeat(1 << 20))), "stack depth limit"),
        ("{hunter2".to_owned(), "invalid input syntax for type json"),
        (with(r#""request_data":"\u0000""#), "unsupported Unicode escape sequence"),
    ] {
        let told = caller.refusal(&operation).await;
        let start: String = operation.chars().take(80).collect();
        assert!(told.contains(words), "{start}: {told}");
        assert!(!told.contains("hunter2") && !told.contains("4711"), "{start}: {told}");
    }
    let absent = sqlx::query("SELECT baldur.capture(NULL)").execute(&mut caller.conn).await;
    assert!(absent.expect_err("nothing").to_string().contains("must be a JSON object"));
    let elsewhere = "SELECT baldur.capture('{\"domain\":\"a\",\"failure_type\":\"b\"}', 'nowhere')";
    let elsewhere = sqlx::query(elsewhere).execute(&mut caller.conn).await;
    let error = elsewhere.expect_err("no such namespace").to_string();
    assert!(error.contains("there is no such namespace"), "{error}");
    assert_eq!(caller.store.status().await.expect("a status").waiting, 0);
    caller.close().await;
}

/// The function runs with its owner's rights, so whatever it names must be what its owner meant.
#[tokio::test]
async fn nothing_that_a_caller_defines_gets_into_the_function() {
    let mut caller = Caller::new().await;
    let lures = "CREATE FUNCTION theirs.octet_length(text) RETURNS integer LANGUAGE plpgsql AS \
         'BEGIN RAISE EXCEPTION ''called as %'', current_user; END'; \
         CREATE FUNCTION theirs.json_typeof(json) RETURNS text LANGUAGE plpgsql AS \
         'BEGIN RAISE EXCEPTION ''called as %'', current_user; END'; \
         CREATE FUNCTION theirs.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS \
         'BEGIN RAISE EXCEPTION ''called as %'', current_user; END'; \
         CREATE FUNCTION theirs.lure(json, text) RETURNS text LANGUAGE plpgsql AS \
         'BEGIN RAISE EXCEPTION ''called as %'', current_user; END'; \
         CREATE OPERATOR theirs.-> (LEFTARG = json, RIGHTARG = text, FUNCTION = theirs.lure); \
         CREATE OPERATOR theirs.->> (LEFTARG = json, RIGHTARG = text, FUNCTION = theirs.lure); \
         CREATE TEMPORARY TABLE namespaces (ns integer, name text); \
         CREATE TEMPORARY TABLE intake (ns integer, id uuid, at bigint, form text, body text); \
         SET search_path = theirs, pg_temp, pg_catalog";
    run(&mut caller.conn, lures).await;
    caller.capture(r#"{"domain":"a","failure_type":"b"}"#).await.expect("captured");
    let path: String = sqlx::query_scalar("SELECT current_setting('search_path')")
        .fetch_one(&mut caller.conn)
        .await
        .expect("a text");
    assert_eq!(path, "theirs, pg_temp, pg_catalog", "the caller's own path is left alone");
    assert_eq!(take(&caller.store, 10).await.len(), 1);
    caller.close().await;
}

#[tokio::test]
async fn takers_at_the_same_time_share_what_there_is() {
    let lab = Lab::new().await;
    let captures: Vec<Capture> = (0..400).map(|_| lab.captures.an_op().build()).collect();
    committed(&lab, &captures).await;
    let other = lab.another().await;
    let takers = (0..8).map(|n| {
        let store = if n % 2 == 0 { lab.store.clone() } else { other.clone() };
        tokio::spawn(async move {
            let mut mine = Vec::new();
            // Rows that another taker has locked at this moment are passed over; they are held a moment later.
            loop {
                let taken = take(&store, 30).await;
                if taken.is_empty() {
                    return mine;
                }
                mine.extend(ids(&taken));
            }
        })
    });
    let mut all = Vec::new();
    for taker in takers.collect::<Vec<_>>() {
        all.extend(taker.await.expect("no panic"));
    }
    assert_eq!(all.len(), 400, "nothing is given twice");
    let wanted: BTreeSet<EntryId> = captures.iter().map(|capture| capture.op.id).collect();
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), wanted);
    other.close().await;
    lab.store.close().await;
}
