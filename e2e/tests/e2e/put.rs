//! Tests PUT with the compiled component: it applies without a body, and may be repeated.

use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use reqwest::{Body, Client, RequestBuilder};
use rushgate_e2e::system::System;
use rushgate_testbed::wait::until;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

async fn sent(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    (status, response.json().await.expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn put_applies_once_however_often_and_with_whatever_body_it_is_sent() {
    let system = System::welcome().await;
    let client = Client::new();
    let path = |user_id: &str| format!("/v1/campaigns/welcome/applications/{user_id}");
    let put = |user_id: &str| client.put(format!("{}{}", system.url(), path(user_id)));

    // The same grant by PUT, by PUT again, and by POST.
    let response = put("7").send().await.expect("an answer");
    assert_eq!(response.headers()["location"], *path("7"));
    assert_eq!(response.headers()["rushgate-decision"], "granted");
    let (status, mut grant): (_, Value) = (response.status(), response.json().await.expect("JSON"));
    assert_eq!(
        (status.as_u16(), &grant["serial"]),
        (201, &1.into()),
        "{grant}"
    );
    grant["decision"] = "already_granted".into();
    assert_eq!(sent(put("7")).await, (200, grant.clone()));
    let post = client.post(format!(
        "{}/v1/campaigns/welcome/applications",
        system.url()
    ));
    let post = post.header("content-type", "application/json");
    assert_eq!(sent(post.body(r#"{"user_id":7}"#)).await, (200, grant));
    let minimal = put("7").header("prefer", "return=minimal").send().await;
    let minimal = minimal.expect("an answer");
    assert_eq!(minimal.headers()["rushgate-serial"], "1");
    assert_eq!(minimal.text().await.expect("a body"), "");

    // A body is ignored, and the next request on the connection works. Without tokens, `me` is a user id.
    let chunked = || {
        let piece = |text: &'static str| Ok::<_, std::io::Error>(Frame::data(Bytes::from(text)));
        let pieces = [r#"{"user_id":"#, "9}"].map(piece);
        Body::wrap(StreamBody::new(futures::stream::iter(pieces)))
    };
    for (serial, (user_id, request)) in (2..).zip([
        ("8", put("8").body(r#"{"user_id":9}"#)),
        (
            "me",
            put("me")
                .header("content-type", "text/plain")
                .body("x".repeat(4_096)),
        ),
        ("a@b:c", put("a@b:c").body(chunked())),
    ]) {
        let (status, body) = sent(request).await;
        let seen = (status, &body["user_id"], &body["serial"]);
        assert_eq!(seen, (201, &user_id.into(), &serial.into()), "{body}");
    }

    // The answer is lost after the gate has decided.
    let address = system.url().trim_start_matches("http://");
    let mut lost = TcpStream::connect(address).await.expect("connected");
    let request = format!("PUT {} HTTP/1.1\r\nhost: x\r\n\r\n", path("10"));
    lost.write_all(request.as_bytes()).await.expect("sent");
    until("the grant is there", async || {
        let found = client
            .get(format!("{}{}", system.url(), path("10")))
            .send()
            .await;
        (found.expect("an answer").status() == 200).then_some(())
    })
    .await;
    drop(lost);
    let (status, again) = sent(put("10")).await;
    assert_eq!((status, &again["serial"]), (200, &5.into()), "{again}");
}
