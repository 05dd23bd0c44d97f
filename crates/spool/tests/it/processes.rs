//! Real processes that share a directory, and die.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use baldur_core::port::Spool as _;

use crate::support::{adopt, append, drain, ids, open};

const DIR: &str = "BALDUR_TEST_SPOOL_DIR";

/// This very test, as a process of its own that appends until it is killed. Says each number that was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_appends_until_it_is_killed() {
    let dir = std::env::vars_os().find(|(name, _)| name == DIR);
    let Some((_, dir)) = dir else { return };
    let spool = open(Path::new(&dir)).await;
    for n in 1.. {
        append(&spool, [n]).await;
        println!("acknowledged {n}");
    }
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "processes::a_process_that_appends_until_it_is_killed", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_acknowledged_is_delivered_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = open(dir.path()).await;
    for kill_after in [1, 20] {
        let mut child = start(dir.path());
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut acknowledged = 0;
        while acknowledged < kill_after {
            let line = lines.next().expect("it goes on").expect("UTF-8");
            // The harness may write in front of it.
            let number = line.rsplit_once("acknowledged ").and_then(|(_, n)| n.parse().ok());
            acknowledged = number.unwrap_or(acknowledged);
            assert_eq!(spool.adopt().await.expect("listed"), 0, "it lives");
        }
        child.kill().expect("killed");
        child.wait().expect("dead");
        for line in lines.map_while(Result::ok) {
            let number = line.rsplit_once("acknowledged ").and_then(|(_, n)| n.parse().ok());
            acknowledged = number.unwrap_or(acknowledged);
        }
        adopt(&spool, 1).await;
        let delivered = drain(&spool).await;
        let count = delivered.len() as u64;
        assert!(count >= acknowledged, "{count} of {acknowledged}");
        assert_eq!(delivered, ids(1..=count));
        assert_eq!(spool.status().set_aside, 0);
    }
}
