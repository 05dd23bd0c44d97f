//! `spool status`, `verify` and `drain`.

use std::{path::PathBuf, sync::Arc};

use baldur::{
    Baldur, NewFailedOp, Oversize, Settings, SystemClock, Who,
    port::Spool as _,
    spool::{DiskSpool, SpoolConfig},
};

use crate::{Bench, json};

impl Bench {
    fn spool(&self) -> PathBuf {
        self.path().join("spool")
    }

    /// Leaves captures in the spool, as a process that could not reach its store; `namespace` is theirs.
    pub(crate) fn spooled(&self, count: u64, namespace: &str) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let mut settings = Settings::at("memory:");
            settings.namespace = namespace.parse().expect("a name");
            let baldur = Baldur::open(settings).await.expect("opened");
            let config = SpoolConfig::new(self.spool());
            let spool = DiskSpool::open(config, Arc::new(SystemClock)).await.expect("opened");
            let mut captures = Vec::new();
            for n in 0..count {
                let op =
                    NewFailedOp::new("payment", "TIMEOUT").request_data(format!("{{\"n\":{n}}}"));
                captures.push(
                    baldur.capture().prepare(op, &Who::system(), Oversize::Refuse).expect("valid"),
                );
            }
            // In two writes, so that damage in the first is no torn end.
            for half in captures.chunks(captures.len().div_ceil(2)) {
                let answers = spool.append(half.to_vec()).await;
                assert!(answers.iter().all(Result::is_ok), "{answers:?}");
            }
            spool.close().await;
        });
    }

    fn segment(&self) -> PathBuf {
        let lanes = self.spool().read_dir().expect("readable");
        let lane = lanes.map(|lane| lane.expect("there").path()).next().expect("a lane");
        lane.join("00000000000000000001.seg")
    }
}

#[test]
fn what_waits_is_shown_without_a_store_and_nothing_is_changed() {
    let bench = Bench::new();
    bench.spooled(3, "default");
    let before = std::fs::read(bench.segment()).expect("there");
    let dir = bench.spool();
    let args = ["spool", "status", "--dir", dir.to_str().expect("Unicode"), "--json"];
    let status = json(&bench.ok(&args));
    assert_eq!(status["records"], 3, "{status}");
    assert_eq!(status["lanes"][0]["live"], false, "{status}");
    assert_eq!(status["bytes"], before.len());
    assert!(status["oldest"].is_string());
    let text = bench.ok(&args[..4]);
    assert!(text.contains("is gone") && text.contains("3 records wait"), "{text}");
    assert_eq!(std::fs::read(bench.segment()).expect("there"), before);
    assert!(!bench.path().join("baldur.db").exists(), "no store was made");
}

#[test]
fn records_are_moved_into_the_store_once() {
    let bench = Bench::new();
    bench.spooled(450, "default");
    let dir = bench.spool();
    let mut command = bench.command(&["spool", "drain", "--json"]);
    command.env("BALDUR__SPOOL__DIR", &dir);
    let run = crate::finish(command, b"");
    assert_eq!(run.code, 0, "{run:?}");
    let went = json(&run.out);
    assert_eq!(
        (&went["drained"], &went["new"], &went["left"]),
        (&450.into(), &450.into(), &0.into())
    );
    assert_eq!(bench.count(), 450);
    assert_eq!(dir.read_dir().expect("readable").count(), 0);
    let again = bench.ok(&["spool", "drain", "--dir", dir.to_str().expect("Unicode")]);
    assert_eq!(again, "moved 0 records\n");
}

#[test]
fn a_record_that_the_store_will_never_take_is_put_aside_and_the_rest_is_moved() {
    let bench = Bench::new();
    bench.spooled(1, "other");
    bench.spooled(2, "default");
    let dir = bench.spool();
    let dir = dir.to_str().expect("Unicode");
    let run = bench.run(&["spool", "drain", "--dir", dir]);
    assert_eq!((run.code, run.out.as_str()), (1, "moved 2 records; 1 refused and put aside\n"));
    assert_eq!(bench.count(), 2);
    let status = json(&bench.ok(&["spool", "status", "--dir", dir, "--json"]));
    assert_eq!((&status["records"], &status["refused"]), (&0.into(), &1.into()));
}

