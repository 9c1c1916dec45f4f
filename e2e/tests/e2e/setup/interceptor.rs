//! A proxy between a program and the database. It can stop at a chosen command, or at the answer to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    /// The command with this number, counted from 1, does not reach the server.
    Command(usize),
    /// The server has run the command with this number, and its answer does not reach the program.
    Answer(usize),
}

/// Forwards one connection until it stops; then it keeps both ends open until it is dropped.
pub(crate) struct Interceptor {
    pub(crate) port: u16,
    stopped: Arc<Notify>,
    _tasks: JoinSet<()>,
}

impl Interceptor {
    /// Between a program that connects to its port and the server at `server` on this machine.
    pub(crate) async fn open(server: u16, at: At) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let stopped = Arc::new(Notify::new());
        let told = stopped.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (client, _) = listener.accept().await.expect("a connection");
            let server = TcpStream::connect(("127.0.0.1", server))
                .await
                .expect("the server");
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let holds = AtomicBool::new(false);
            tokio::join!(
                pass_commands(from_client, to_server, at, &holds, &told),
                pass_answers(from_server, to_client, &holds, &told)
            );
        });
        Self {
            port,
            stopped,
            _tasks: tasks,
        }
    }

    /// Waits until it has stopped.
    pub(crate) async fn stopped(&self) {
        self.stopped.notified().await;
    }
}

/// Commands that the server does not answer.
const COM_QUIT: u8 = 0x01;
const COM_STMT_CLOSE: u8 = 0x19;

async fn pass_commands(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    at: At,
    holds: &AtomicBool,
    stopped: &Notify,
) {
    let mut commands = 0;
    loop {
        // A packet: three bytes of length, a sequence number, then the payload.
        let mut packet = vec![0; 4];
        if from.read_exact(&mut packet).await.is_err() {
            return;
        }
        let [a, b, c, number] = packet[..] else {
            unreachable!("four bytes")
        };
        packet.resize(4 + u32::from_le_bytes([a, b, c, 0]) as usize, 0);
        from.read_exact(&mut packet[4..])
            .await
            .expect("a whole packet");
        if number == 0 && ![COM_QUIT, COM_STMT_CLOSE].contains(&packet[4]) {
            commands += 1;
            match at {
                At::Command(last) if commands == last => {
                    stopped.notify_one();
                    return std::future::pending().await;
                }
                At::Answer(last) if commands == last => holds.store(true, Ordering::SeqCst),
                _ => {}
            }
        }
        if to.write_all(&packet).await.is_err() {
            return;
        }
    }
}

async fn pass_answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    holds: &AtomicBool,
    stopped: &Notify,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if holds.load(Ordering::SeqCst) {
            stopped.notify_one();
            return std::future::pending().await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
