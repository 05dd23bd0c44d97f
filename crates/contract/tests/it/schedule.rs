use std::time::Duration;

use baldur_contract::proxy::{
    Admission, Direction, Ending, Fault, FaultProxy, Flow, Schedule, Span, Step,
};
use tokio::{sync::watch, task::JoinSet};

use crate::support::{Client, Echo, soon, world};

const AN_HOUR: Duration = Duration::from_hours(1);

fn step(fault: Fault, lasts: Span) -> Step {
    Step { fault, lasts }
}

#[tokio::test]
async fn steps_follow_each_other_as_bytes_pass() {
    let (_echo, proxy) = world().await;
    let two_chunks = Span::Chunks { chunks: 2, at_most: AN_HOUR };
    let playing = proxy.play(Schedule::new(vec![
        step(Fault::Healthy, two_chunks),
        step(Fault::End(Ending::Reset), two_chunks),
        step(
            Fault::Flow(Direction::ToServer, Flow::Blackhole),
            Span::Bytes { bytes: 5, at_most: AN_HOUR },
        ),
        step(Fault::Admission(Admission::Refuse), Span::Time(Duration::from_millis(1))),
    ]));
    // The first is reset after two chunks; what the second sends falls into the blackhole at some time.
    for _ in 0..2 {
        let mut client = Client::connect(&proxy).await;
        while client.try_send("12345").await.is_ok() && client.try_read(5).await.is_ok() {}
    }
    assert_eq!(soon(playing.finished()).await.expect("played"), 4);
    let seen = proxy.counters();
    assert_eq!((seen.accepted, seen.faults.ended, seen.faults.gaps), (2, 1, 1));
    Client::connect(&proxy).await.asks("healthy").await;
}

#[tokio::test]
async fn a_stopped_schedule_lifts_its_fault() {
    let (_echo, proxy) = world().await;
    for fault in [
        Fault::Flow(Direction::Both, Flow::Stall),
        Fault::Admission(Admission::HalfOpen),
        Fault::Admission(Admission::Refuse),
    ] {
        let endless = Span::Time(AN_HOUR);
        let steps = vec![step(fault, endless), step(Fault::Healthy, endless)];
        let playing = proxy.play(Schedule::new(steps));
        assert_eq!(soon(playing.stop()).await.expect("stopped"), 1, "{fault:?}");
        Client::connect(&proxy).await.asks("healthy").await;
    }
}

#[tokio::test]
async fn a_schedule_ends_with_its_proxy() {
    let (_echo, proxy) = world().await;
    let endless = vec![step(Fault::Healthy, Span::Time(AN_HOUR)); 2];
    let playing = proxy.play(Schedule::new(endless));
    proxy.shutdown().await;
    assert_eq!(soon(playing.finished()).await.expect("healthy all along"), 1);
}

/// Sends numbered requests until it is over, and says how many were answered. What is read is always the beginning
/// of what was sent.
async fn talk(proxy: &FaultProxy, over: &watch::Receiver<bool>) -> u64 {
    let mut answered = 0;
    while !*over.borrow() {
        let Ok(mut client) = Client::try_connect(proxy).await else {
            tokio::task::yield_now().await;
            continue;
        };
        for number in 0.. {
            let asked = format!("request {number};");
            let waiting = async {
                client.try_send(&asked).await?;
                client.try_read(asked.len()).await
            };
            // As every client of a network must, this one gives up at some time.
            match tokio::time::timeout(Duration::from_millis(100), waiting).await {
                Ok(Ok(answer)) => assert_eq!(answer, asked),
                Ok(Err(_)) | Err(_) => break,
            }
            answered += 1;
            if *over.borrow() {
                break;
            }
        }
    }
    answered
}

#[tokio::test]
async fn no_random_schedule_garbles_a_stream_and_all_end_healthy() {
    for seed in 0..3 {
        let echo = Echo::start().await;
        let proxy = std::sync::Arc::new(FaultProxy::start(echo.address).await.expect("started"));
        let (over, is_over) = watch::channel(false);
        let mut clients = JoinSet::new();
        for _ in 0..4 {
            let (proxy, is_over) = (std::sync::Arc::clone(&proxy), is_over.clone());
            clients.spawn(async move { talk(&proxy, &is_over).await });
        }
        let schedule = Schedule::random(seed, 12);
        let played = soon(proxy.play(schedule.clone()).finished()).await.expect("played");
        assert_eq!(played, schedule.steps().len());
        over.send_replace(true);
        let answered: u64 = soon(clients.join_all()).await.into_iter().sum();
        assert!(answered > 0, "seed {seed}: {schedule:?}");
        Client::connect(&proxy).await.asks("healthy").await;
        proxy.wait_for(|seen| seen.open == 0).await.expect("nothing is left behind");
    }
}
