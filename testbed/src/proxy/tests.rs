use super::forward::kafka_name;
use super::{Proxy, Then, Trouble};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
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
