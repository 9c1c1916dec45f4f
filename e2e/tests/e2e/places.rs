//! Tests coupons that are revoked and granted again during a rush, and the waitlist.

use crate::watch::Watch;
use rand::seq::IndexedRandom;
use reqwest::{Client, StatusCode};
use rushgate_e2e::application::apply;
use rushgate_e2e::history::{Place, Reply};
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::wait::until;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const QUOTA: u32 = 100;
const WAITLIST: u32 = 50;
const APPLICANTS: usize = 1_000;
const REVOKES: usize = 30;

/// The body of GET for an application.
#[derive(Clone, Debug, Deserialize)]
struct Status {
    decision: String,
    serial: Option<u32>,
    position: Option<u32>,
}

#[derive(Deserialize)]
struct Counts {
    round: Round,
}

#[derive(Deserialize)]
struct Round {
    granted: u32,
    issued: u32,
    waitlisted: u32,
}

/// The public view of the one campaign.
#[derive(Clone)]
struct View {
    client: Client,
    campaign: String,
}

impl View {
    async fn status(&self, user_id: &str) -> Option<Status> {
        let url = format!("{}/applications/{user_id}", self.campaign);
        let response = self.client.get(url).send().await.expect("an answer");
        match response.status() {
            StatusCode::OK => Some(response.json().await.expect("a status")),
            StatusCode::NOT_FOUND => None,
            other => panic!("{other}"),
        }
    }

    async fn counts(&self) -> Round {
        let response = self
            .client
            .get(&self.campaign)
            .send()
            .await
            .expect("an answer");
        response.json::<Counts>().await.expect("counts").round
    }

