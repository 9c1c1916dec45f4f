//! A TCP proxy between two programs, which can cause network faults.
//!
//! A *request* is everything that a client sends between one answer and the next, in any protocol. Requests are
//! counted over all connections of a proxy, from the last call of [`Proxy::set`], so a test can break exactly one
//! request of a program.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "for tests: what cannot be set up ends the test, and says why"
)]

use rushgate_testbed::wait::until;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// Every piece of data is delayed by this time.
    Delay(Duration),
    /// Nothing gets through, and no connection is closed.
    Hang,
    /// Connections are reset, also new ones.
    Cut,
    /// Each connection is reset after this many bytes of answers.
    AnswersLostAfter(usize),
    /// This request does not get through: its connection is reset.
    DropRequest(usize, Then),
    /// The server answers this request, so it has done the work; the connection is reset instead of returning the
    /// answer.
    LoseAnswer(usize, Then),
    /// The server answers this request, and the answer is held back until the fault changes.
    HoldAnswer(usize),
}

/// What happens to other connections when one was reset at a certain request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Works,
    /// All of them are [`Trouble::Cut`].
    Cut,
}

/// Listens on a port and forwards everything.
pub struct Proxy {
    pub port: u16,
    line: Line,
    accepts: JoinHandle<()>,
}

#[derive(Clone)]
struct Line {
    now: watch::Sender<Now>,
    resets: watch::Sender<u64>,
}

#[derive(Clone, Copy)]
struct Now {
    trouble: Trouble,
    /// Requests since the fault was set.
    requests: usize,
    /// Whether the request of the fault has come.
    has_struck: bool,
}

#[derive(Clone, Copy)]
struct Route {
    server: SocketAddr,
    /// The address that the server advertises, and the one that clients get instead.
    renamed: Option<([u8; 13], [u8; 13])>,
}

impl Proxy {
    /// Listens on `port` (0: a free one) and forwards to `target`, both on this machine.
    pub async fn open(port: u16, target: u16) -> Self {
        Self::listen(port, target, None).await
    }

    /// In front of the Kafka at `target`, which advertises 127.0.0.1 with port `advertised`: clients of this proxy get
    /// the proxy's address instead.
    pub async fn open_kafka(target: u16, advertised: u16) -> Self {
        Self::listen(0, target, Some(advertised)).await
    }

    async fn listen(port: u16, target: u16, advertised: Option<u16>) -> Self {
        // The process that had the port before may be about to end.
        let listener = until("the port is free", async || {
            TcpListener::bind(("127.0.0.1", port)).await.ok()
        })
        .await;
        let port = listener.local_addr().expect("an address").port();
        let (now, _) = watch::channel(Now {
            trouble: Trouble::None,
            requests: 0,
            has_struck: false,
        });
        let (resets, _) = watch::channel(0);
        let route = Route {
            server: SocketAddr::from(([127, 0, 0, 1], target)),
            renamed: advertised.map(|advertised| (kafka_name(advertised), kafka_name(port))),
        };
        let line = Line { now, resets };
        let accepts = tokio::spawn({
            let line = line.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(pass_on(client, route, line.clone()));
                }
            }
        });
        Self {
            port,
            line,
            accepts,
        }
    }

    /// Sets the fault, and starts counting requests anew.
    pub fn set(&self, trouble: Trouble) {
        self.line.now.send_replace(Now {
            trouble,
            requests: 0,
            has_struck: false,
        });
        if trouble == Trouble::Cut {
            self.reset();
        }
    }

    /// Resets the present connections.
    pub fn reset(&self) {
        self.line.reset();
    }

    /// Requests since the last call of [`Proxy::set`].
    pub fn requests(&self) -> usize {
        self.line.now.borrow().requests
    }

    /// Whether the request of a fault has come.
    pub fn has_struck(&self) -> bool {
        self.line.now.borrow().has_struck
    }

    pub async fn strikes(&self) {
        let mut now = self.line.now.subscribe();
        // The sender is alive.
        let _ = now.wait_for(|now| now.has_struck).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepts.abort();
        self.reset();
    }
}

impl Line {
    fn trouble(&self) -> Trouble {
        self.now.borrow().trouble
    }

    fn reset(&self) {
        self.resets.send_modify(|resets| *resets += 1);
    }

    /// Counts a request; returns the fault if it is about this one.
    fn count(&self) -> Option<Trouble> {
        let mut met = None;
        self.now.send_if_modified(|now| {
            now.requests += 1;
            let (Trouble::DropRequest(nth, _)
            | Trouble::LoseAnswer(nth, _)
            | Trouble::HoldAnswer(nth)) = now.trouble
            else {
                return false;
            };
            met = (nth == now.requests).then_some(now.trouble);
            // No task waits for a number.
            false
        });
        met
    }

