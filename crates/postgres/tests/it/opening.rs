//! Databases with settings of their own, and stores that are closed while they open.

use std::{sync::Arc, time::Duration};

use baldur_core::{
    BackendKind, Chain, EntryId,
    command::{Capture, WhenFull},
    port::{CaptureError, EntryReader, ReadError},
};
use baldur_postgres::{PostgresStore, PostgresUrl};
use futures_util::future::join_all;
use secrecy::SecretString;
use sqlx::{ConnectOptions, postgres::PgConnectOptions};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};

use crate::{
    database::{Database, run},
    lab::{Lab, keep},
    support::config,
};

/// What a transaction looks at must not be older than the locks that it waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_dedup_keys_hold_where_snapshots_are_the_default() {
    const LIMIT: u64 = 20;
    let database = Database::fresh().await;
    let set = "SET default_transaction_isolation = 'repeatable read'";
    run(&mut database.connect().await, &format!("ALTER DATABASE {} {set}", database.name)).await;
    let lab = Lab::on(SecretString::from(database.url()), |config| config).await;
    let other = lab.another().await;
    let mut tasks = Vec::new();
    for task in 0..8 {
        let store = if task % 2 == 0 { lab.store.clone() } else { other.clone() };
        let limited = || lab.captures.an_op().limits(LIMIT, 0, WhenFull::Reject);
        let mut captures: Vec<Capture> =
            (0..8).map(|n| limited().dedup_key(&format!("key {n}")).build()).collect();
        captures.extend((0..8).map(|_| limited().build()));
        tasks.push(tokio::spawn(async move {
            for capture in captures {
                match keep(&store, capture).await {
                    Ok(_) | Err(CaptureError::LimitReached { .. }) => {}
                    Err(error) => panic!("{}", Chain(&error)),
                }
            }
        }));
    }
    for task in join_all(tasks).await {
        task.expect("no panic");
    }
    let counts = "SELECT count(*), count(dedup_key) FROM baldur.states WHERE ns = $1";
    let counts: (i64, i64) = sqlx::query_as(counts)
        .bind(lab.ns().await)
        .fetch_one(&mut lab.raw().await)
        .await
        .expect("a count");
    assert_eq!(counts, (20, 8));
    other.close().await;
    lab.store.close().await;
    database.remove().await;
}

/// The names of a deployment may have any letter, so one that can't hold them would lose captures one by one.
#[tokio::test]
async fn a_database_that_can_not_hold_every_text_is_refused() {
    let database = Database::fresh().await;
    let mut conn = database.connect().await;
    let narrow = format!("{}_latin1", database.name);
    let create = "TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'";
    run(&mut conn, &format!("CREATE DATABASE {narrow} {create}")).await;
    let options: PgConnectOptions = database.url().parse().expect("a URL");
    let url = options.database(&narrow).to_url_lossy().to_string();
    let opened = PostgresStore::open(config(&SecretString::from(url))).await;
    run(&mut conn, &format!("DROP DATABASE {narrow} WITH (FORCE)")).await;
    drop(conn);
    database.remove().await;
    let error = opened.expect_err("it is refused");
    let told = Chain(&error).to_string();
    assert_eq!(error.kind(), BackendKind::Refused, "{told}");
    assert!(told.contains("UTF8"), "{told}");
}

/// The role that migrates may have other settings than the one that writes.
#[tokio::test]
async fn the_level_is_that_of_the_role_that_writes() {
    let database = Database::fresh().await;
    let writer = format!("writer_{}", database.name);
    let mut conn = database.connect().await;
    run(&mut conn, &format!("CREATE ROLE {writer} SUPERUSER LOGIN PASSWORD 'w'")).await;
    run(&mut conn, &format!("ALTER ROLE {writer} SET synchronous_commit = off")).await;
    let mut config = config(&SecretString::from(database.url_as(&writer, "w")));
    config.direct_url = Some(database.url().parse().expect("a URL"));
    let store = PostgresStore::open(config).await.expect("it opens");
    let level = store.level().map(str::to_owned);
    store.close().await;
    run(&mut conn, &format!("DROP ROLE {writer}")).await;
    drop(conn);
    database.remove().await;
    assert!(level.as_deref().is_some_and(|level| level.contains("local")), "{level:?}");
}

