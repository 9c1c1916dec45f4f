//! Tests the host of the component where it answers itself. `wasm-host` does there as Spin does, which is why an edge
//! has to be in front of both.

use futures::future::join_all;
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::process::Signal;
use rushgate_testbed::wait::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_valid_host_closes_its_connection() {
    let system = System::start(Size::ONLY_A_HANDLER).await;
    for host in ["", "host: a b\r\n"] {
        let handler = system.handler_addresses()[0];
        let mut connection = TcpStream::connect(handler).await.expect("it listens");
        let request = format!("GET /healthz HTTP/1.1\r\n{host}\r\n");
        let sent = connection.write_all(request.as_bytes()).await;
        sent.expect("sent");
        let mut received = String::new();
        let closed = connection.read_to_string(&mut received).await;
        assert_eq!((closed.ok(), &*received), (Some(0), ""), "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_which_no_instance_can_start_get_500_without_retry_after() {
    // One instance that serves requests needs all of it.
    let limit = ("SPIN_MAX_INSTANCE_COUNT", "2");
    let system = System::start_with(Size::ONLY_A_HANDLER, &[limit]).await;
    let url = |path: &str| format!("{}{path}", system.url());
    system.redis().signal(Signal::SIGSTOP).expect("a signal");
    let requests = (0..40).map(|user_id| {
        let path = format!("/v1/campaigns/welcome/applications/{user_id}");
        reqwest::get(url(&path))
    });
    let responses = join_all(requests).await;
    system.redis().signal(Signal::SIGCONT).expect("a signal");

    let mut statuses = vec![];
    for response in responses {
        let response = response.expect("a response");
        let status = response.status().as_u16();
        let retry_after = response.headers().contains_key("retry-after");
        // From the component, or from the host.
        assert!(matches!((status, retry_after), (503, true) | (500, false)));
        statuses.push(status);
    }
    assert!(statuses.contains(&500), "{statuses:?}");

    until("there is an instance again", async || {
        let ready = reqwest::get(url("/readyz")).await.expect("a response");
        ready.status().is_success().then_some(())
    })
    .await;
}
