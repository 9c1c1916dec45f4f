//! Tests that applicants leave the waitlist and give coupons back, where it is proven who asks, and only there.

use crate::view::View;
use reqwest::{Client, Method};
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::wait::until;
use serde_json::{Value, json};

const UPSTREAM: [(&str, &str); 1] = [("SPIN_VARIABLE_IDENTITIES", "upstream")];

/// The requests about applications of one system.
struct Applications<'a> {
    system: &'a System,
    client: Client,
}

impl<'a> Applications<'a> {
    fn of(system: &'a System) -> Self {
        let client = Client::new();
        Self { system, client }
    }

    /// Status and body.
    async fn send(&self, method: Method, path: &str) -> (u16, Value) {
        let (campaign, application) = path.split_once('/').expect("a campaign and more");
        let url = self.system.url();
        let url = format!("{url}/v1/campaigns/{campaign}/applications/{application}");
        let response = self.client.request(method, url).send().await;
        let response = response.expect("an answer");
        let status = response.status().as_u16();
        (status, response.json().await.expect("JSON"))
    }

    /// Checks status, and decision or code.
    async fn is(&self, method: Method, path: &str, status: u16, word: &str) -> Value {
        let (seen, body) = self.send(method.clone(), path).await;
        let said = body.get("decision").or(body.get("code"));
        assert_eq!(
            (seen, said),
            (status, Some(&json!(word))),
            "{method} {path}: {body}"
        );
        body
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn applicants_leave_the_waitlist_and_give_their_coupon_back() {
    let system = System::start_with(Size::ONE_OF_EACH, &UPSTREAM).await;
    let launch = View::of(&system, "launch");
    for (campaign, rule) in [("launch", &["--self-cancel"][..]), ("strict", &[])] {
        let create = [
            "campaign",
            "create",
            "--id",
            campaign,
            "--quota",
            "1",
            "--waitlist",
            "3",
        ];
        launch.does(&[&create[..], rule].concat()).await;
    }
    let applications = Applications::of(&system);
    let is = async |method, path, status, word| applications.is(method, path, status, word).await;

    let granted = is(Method::PUT, "launch/a", 201, "granted").await;
    for (position, path) in (1..).zip(["launch/b", "launch/c", "launch/d"]) {
        let waits = is(Method::PUT, path, 202, "waitlisted").await;
        assert_eq!(waits["position"], position);
    }

    // An applicant who waits may leave, and join again as the last one.
    let left = is(Method::DELETE, "launch/b?round=once", 200, "left").await;
    assert_eq!(
        (&left["round"], &left["user_id"]),
        (&json!("once"), &json!("b"))
    );
    assert!(left["waitlisted_at"].is_string(), "{left}");
    is(Method::DELETE, "launch/b", 404, "application_not_found").await;
    is(Method::GET, "launch/b", 404, "application_not_found").await;
    let waits = is(Method::GET, "launch/c", 200, "waitlisted").await;
    assert_eq!(waits["position"], 1);
    until("the grace period is over", async || {
        let (status, body) = applications.send(Method::PUT, "launch/b").await;
        (status == 202).then(|| assert_eq!(body["position"], 3))
    })
    .await;

    // The coupon goes to the next one.
    let revoked = is(Method::DELETE, "launch/a", 200, "revoked").await;
    assert_eq!(
        (&revoked["serial"], &revoked["granted_at"]),
        (&json!(1), &granted["granted_at"])
    );
    let again = is(Method::DELETE, "launch/a", 200, "revoked").await;
    assert_eq!(again, revoked);
    assert_eq!(is(Method::GET, "launch/a", 200, "revoked").await, revoked);
    is(Method::PUT, "launch/a", 410, "revoked").await;
    let next = is(Method::PUT, "launch/c", 200, "already_granted").await;
    assert_eq!(next["serial"], 1);
    let evidence = system.at_rest("launch").await;
    let rows: Vec<_> = evidence
        .rows
        .iter()
        .map(|row| (row.place.serial, &*row.user_id))
        .collect();
    assert_eq!(rows, [(1, "c")]);
    let revoked: Vec<_> = evidence
        .revoked
        .iter()
        .map(|(user_id, _)| &**user_id)
        .collect();
    assert_eq!(revoked, ["a"]);

    // What cannot be given back, or is not there.
    is(Method::PUT, "strict/a", 201, "granted").await;
    is(Method::PUT, "strict/b", 202, "waitlisted").await;
    for (path, status, word) in [
        ("strict/a", 409, "cancellation_not_allowed"),
        ("strict/b", 200, "left"),
        ("strict/c", 404, "application_not_found"),
        ("strict/a?round=nope", 404, "round_not_found"),
        ("strict/a%20b", 404, "application_not_found"),
        ("nope/a", 404, "campaign_not_found"),
    ] {
        is(Method::DELETE, path, status, word).await;
    }
    system.at_rest("strict").await;
    is(Method::GET, "strict/a", 200, "issued").await;
    let mut redis = system.redis_connection().await.expect("Redis");
    let mut set = async |key: &str, field: &str, value: &str| {
        let mut set = redis::cmd("HSET");
        set.arg(&[key, field, value])
            .exec_async(&mut redis)
            .await
            .expect("HSET");
    };
    set(
        "rushgate:{launch}:grants",
        "c",
        "once/1/1796086800123/issued/1796087000000",
    )
    .await;
    is(Method::DELETE, "launch/c", 409, "coupon_redeemed").await;
    set("rushgate:{strict}:campaign", "state", "halted").await;
    let (_, body) = applications.send(Method::DELETE, "strict/a").await;
    assert_eq!(
        (&body["status"], &body["code"]),
        (&json!(503), &json!("halted"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applicant_who_waits_when_the_round_ends_is_told_so_and_may_leave() {
    let system = System::start_with(Size::ONE_OF_EACH, &UPSTREAM).await;
    let launch = View::of(&system, "launch");
    let create = ["campaign", "create", "--id", "launch", "--quota", "1"];
    let terms = ["--waitlist", "3", "--promote-until", "closes"];
    launch.does(&[&create[..], &terms].concat()).await;
    let applications = Applications::of(&system);
    let is = async |method, path, status, word| applications.is(method, path, status, word).await;
    is(Method::PUT, "launch/a", 201, "granted").await;
    let waits = is(Method::PUT, "launch/b", 202, "waitlisted").await;
    is(Method::PUT, "launch/c", 202, "waitlisted").await;

    let change = ["campaign", "change", "launch", "--closes-at"];
    let ended = ["2020-01-01T00:00:00Z"];
    launch.does(&[&change[..], &ended].concat()).await;
    for path in ["launch/b", "launch/b?round=once"] {
        let expired = is(Method::GET, path, 200, "expired").await;
        let expected = json!({
            "decision": "expired", "campaign": "launch", "round": "once", "user_id": "b",
            "waitlisted_at": waits["waitlisted_at"],
        });
        assert_eq!(expired, expected, "{path}");
    }
    let url = format!("{}/v1/campaigns/launch/applications/b", system.url());
    let response = reqwest::get(url).await.expect("an answer");
    let headers = response.headers();
    assert!(!headers.contains_key("retry-after"), "{headers:?}");
    is(Method::PUT, "launch/b", 410, "closed").await;

    // No applicant gets a coupon that is revoked now, and those who wait may still leave.
    let revoked = launch.does(&["revoke", "launch", "a"]).await;
    assert!(revoked.ends_with("its serial is free again\n"), "{revoked}");
    is(Method::GET, "launch/b", 200, "expired").await;
    is(Method::DELETE, "launch/b", 200, "left").await;
    is(Method::GET, "launch/b", 404, "application_not_found").await;

    // If the round gets a later closing time, the list moves up again.
    let later = ["2099-01-01T00:00:00Z"];
    let changed = launch.does(&[&change[..], &later].concat()).await;
    assert!(
        changed.ends_with("; 1 from the waitlist got a coupon\n"),
        "{changed}"
    );
    system.at_rest("launch").await;
    let issued = is(Method::GET, "launch/c", 200, "issued").await;
    assert_eq!(issued["serial"], 1);
    launch.exits(0, &["audit"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_guesses_user_ids_gets_no_code_and_cancels_nothing() {
    const GUESSED: u32 = 20;
    let keys = "a key of codes that no client knows";
    let keys = [
        ("COUPON_CODE_KEYS", keys),
        ("SPIN_VARIABLE_COUPON_CODE_KEYS", keys),
    ];
    let system = System::start_with(Size::ONE_OF_EACH, &keys).await;
    let create = [
        "campaign",
        "create",
        "--id",
        "launch",
        "--quota",
        "10",
        "--waitlist",
        "10",
    ];
    let create = [&create[..], &["--self-cancel", "--codes", "signed"]].concat();
    system.operator.run(&create).await.expect("created");
    let applications = Applications::of(&system);
    for user_id in 1..=GUESSED {
        let path = format!("launch/{user_id}");
        applications.send(Method::PUT, &path).await;
    }
    system.at_rest("launch").await;
    for user_id in 1..=GUESSED {
        let path = format!("launch/{user_id}");
        for method in [Method::PUT, Method::GET] {
            let (status, body) = applications.send(method, &path).await;
            assert!([200, 202].contains(&status), "{status} {body}");
            let text = body.to_string();
            assert!(!text.contains("code") && !text.contains("redeem"), "{text}");
        }
        applications
            .is(Method::DELETE, &path, 403, "identity_not_proven")
            .await;
    }
    // Not even whether there is such a campaign.
    applications
        .is(Method::DELETE, "nope/1", 403, "identity_not_proven")
        .await;
    let launch = View::of(&system, "launch");
    let round = &launch.shown().await["round"];
    assert!(
        round["granted"] == 10 && round["waitlisted"] == 10,
        "{round}"
    );
}
