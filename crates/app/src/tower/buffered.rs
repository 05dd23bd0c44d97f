//! A body that was read, wholly or up to a limit.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;

/// A body of which a part, or all, was read before it is passed on. It gives the same bytes as the body it was made of.
pub struct Buffered<B: Body> {
    read: Bytes,
    rest: Rest<B>,
}

/// What comes after the bytes that were read.
enum Rest<B: Body> {
    /// Nothing but trailers, if there are any.
    Over(Option<HeaderMap>),
    /// The body itself.
    Unread(B),
    /// The reading failed.
    Broken(B::Error),
}

impl<B: Body> fmt::Debug for Buffered<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffered").field("read", &self.read.len()).finish_non_exhaustive()
    }
}

impl<B: Body<Data = Bytes> + Unpin> Buffered<B> {
    /// Nothing is read.
    pub(super) fn unread(body: B) -> Self {
        Self { read: Bytes::new(), rest: Rest::Unread(body) }
    }

    /// Reads up to the first chunk that goes beyond `max` bytes.
    pub(super) async fn read(mut body: B, max: usize) -> Self {
        let mut read = BytesMut::new();
        let mut trailers = None;
        let rest = loop {
            match body.frame().await {
                None => break Rest::Over(trailers),
                Some(Err(error)) => break Rest::Broken(error),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => read.extend_from_slice(&data),
                    Err(other) => trailers = other.into_trailers().ok(),
                },
            }
            if read.len() > max {
                break Rest::Unread(body);
            }
        };
        Self { read: read.freeze(), rest }
    }

    /// All of it, if all of it was read.
    pub(super) fn whole(&self) -> Option<&Bytes> {
        matches!(self.rest, Rest::Over(_)).then_some(&self.read)
    }

    /// All of it, or why there is no such thing: the error, or `None` for a body above the limit.
    pub(super) fn into_whole(self) -> Result<Bytes, Option<B::Error>> {
        match self.rest {
            Rest::Over(_) => Ok(self.read),
            Rest::Unread(_) => Err(None),
            Rest::Broken(error) => Err(Some(error)),
        }
    }
}

// No field is ever pinned in place.
impl<B: Body + Unpin> Unpin for Buffered<B> {}

impl<B: Body<Data = Bytes> + Unpin> Body for Buffered<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if !self.read.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(mem::take(&mut self.read)))));
        }
        if let Rest::Unread(body) = &mut self.rest {
            return Pin::new(body).poll_frame(cx);
        }
        Poll::Ready(match mem::replace(&mut self.rest, Rest::Over(None)) {
            Rest::Over(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Rest::Broken(error) => Some(Err(error)),
            Rest::Unread(_) => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty()
            && match &self.rest {
                Rest::Over(trailers) => trailers.is_none(),
                Rest::Unread(body) => body.is_end_stream(),
                Rest::Broken(_) => false,
            }
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.len() as u64;
        match &self.rest {
            Rest::Over(_) => SizeHint::with_exact(read),
            Rest::Unread(body) => {
                let mut hint = body.size_hint();
                let upper = hint.upper().and_then(|upper| upper.checked_add(read));
                hint = {
                    let mut sum = SizeHint::new();
                    sum.set_lower(hint.lower().saturating_add(read));
                    sum
                };
                if let Some(upper) = upper {
                    hint.set_upper(upper);
                }
                hint
            }
            Rest::Broken(_) => SizeHint::default(),
        }
    }
}
