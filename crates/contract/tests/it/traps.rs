use baldur_contract::proxy::{Direction, Ending, Faults, Flow, Pattern, Scope, Trap};

use crate::support::{Client, world};

fn commit() -> Pattern {
    Pattern::bytes("COMMIT")
}

#[tokio::test]
async fn a_cut_before_a_request_forwards_nothing_of_it() {
    let (echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    proxy.arm(Trap::cut_before_send(commit()));
    client.asks("BEGIN;").await;
    client.send("COMMIT;").await;
    client.sees_a_reset().await;
    assert_eq!(echo.seen(), "BEGIN;");
    assert_eq!(proxy.counters().faults.cut_before_send, 1);

    // It happened once: the next is carried out.
    Client::connect(&proxy).await.asks("COMMIT;").await;
}

#[tokio::test]
async fn a_request_in_two_chunks_is_cut_before_it_is_whole() {
    let (echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    proxy.arm(Trap::cut_before_send(commit()).by(Ending::Close));
    client.asks("BEGIN;COM").await;
    client.send("MIT;").await;
    client.sees_the_end().await;
    assert_eq!(echo.seen(), "BEGIN;COM");
}

#[tokio::test]
async fn a_cut_after_a_request_loses_the_reply_of_what_was_carried_out() {
    for ending in [Ending::Reset, Ending::Close] {
        let (echo, proxy) = world().await;
        let mut client = Client::connect(&proxy).await;
        proxy.arm(Trap::cut_after_send(commit()).by(ending));
        client.asks("BEGIN;").await;
        client.send("COMMIT;").await;
        match ending {
            Ending::Reset => client.sees_a_reset().await,
            Ending::Close => client.sees_the_end().await,
        }
        // The server has answered, so it has seen the request.
        assert_eq!(echo.seen(), "BEGIN;COMMIT;");
        let seen = proxy.counters();
        assert_eq!((seen.faults.cut_after_send, seen.to_client.swallowed), (1, 7));
    }
}

#[tokio::test]
async fn the_nth_request_is_met_on_whichever_connection() {
    let (echo, proxy) = world().await;
    let (mut one, mut other) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
    proxy.arm(Trap::cut_after_send(commit()).nth(3));
    one.asks("COMMIT1").await;
    other.asks("COMMIT2").await;
    one.send("COMMIT3").await;
    one.sees_a_reset().await;
    other.asks("COMMIT4").await;
    assert_eq!(echo.seen(), "COMMIT1COMMIT2COMMIT3COMMIT4");
}

#[tokio::test]
async fn a_reply_is_withheld_until_the_answer_is_in_it() {
    let (echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    proxy.arm(Trap::cut_after_send(commit()).answered_by(Pattern::bytes("done")));
    client.send("COMMIT").await;
    proxy.wait_for(|seen| seen.to_client.swallowed == 6).await.expect("withheld");
    assert_eq!(proxy.counters().faults.cut_after_send, 0);
    client.send("do").await;
    echo.has_seen("COMMITdo").await;
    client.send("ne").await;
    client.sees_a_reset().await;
    assert_eq!(proxy.counters().faults.cut_after_send, 1);
}

#[tokio::test]
async fn a_server_that_hangs_up_instead_of_answering_also_cuts() {
    let (echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    let never = Pattern::bytes("never said");
    proxy.arm(Trap::cut_after_send(commit()).answered_by(never));
    client.send("COMMIT").await;
    proxy.wait_for(|seen| seen.to_client.swallowed == 6).await.expect("withheld");
    echo.hang_up();
    client.sees_a_reset().await;
    assert_eq!(proxy.counters().faults.cut_after_send, 1);
}

#[tokio::test]
async fn a_held_request_goes_on_when_it_is_let_go() {
    let (echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    client.asks("BEGIN;").await;
    proxy.arm(Trap::hold_before_send(commit()));
    client.send("COMMIT;").await;
    proxy.wait_for(|seen| seen.faults.held == 1).await.expect("held");
    assert_eq!((echo.seen().as_str(), proxy.counters().to_server.forwarded), ("BEGIN;", 6));
    proxy.set(Scope::Existing, Direction::ToServer, Flow::Pass);
    client.reads("COMMIT;").await;
}

#[tokio::test]
async fn a_held_reply_can_be_lost_or_let_go() {
    let (echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    proxy.arm(Trap::hold_reply(commit()));
    client.send("COMMIT1").await;
    echo.has_seen("COMMIT1").await;
    assert_eq!((proxy.counters().faults.held, proxy.counters().to_client.received), (1, 0));
    proxy.set(Scope::Existing, Direction::ToClient, Flow::Pass);
    client.reads("COMMIT1").await;

    proxy.arm(Trap::hold_reply(commit()));
    client.send("COMMIT2").await;
    echo.has_seen("COMMIT1COMMIT2").await;
    proxy.end(Ending::Reset);
    client.sees_a_reset().await;
}

#[tokio::test]
async fn a_trap_takes_no_notice_of_what_came_before_it() {
    let (_echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    client.asks("COM").await;
    proxy.arm(Trap::cut_before_send(commit()));
    client.asks("MIT").await;
    proxy.disarm();
    client.asks("COMMIT").await;
    assert_eq!(proxy.counters().faults, Faults::default());
}

#[tokio::test]
async fn traps_that_one_request_springs_are_all_gone() {
    let (echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    proxy.arm(Trap::hold_reply(commit()));
    proxy.arm(Trap::cut_before_send(commit()));
    proxy.arm(Trap::cut_after_send(commit()).nth(2));
    client.send("COMMIT;").await;
    client.sees_a_reset().await;
    let mut client = Client::connect(&proxy).await;
    client.send("COMMIT;").await;
    client.sees_a_reset().await;
    Client::connect(&proxy).await.asks("COMMIT!").await;
    assert_eq!(echo.seen(), "COMMIT;COMMIT!");
}

#[tokio::test]
async fn a_condition_on_the_bytes_can_be_a_trap() {
    let (echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    let long_line =
        Pattern::test(64, |bytes| bytes.split(|byte| *byte == b'\n').any(|it| it.len() > 5));
    proxy.arm(Trap::cut_before_send(long_line));
    client.asks("short\nab").await;
    client.send("cdef").await;
    client.sees_a_reset().await;
    assert_eq!(echo.seen(), "short\nab");
}
