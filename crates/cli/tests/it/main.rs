//! The real binary, run as people and scripts run it.

mod breakers;
mod capture;
mod entries;
mod misuse;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_refused;
#[cfg(feature = "postgres")]
mod postgres_serve;
mod recovery;
mod replay;
mod serve;
mod serve_services;
mod spool;
mod store;

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A store of its own, and the command that works on it.
#[derive(Debug)]
struct Bench {
    directory: TempDir,
    url: String,
    namespace: String,
}

/// How a run ended.
#[derive(Debug)]
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Bench {
    fn new() -> Self {
        Self::of("default")
    }

    /// With a file of its own, for this namespace.
    fn of(namespace: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}", directory.path().join("baldur.db").display());
        Self { directory, url, namespace: namespace.to_owned() }
    }

    /// With a store elsewhere.
    #[cfg(feature = "postgres")]
    fn at(url: &str, namespace: &str) -> Self {
        Self { url: url.to_owned(), ..Self::of(namespace) }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The command, in an environment that holds nothing but the store.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baldur"));
        command.args(args).env_clear().env("HOME", self.path());
        command.env("BALDUR__STORE__URL", &self.url).env("USER", "ann");
        command.env("BALDUR__NAMESPACE", &self.namespace);
        command.current_dir(self.path());
        command
    }

    fn run(&self, args: &[&str]) -> Run {
        self.feed(args, b"")
    }

    fn feed(&self, args: &[&str], input: &[u8]) -> Run {
        finish(self.command(args), input)
    }

    /// A run that must work.
    fn ok(&self, args: &[&str]) -> String {
        let run = self.run(args);
        assert_eq!(run.code, 0, "{args:?}: {run:?}");
        run.out
    }

    /// One captured entry; its id.
    fn captured(&self, domain: &str) -> String {
        let args = [
            "capture",
            "--domain",
            domain,
            "--failure-type",
            "TIMEOUT",
            "--request-data",
            "{\"n\":1}",
        ];
        let answer = json(&self.ok(&[&args[..], &["--json"]].concat()));
        answer["id"].as_str().expect("an id").to_owned()
    }

    fn status(&self, id: &str) -> String {
        let record = json(&self.ok(&["entries", "show", id, "--json"]));
        record["entry"]["status"].as_str().expect("a status").to_owned()
    }

    fn count(&self) -> usize {
        self.ok(&["entries", "list", "--all", "--json"]).lines().count()
    }
}

fn finish(mut command: Command, input: &[u8]) -> Run {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A command that reads nothing closes its end early, which is its right.
    let feeding = std::thread::spawn(move || stdin.write_all(&input).is_ok());
    let output = child.wait_with_output().expect("it ends");
    feeding.join().expect("fed");
    Run::of(output)
}

impl Run {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    fn json_lines(&self) -> Vec<Value> {
        self.out.lines().map(json).collect()
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// An id that tests know beforehand.
fn id(n: u64) -> String {
    format!("01890a5d-ac96-774b-bcce-{n:012x}")
}
