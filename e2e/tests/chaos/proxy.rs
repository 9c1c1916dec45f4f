//! A connection through which everything goes that a part says, and what can go wrong with one.

use rushgate_e2e::wait::until;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// Every piece of data is late by so much.
    Delay(Duration),
    /// Nothing gets through, and nobody is told.
    Hang,
    /// Connections are reset, and so are new ones.
    Cut,
    /// Each connection is reset when so many bytes of answers have come through.
    AnswersLostAfter(usize),
}

/// Listens at a port and passes on what comes.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    trouble: watch::Sender<Trouble>,
    resets: watch::Sender<u64>,
}

impl Proxy {
    /// Listens at `port` (0: at a free one) and passes on to `target`, both on this machine.
    pub(crate) async fn open(port: u16, target: u16) -> Self {
        // Who had the port before may be about to end.
        let listener = until("the port is free", async || {
            TcpListener::bind(("127.0.0.1", port)).await.ok()
        })
        .await;
        let port = listener.local_addr().expect("an address").port();
        let (trouble, troubles) = watch::channel(Trouble::None);
        let (resets, reset) = watch::channel(0);
        let server = SocketAddr::from(([127, 0, 0, 1], target));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, server, troubles.clone(), reset.clone()));
            }
        });
        Self {
            port,
            trouble,
            resets,
        }
    }

    /// From now on this is wrong.
    pub(crate) fn set(&self, trouble: Trouble) {
        self.trouble.send_replace(trouble);
        if trouble == Trouble::Cut {
            self.reset();
        }
    }

    /// Resets the connections that there are.
    pub(crate) fn reset(&self) {
        self.resets.send_modify(|resets| *resets += 1);
    }
}

async fn pass_on(
    mut client: TcpStream,
    server: SocketAddr,
    trouble: watch::Receiver<Trouble>,
    mut reset: watch::Receiver<u64>,
) {
    reset.mark_unchanged();
    let server = match *trouble.borrow() {
        Trouble::Cut => None,
        _ => Some(server),
    };
    let server = match server {
        Some(server) => TcpStream::connect(server).await.ok(),
        None => None,
    };
    let Some(mut server) = server else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let is_whole = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let both = async {
            tokio::try_join!(
                pump(from_client, to_server, trouble.clone(), false),
                pump(from_server, to_client, trouble.clone(), true)
            )
        };
        tokio::select! {
            // First, so that what was held back does not get through after a reset.
            biased;
            _ = reset.changed() => false,
            both = both => both.is_ok(),
        }
    };
    if !is_whole {
        // What is dropped is reset then, not closed.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// The connection is to be broken.
struct Broken;

/// Passes on what comes until there is no more.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut trouble: watch::Receiver<Trouble>,
    are_answers: bool,
) -> Result<(), Broken> {
    let mut buffer = vec![0; 16 * 1024];
    let mut passed = 0;
    loop {
        let read = from.read(&mut buffer).await.map_err(|_| Broken)?;
        if read == 0 {
            return to.shutdown().await.map_err(|_| Broken);
        }
        let now = trouble.wait_for(|trouble| *trouble != Trouble::Hang).await;
        let now = *now.map_err(|_| Broken)?;
        let mut chunk = &buffer[..read];
        match now {
            Trouble::Delay(delay) => tokio::time::sleep(delay).await,
            Trouble::AnswersLostAfter(most) if are_answers => {
                chunk = &chunk[..chunk.len().min(most.saturating_sub(passed))];
                passed += chunk.len();
            }
            _ => passed = 0,
        }
        to.write_all(chunk).await.map_err(|_| Broken)?;
        if chunk.len() < read {
            return Err(Broken);
        }
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

    /// What comes back of `text`, until the connection breaks.
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
}
