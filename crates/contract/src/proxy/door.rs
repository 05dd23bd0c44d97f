//! The listening side: who is let in, and how.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::sleep,
};

use super::{
    Shared,
    fault::Admission,
    link::{forward, half_open, turn_away},
};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1_024;

/// How long to wait when the system has no more sockets.
const OUT_OF_SOCKETS: Duration = Duration::from_millis(20);

/// How often a port that was ours a moment ago is tried, 20 ms apart.
const BIND_TRIES: u32 = 100;

/// What the door is told, each with a place for the answer.
pub(super) enum Command {
    Admit(Admission, oneshot::Sender<io::Result<()>>),
    Shutdown(oneshot::Sender<()>),
}

/// The port is always ours, whether somebody listens on it or not.
enum Port {
    Listening(TcpListener),
    /// Bound only, so that nobody else gets it; the system refuses connections.
    Kept(TcpSocket),
}

/// Accepts connections and owns them.
pub(super) struct Door {
    shared: Arc<Shared>,
    address: SocketAddr,
    upstream: SocketAddr,
    admission: Admission,
    /// Lost only when the system gave the port away, which [`Command::Admit`] then says.
    port: Option<Port>,
    links: JoinSet<()>,
}

impl Door {
    pub(super) fn open(shared: Arc<Shared>, upstream: SocketAddr) -> io::Result<Self> {
        let listener = keep(SocketAddr::from(([127, 0, 0, 1], 0)))?.listen(BACKLOG)?;
        Ok(Self {
            shared,
            address: listener.local_addr()?,
            upstream,
            admission: Admission::Forward,
            port: Some(Port::Listening(listener)),
            links: JoinSet::new(),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Admit(admission, answer)) => {
                        // Whoever asked may have gone.
                        let _ = answer.send(self.admit(admission).await);
                    }
                    Some(Command::Shutdown(done)) => {
                        self.port = None;
                        self.links.shutdown().await;
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
                Some(_) = self.links.join_next() => {}
                accepted = accept(self.port.as_ref()) => match accepted {
                    Ok(client) => self.meet(client),
                    Err(_) => sleep(OUT_OF_SOCKETS).await,
                },
            }
        }
    }

    async fn admit(&mut self, admission: Admission) -> io::Result<()> {
        self.admission = admission;
        let refuse = admission == Admission::Refuse;
        self.port = Some(match self.port.take() {
            Some(port @ Port::Listening(_)) if !refuse => port,
            Some(port @ Port::Kept(_)) if refuse => port,
            Some(Port::Kept(socket)) => Port::Listening(socket.listen(BACKLOG)?),
            Some(Port::Listening(listener)) => {
                drop(listener);
                Port::Kept(self.keep_again().await?)
            }
            None if refuse => Port::Kept(self.keep_again().await?),
            None => Port::Listening(self.keep_again().await?.listen(BACKLOG)?),
        });
        Ok(())
    }

    /// For a moment the port belongs to nobody, and another process can have got it.
    async fn keep_again(&self) -> io::Result<TcpSocket> {
        for _ in 1..BIND_TRIES {
            match keep(self.address) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    sleep(OUT_OF_SOCKETS).await;
                }
                bound => return bound,
            }
        }
        keep(self.address)
    }

    fn meet(&mut self, client: TcpStream) {
        let half_opened = self.admission == Admission::HalfOpen;
        let books = Shared::enter(&self.shared, half_opened);
        match self.admission {
            // With `Refuse` nothing is accepted any more.
            Admission::Forward | Admission::Refuse => {
                self.links.spawn(forward(books, client, self.upstream))
            }
            Admission::HalfOpen => self.links.spawn(half_open(books, client)),
            Admission::End(ending) => self.links.spawn(turn_away(books, client, ending)),
        };
    }
}

fn keep(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Connections that are still open on the port must not keep us from it. On Windows they don't, and there the
    // option would share the port with strangers.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn accept(port: Option<&Port>) -> io::Result<TcpStream> {
    match port {
        Some(Port::Listening(listener)) => listener.accept().await.map(|(client, _)| client),
        Some(Port::Kept(_)) | None => std::future::pending().await,
    }
}
