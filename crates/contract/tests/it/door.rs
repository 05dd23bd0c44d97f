use std::io::ErrorKind;

use baldur_contract::proxy::{Admission, Ending, FaultProxy};
use tokio::net::{TcpListener, TcpSocket};

use crate::support::{Client, Echo, soon, world};

async fn refusal(proxy: &FaultProxy) -> ErrorKind {
    Client::try_connect(proxy).await.err().expect("refused").kind()
}

#[tokio::test]
async fn new_connections_are_refused_and_later_welcome_on_the_same_port() {
    let (_echo, proxy) = world().await;
    let mut old = Client::connect(&proxy).await;
    for _ in 0..3 {
        proxy.admit(Admission::Refuse).await.expect("refusing");
        assert_eq!(refusal(&proxy).await, ErrorKind::ConnectionRefused);
        old.asks("still here").await;
        proxy.admit(Admission::Forward).await.expect("listening");
        Client::connect(&proxy).await.asks("welcome").await;
    }
}

#[tokio::test]
async fn the_port_stays_ours_while_connections_are_refused() {
    let (_echo, proxy) = world().await;
    proxy.admit(Admission::Refuse).await.expect("refusing");
    let thief = TcpSocket::new_v4().expect("a socket");
    let stolen = thief.bind(proxy.address());
    assert_eq!(stolen.expect_err("taken").kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_half_open_connection_takes_everything_and_answers_nothing() {
    let (echo, proxy) = world().await;
    proxy.admit(Admission::HalfOpen).await.expect("set");
    let mut client = Client::connect(&proxy).await;
    client.send("anybody there?").await;
    proxy.wait_for(|seen| seen.to_server.swallowed == 14).await.expect("swallowed");
    // Neither the end of the stream nor another setting moves it.
    client.done_sending().await;
    proxy.admit(Admission::Forward).await.expect("set");
    Client::connect(&proxy).await.asks("me").await;
    assert_eq!((echo.seen().as_str(), proxy.counters().faults.half_open), ("me", 1));
    proxy.end(Ending::Close);
    client.sees_the_end().await;
}

#[tokio::test]
async fn new_connections_are_turned_away_as_told() {
    let (_echo, proxy) = world().await;
    proxy.admit(Admission::End(Ending::Reset)).await.expect("set");
    let client = Client::try_connect(&proxy).await;
    match client {
        Ok(client) => client.sees_a_reset().await,
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    proxy.admit(Admission::End(Ending::Close)).await.expect("set");
    Client::connect(&proxy).await.sees_the_end().await;
    assert_eq!(proxy.counters().faults.turned_away, 2);
}

#[tokio::test]
async fn an_absent_server_is_a_reset_until_it_is_there() {
    let place = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = place.local_addr().expect("an address");
    drop(place);
    let proxy = FaultProxy::start(address).await.expect("started");
    Client::connect(&proxy).await.sees_a_reset().await;
    assert_eq!(proxy.counters().unreachable, 1);
    let _echo = Echo::on(TcpListener::bind(address).await.expect("the same port"));
    Client::connect(&proxy).await.asks("there").await;
}

#[tokio::test]
async fn a_client_that_resets_leaves_nothing_open() {
    let (echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    client.send("never read").await;
    proxy.wait_for(|seen| seen.to_client.forwarded == 10).await.expect("answered");
    // Closing with unread bytes is a reset.
    drop(client);
    echo.has_no_connections().await;
    proxy.wait_for(|seen| seen.open == 0).await.expect("ended");
}

#[tokio::test]
async fn shutdown_ends_everything_and_frees_the_port() {
    for admission in [Admission::Forward, Admission::HalfOpen, Admission::Refuse] {
        let (_echo, proxy) = world().await;
        let mut client = Client::connect(&proxy).await;
        client.asks("before").await;
        proxy.admit(admission).await.expect("set");
        let address = proxy.address();
        soon(proxy.shutdown()).await;
        assert_eq!(client.rest().await.unwrap_or_default(), "");
        drop(TcpListener::bind(address).await.expect("free"));
    }
}

#[tokio::test]
async fn dropping_the_proxy_ends_its_connections() {
    let (_echo, proxy) = world().await;
    let mut client = Client::connect(&proxy).await;
    client.asks("before").await;
    drop(proxy);
    assert_eq!(client.rest().await.unwrap_or_default(), "");
}