/// Both are given to one store, so one deployment's entries could come under the number of another's.
#[tokio::test]
async fn a_direct_url_of_another_database_is_refused() {
    let (one, two) = (Database::fresh().await, Database::fresh().await);
    let lab = Lab::on(SecretString::from(two.url()), |config| config).await;
    let mut config = config(&SecretString::from(two.url()));
    config.direct_url = Some(one.url().parse().expect("a URL"));
    let opened = PostgresStore::open(config).await;
    lab.store.close().await;
    let kind = opened.as_ref().err().map(baldur_core::BackendError::kind);
    if let Ok(store) = opened {
        store.close().await;
    }
    one.remove().await;
    two.remove().await;
    assert_eq!(kind, Some(BackendKind::Refused));
}

/// Passes connections on to `to` once it may.
async fn gate(listener: TcpListener, to: String, knocked: Arc<Notify>, open: Arc<Notify>) {
    let (mut client, _) = listener.accept().await.expect("somebody comes");
    knocked.notify_one();
    open.notified().await;
    let mut server = TcpStream::connect(&to).await.expect("the server answers");
    let others = async {
        loop {
            let (mut client, _) = listener.accept().await.expect("somebody comes");
            let mut server = TcpStream::connect(&to).await.expect("the server answers");
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    };
    let first = async {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        std::future::pending::<()>().await;
    };
    tokio::join!(first, others);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_closed_while_it_opens_stays_closed() {
    let database = Database::fresh().await;
    let real: PgConnectOptions = database.url().parse().expect("a URL");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (knocked, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let to = format!("{}:{}", real.get_host(), real.get_port());
    let gate = tokio::spawn(gate(listener, to, Arc::clone(&knocked), Arc::clone(&open)));
    let url = real.clone().host("127.0.0.1").port(port).to_url_lossy().to_string();
    let store = PostgresStore::open_lazily(config(&SecretString::from(url))).expect("settings");
    let caller = store.clone();
    let call = tokio::spawn(async move { caller.find(vec![EntryId::from_bytes([7; 16])]).await });
    knocked.notified().await;
    timeout(Duration::from_secs(30), store.close()).await.expect("it ends");
    open.notify_one();
    let during = timeout(Duration::from_secs(30), call).await.expect("it ends").expect("no panic");
    let after = store.find(vec![EntryId::from_bytes([7; 16])]).await;
    gate.abort();
    database.remove().await;
    for answer in [during, after] {
        let Err(ReadError::Backend(error)) = answer else { panic!("{answer:?}") };
        assert_eq!(error.kind(), BackendKind::Closed, "{}", Chain(&error));
    }
    assert_eq!(store.level(), None, "nothing was opened");
}

/// What the driver does not know it would leave out, and tell the log of it with the value.
#[test]
fn a_parameter_that_nobody_knows_is_refused_without_a_word_of_it() {
    for bad in ["sslpassword=s3cret", "sslmod=verify-full", "channel_binding=require"] {
        let url = format!("postgres://shop@db/shop?sslmode=require&{bad}");
        let error = url.parse::<PostgresUrl>().expect_err("it is not known");
        let told = format!("{error:?} {}", Chain(&error));
        assert_eq!(error.kind(), BackendKind::Refused);
        assert!(told.contains("sslrootcert") && !told.contains("s3cret"), "{told}");
    }
    let known = "sslmode=require&sslrootcert=/ca.pem&sslcert=/c&sslkey=/k&host=h&port=1&user=u&\
         password=p&dbname=d&application_name=a&options=-c%20geqo%3Doff&options[jit]=off&\
         statement-cache-capacity=7&hostaddr=127.0.0.1";
    format!("postgres://shop@db/shop?{known}").parse::<PostgresUrl>().expect("all are known");
}