    async fn apply(&self, user_id: &str) -> Reply {
        let url = format!("{}/applications", self.campaign);
        apply(&self.client, &url, user_id).await.expect("an answer")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_coupons_go_to_the_waitlist_and_never_one_too_many() {
    let system = System::start(Size::ONE_OF_EACH).await;
    let (quota, waitlist) = (QUOTA.to_string(), WAITLIST.to_string());
    let terms = [
        "campaign",
        "create",
        "--id",
        "launch",
        "--quota",
        &quota,
        "--waitlist",
        &waitlist,
    ];
    system.operator.run(&terms).await.expect("created");
    let view = View {
        client: Client::new(),
        campaign: format!("{}/v1/campaigns/launch", system.url()),
    };

    let winners = Arc::new(Mutex::new(Vec::<(String, u32)>::new()));
    let waiting = Arc::new(Mutex::new(BTreeSet::<String>::new()));
    let next = Arc::new(AtomicUsize::new(0));
    let people: Vec<_> = (0..20)
        .map(|_| {
            let (view, winners, waiting, next) =
                (view.clone(), winners.clone(), waiting.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let person = next.fetch_add(1, Ordering::Relaxed);
                    if person >= APPLICANTS {
                        return;
                    }
                    let user_id = format!("p{person}");
                    match view.apply(&user_id).await {
                        Reply::Granted(place) => {
                            winners.lock().unwrap().push((user_id, place.serial))
                        }
                        Reply::Waitlisted(position) => {
                            assert!((1..=WAITLIST).contains(&position), "{position}");
                            waiting.lock().unwrap().insert(user_id);
                        }
                        Reply::SoldOut => {}
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();

    let watch = Watch::begin(&system, "launch", QUOTA);

    let mut revoked: BTreeMap<String, u32> = BTreeMap::new();
    while revoked.len() < REVOKES {
        let (user_id, serial) = until("an applicant has won", async || {
            let winners = winners.lock().unwrap();
            winners
                .choose(&mut rand::rng())
                .filter(|(user_id, _)| !revoked.contains_key(user_id))
                .cloned()
        })
        .await;
        let before = view.status(&user_id).await.expect("a winner");
        assert!(
            matches!(before.decision.as_str(), "granted" | "issued"),
            "{before:?}"
        );
        let said = system
            .operator
            .run(&["revoke", "launch", &user_id, "--reason", "test"])
            .await
            .expect("revoked");
        assert!(said.contains(&serial.to_string()), "{said}");
        revoked.insert(user_id.clone(), serial);
        for (user_id, serial) in &revoked {
            let status = view.status(user_id).await.expect("known");
            assert_eq!(
                (status.decision.as_str(), status.serial),
                ("revoked", Some(*serial))
            );
        }
        let again = view.client.post(format!("{}/applications", view.campaign));
        let again = again
            .header("content-type", "application/json")
            .body(format!(r#"{{"user_id":"{user_id}"}}"#));
        assert_eq!(
            again.send().await.expect("an answer").status(),
            StatusCode::GONE
        );
    }
    for person in people {
        person.await.expect("no panic");
    }

    // All revoked coupons are held by others: by applicants who came in time, otherwise by those who waited longest.
    system.drained("launch").await;
    until("every coupon is issued", async || {
        let counts = view.counts().await;
        (counts.issued == QUOTA && counts.granted == QUOTA).then_some(())
    })
    .await;
    watch.end().await;

    let (winners, waited) = (
        winners.lock().unwrap().clone(),
        waiting.lock().unwrap().clone(),
    );
    let mut holders: BTreeMap<Place, String> = BTreeMap::new();
    for (user_id, serial) in winners
        .iter()
        .filter(|(user_id, _)| !revoked.contains_key(user_id))
    {
        holders.insert(Place::new("once", *serial), user_id.clone());
    }
    let (mut promoted, mut positions) = (0, BTreeSet::new());
    for user_id in &waited {
        let status = view.status(user_id).await.expect("known");
        match (status.decision.as_str(), status.serial, status.position) {
            ("issued", Some(serial), _) => {
                holders.insert(Place::new("once", serial), user_id.clone());
                promoted += 1;
            }
            ("waitlisted", _, Some(position)) => {
                positions.insert(position);
            }
            other => panic!("{user_id}: {other:?}"),
        }
    }
    assert_eq!(holders.len(), QUOTA as usize);
    assert_eq!(winners.len() - revoked.len() + promoted, QUOTA as usize);
    let in_line = positions.len() as u32;
    assert_eq!(positions, (1..=in_line).collect());
    // Counts are cached for a moment.
    until("the line is counted", async || {
        (view.counts().await.waitlisted == in_line).then_some(())
    })
    .await;
    let rows = system.database.rows("launch").await.expect("the database");
    let rows: BTreeMap<Place, String> = rows
        .into_iter()
        .map(|row| (row.place, row.user_id))
        .collect();
    assert_eq!(rows, holders);
    assert_eq!(
        system
            .database
            .failed_events("launch")
            .await
            .expect("the database"),
        []
    );
    for (user_id, serial) in &revoked {
        let found = system.operator.json(&["coupon", "find", user_id]).await;
        let found = found.expect("found").remove(0);
        let at_gate = &found["at_gate"];
        assert!(
            at_gate["decision"] == "revoked" && at_gate["serial"] == *serial,
            "{found}"
        );
    }
}

/// The waitlist moves up without a command, in order, and a position only gets better.
#[tokio::test(flavor = "multi_thread")]
async fn the_waitlist_moves_up_in_order_without_anybody_doing_anything() {
    let system = System::start(Size::ONE_OF_EACH).await;
    let terms = [
        "campaign",
        "create",
        "--id",
        "launch",
        "--quota",
        "5",
        "--waitlist",
        "5",
    ];
    system.operator.run(&terms).await.expect("created");
    let view = View {
        client: Client::new(),
        campaign: format!("{}/v1/campaigns/launch", system.url()),
    };
    for person in 0..10 {
        let reply = view.apply(&format!("p{person}")).await;
        match person {
            0..5 => assert_eq!(reply, Reply::Granted(Place::new("once", person + 1))),
            _ => assert_eq!(reply, Reply::Waitlisted(person - 4)),
        }
    }
    for turn in 0..5_u32 {
        let said = system
            .operator
            .run(&["revoke", "launch", &format!("p{turn}")])
            .await
            .expect("revoked");
        let promoted = 5 + turn;
        assert!(said.contains(&format!("p{promoted}")), "{said}");
        for person in 5..10_u32 {
            let status = view.status(&format!("p{person}")).await.expect("known");
            if person <= promoted {
                assert_eq!(status.serial, Some(person - 4), "{status:?}");
            } else {
                assert_eq!(status.position, Some(person - promoted), "{status:?}");
            }
        }
        // Another click does not change it.
        assert_eq!(
            view.apply(&format!("p{promoted}")).await,
            Reply::AlreadyGranted(Place::new("once", turn + 1))
        );
    }
}

/// An applicant who saw no answer asks again and gets the place that was granted the first time, also after the
/// campaign has sold out.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_a_lost_answer_is_told_the_same_serial_always() {
    let system = System::start(Size::ONE_OF_EACH).await;
    system.operator.create("launch", 30).await.expect("created");
    let view = View {
        client: Client::new(),
        campaign: format!("{}/v1/campaigns/launch", system.url()),
    };
    let address = system.url().trim_start_matches("http://").to_owned();
    let unread: Vec<_> = (0..30)
        .map(|person| send(&address, &format!("p{person}")))
        .collect();
    until("all of them are decided", async || {
        (view.counts().await.granted == 30).then_some(())
    })
    .await;
    drop(unread);
    assert_eq!(view.apply("late").await, Reply::SoldOut);

    let mut serials = BTreeSet::new();
    for person in 0..30 {
        let user_id = format!("p{person}");
        let serial = view
            .status(&user_id)
            .await
            .and_then(|status| status.serial)
            .expect("a winner");
        for _ in 0..3 {
            assert_eq!(
                view.apply(&user_id).await,
                Reply::AlreadyGranted(Place::new("once", serial))
            );
        }
        serials.insert(serial);
    }
    assert_eq!(serials, (1..=30).collect());
    system.drained("launch").await;
    assert_eq!(
        system.database.count("launch").await.expect("the database"),
        30
    );
}

/// Sends an application and does not read the answer.
fn send(address: &str, user_id: &str) -> std::net::TcpStream {
    use std::io::Write;
    let body = format!(r#"{{"user_id":"{user_id}"}}"#);
    let mut connection = std::net::TcpStream::connect(address).expect("a connection");
    write!(
        connection,
        "POST /v1/campaigns/launch/applications HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("sent");
    connection
}
