//! Tests that user ids of every character that they may have come through the whole system unchanged.

use crate::view::{View, granted};
use reqwest::Client;
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::wait::until;
use serde_json::Value;
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread")]
async fn every_character_of_user_ids_comes_through_the_whole_system_unchanged() {
    let alphabet: String = (b'0'..=b'9')
        .chain(b'A'..=b'Z')
        .chain(b'a'..=b'z')
        .map(char::from)
        .collect();
    let alphabet = alphabet + "._:@-!$&'()*+,;=|~";
    let by_post = format!("{alphabet:x<128}");
    let by_put: String = by_post.chars().rev().collect();
    let next = "$(id)|;&'*~!,=+";

    let system = System::start(Size::ONE_OF_EACH).await;
    let launch = View::of(&system, "launch");
    let create = [
        "campaign",
        "create",
        "--id",
        "launch",
        "--quota",
        "2",
        "--waitlist",
        "1",
    ];
    launch.does(&create).await;
    let client = Client::new();
    let applications = format!("{}/v1/campaigns/launch/applications", system.url());
    let url = |user_id: &str| {
        let escaped: String = user_id.bytes().map(|byte| format!("%{byte:02X}")).collect();
        format!("{applications}/{escaped}")
    };
    let status = async |url: String| {
        let response = client.get(url).send().await.expect("an answer");
        let body: Value = response.json().await.expect("JSON");
        let word = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        (word("decision"), word("user_id"))
    };

    assert_eq!(launch.apply(&by_post).await, granted(1));
    for (user_id, path, expected) in [
        (&*by_put, url(&by_put), 201),
        // As it is, where a path may have it.
        (
            &by_put,
            format!("{applications}/{}", by_put.replace('|', "%7C")),
            200,
        ),
        (&by_post, url(&by_post), 200),
        (next, url(next), 202),
    ] {
        let response = client.put(path).send().await.expect("an answer");
        assert_eq!(response.status(), expected, "{user_id}");
        if let Some(location) = response.headers().get("location") {
            let location = location.to_str().expect("ASCII");
            let location = format!("{}{location}", system.url());
            assert_eq!(status(location).await.1, user_id);
        }
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body["user_id"], user_id);
    }
    let expected = |winners: [&str; 2]| BTreeSet::from(winners.map(str::to_owned));
    let evidence = system.at_rest("launch").await;
    let winners = expected([&by_post, &by_put]);
    let published = evidence
        .published
        .iter()
        .map(|event| event.applicant.to_string());
    assert_eq!(published.collect::<BTreeSet<_>>(), winners);
    let rows = |rows: Vec<rushgate_e2e::rows::Row>| {
        rows.into_iter()
            .map(|row| row.user_id)
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(rows(evidence.rows), winners);
    assert_eq!(
        status(url(&by_post)).await,
        ("issued".to_owned(), by_post.clone())
    );

    // The serial goes to the applicant on the waitlist, whose user id would be a command in a shell.
    let refused = launch.cannot(&["revoke", "launch", next]).await;
    assert!(
        refused.contains(r"coupon find '$(id)|;&'\''*~!,=+'`"),
        "{refused}"
    );
    launch.does(&["revoke", "launch", &by_post]).await;
    until("the next one has the row", async || {
        let found = system.at_rest("launch").await.rows;
        (rows(found) == expected([&by_put, next])).then_some(())
    })
    .await;
    assert_eq!(
        status(url(&by_post)).await,
        ("revoked".to_owned(), by_post.clone())
    );
    assert_eq!(
        status(url(next)).await,
        ("issued".to_owned(), next.to_owned())
    );
    let found = launch.does(&["coupon", "find", next]).await;
    assert!(found.contains("once/1"), "{found}");
    launch.exits(0, &["audit", "launch"]).await;
}
