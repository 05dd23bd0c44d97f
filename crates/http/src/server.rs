//! Connections: accepted within bounds, and finished before the end.

use std::{
    io::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use baldur_app::metrics::HTTP_REFUSED_CONNECTIONS;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{patient::Patient, routes::router, state::ApiState};

/// The longest head of a request.
const MAX_HEAD_BYTES: usize = 32 << 10;

/// How long to wait when the system has no more handles for connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// What a caller is told for whom there is no room. It is written before anything is read.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\ncontent-length: 159\r\nretry-after: 1\r\nconnection: close\r\n\r\n\
    {\"type\":\"urn:baldur:problem:overloaded\",\"title\":\"The server has no room for this at present\",\
    \"status\":503,\"code\":\"overloaded\",\"detail\":\"too many connections\"}\n";

/// How a server treats connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// How many there may be.
    pub connections: usize,
    /// How long the head of a request may take, and a connection may be idle.
    pub header_timeout: Duration,
    /// How long requests that are under way may go on when the server stops. Streams are told to end after half of it.
    pub grace: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            connections: 1_024,
            header_timeout: Duration::from_secs(10),
            grace: Duration::from_secs(10),
        }
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// How many connections were cut off when the grace was over.
    pub cut: usize,
}

/// Serves until `shutdown`, and then until the requests that are under way are finished, within the grace.
///
/// From `shutdown` on no connection is accepted, and `/readyz` says so on those that there are.
pub async fn serve(
    listener: TcpListener,
    state: ApiState,
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
) -> Served {
    let ServerConfig { connections, header_timeout, grace } = config;
    let mut server = Server {
        http: builder(header_timeout),
        service: TowerToHyperService::new(router(state.clone())),
        patience: state.limits().request_timeout,
        room: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
        graceful: GracefulShutdown::new(),
        running: JoinSet::new(),
    };
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = server.running.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => server.take(stream),
                Err(error) => pause(&error).await,
            }
        }
    }
    drop(listener);
    state.drain();
    server.finish(&state, grace).await
}

fn builder(header_timeout: Duration) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(256 << 10);
    http
}

/// A connection that broke before it was taken is nobody's loss; anything else may last, and must not spin.
async fn pause(error: &io::Error) {
    tracing::warn!(error = %error.kind(), "http.accept_failed");
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        sleep(ACCEPT_PAUSE).await;
    }
}

struct Server {
    http: http1::Builder,
    service: TowerToHyperService<axum::Router>,
    patience: Duration,
    room: Arc<Semaphore>,
    graceful: GracefulShutdown,
    running: JoinSet<()>,
}

impl Server {
    fn take(&mut self, stream: TcpStream) {
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            refuse(stream);
            return;
        };
        // Answers are written whole; waiting for more to send along only delays them.
        let _ = stream.set_nodelay(true);
        let stream = TokioIo::new(Patient::new(stream, self.patience));
        let connection = self.http.serve_connection(stream, self.service.clone());
        let watched = self.graceful.watch(connection);
        self.running.spawn(async move {
            // What breaks a connection is the caller's doing, or was answered and logged as a problem.
            let _ = watched.await;
            drop(room);
        });
    }

    async fn finish(self, state: &ApiState, grace: Duration) -> Served {
        let Self { graceful, mut running, .. } = self;
        let closing = graceful.shutdown();
        tokio::pin!(closing);
        let mut closed = timeout(grace / 2, &mut closing).await.is_ok();
        if !closed {
            state.stop_streams();
            closed = timeout(grace / 2, &mut closing).await.is_ok();
        }
        if closed {
            while running.join_next().await.is_some() {}
            return Served { cut: 0 };
        }
        while running.try_join_next().is_some() {}
        let cut = running.len();
        tracing::warn!(connections = cut, "http.connections_cut");
        running.shutdown().await;
        Served { cut }
    }
}

/// Says that there is no room, as far as the connection takes it at once.
fn refuse(stream: TcpStream) {
    metrics::counter!(HTTP_REFUSED_CONNECTIONS.name).increment(1);
    tracing::debug!("http.connection_refused");
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(NO_ROOM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_without_room_is_whole() {
        let text = std::str::from_utf8(NO_ROOM).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["code"], crate::problem::OVERLOADED.code);
        assert_eq!(body["title"], crate::problem::OVERLOADED.title);
    }
}
