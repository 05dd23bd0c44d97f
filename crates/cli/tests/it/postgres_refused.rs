//! PostgreSQL stores that can't be opened: what is wrong, what helps, the right code, and no secret.

use std::net::TcpListener;

use baldur_services::{PgBouncer, PgBouncerOptions, PostgresOptions, PostgresServer};
use secrecy::ExposeSecret as _;

use crate::{
    Bench, id,
    postgres::{name, server, sql},
};

/// The parts of `postgres://user:password@host:port/database`.
struct Url {
    user: String,
    password: String,
    address: String,
}

impl Url {
    fn of(text: &str) -> Self {
        let rest = text.strip_prefix("postgres://").expect("a URL");
        let (who, place) = rest.split_once('@').expect("a user");
        let (user, password) = who.split_once(':').expect("a password");
        let (address, _) = place.split_once('/').expect("a database");
        Self { user: user.into(), password: password.into(), address: address.into() }
    }
}

/// Each command that opens a store says `words` and what helps, ends with `code`, and shows nothing of the URL.
fn refused(url: &str, code: i32, words: &str, helps: &str) {
    let bench = Bench::at(url, "default");
    let id = id(1);
    let secret = Url::of(url);
    for args in [&["facets"][..], &["entries", "show", &id], &["store", "check"], &["serve"]] {
        for more in [&[][..], &["--json"]] {
            let run = bench.run(&[args, more].concat());
            assert_eq!(run.code, code, "{args:?}: {run:?}");
            let told = format!("{}{}", run.out, run.err);
            assert!(told.contains(words) && told.contains(helps), "{args:?}: {told}");
            let shown =
                [&secret.password, &secret.address, url].iter().any(|it| told.contains(*it));
            assert!(!shown, "{args:?}: {told}");
            assert!(run.err.starts_with("error: ") || args == ["serve"], "{run:?}");
        }
    }
}

#[test]
fn who_is_not_let_in_is_told_why() {
    let url = server();
    let Url { user, password, address } = Url::of(&url);
    let wrong = format!("postgres://{user}:hunter2-hunter2@{address}/postgres");
    refused(&wrong, 5, "password authentication failed", "the password of the store's URL");
    let nobody = format!("postgres://nobody:{password}@{address}/postgres");
    refused(&nobody, 5, "password authentication failed", "the password of the store's URL");
    let nowhere = format!("postgres://{user}:{password}@{address}/no_such_shop");
    refused(&nowhere, 5, "database \"no_such_shop\" does not exist", "create the database");
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let url = format!("postgres://shop:hunter2-hunter2@{address}/shop");
    refused(&url, 5, "Connection refused", "is the server running");
    let unknown = "postgres://shop:hunter2-hunter2@no-such-host.invalid:5432/shop";
    refused(unknown, 5, "failed to lookup address", "is the server running");
}

#[test]
fn what_is_no_url_is_a_mistake_of_the_settings() {
    for url in [
        "postgres://shop:hunter2-hunter2@db:port/shop",
        "postgres://shop:hunter2-hunter2@db:5432/shop?sslmode=hunter2",
    ] {
        let run = Bench::at(url, "default").run(&["facets"]);
        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.err.contains("write a PostgreSQL store as postgres://user@host"), "{run:?}");
        assert!(!run.err.contains("hunter2"), "{run:?}");
    }
}

#[test]
fn a_role_without_rights_and_a_schema_that_is_not_ours_are_told() {
    let owner = server();
    let Url { user, password, address } = Url::of(&owner);
    let (database, role) = (name("cli", '_'), name("role", '_'));
    sql(&owner, &format!("CREATE DATABASE {database}"));
    let rights = format!(
        "REVOKE ALL ON DATABASE {database} FROM PUBLIC; CREATE ROLE {role} LOGIN PASSWORD 'hunter2-hunter2'; \
         GRANT CONNECT ON DATABASE {database} TO {role}"
    );
    sql(&owner, &rights);
    let theirs = format!("postgres://{role}:hunter2-hunter2@{address}/{database}");
    refused(&theirs, 5, "permission denied for database", "have the owner of the schema");

    let ours = format!("postgres://{user}:{password}@{address}/{database}");
    let bench = Bench::at(&ours, "default");
    let mut command = bench.command(&["facets"]);
    command.env("BALDUR__STORE__MIGRATE", "false");
    let run = crate::finish(command, b"");
    assert_eq!(run.code, 5, "{run:?}");
    assert!(run.err.contains("the schema `baldur` is not there"), "{run:?}");
    bench.ok(&["facets"]);
    refused(&theirs, 5, "permission denied for schema baldur", "grant this role");
    sql(&ours, "INSERT INTO baldur.migrations VALUES (3, 'later', 'x')");
    refused(&ours, 5, "schema version 3, this program knows up to 2", "use a newer program");
    sql(&owner, &format!("DROP DATABASE {database} WITH (FORCE)"));
    sql(&owner, &format!("DROP ROLE {role}"));
}

#[test]
fn a_pooler_that_loses_statements_is_told() {
    let server = PostgresServer::start(PostgresOptions::default()).expect("it starts");
    let options = PgBouncerOptions { max_prepared_statements: 0, ..PgBouncerOptions::default() };
    let pooler = PgBouncer::start(&server, options).expect("it starts");
    let url = pooler.url().expose_secret();
    refused(url, 5, "a pooler on the way to the server loses", "`max_prepared_statements` above 0");
}
