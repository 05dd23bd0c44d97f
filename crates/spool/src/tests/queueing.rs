//! Bounded queues and waits, with a disk that hangs.

use std::sync::{Arc, PoisonError, mpsc};

use baldur_core::{
    BackendKind, Clock, Outcome, Retry,
    port::{Spool as _, SpoolError},
};

use super::support::{ROOT, capture, config, ids, key, world};
use crate::{DiskSpool, config::SpoolConfig, core::Core, disk::sim::SimDisk};

/// A disk that hangs in its next write until this is dropped.
struct Hanging(Option<mpsc::Sender<()>>, Option<std::thread::JoinHandle<()>>);

impl Hanging {
    fn on(disk: &SimDisk) -> Self {
        let (release, released) = mpsc::channel::<()>();
        let (ready, awaited) = mpsc::channel();
        let gate = Arc::clone(&disk.gate);
        let thread = std::thread::spawn(move || {
            let _gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
            ready.send(()).expect("awaited");
            // Ends when the sender is dropped.
            let _ = released.recv();
        });
        awaited.recv().expect("ready");
        Self(Some(release), Some(thread))
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        drop(self.0.take());
        if let Some(thread) = self.1.take() {
            thread.join().expect("ended");
        }
    }
}

fn spool(disk: &SimDisk, config: SpoolConfig) -> DiskSpool {
    let (_, clock) = world();
    let clock: Arc<dyn Clock> = clock;
    DiskSpool::on(Arc::new(Core::new(Arc::new(disk.clone()), ROOT.into(), config, clock)))
        .expect("opened")
}

fn backend(answer: &Result<(), SpoolError>) -> (BackendKind, Retry, Outcome) {
    match answer {
        Err(SpoolError::Backend(error)) => (error.kind(), error.retry(), error.outcome()),
        other => panic!("no failure of the disk: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_hangs_no_caller_and_what_it_took_is_written_later() {
    let (disk, _) = world();
    let spool = spool(&disk, SpoolConfig { queue_records: 1, ..config() });
    let hanging = Hanging::on(&disk);
    let (first, second) = tokio::join!(
        spool.append(vec![capture(1, Some("first"))]),
        spool.append(vec![capture(2, Some("second"))]),
    );
    let unknown = (BackendKind::Timeout, Retry::Backoff, Outcome::Unknown);
    assert_eq!(backend(&first[0]), unknown);
    let busy = (BackendKind::Busy, Retry::Backoff, Outcome::NotApplied);
    assert_eq!(backend(&second[0]), busy);
    assert!(spool.holds(&key("first")), "it may still be written");
    assert!(!spool.holds(&key("second")));
    // From here on a thread is waited for, which paused time would not do.
    tokio::time::resume();
    drop(hanging);
    assert!(spool.append(vec![capture(3, None)]).await[0].is_ok());
    let seen = spool.peek(9).await.expect("readable");
    let seen: Vec<_> = seen.into_iter().map(|record| record.capture.op.id).collect();
    assert_eq!(seen, ids([1, 3]));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_does_not_hang_the_end_and_keeps_its_lane_locked() {
    let (disk, _) = world();
    let spool = spool(&disk, config());
    let hanging = Hanging::on(&disk);
    let unknown = (BackendKind::Timeout, Retry::Backoff, Outcome::Unknown);
    assert_eq!(backend(&spool.append(vec![capture(1, None)]).await[0]), unknown);
    spool.close().await;
    let found = crate::inspect::look(&disk, ROOT.as_ref()).expect("readable");
    assert!(found.lanes[0].live, "nobody may take a lane that may still be written to");
    // From here on a thread is waited for, which paused time would not do.
    tokio::time::resume();
    drop(hanging);
    spool.close().await;
    let found = crate::inspect::look(&disk, ROOT.as_ref()).expect("readable");
    assert_eq!((found.lanes[0].live, found.lanes[0].records), (false, 1));
}

#[test]
fn a_disk_that_hangs_takes_one_thread_and_not_all_of_the_host() {
    let (disk, _) = world();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(3)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let answer_timeout = std::time::Duration::from_millis(5);
        let spool = spool(&disk, SpoolConfig { answer_timeout, ..config() });
        // The first writes may take longer than they are waited for.
        let _ = spool.append(vec![capture(1, None)]).await;
        let first = loop {
            if let Ok([first, ..]) = spool.peek(1).await.as_deref() {
                break first.position;
            }
        };
        let hanging = Hanging::on(&disk);
        assert!(spool.set_aside(first, "no".to_owned()).await.is_err());
        for _ in 0..6 {
            assert!(spool.peek(1).await.is_err());
        }
        let of_the_host = tokio::task::spawn_blocking(|| 7);
        let ran = tokio::time::timeout(std::time::Duration::from_secs(20), of_the_host).await;
        drop(hanging);
        assert!(ran.is_ok(), "the host has threads left");
    });
}
