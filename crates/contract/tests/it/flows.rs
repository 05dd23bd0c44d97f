use std::{io::ErrorKind, num::NonZeroU64, time::Duration};

use baldur_contract::proxy::{Direction, Ending, Faults, Flow, Latency, Scope, Traffic};

use crate::support::{Client, world};

const AN_HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn without_faults_all_bytes_pass_and_are_counted() {
    let (echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    client.asks("hello").await;
    client.done_sending().await;
    client.sees_the_end().await;
    let seen = proxy.wait_for(|seen| seen.open == 0).await.expect("ended");
    let five = Traffic { chunks: 1, received: 5, forwarded: 5, swallowed: 0 };
    assert_eq!((seen.accepted, seen.to_server, seen.to_client), (1, five, five));
    assert_eq!(seen.faults, Faults::default());
    assert_eq!(echo.seen(), "hello");
}

#[tokio::test]
async fn a_client_that_is_done_sending_gets_the_rest() {
    let (_echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    let much = "0123456789abcdef".repeat(8_192);
    let sending = async {
        // More than the buffers take, so that both ways must run.
        client.send(&much).await;
        client.done_sending().await;
        client.rest().await.expect("no reset")
    };
    assert!(sending.await == much);
}

#[tokio::test]
async fn a_delayed_chunk_waits_until_its_time_or_another_flow() {
    let (echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    let short = Latency::between(Duration::ZERO, Duration::from_millis(3), 7);
    proxy.set(Scope::All, Direction::Both, Flow::Delay(short));
    client.asks("soon").await;
    assert_eq!(proxy.counters().faults.delayed, 2);

    proxy.set(Scope::All, Direction::ToServer, Flow::Delay(Latency::fixed(AN_HOUR)));
    client.send("late").await;
    proxy.wait_for(|seen| seen.faults.delayed == 3).await.expect("delayed");
    assert_eq!(proxy.counters().to_server.forwarded, 4);
    assert_eq!(echo.seen(), "soon");
    proxy.set(Scope::All, Direction::Both, Flow::Pass);
    client.reads("late").await;
}

#[tokio::test]
async fn a_stalled_way_loses_nothing() {
    let (echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    proxy.set(Scope::All, Direction::ToClient, Flow::Stall);
    client.send("asked").await;
    echo.has_seen("asked").await;
    proxy.set(Scope::All, Direction::ToServer, Flow::Stall);
    client.send(" again").await;
    assert_eq!(proxy.counters().to_client.received, 0);
    proxy.set(Scope::All, Direction::Both, Flow::Pass);
    client.reads("asked again").await;
}

#[tokio::test]
async fn the_end_of_a_stream_is_not_noticed_behind_a_stall() {
    let (echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    client.asks("x").await;
    proxy.set(Scope::All, Direction::ToClient, Flow::Stall);
    echo.hang_up();
    echo.has_no_connections().await;
    // What it is sent now comes back as a reset, and that isn't told either.
    client.send("y").await;
    proxy.wait_for(|seen| seen.to_server.received == 2).await.expect("read");
    client.send("z").await;
    proxy.wait_for(|seen| seen.to_server.received == 3).await.expect("read");
    client.hears_nothing();
    assert_eq!(proxy.counters().open, 1);
    proxy.set(Scope::All, Direction::ToClient, Flow::Pass);
    assert_eq!(client.rest().await.unwrap_or_default(), "");
    proxy.wait_for(|seen| seen.open == 0).await.expect("ended");
}

#[tokio::test]
async fn the_end_of_a_stream_falls_into_a_blackhole_until_it_is_lifted() {
    let (echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    client.asks("x").await;
    proxy.set(Scope::All, Direction::ToClient, Flow::Blackhole);
    echo.hang_up();
    echo.has_no_connections().await;
    client.send("y").await;
    proxy.wait_for(|seen| seen.to_server.received == 2).await.expect("read");
    client.hears_nothing();
    assert_eq!(proxy.counters().open, 1);
    // No byte was lost, so that it can be told now.
    proxy.set(Scope::All, Direction::ToClient, Flow::Pass);
    assert_eq!(client.rest().await.unwrap_or_default(), "");
    assert_eq!(proxy.counters().faults.gaps, 0);
}

#[tokio::test]
async fn a_close_with_unread_bytes_is_no_reset() {
    let (_echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    proxy.set(Scope::All, Direction::ToServer, Flow::Stall);
    client.send("never read by the server").await;
    proxy.end(Ending::Close);
    let end = client.try_read(1).await.expect_err("nothing comes");
    assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
    // After a reset this would fail.
    client.send("nor is this").await;
    client.sees_the_end().await;
}

#[tokio::test]
async fn a_blackhole_swallows_requests_and_keeps_the_connection() {
    let (echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    proxy.set(Scope::All, Direction::ToServer, Flow::Blackhole);
    client.send("lost").await;
    let seen = proxy.wait_for(|seen| seen.to_server.swallowed == 4).await.expect("swallowed");
    assert_eq!((seen.open, seen.to_server.forwarded), (1, 0));
    proxy.end(Ending::Close);
    client.sees_the_end().await;
    assert_eq!(echo.seen(), "");
}

#[tokio::test]
async fn a_blackhole_swallows_replies_to_requests_that_arrive() {
    let (echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    proxy.set(Scope::All, Direction::ToClient, Flow::Blackhole);
    client.send("applied").await;
    proxy.wait_for(|seen| seen.to_client.swallowed == 7).await.expect("swallowed");
    proxy.end(Ending::Close);
    client.sees_the_end().await;
    assert_eq!(echo.seen(), "applied");
}

#[tokio::test]
async fn a_connection_that_lost_bytes_is_reset_when_the_blackhole_is_lifted() {
    let (echo, proxy) = world().await;
    let mut loser = Client::connect(&proxy).await;
    let mut other = Client::connect(&proxy).await;
    proxy.set(Scope::All, Direction::ToServer, Flow::Blackhole);
    loser.send("lost").await;
    proxy.wait_for(|seen| seen.to_server.swallowed == 4).await.expect("swallowed");
    proxy.set(Scope::All, Direction::ToServer, Flow::Pass);
    loser.sees_a_reset().await;
    other.asks("kept").await;
    assert_eq!((echo.seen().as_str(), proxy.counters().faults.gaps), ("kept", 1));
}

#[tokio::test]
async fn a_throttled_way_gives_a_little_at_a_time() {
    let (_echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    proxy.set(
        Scope::All,
        Direction::ToClient,
        Flow::Throttle { bytes_per_second: NonZeroU64::MIN },
    );
    let text = "0123456789".repeat(100);
    client.send(&text).await;
    client.reads("0").await;
    let seen = proxy.counters();
    assert_eq!((seen.to_server.forwarded, seen.to_client.forwarded), (1_000, 1));
    proxy.set(Scope::All, Direction::ToClient, Flow::Pass);
    client.reads(&text[1..]).await;
}

#[tokio::test]
async fn a_throttled_way_still_gets_everything_through() {
    let (_echo, proxy) = world().await;
    let rate = NonZeroU64::new(200_000).expect("not zero");
    proxy.set(Scope::New, Direction::Both, Flow::Throttle { bytes_per_second: rate });
    let mut client = Client::connect(&proxy).await;
    client.asks(&"0123456789".repeat(3_000)).await;
}

#[tokio::test]
async fn a_cut_after_some_bytes_lets_just_these_pass() {
    let (echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    client.asks("before ").await;
    let cut = Flow::CutAfter { bytes: 5, ending: Ending::Reset };
    proxy.set(Scope::All, Direction::ToServer, cut);
    client.send("12").await;
    client.reads("12").await;
    client.send("34567").await;
    assert!(client.rest().await.is_err());
    let seen = proxy.wait_for(|seen| seen.open == 0).await.expect("cut");
    assert_eq!((seen.to_server.forwarded, seen.faults.cut_after_bytes), (12, 1));
    assert!("before 12345".starts_with(&echo.seen()));
}

#[tokio::test]
async fn a_reply_can_be_cut_in_the_middle() {
    let (_echo, proxy) = world().await;
    let cut = Flow::CutAfter { bytes: 3, ending: Ending::Close };
    proxy.set(Scope::New, Direction::ToClient, cut);
    for _ in 0..2 {
        let mut client = Client::connect(&proxy).await;
        client.send("abcdef").await;
        assert_eq!(client.rest().await.expect("closed"), "abc");
    }
    assert_eq!(proxy.counters().faults.cut_after_bytes, 2);
}

#[tokio::test]
async fn settings_are_for_existing_or_for_new_connections() {
    let (_echo, proxy) = world().await;
    let mut old = Client::connect(&proxy).await;
    let cut = Flow::CutAfter { bytes: 0, ending: Ending::Reset };
    proxy.set(Scope::New, Direction::ToServer, cut);
    let mut new = Client::connect(&proxy).await;
    new.send("x").await;
    new.sees_a_reset().await;
    old.asks("old").await;

    proxy.set(Scope::New, Direction::Both, Flow::Pass);
    proxy.set(Scope::Existing, Direction::ToServer, cut);
    Client::connect(&proxy).await.asks("newest").await;
    old.send("x").await;
    old.sees_a_reset().await;
}

#[tokio::test]
async fn open_connections_end_as_they_are_told() {
    let (_echo, proxy) = world().await;
    let (mut one, mut other) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
    one.asks("one").await;
    other.asks("other").await;
    assert_eq!(proxy.end(Ending::Reset), 2);
    one.sees_a_reset().await;
    other.sees_a_reset().await;
    proxy.wait_for(|seen| seen.open == 0).await.expect("ended");

    let mut third = Client::connect(&proxy).await;
    third.asks("third").await;
    assert_eq!(proxy.end(Ending::Close), 1);
    third.sees_the_end().await;
    let seen = proxy.wait_for(|seen| seen.open == 0).await.expect("ended");
    assert_eq!((seen.accepted, seen.faults.ended), (3, 3));
}

#[tokio::test]
async fn a_connection_whose_server_takes_nothing_can_be_ended() {
    let (_echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    proxy.set(Scope::All, Direction::ToClient, Flow::Stall);
    // The echo server doesn't read on while its replies are not taken, so the way to it is full at some time.
    let much = "0123456789abcdef".repeat(4_096 * 64);
    let sent = {
        let sending = client.try_send(&much);
        let ending = async {
            let full = proxy
                .wait_for(|seen| seen.to_client.received == 0 && seen.to_server.received > 65_536);
            full.await.expect("under way");
            proxy.end(Ending::Reset)
        };
        tokio::join!(sending, ending).0
    };
    assert!(sent.is_err() || client.rest().await.is_err());
    proxy.wait_for(|seen| seen.open == 0).await.expect("ended");
}
