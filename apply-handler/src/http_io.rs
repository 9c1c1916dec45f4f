//! Reads requests from the Wasm host and sends responses to it.
//!
//! It calls WASI directly and not through the conversions of the Spin SDK, because one call to the host costs as much
//! as all other work for a request. So it asks the host only for what it uses, and it stops reading a body at its
//! Content-Length.

use crate::response::Response;
use futures::poll;
use http::header;
use spin_sdk::http::{HeaderMap, HeaderName, HeaderValue, Method};
use spin_sdk::wasip3::http::types::{self, ErrorCode, Fields, Request, Trailers};
use spin_sdk::wasip3::wit_bindgen::{FutureReader, FutureWriter, StreamReader, StreamResult};
use spin_sdk::wasip3::{wit_bindgen, wit_future, wit_stream};
use std::cell::{OnceCell, RefCell};

/// Maximum number of bytes of one read.
const CHUNK: usize = 16 * 1024;

/// The head of the request is invalid.
#[derive(Debug)]
pub struct Malformed;

/// The body ended before its Content-Length, or its transfer failed.
#[derive(Debug, thiserror::Error)]
#[error("the body is incomplete")]
pub struct Incomplete;

/// A request. Its headers and its body stay with the host until they are asked for.
pub struct Head {
    pub method: Method,
    /// The path, and after a `?` the query. The host has checked it.
    target: String,
    headers: OnceCell<HeaderMap>,
    /// `None` after the body was asked for.
    request: RefCell<Option<Request>>,
}

/// The headers that this component reads. It copies no others.
static READ: [HeaderName; 7] = [
    header::ACCESS_CONTROL_REQUEST_METHOD,
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::IF_NONE_MATCH,
    header::ORIGIN,
    HeaderName::from_static("prefer"),
];

impl Head {
    ///
    /// # Errors
    /// When the method is invalid.
    pub fn of(request: Request) -> Result<Self, Malformed> {
        Ok(Self {
            method: Method::try_from(request.get_method()).map_err(|_| Malformed)?,
            target: request.get_path_with_query().unwrap_or_default(),
            headers: OnceCell::new(),
            request: RefCell::new(Some(request)),
        })
    }

    /// It begins with a slash, or is the `*` of OPTIONS.
    pub fn path(&self) -> &str {
        match self.cut().0 {
            "" => "/",
            path => path,
        }
    }

    /// Without the question mark; empty if there is none.
    pub fn query(&self) -> &str {
        self.cut().1
    }

    fn cut(&self) -> (&str, &str) {
        self.target.split_once('?').unwrap_or((&self.target, ""))
    }

    /// The headers that this program reads.
    pub fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| {
            let request = self.request.borrow();
            let headers = request
                .iter()
                .flat_map(|request| request.get_headers().copy_all());
            headers
                .filter_map(|(name, value)| {
                    let is_it = |read: &&HeaderName| read.as_str().eq_ignore_ascii_case(&name);
                    let name = READ.iter().find(is_it)?.clone();
                    // No value is invalid, because the host has read it.
                    Some((name, HeaderValue::try_from(value).ok()?))
                })
                .collect()
        })
    }

    /// The request, whose headers the host does not have afterwards.
    fn take(&self) -> Option<Request> {
        self.headers();
        self.request.take()
    }
}

/// The body of a request. It stays with the host until it is read.
pub struct Body<'a> {
    head: &'a Head,
    taken: u64,
    state: BodyState,
}

enum BodyState {
    Untouched,
    Open {
        stream: StreamReader<u8>,
        trailers: FutureReader<Result<Option<Trailers>, ErrorCode>>,
        _read: FutureWriter<Result<(), ErrorCode>>,
    },
    Ended,
}

impl<'a> Body<'a> {
    pub fn of(head: &'a Head) -> Self {
        Self {
            head,
            taken: 0,
            state: BodyState::Untouched,
        }
    }

    /// The Content-Length.
    ///
    /// # Errors
    /// When it is invalid or occurs more than once.
    pub fn announced(&self) -> Result<Option<u64>, Malformed> {
        let mut lengths = self.head.headers().get_all("content-length").iter();
        match (lengths.next(), lengths.next()) {
            (None, _) => Ok(None),
            (Some(length), None) => {
                let length = length.to_str().ok().and_then(|length| length.parse().ok());
                length.map(Some).ok_or(Malformed)
            }
            (Some(_), Some(_)) => Err(Malformed),
        }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the client disconnects before the end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Incomplete> {
        let announced = self.announced().unwrap_or(None);
        let left = match announced {
            Some(length) => usize::try_from(length - self.taken.min(length)).unwrap_or(CHUNK),
            None => CHUNK,
        };
        if left == 0 {
            return Ok(None);
        }
        let (mut stream, trailers, read) =
            match std::mem::replace(&mut self.state, BodyState::Ended) {
                BodyState::Untouched => {
                    let Some(request) = self.head.take() else {
                        return Ok(None);
                    };
                    let (read, reader) = wit_future::new(|| Ok(()));
                    let (stream, trailers) = Request::consume_body(request, reader);
                    (stream, trailers, read)
                }
                BodyState::Open {
                    stream,
                    trailers,
                    _read: read,
                } => (stream, trailers, read),
                BodyState::Ended => return Ok(None),
            };
        let (result, piece) = stream.read(Vec::with_capacity(left.min(CHUNK))).await;
        self.taken += piece.len() as u64;
        if announced == Some(self.taken) {
            drop((stream, trailers));
            // Dropping `read` without this write would do the same at a higher cost.
            let _ = read.write(Ok(())).await;
            return Ok(Some(piece));
        }
        if let StreamResult::Complete(_) = result {
            self.state = BodyState::Open {
                stream,
                trailers,
                _read: read,
            };
            return Ok(Some(piece));
        }
        match (trailers.await, announced) {
            (Ok(_), None) => Ok(None),
            _ => Err(Incomplete),
        }
    }
}

///
/// # Errors
/// When the host does not accept the headers.
pub async fn send(response: Response) -> Result<types::Response, ErrorCode> {
    let (status, headers, body) = response.into_parts();
    let headers = Fields::from_list(&headers)
        .map_err(|error| ErrorCode::InternalError(Some(error.to_string())))?;
    let (trailers, no_trailers) = wit_future::new(|| Ok(None));
    let contents = if body.is_empty() {
        None
    } else {
        let (mut writer, contents) = wit_stream::new();
        let mut written = Box::pin(async move {
            // An error means that the client has disconnected.
            writer.write_all(body.into()).await;
            drop(writer);
            // Not concurrently with the body: by measurement, that costs four fifths of the throughput.
            let _ = trailers.write(Ok(None)).await;
        });
        // Started before the head is handed over, so that the host can take the body without waking the component.
        if poll!(&mut written).is_pending() {
            wit_bindgen::spawn(written);
        }
        Some(contents)
    };
    let (response, _sent) = types::Response::new(headers, contents, no_trailers);
    // Fails only for an invalid status code.
    let _ = response.set_status_code(status.as_u16());
    Ok(response)
}
