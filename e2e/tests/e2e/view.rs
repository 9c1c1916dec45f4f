//! Helpers that use a campaign as an applicant and as its operator, for tests of the operator's commands.

use rdkafka::ClientConfig;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{FutureProducer, FutureRecord};
use reqwest::Client;
use rushgate_e2e::application::apply;
use rushgate_e2e::history::{Place, Reply};
use rushgate_e2e::shared::server;
use rushgate_e2e::system::System;
use rushgate_testbed::wait::until;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) struct View<'a> {
    pub(crate) system: &'a System,
    client: Client,
    pub(crate) campaign: &'a str,
}

impl<'a> View<'a> {
    pub(crate) fn of(system: &'a System, campaign: &'a str) -> Self {
        Self {
            system,
            client: Client::new(),
            campaign,
        }
    }

    fn url(&self) -> String {
        format!("{}/v1/campaigns/{}", self.system.url(), self.campaign)
    }

    pub(crate) async fn apply(&self, user_id: &str) -> Reply {
        let url = format!("{}/applications", self.url());
        apply(&self.client, &url, user_id).await.expect("an answer")
    }

    /// Applies until a freed place may be granted again, and is granted.
    pub(crate) async fn gets(&self, user_id: &str, place: Place) {
        let reply = Reply::Granted(place);
        until(&format!("{user_id} is {reply:?}"), async || {
            (self.apply(user_id).await == reply).then_some(())
        })
        .await;
    }

    /// Status and code of a refused application.
    pub(crate) async fn refusal(&self, user_id: &str) -> (u16, String) {
        let request = self.client.post(format!("{}/applications", self.url()));
        let request = request.header("content-type", "application/json");
        let body = format!(r#"{{"user_id":"{user_id}"}}"#);
        let response = request.body(body).send().await.expect("an answer");
        let status = response.status().as_u16();
        let problem: Value = response.json().await.expect("a problem");
        (status, problem["code"].as_str().expect("a code").to_owned())
    }

    pub(crate) async fn does(&self, arguments: &[&str]) -> String {
        let done = self.system.operator.run(arguments).await;
        done.unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// The objects that the command prints.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let done = self.system.operator.json(arguments).await;
        done.unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// What `campaign show` says about the campaign.
    pub(crate) async fn shown(&self) -> Value {
        self.json(&["campaign", "show", self.campaign])
            .await
            .remove(0)
    }

    /// The states of all campaigns at the gate, by their names.
    pub(crate) async fn states(&self) -> BTreeMap<String, Value> {
        let list = self.json(&["campaign", "list"]).await.into_iter();
        list.map(|mut listed| {
            let id = listed["campaign"].as_str().expect("a name").to_owned();
            (id, listed["state"].take())
        })
        .collect()
    }

    /// What the log of the campaign says that was done, oldest first: action and detail.
    pub(crate) async fn log(&self) -> Vec<(String, String)> {
        let log = self.json(&["campaign", "log", self.campaign]).await;
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        log.iter()
            .map(|line| (text(&line["action"]), text(&line["detail"])))
            .collect()
    }

    /// The actions in the log of the campaign, oldest first.
    pub(crate) async fn actions(&self) -> Vec<String> {
        let log = self.log().await.into_iter();
        log.map(|(action, _)| action).collect()
    }

    /// Checks that a line of the log of the campaign contains this.
    pub(crate) async fn has_logged(&self, expected: &str) {
        let log = self.log().await;
        let is_there = log.iter().any(|(_, detail)| detail.contains(expected));
        assert!(is_there, "{expected}: {log:?}");
    }

    pub(crate) async fn cannot(&self, arguments: &[&str]) -> String {
        let refused = self.system.operator.run(arguments).await;
        refused.expect_err("it makes no sense").to_string()
    }

    /// Runs the command, which must have this exit code; returns its output, or its errors.
    pub(crate) async fn exits(&self, code: i32, arguments: &[&str]) -> String {
        let ended = self.system.operator.end_of(arguments).await.expect("run");
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        ended.said().trim().to_owned()
    }

    /// Publishes a record that no bridge has made.
    pub(crate) async fn publish(&self, key: &str, value: &str) {
        self.publish_with(key, value, OwnedHeaders::new()).await;
    }

    pub(crate) async fn publish_with(&self, key: &str, value: &str, headers: OwnedHeaders) {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", server("KAFKA_BROKERS"));
        let producer: FutureProducer = client.create().expect("a producer");
        let record = FutureRecord::to(self.system.topic())
            .key(key)
            .payload(value)
            .headers(headers);
        let sent = producer.send(record, Duration::from_secs(30)).await;
        sent.expect("delivered");
    }

    /// Waits until the database has this many coupons and nothing is on its way.
    pub(crate) async fn has_rows(&self, rows: u64) {
        until(&format!("there are {rows} rows"), async || {
            let count = self.system.database.count(self.campaign).await;
            (count.expect("the database") == rows).then_some(())
        })
        .await;
    }
}

/// The reply to the winner of this serial.
pub(crate) fn granted(serial: u32) -> Reply {
    Reply::Granted(Place::new("once", serial))
}