#[test]
fn records_that_were_put_aside_are_offered_once_more_when_that_is_asked_for() {
    let bench = Bench::new();
    bench.spooled(3, "other");
    let dir = bench.spool();
    let dir = dir.to_str().expect("Unicode");
    let drain = ["spool", "drain", "--dir", dir, "--json"];
    let again = ["spool", "drain", "--dir", dir, "--refused", "--json"];
    let went = json(&bench.run(&drain).out);
    assert_eq!((&went["set_aside"], &went["taken_back"]), (&3.into(), &0.into()), "{went}");
    let status = json(&bench.ok(&["spool", "status", "--dir", dir, "--json"]));
    assert_eq!(status["refused"], 3, "{status}");
    assert!(status["refused_bytes"].as_u64() > Some(1_000), "{status}");
    assert_eq!(status["max_refused_bytes"], 256 << 20, "{status}");
    let text = bench.ok(&["spool", "status", "--dir", dir]);
    assert!(text.contains("3 put aside, since the store refused them"), "{text}");
    let run = bench.run(&drain);
    assert_eq!(
        (run.code, &json(&run.out)["set_aside"]),
        (0, &0.into()),
        "they stay where they are"
    );
    let run = bench.run(&again);
    assert_eq!(run.code, 1, "{run:?}");
    let went = json(&run.out);
    assert_eq!((&went["set_aside"], &went["taken_back"]), (&3.into(), &3.into()), "{went}");
    let mut command = bench.command(&again);
    command.env("BALDUR__NAMESPACE", "other");
    let run = crate::finish(command, b"");
    assert_eq!(run.code, 0, "{run:?}");
    let went = json(&run.out);
    assert_eq!(
        (&went["drained"], &went["new"], &went["set_aside"]),
        (&3.into(), &3.into(), &0.into())
    );
    let status = json(&bench.ok(&["spool", "status", "--dir", dir, "--json"]));
    assert_eq!((&status["refused"], &status["records"]), (&0.into(), &0.into()), "{status}");
}

#[test]
fn a_store_that_can_not_be_used_costs_no_record() {
    let bench = Bench::new();
    bench.spooled(2, "default");
    let dir = bench.spool();
    let dir = dir.to_str().expect("Unicode");
    std::fs::write(bench.path().join("baldur.db"), "no database").expect("written");
    assert_eq!(bench.run(&["spool", "drain", "--dir", dir]).code, 5);
    let status = json(&bench.ok(&["spool", "status", "--dir", dir, "--json"]));
    assert_eq!(status["records"], 2);
}

#[test]
fn damage_is_named_with_file_and_place_and_fails_the_command() {
    let bench = Bench::new();
    for _ in 0..2 {
        bench.spooled(2, "default");
    }
    let dir = bench.spool();
    let args = ["spool", "verify", "--dir", dir.to_str().expect("Unicode"), "--json"];
    let found = json(&bench.ok(&args));
    assert_eq!((&found["ok"], &found["records"]), (&true.into(), &4.into()));
    std::fs::write(dir.join("stray"), "?").expect("written");
    let mut bytes = std::fs::read(bench.segment()).expect("there");
    bytes[3] ^= 1;
    std::fs::write(bench.segment(), &bytes).expect("written");
    let run = bench.run(&args);
    assert_eq!(run.code, 1, "{run:?}");
    let found = json(&run.out);
    let files: Vec<&str> = found["problems"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|problem| problem["file"].as_str())
        .collect();
    assert!(files.len() == 2 && files.contains(&"stray"), "{found}");
    assert_eq!(found["records"], 4, "what is good can be read: {found}");
    let text = bench.run(&args[..4]);
    assert!(text.out.contains("the spool is not in order"), "{text:?}");
}

#[test]
fn without_a_directory_there_is_no_spool() {
    let bench = Bench::new();
    let run = bench.run(&["spool", "status"]);
    assert_eq!(run.code, 2);
    assert!(run.err.contains("spool.dir"), "{run:?}");
    let run = bench.run(&["spool", "status", "--dir", "/nowhere/at/all"]);
    assert_eq!(run.code, 5, "{run:?}");
}
