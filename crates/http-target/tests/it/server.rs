//! A server that records what it gets and answers as told.

use std::{
    convert::Infallible,
    future,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::Response,
};
use futures_util::{StreamExt as _, stream};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What the server got.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// What the server answers.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: Option<StatusCode>,
    header: Option<(&'static str, String)>,
    body: ReplyBody,
}

#[derive(Clone, Debug)]
enum ReplyBody {
    Text(&'static str),
    Endless,
    Stalling,
}

impl Reply {
    pub(crate) fn status(status: StatusCode) -> Self {
        Self { status: Some(status), header: None, body: ReplyBody::Text("") }
    }

    /// No answer at all.
    pub(crate) fn never() -> Self {
        Self { status: None, header: None, body: ReplyBody::Text("") }
    }

    pub(crate) fn body(self, text: &'static str) -> Self {
        Self { body: ReplyBody::Text(text), ..self }
    }

    pub(crate) fn header(self, name: &'static str, value: &str) -> Self {
        Self { header: Some((name, value.to_owned())), ..self }
    }

    pub(crate) fn endless(self) -> Self {
        Self { body: ReplyBody::Endless, ..self }
    }

    /// A body that begins and never goes on.
    pub(crate) fn stalling(self) -> Self {
        Self { body: ReplyBody::Stalling, ..self }
    }

    async fn send(self) -> Response {
        let Some(status) = self.status else { return future::pending().await };
        let mut response = Response::builder().status(status);
        if let Some((name, value)) = self.header {
            response = response.header(name, value);
        }
        let body = match self.body {
            ReplyBody::Text(text) => Body::from(text),
            ReplyBody::Endless => Body::from_stream(stream::repeat_with(|| {
                Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 1024]))
            })),
            ReplyBody::Stalling => {
                let begun = stream::once(async { Ok::<_, Infallible>(Bytes::from("begun")) });
                Body::from_stream(begun.chain(stream::pending()))
            }
        };
        response.body(body).expect("a response")
    }
}

type Log = Arc<Mutex<Vec<Seen>>>;

/// A server on a free port of loopback, which ends with the value.
#[derive(Debug)]
pub(crate) struct Server {
    origin: String,
    log: Log,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(reply: Reply) -> Self {
        let (listener, origin) = listen().await;
        let log = Log::default();
        let app = Router::new().fallback(record).with_state((Arc::clone(&log), reply));
        let task = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("serves");
        });
        Self { origin, log, task }
    }

    /// Reads something of each request and closes the connection.
    pub(crate) async fn hanging_up() -> Self {
        let (listener, origin) = listen().await;
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                read_some(&mut stream).await;
            }
        });
        Self { origin, log: Log::default(), task }
    }

    /// The URL of a port where nobody listens.
    pub(crate) async fn closed() -> String {
        let (_, origin) = listen().await;
        format!("{origin}/replay?key=1")
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/replay?key=1", self.origin)
    }

    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.log.lock().expect("not poisoned").clone()
    }

    pub(crate) fn only_request(&self) -> Seen {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "one request");
        requests[0].clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    (listener, origin)
}

async fn read_some(stream: &mut TcpStream) {
    let mut bytes = [0; 1024];
    // How much arrives, or whether the client is gone, doesn't matter here.
    let _ = stream.read(&mut bytes).await;
}

async fn record(
    State((log, reply)): State<(Log, Reply)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let seen = Seen { method: method.to_string(), path, headers, body: body.to_vec() };
    log.lock().expect("not poisoned").push(seen);
    reply.send().await
}
