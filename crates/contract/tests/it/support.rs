//! An echo server that remembers, and a client with a deadline for everything.

use std::{future::Future, io, net::SocketAddr, time::Duration};

use baldur_contract::proxy::FaultProxy;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// What must happen at some time happens before this.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), what).await.expect("it happens before long")
}

/// Sends everything back on the connection that it came on.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    seen: watch::Sender<Vec<u8>>,
    hang_up: watch::Sender<bool>,
    connections: watch::Sender<usize>,
    serving: AbortHandle,
}

impl Echo {
    pub(crate) async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.expect("a port"))
    }

    pub(crate) fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("an address");
        let (seen, hang_up) = (watch::Sender::new(Vec::new()), watch::Sender::new(false));
        let connections = watch::Sender::new(0);
        let serving = serve(listener, seen.clone(), hang_up.clone(), connections.clone());
        let serving = tokio::spawn(serving).abort_handle();
        Self { address, seen, hang_up, connections, serving }
    }

    /// All that it was sent, of all connections, in the order in which it was read.
    pub(crate) fn seen(&self) -> String {
        String::from_utf8(self.seen.borrow().clone()).expect("text")
    }

    /// Waits until it has seen just this.
    pub(crate) async fn has_seen(&self, text: &str) {
        let mut seen = self.seen.subscribe();
        soon(seen.wait_for(|seen| seen == text.as_bytes())).await.expect("it runs");
    }

    /// Waits until all of its connections are closed.
    pub(crate) async fn has_no_connections(&self) {
        let mut connections = self.connections.subscribe();
        soon(connections.wait_for(|open| *open == 0)).await.expect("it runs");
    }

    /// Closes all connections, and new ones at once, instead of answering.
    pub(crate) fn hang_up(&self) {
        self.hang_up.send_replace(true);
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    listener: TcpListener,
    seen: watch::Sender<Vec<u8>>,
    hang_up: watch::Sender<bool>,
    connections: watch::Sender<usize>,
) {
    let mut tasks = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (seen, mut over) = (seen.clone(), hang_up.subscribe());
        let connections = connections.clone();
        connections.send_modify(|open| *open += 1);
        tasks.spawn(async move {
            tokio::select! {
                biased;
                _ = over.wait_for(|yes| *yes) => {}
                _ = answer(socket, seen) => {}
            }
            connections.send_modify(|open| *open -= 1);
        });
    }
}

async fn answer(mut socket: TcpStream, seen: watch::Sender<Vec<u8>>) -> io::Result<()> {
    let mut chunk = vec![0; 4_096];
    loop {
        let read = socket.read(&mut chunk).await?;
        if read == 0 {
            return socket.shutdown().await;
        }
        seen.send_modify(|seen| seen.extend_from_slice(&chunk[..read]));
        socket.write_all(&chunk[..read]).await?;
    }
}

pub(crate) struct Client(TcpStream);

impl Client {
    /// Connects, and waits until the proxy has taken notice.
    pub(crate) async fn connect(proxy: &FaultProxy) -> Self {
        let before = proxy.counters().accepted;
        let client = Self::try_connect(proxy).await.expect("accepted");
        proxy.wait_for(|seen| seen.accepted > before).await.expect("accepted");
        client
    }

    pub(crate) async fn try_connect(proxy: &FaultProxy) -> io::Result<Self> {
        let socket = soon(TcpStream::connect(proxy.address())).await?;
        socket.set_nodelay(true)?;
        Ok(Self(socket))
    }

    pub(crate) async fn send(&mut self, text: &str) {
        soon(self.0.write_all(text.as_bytes())).await.expect("sent");
    }

    pub(crate) async fn try_send(&mut self, text: &str) -> io::Result<()> {
        soon(self.0.write_all(text.as_bytes())).await
    }

    pub(crate) async fn reads(&mut self, text: &str) {
        assert_eq!(self.try_read(text.len()).await.expect("read"), text);
    }

    pub(crate) async fn try_read(&mut self, bytes: usize) -> io::Result<String> {
        let mut read = vec![0; bytes];
        soon(self.0.read_exact(&mut read)).await?;
        Ok(String::from_utf8(read).expect("text"))
    }

    /// A request and its reply.
    pub(crate) async fn asks(&mut self, text: &str) {
        self.send(text).await;
        self.reads(text).await;
    }

    /// Nothing has come that it has not read, neither bytes nor an end.
    pub(crate) fn hears_nothing(&self) {
        let heard = self.0.try_read(&mut [0]).expect_err("nothing to read");
        assert_eq!(heard.kind(), io::ErrorKind::WouldBlock);
    }

    pub(crate) async fn done_sending(&mut self) {
        self.0.shutdown().await.expect("shut down");
    }

    /// Reads the end of the stream, and nothing before it.
    pub(crate) async fn sees_the_end(self) {
        assert_eq!(self.rest().await.expect("no reset"), "");
    }

    /// Is reset, and reads nothing before that.
    pub(crate) async fn sees_a_reset(mut self) {
        let error = soon(self.0.read(&mut [0])).await.expect_err("reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    /// What comes up to the end of the stream.
    pub(crate) async fn rest(mut self) -> io::Result<String> {
        let mut rest = String::new();
        soon(self.0.read_to_string(&mut rest)).await?;
        Ok(rest)
    }
}

/// A proxy in front of an echo server.
pub(crate) async fn world() -> (Echo, FaultProxy) {
    let echo = Echo::start().await;
    let proxy = FaultProxy::start(echo.address).await.expect("started");
    (echo, proxy)
}
