//! Tests signatures with records that no bridge has published, on a topic to which others can write.

use crate::failed::{named, with};
use crate::view::{View, granted};
use rdkafka::Message;
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rushgate_e2e::system::{Size, System};

const OLD: &str = "an old key of at least thirty-two characters";
const NEW: &str = "a new key of at least thirty-two characters";

fn grant(serial: u32, user_id: &str) -> String {
    format!(
        r#"{{"type":"coupon.granted","campaign":"launch","round":"once","serial":{serial},"user_id":"{user_id}","at":1796086800123}}"#
    )
}

/// The headers of the records with this key, oldest first.
fn headers_of(system: &System, key: &str) -> Vec<OwnedHeaders> {
    let mut found = vec![];
    let read = system.stores().read_topic(|record| {
        if record.key() == Some(key.as_bytes()) {
            let headers = record.headers().map(|headers| headers.detach());
            found.push(headers.unwrap_or_default());
        }
    });
    read.expect("the topic");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_record_mints_nothing_and_halts_no_campaign() {
    let keys = format!("{NEW},{OLD}");
    let settings = [
        ("KAFKA_SIGNING_KEYS", keys.as_str()),
        ("KAFKA_REQUIRE_SIGNATURES", "true"),
    ];
    let mut system = System::start_with(Size::NO_CONSUMER, &settings).await;
    system.operator.create("launch", 5).await.expect("created");
    // Signed by a bridge that does not have the new key yet.
    system.set("KAFKA_SIGNING_KEYS", OLD);
    system.bridges.clear();
    system.start_bridge().await;
    system.set("KAFKA_SIGNING_KEYS", &keys);
    system.start_consumer().await;
    let launch = View::of(&system, "launch");
    assert_eq!(launch.apply("a").await, granted(1));
    launch.has_rows(1).await;

    // Forged records, which would halt the campaign: the gate does not know these grants, and the serial of `a` belongs
    // to another applicant.
    launch.publish("launch/once/2", &grant(2, "m")).await;
    launch.publish("launch/once/1", &grant(1, "n")).await;
    // The headers of a signed record, on another record.
    let [signed] = &headers_of(&system, "launch/once/1")[..1] else {
        panic!("no record")
    };
    let (key, value) = ("launch/once/3", grant(3, "o"));
    launch.publish_with(key, &value, signed.clone()).await;
    let list = launch.lists(3).await;
    for key in ["launch/once/1", "launch/once/2", "launch/once/3"] {
        named(&list, with!["bad_signature", key]);
    }
    launch.has_rows(1).await;
    assert_eq!(launch.apply("b").await, granted(2));
    launch.has_rows(2).await;

    // A restore does not treat them as grants, and a replay does not make them grants.
    launch.does(&["failed", "replay", "--all"]).await;
    let list = launch.lists(3).await;
    named(&list, with!["bad_signature", "launch/once/3", 2]);
    let said = launch
        .does(&["restore", "launch", "--halt", "--wait", "60s"])
        .await;
    assert!(said.contains("the gate had 2 of 2 held grants"), "{said}");
    launch.has_rows(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_replayed_with_every_header_that_it_had() {
    let system = System::start(Size::ONE_OF_EACH).await;
    system.operator.create("launch", 5).await.expect("created");
    let launch = View::of(&system, "launch");
    let long = "x".repeat(1_000);
    let all = [
        (
            "traceparent",
            Some(&b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"[..]),
        ),
        ("ce_id", Some(b"launch/late/1/coupon.granted")),
        ("bytes", Some(&[0, 0xff])),
        ("twice", Some(b"1")),
        ("twice", Some(b"2")),
        ("none", None),
        ("empty", Some(b"")),
        ("long", Some(long.as_bytes())),
    ];
    let headers = all
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: *value })
        });
    launch.publish_with("launch/once/1", "{", headers).await;
    launch.lists(1).await;
    launch.does(&["failed", "replay", "--all"]).await;
    launch.lists(1).await;
    launch.does(&["failed", "replay", "--all"]).await;
    launch.lists(1).await;

    for (number, sent) in headers_of(&system, "launch/once/1").iter().enumerate() {
        let sent: Vec<_> = sent
            .iter()
            .map(|header| (header.key, header.value))
            .collect();
        let attempt = (number + 1).to_string();
        let mut expected = all.to_vec();
        if number > 0 {
            expected.push(("ce_attempt", Some(attempt.as_bytes())));
        }
        assert_eq!(sent, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_name_that_is_not_utf8_stops_no_other_record() {
    let system = System::start(Size::ONE_OF_EACH).await;
    system.operator.create("launch", 5).await.expect("created");
    let launch = View::of(&system, "launch");
    let name = std::hint::black_box(vec![0xff]);
    // SAFETY: rdkafka takes a text and reads its bytes, up to a zero.
    #[allow(unsafe_code)]
    let key = unsafe { str::from_utf8_unchecked(&name) };
    let value = Some("1");
    let headers = OwnedHeaders::new().insert(Header { key, value });
    launch.publish_with("launch/once/1", "{", headers).await;
    launch.lists(1).await;
    assert_eq!(launch.apply("a").await, granted(1));
    launch.has_rows(1).await;
    // It has lost that header, so it is not sent again as if it had had none.
    let refused = launch.exits(1, &["failed", "replay", "--all"]).await;
    assert!(refused.contains("headers are stored"), "{refused}");
    launch.does(&["failed", "discard", "--all"]).await;
    let agreed = launch.exits(0, &["audit"]).await;
    assert!(agreed.contains("all agree"), "{agreed}");
}
