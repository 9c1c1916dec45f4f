//! Forwards the data of one connection between a client and a server, unless the fault prevents it.

use super::line::{Line, Trouble};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// Where the data go.
#[derive(Clone, Copy)]
pub(super) struct Route {
    pub(super) server: SocketAddr,
    /// The address that the server advertises, and the one that clients get instead.
    pub(super) renamed: Option<([u8; 13], [u8; 13])>,
}

/// Connects the client with the server, until one of them ends or the proxy resets the connection.
pub(super) async fn pass_on(mut client: TcpStream, route: Route, line: Line) {
    line.count_connection();
    let mut reset = line.watch_resets();
    let server = match line.now().trouble {
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
            match line.now().trouble {
                trouble @ Trouble::LoseAnswer(..) if line.strike(trouble) => return Err(Broken),
                trouble @ Trouble::HoldAnswer(_) if line.strike(trouble) => {
                    let mut now = line.watch();
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
    let mut now = line.watch();
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
pub(super) fn kafka_name(port: u16) -> [u8; 13] {
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
