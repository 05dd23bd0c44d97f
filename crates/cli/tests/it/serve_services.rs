//! What `baldur serve` does besides answering: it drains its spool, empties its outbox, and replays.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::PathBuf,
};

use crate::{
    Bench, id, json,
    serve::{Server, op},
};

impl Bench {
    /// Writes a settings file.
    pub(crate) fn settings(&self, text: &str) -> String {
        let path = self.path().join("baldur.toml");
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("Unicode").to_owned()
    }

    pub(crate) fn with_spool(&self) -> (PathBuf, String) {
        let dir = self.path().join("spool");
        let config = self.settings(&format!("[spool]\ndir = '{}'\n", dir.display()));
        (dir, config)
    }
}

#[test]
fn a_durable_capture_is_spooled_and_then_stored() {
    let bench = Bench::new();
    let (dir, config) = bench.with_spool();
    let server = Server::start(&bench, &["--config", &config]);
    let (status, body) = server.post_as("durable", &op(1));
    assert_eq!((status, &json(&body)["durability"]), (202, &"spooled".into()));
    server.until(&format!("/api/v1/entries/{}", id(1)), |status, _| status == 200);
    let parts = json(&server.get("/readyz").1)["parts"].clone();
    assert_eq!((&parts["spool"], &parts["outbox"]), (&"ok".into(), &"ok".into()));
    server.signal("TERM");
    let run = server.ended();
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(bench.status(&id(1)), "pending");
    let status =
        json(&bench.ok(&["spool", "status", "--dir", &dir.display().to_string(), "--json"]));
    assert_eq!(status["records"], 0, "{status}");
}

#[test]
fn what_an_earlier_process_left_in_the_spool_is_stored() {
    let bench = Bench::new();
    bench.spooled(3, "default");
    let (_, config) = bench.with_spool();
    let server = Server::start(&bench, &["--config", &config]);
    server.until("/metrics", |_, text| text.lines().any(|line| line == "baldur_spool_records 0"));
    server.signal("TERM");
    let run = server.ended();
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(bench.count(), 3);
}

#[test]
fn what_is_queued_is_stored_before_the_end() {
    let bench = Bench::new();
    let config = bench.settings("[capture]\nmode = 'async'\n[outbox]\nlinger = '10s'\n");
    let server = Server::start(&bench, &["--config", &config]);
    for n in 1..=20 {
        let (status, body) = server.post_as("async", &op(n));
        assert_eq!((status, &json(&body)["durability"]), (202, &"queued".into()));
    }
    server.signal("TERM");
    let run = server.ended();
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(bench.count(), 20);
}

/// A limit on the size of files stands for a full disk.
#[cfg(unix)]
#[test]
fn captures_that_can_not_be_kept_at_the_end_are_named_and_fail_the_command() {
    let bench = Bench::new();
    let config = bench.settings("[serve]\ngrace = '1s'\n");
    let mut command = bench.command(&[]);
    let serve = bench.command(&["serve", "--listen", "127.0.0.1:0", "--config", &config]);
    let limited = "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\"";
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", limited]).arg(serve.get_program()).args(serve.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(bench.path());
    command = shell;
    let server = Server::run(command);
    let large =
        format!("{}\"request_data\":\"{}\"}}", op(1).replace('}', ","), "x".repeat(700 << 10));
    assert_eq!(server.post_as("async", &large).0, 202);
    server.signal("TERM");
    let run = server.ended();
    assert_eq!(run.code, 5, "{run:?}");
    assert!(run.err.contains("not every queued capture was kept"), "{run:?}");
    assert!(run.err.contains(&id(1)), "{run:?}");
    assert_eq!(bench.count(), 0);
}

/// A target that takes everything.
pub(crate) fn target() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut bytes = Vec::new();
                let mut piece = [0; 4096];
                // Bodies are small: with the head comes all of it, or nothing that matters.
                while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
                    match stream.read(&mut piece) {
                        Ok(0) | Err(_) => return,
                        Ok(count) => bytes.extend_from_slice(&piece[..count]),
                    }
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = stream.write_all(answer);
            });
        }
    });
    address
}

#[test]
fn entries_are_replayed_once_their_dependency_is_back() {
    let bench = Bench::new();
    let target = target();
    let config = bench.settings(&format!(
        "[recovery]\njitter = '0s'\n\
         [recovery.dependencies.payment-gateway]\nprobe_url = 'http://{target}/health'\n\
         probe_allowed_hosts = ['{target}']\nprobe_interval = '10ms'\nprobe_successes = 1\n\
         [handlers.payment]\nurl = 'http://{target}/replay'\nallowed_hosts = ['{target}']\n"
    ));
    let server = Server::start(&bench, &["--config", &config]);
    let op = op(1).replace('}', ",\"dependency\":\"payment-gateway\",\"request_data\":{}}");
    assert_eq!(server.post(&op).0, 201);
    server.until(&format!("/api/v1/entries/{}", id(1)), |_, body| {
        json(body)["entry"]["status"] == "resolved"
    });
    server.signal("TERM");
    let run = server.ended();
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.err.contains("recovery.sweep_ended"), "{run:?}");
}