    /// The moment of `trouble` has come; returns whether it is still set.
    fn strike(&self, trouble: Trouble) -> bool {
        let mut then = Then::Works;
        let is_wanted = self.now.send_if_modified(|now| {
            if now.trouble != trouble {
                return false;
            }
            now.has_struck = true;
            if let Trouble::DropRequest(_, Then::Cut) | Trouble::LoseAnswer(_, Then::Cut) = trouble
            {
                now.trouble = Trouble::Cut;
                then = Then::Cut;
            }
            true
        });
        if then == Then::Cut {
            self.reset();
        }
        is_wanted
    }
}

async fn pass_on(mut client: TcpStream, route: Route, line: Line) {
    let mut reset = line.resets.subscribe();
    let server = match line.trouble() {
        Trouble::Cut => None,
        _ => TcpStream::connect(route.server).await.ok(),
    };
    let Some(mut server) = server else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let exchange = Exchange {
        is_answered: AtomicBool::new(true),
        is_marked: AtomicBool::new(false),
    };
    let is_whole = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let both = async {
            tokio::try_join!(
                requests(from_client, to_server, &line, &exchange),
                answers(from_server, to_client, &line, &exchange, route)
            )
        };
        tokio::select! {
            // First, so that data that was held back does not get through after a reset.
            biased;
            _ = reset.changed() => false,
            both = both => both.is_ok(),
        }
    };
    if !is_whole {
        // Dropping the sockets then resets the connections instead of closing them.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

struct Exchange {
    /// Whether the client's next data begin a new request.
    is_answered: AtomicBool,
    /// Whether the answer is the one that the fault is about.
    is_marked: AtomicBool,
}

/// The connection is to be reset.
struct Broken;

/// Bytes forwarded at once.
const PIECE: usize = 16 * 1024;

/// Forwards what the client sends until it ends.
async fn requests(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    line: &Line,
    exchange: &Exchange,
) -> Result<(), Broken> {
    let mut buffer = vec![0; PIECE];
    loop {
        let read = from.read(&mut buffer).await.map_err(|_| Broken)?;
        if read == 0 {
            return to.shutdown().await.map_err(|_| Broken);
        }
        wait_out(line).await?;
        if exchange.is_answered.swap(false, Ordering::Relaxed) {
            match line.count() {
                Some(trouble @ Trouble::DropRequest(..)) if line.strike(trouble) => {
                    return Err(Broken);
                }
                Some(_) => exchange.is_marked.store(true, Ordering::Relaxed),
                None => {}
            }
        }
        to.write_all(&buffer[..read]).await.map_err(|_| Broken)?;
    }
}

/// Forwards what the server sends until it ends.
async fn answers(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    line: &Line,
    exchange: &Exchange,
    route: Route,
) -> Result<(), Broken> {
    let mut buffer = vec![0; PIECE];
    let mut passed = 0;
    loop {
        let read = from.read(&mut buffer).await.map_err(|_| Broken)?;
        if read == 0 {
            return to.shutdown().await.map_err(|_| Broken);
        }
        exchange.is_answered.store(true, Ordering::Relaxed);
        if exchange.is_marked.swap(false, Ordering::Relaxed) {
            match line.trouble() {
                trouble @ Trouble::LoseAnswer(..) if line.strike(trouble) => return Err(Broken),
                trouble @ Trouble::HoldAnswer(_) if line.strike(trouble) => {
                    let mut now = line.now.subscribe();
                    let over = now.wait_for(|now| now.trouble != trouble).await;
                    over.map_err(|_| Broken)?;
                }
                _ => {}
            }
        }
        let now = wait_out(line).await?;
        if let Some((name, ours)) = route.renamed {
            rename(&mut buffer[..read], name, ours);
        }
        let mut piece = &buffer[..read];
        match now {
            Trouble::AnswersLostAfter(most) => {
                piece = &piece[..piece.len().min(most.saturating_sub(passed))];
                passed += piece.len();
            }
            _ => passed = 0,
        }
        to.write_all(piece).await.map_err(|_| Broken)?;
        if piece.len() < read {
            return Err(Broken);
        }
    }
}

/// Waits as long as data are delayed; returns the fault then.
async fn wait_out(line: &Line) -> Result<Trouble, Broken> {
    let mut now = line.now.subscribe();
    let trouble = {
        let now = now.wait_for(|now| now.trouble != Trouble::Hang).await;
        now.map_err(|_| Broken)?.trouble
    };
    if let Trouble::Delay(delay) = trouble {
        tokio::time::sleep(delay).await;
    }
    Ok(trouble)
}

/// An address of this machine in Kafka's protocol: the host's name, then the port in four bytes.
fn kafka_name(port: u16) -> [u8; 13] {
    let mut name = *b"127.0.0.1\0\0\0\0";
    name[11..].copy_from_slice(&port.to_be_bytes());
    name
}

fn rename(data: &mut [u8], name: [u8; 13], ours: [u8; 13]) {
    let mut at = 0;
    while let Some(found) = data[at..].windows(name.len()).position(|seen| seen == name) {
        at += found;
        data[at..at + ours.len()].copy_from_slice(&ours);
        at += ours.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    /// Sends every byte back.
    async fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = client.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        port
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap()
    }

    /// Sends `text` and returns what comes back, until the connection breaks.
    async fn say(connection: &mut TcpStream, text: &[u8]) -> Vec<u8> {
        let mut back = vec![];
        if connection.write_all(text).await.is_ok() {
            while back.len() < text.len() {
                match connection.read_buf(&mut back).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        }
        back
    }

    #[tokio::test]
    async fn each_trouble_is_what_it_says() {
        let proxy = Proxy::open(0, echo().await).await;
        let mut connection = connect(&proxy).await;
        assert_eq!(say(&mut connection, b"all is well").await, b"all is well");

        proxy.reset();
        assert_eq!(say(&mut connection, b"gone").await, b"");

        let mut connection = connect(&proxy).await;
        proxy.set(Trouble::AnswersLostAfter(3));
        assert_eq!(say(&mut connection, b"answer").await, b"ans");

        proxy.set(Trouble::Cut);
        assert_eq!(say(&mut connect(&proxy).await, b"refused").await, b"");

        proxy.set(Trouble::Delay(Duration::from_millis(20)));
        let mut connection = connect(&proxy).await;
        let begun = Instant::now();
        assert_eq!(say(&mut connection, b"late").await, b"late");
        assert!(begun.elapsed() >= Duration::from_millis(40));

        proxy.set(Trouble::Hang);
        let answer = tokio::spawn(async move { say(&mut connection, b"held up").await });
        tokio::task::yield_now().await;
        assert!(!answer.is_finished());
        proxy.set(Trouble::None);
        assert_eq!(answer.await.unwrap(), b"held up");
    }

    #[tokio::test]
    async fn requests_are_counted_and_one_of_them_is_struck() {
        let (heard, listening) = listener_that_hears().await;
        let proxy = Proxy::open(0, listening).await;
        let mut connection = connect(&proxy).await;
        for text in [b"one", b"two"] {
            assert_eq!(say(&mut connection, text).await, text);
        }
        assert_eq!(
            say(&mut connect(&proxy).await, b"another's").await,
            b"another's"
        );
        assert_eq!(proxy.requests(), 3);

        proxy.set(Trouble::DropRequest(2, Then::Works));
        assert_eq!(say(&mut connection, b"first").await, b"first");
        assert!(!proxy.has_struck());
        assert_eq!(say(&mut connection, b"dropped").await, b"");
        assert!(proxy.has_struck());
        assert!(!heard.borrow().contains("dropped"));
        let mut connection = connect(&proxy).await;
        assert_eq!(say(&mut connection, b"third").await, b"third");

        proxy.set(Trouble::LoseAnswer(1, Then::Works));
        assert_eq!(say(&mut connection, b"lost").await, b"");
        assert!(heard.borrow().contains("lost"));
        let mut connection = connect(&proxy).await;
        assert_eq!(say(&mut connection, b"again").await, b"again");

        proxy.set(Trouble::HoldAnswer(1));
        let answer = tokio::spawn(async move { (say(&mut connection, b"held").await, connection) });
        proxy.strikes().await;
        assert!(heard.borrow().contains("held") && !answer.is_finished());
        proxy.set(Trouble::None);
        let (held, mut connection) = answer.await.unwrap();
        assert_eq!(held, b"held");

        proxy.set(Trouble::LoseAnswer(1, Then::Cut));
        let mut other = connect(&proxy).await;
        assert_eq!(say(&mut connection, b"the last").await, b"");
        assert!(heard.borrow().contains("the last"));
        assert_eq!(say(&mut other, b"cut").await, b"");
        assert_eq!(say(&mut connect(&proxy).await, b"refused").await, b"");
        assert!(proxy.has_struck());
        proxy.set(Trouble::None);
        assert_eq!(
            say(&mut connect(&proxy).await, b"all is well").await,
            b"all is well"
        );
    }

    /// Sends every byte back, and keeps what it has received.
    async fn listener_that_hears() -> (watch::Receiver<String>, u16) {
        let (hears, heard) = watch::channel(String::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let hears = hears.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 64];
                    while let Ok(read @ 1..) = client.read(&mut buffer).await {
                        let text = String::from_utf8_lossy(&buffer[..read]);
                        hears.send_modify(|heard| heard.push_str(&text));
                        if client.write_all(&buffer[..read]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        (heard, port)
    }

    #[tokio::test]
    async fn kafka_s_clients_are_told_to_come_the_same_way_again() {
        let proxy = Proxy::open_kafka(echo().await, 9_092).await;
        let mut connection = connect(&proxy).await;
        let brokers = |port| [b"\x0a".as_slice(), &kafka_name(port), b"rack"].concat();
        let back = say(&mut connection, &brokers(9_092)).await;
        assert_eq!(back, brokers(proxy.port));
        assert_eq!(say(&mut connection, &brokers(9_093)).await, brokers(9_093));
    }
}
