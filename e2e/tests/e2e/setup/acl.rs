//! Grants a right to a Kafka user. The request is encoded by hand, because rdkafka does not support it.

use rushgate_e2e::shared::server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Allows `principal` to describe `topic`, and nothing else.
pub(crate) async fn allow_describe(principal: &str, topic: &str) {
    // CreateAcls, version 1: API key, version, correlation id and client id, then one rule.
    let mut request: Vec<u8> = [30_i16.to_be_bytes(), 1_i16.to_be_bytes()].concat();
    request.extend(1_i32.to_be_bytes());
    put(&mut request, "e2e");
    request.extend(1_i32.to_be_bytes());
    // A topic of exactly this name; from any host; DESCRIBE is allowed.
    request.push(2);
    put(&mut request, topic);
    request.push(3);
    put(&mut request, principal);
    put(&mut request, "*");
    request.extend([8, 3]);

    let mut broker = TcpStream::connect(server("KAFKA_BROKERS"))
        .await
        .expect("a broker");
    let length = i32::try_from(request.len()).expect("a short request");
    broker.write_i32(length).await.expect("is sent");
    broker.write_all(&request).await.expect("is sent");
    let length = broker.read_u32().await.expect("an answer");
    let mut answer = vec![0; length as usize];
    broker.read_exact(&mut answer).await.expect("an answer");
    // After correlation id, throttle time and the number of rules: the error of the first rule.
    assert_eq!(answer.get(12..14), Some(&[0, 0][..]), "{answer:?}");
}

fn put(request: &mut Vec<u8>, text: &str) {
    let length = i16::try_from(text.len()).expect("a short text");
    request.extend(length.to_be_bytes());
    request.extend(text.as_bytes());
}
