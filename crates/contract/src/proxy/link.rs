//! One connection through the proxy: two sockets, two pumps between them, and how it ends.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::timeout,
};

use super::{
    Shared,
    counters::Counters,
    fault::{Ending, Flow, Way},
    pattern::Matcher,
    pump::{CHUNK, Pump},
};

/// How long connecting to the server may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a peer may go on sending after it was told that the connection is closed.
const LINGER: Duration = Duration::from_secs(5);

/// What is set for one connection, by others and by itself.
#[derive(Debug)]
pub(super) struct Link {
    /// Counted from 0 in the order of acceptance.
    pub(super) number: u64,
    /// The server never hears of it.
    pub(super) half_open: bool,
    pub(super) flows: Flows,
    pub(super) end: watch::Sender<Option<Ending>>,
    withheld: Mutex<Option<Withheld>>,
}

/// The flow of each way.
#[derive(Debug, Default)]
pub(super) struct Flows {
    to_server: watch::Sender<Flow>,
    to_client: watch::Sender<Flow>,
}

impl Flows {
    pub(super) fn way(&self, way: Way) -> &watch::Sender<Flow> {
        match way {
            Way::ToServer => &self.to_server,
            Way::ToClient => &self.to_client,
        }
    }
}

/// A reply that must not reach the client.
#[derive(Debug)]
struct Withheld {
    answer: Matcher,
    ending: Ending,
}

/// What becomes of bytes from the server.
#[derive(Debug)]
pub(super) enum Reply {
    /// They may pass.
    Free,
    /// They must not reach the client.
    Withheld,
    /// Nor they, and with them the answer is complete, so that the connection ends.
    Lost(Ending),
}

impl Link {
    pub(super) fn new(number: u64, half_open: bool, flows: Flows) -> Self {
        Self { number, half_open, flows, end: watch::Sender::new(None), withheld: Mutex::new(None) }
    }

    /// From now on nothing reaches the client, and the connection ends once the answer is there.
    pub(super) fn withhold(&self, answer: Matcher, ending: Ending) {
        let mut withheld = self.withheld.lock().unwrap_or_else(PoisonError::into_inner);
        *withheld = Some(Withheld { answer, ending });
    }

    /// What becomes of bytes from the server, or of the end of its stream when there are none.
    pub(super) fn withholds(&self, chunk: &[u8]) -> Reply {
        let mut withheld = self.withheld.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Withheld { answer, ending }) = withheld.as_mut() else {
            return Reply::Free;
        };
        if chunk.is_empty() || answer.feed(chunk) > 0 {
            Reply::Lost(*ending)
        } else {
            Reply::Withheld
        }
    }

    /// Waits until somebody ends this connection.
    async fn ended(&self) -> Ending {
        let mut end = self.end.subscribe();
        loop {
            if let Some(ending) = *end.borrow_and_update() {
                return ending;
            }
            if end.changed().await.is_err() {
                return Ending::Reset; // can't be: the sender is in `self`
            }
        }
    }
}

/// Takes a link off the books, however its task ends.
pub(super) struct OnTheBooks {
    pub(super) shared: Arc<Shared>,
    pub(super) link: Arc<Link>,
}

impl Drop for OnTheBooks {
    fn drop(&mut self) {
        self.shared.forget(self.link.number);
    }
}

/// Carries a connection to its end.
pub(super) async fn forward(books: OnTheBooks, client: TcpStream, upstream: SocketAddr) {
    let (shared, link) = (&books.shared, &books.link);
    let connecting = timeout(CONNECT, TcpStream::connect(upstream));
    let server = tokio::select! {
        biased;
        ending = link.ended() => return conclude(ending, vec![client]).await,
        connected = connecting => connected,
    };
    let Ok(Ok(server)) = server else {
        shared.count(|counters| counters.unreachable += 1);
        return conclude(Ending::Reset, vec![client]).await;
    };
    let ending = carry(shared, link, client, server).await;
    conclude(ending.0, ending.1).await;
}

async fn carry(
    shared: &Shared,
    link: &Link,
    mut client: TcpStream,
    mut server: TcpStream,
) -> (Ending, Vec<TcpStream>) {
    for socket in [&client, &server] {
        // What is held back is held back by us, not by the system. When this fails, so does the next read.
        let _ = socket.set_nodelay(true);
    }
    let ending = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let both = async {
            tokio::try_join!(
                Pump::new(shared, link, Way::ToServer, from_client, to_server).run(),
                Pump::new(shared, link, Way::ToClient, from_server, to_client).run(),
            )
        };
        tokio::select! {
            biased;
            ending = link.ended() => ending,
            done = both => done.err().unwrap_or(Ending::Close),
        }
    };
    (ending, vec![client, server])
}

/// Keeps a connection of which the server never hears, until somebody ends it.
pub(super) async fn half_open(books: OnTheBooks, mut client: TcpStream) {
    let (shared, link) = (&books.shared, &books.link);
    let swallow = async {
        let counted = |counters: &mut Counters, bytes: u64| {
            counters.to_server.chunks += 1;
            counters.to_server.received += bytes;
            counters.to_server.swallowed += bytes;
        };
        // Neither the end of the stream nor an error is answered.
        let _ = drain(&mut client, |bytes| shared.count(|it| counted(it, bytes))).await;
        std::future::pending::<Infallible>().await
    };
    let ending = tokio::select! {
        biased;
        ending = link.ended() => ending,
        never = swallow => match never {},
    };
    conclude(ending, vec![client]).await;
}

/// Ends an accepted connection at once.
pub(super) async fn turn_away(books: OnTheBooks, client: TcpStream, ending: Ending) {
    books.shared.count(|counters| counters.faults.turned_away += 1);
    conclude(ending, vec![client]).await;
}

/// Ends the connection on all sides.
async fn conclude(ending: Ending, sockets: Vec<TcpStream>) {
    match ending {
        Ending::Reset => reset(&sockets),
        Ending::Close => {
            let mut sockets = sockets.into_iter();
            match (sockets.next(), sockets.next()) {
                (Some(one), Some(other)) => {
                    tokio::join!(close(one), close(other));
                }
                (Some(only), None) => close(only).await,
                (None, _) => {}
            }
        }
    }
}

/// The sockets are reset when they are dropped.
fn reset(sockets: &[TcpStream]) {
    for socket in sockets {
        // A socket that the peer has already reset can refuse it, and needs it no more.
        let _ = socket.set_zero_linger();
    }
}

/// Sends FIN. A socket that is dropped with unread bytes sends RST instead, so they are read first.
async fn close(mut socket: TcpStream) {
    let polite = async {
        socket.shutdown().await?;
        drain(&mut socket, |_| ()).await
    };
    // The peer may be gone or go on talking; in either case we are done with it.
    let _ = timeout(LINGER, polite).await;
}

/// Reads to the end.
async fn drain(
    from: &mut (impl AsyncRead + Unpin + Send),
    mut count: impl FnMut(u64) + Send,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk).await? {
            0 => return Ok(()),
            read => count(read as u64),
        }
    }
}
