//! A server between a browser and a handler: it forwards requests, under a path if a test wants that, and has pages of its own.

use reqwest::{Client, Method, Response};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request of a browser.
pub(crate) struct Request {
    /// Request line and headers.
    pub(crate) head: String,
    /// The body, by Content-Length.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Reads one request; `None` on a connection that is not used.
    pub(crate) async fn read(connection: &mut TcpStream) -> Option<Self> {
        let mut read = Vec::new();
        let end = loop {
            if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            if connection.read_buf(&mut read).await.ok()? == 0 {
                return None;
            }
        };
        let mut body = read.split_off(end + 4);
        let head = String::from_utf8_lossy(&read).into_owned();
        let length = header(&head, "content-length");
        let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
        while body.len() < length {
            if connection.read_buf(&mut body).await.ok()? == 0 {
                return None;
            }
        }
        Some(Self { head, body })
    }
}

/// The value of a header.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    let header = headers.find(|(header, _)| header.eq_ignore_ascii_case(name));
    header.map(|(_, value)| value)
}

/// Path, status, headers and body of an answer, which a test may change.
pub(crate) struct Answer {
    pub(crate) path: String,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

type Change = Arc<dyn Fn(&mut Answer) + Send + Sync>;

pub(crate) struct Front {
    /// Its address, without a slash at the end.
    pub(crate) origin: String,
    serving: JoinHandle<()>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Clone)]
struct Forwarder {
    client: Client,
    handler: String,
    prefix: &'static str,
    pages: Arc<HashMap<&'static str, &'static str>>,
    change: Change,
}

impl Front {
    /// Has these pages, and forwards what is under `prefix`, such as `/coupons`, to the handler. `change` sees every answer.
    pub(crate) async fn start(
        handler: &str,
        prefix: &'static str,
        pages: &[(&'static str, &'static str)],
        change: impl Fn(&mut Answer) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let forwarder = Forwarder {
            client: Client::new(),
            handler: handler.to_owned(),
            prefix,
            pages: Arc::new(pages.iter().copied().collect()),
            change: Arc::new(change),
        };
        let serving = tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.expect("a connection");
                tokio::spawn(forwarder.clone().serve(connection));
            }
        });
        Self { origin, serving }
    }

    /// Has one page of its own, whatever its query, and nothing else.
    pub(crate) async fn of_page(page: &'static str) -> Self {
        Self::start("", "/nowhere", &[("/", page)], |_| {}).await
    }
}

impl Forwarder {
    async fn serve(self, mut connection: TcpStream) {
        // Browsers open connections that they then do not use.
        let Some(request) = Request::read(&mut connection).await else {
            return;
        };
        let answer = self.answer(request).await;
        let length = match answer.status {
            304 => String::new(),
            _ => format!("content-length: {}\r\n", answer.body.len()),
        };
        let headers: String = answer
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let head = format!(
            "HTTP/1.1 {} -\r\n{headers}{length}connection: close\r\n\r\n",
            answer.status
        );
        // The browser may be gone.
        let _ = connection
            .write_all(&[head.as_bytes(), &answer.body].concat())
            .await;
    }

    async fn answer(&self, Request { head, body }: Request) -> Answer {
        let mut words = head.split(' ');
        let (method, path) = (words.next().expect("a method"), words.next());
        let path = path.expect("a path").to_owned();
        let page = path.split('?').next().and_then(|path| self.pages.get(path));
        let mut answer = match (page, path.strip_prefix(self.prefix)) {
            (Some(page), _) => Answer {
                status: 200,
                headers: vec![("content-type".to_owned(), "text/html".to_owned())],
                body: page.as_bytes().to_vec(),
                path,
            },
            (None, Some(rest)) => {
                let method = Method::from_bytes(method.as_bytes()).expect("a method");
                let url = format!("{}{rest}", self.handler);
                let mut request = self.client.request(method, url);
                for name in [
                    "if-none-match",
                    "cache-control",
                    "content-type",
                    "authorization",
                ] {
                    if let Some(value) = header(&head, name) {
                        request = request.header(name, value);
                    }
                }
                forwarded(path, request.body(body).send().await.expect("an answer")).await
            }
            (None, None) => Answer {
                status: 404,
                headers: vec![],
                body: vec![],
                path,
            },
        };
        (self.change)(&mut answer);
        answer
    }
}

async fn forwarded(path: String, answer: Response) -> Answer {
    let name = |name: &str| !["content-length", "transfer-encoding", "connection"].contains(&name);
    let headers = answer.headers().iter();
    Answer {
        path,
        status: answer.status().as_u16(),
        headers: headers
            .filter(|(header, _)| name(header.as_str()))
            .map(|(header, value)| {
                (
                    header.to_string(),
                    value.to_str().expect("ASCII").to_owned(),
                )
            })
            .collect(),
        body: answer.bytes().await.expect("a body").into(),
    }
}
