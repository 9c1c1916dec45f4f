//! Rushgate in containers, as applicants and the checker see it.

use crate::compose::{PATIENCE, healthy, rushgate};
use reqwest::{Client, StatusCode};
use rushgate_e2e::check::{Expected, breaches};
use rushgate_e2e::evidence::Stores;
use rushgate_e2e::history::History;
use rushgate_e2e::rows::Database;
use rushgate_e2e::rush::{self, Rush};
use rushgate_e2e::shared::server;
use rushgate_testbed::wait::until_within;
use serde_json::Value;
use std::time::Duration;

const QUOTA: u32 = 1_000;
const APPLICANTS: u32 = 4_000;

/// A fault happens when this many are granted.
const AT_THE_FAULT: u64 = 50;

pub(crate) struct World {
    client: Client,
    url: String,
    stores: Stores,
}

impl World {
    pub(crate) async fn connect() -> Self {
        let database = Database::connect(&server("DATABASE_URL")).await;
        let client = Client::builder().timeout(Duration::from_secs(10)).build();
        Self {
            client: client.expect("a client"),
            url: server("RUSHGATE_URL"),
            stores: Stores {
                database: database.expect("the database"),
                redis_url: server("REDIS_URL"),
                kafka_brokers: server("KAFKA_BROKERS"),
                topic: server("KAFKA_TOPIC"),
                group: "rushgate-consumer".to_owned(),
            },
        }
    }

    /// The status of an application.
    pub(crate) async fn applies(&self, campaign: &str, user_id: &str) -> u16 {
        let url = format!("{}/v1/campaigns/{campaign}/applications", self.url);
        let request = self
            .client
            .post(url)
            .json(&serde_json::json!({ "user_id": user_id }));
        request.send().await.expect("an answer").status().as_u16()
    }

    pub(crate) async fn is_not_ready(&self) {
        let url = format!("{}/readyz", self.url);
        until_within(PATIENCE, "the handler is not ready", async || {
            let answer = self.client.get(&url).send().await;
            answer
                .is_ok_and(|answer| answer.status() == StatusCode::OK)
                .then_some(())
                .xor(Some(()))
        })
        .await;
    }

    async fn has_granted(&self, campaign: &str, least: u64) {
        let url = format!("{}/v1/campaigns/{campaign}", self.url);
        until_within(
            PATIENCE,
            &format!("{campaign} has granted {least}"),
            async || {
                let campaign: Value = self.client.get(&url).send().await.ok()?.json().await.ok()?;
                (campaign["round"]["granted"].as_u64()? >= least).then_some(())
            },
        )
        .await;
    }

    pub(crate) async fn has_granted_everything(&self, campaign: &str) {
        self.has_granted(campaign, u64::from(QUOTA)).await;
    }

    /// A rush at a new campaign, during which `fault` happens; it must be exact.
    pub(crate) async fn rush(&self, campaign: &str, fault: impl AsyncFnOnce()) {
        self.create(campaign).await;
        let rush = tokio::spawn(self.applications(campaign, APPLICANTS));
        self.has_granted(campaign, AT_THE_FAULT).await;
        fault().await;
        let history = rush.await.expect("no panic");
        let expected = Expected::once(QUOTA, APPLICANTS);
        self.is_exact(campaign, &expected, &history).await;
    }

    /// Gives out a half of the coupons of a new campaign; returns the replies.
    pub(crate) async fn give_a_half(&self, campaign: &str) -> History {
        self.create(campaign).await;
        let history = self.applications(campaign, QUOTA / 2).await;
        let expected = Expected::once(QUOTA, QUOTA / 2);
        self.is_exact(campaign, &expected, &history).await;
        history
    }

    /// Gives out the other half, also to applicants who have a coupon and apply again.
    pub(crate) async fn give_the_rest(&self, campaign: &str, first: History) {
        let mut history = self.applications(campaign, APPLICANTS).await;
        history.add(first);
        assert_eq!(history.granted, u64::from(QUOTA), "granted once each");
        let expected = Expected::once(QUOTA, APPLICANTS);
        self.is_exact(campaign, &expected, &history).await;
    }

    async fn create(&self, campaign: &str) {
        let quota = QUOTA.to_string();
        rushgate(&["campaign", "create", "--id", campaign, "--quota", &quota]).await;
    }

    fn applications(
        &self,
        campaign: &str,
        applicants: u32,
    ) -> impl Future<Output = History> + use<> {
        let rush = Rush {
            urls: vec![self.url.clone()],
            campaign: campaign.to_owned(),
            applicants: applicants as usize,
            concurrency: 50,
            repeats: 3,
            outlasts_a_loss: true,
        };
        async move { rush::run(&rush, || ()).await.expect("a rush").history }
    }

    async fn is_exact(&self, campaign: &str, expected: &Expected, history: &History) {
        healthy().await;
        let evidence = until_within(PATIENCE, &format!("{campaign} is at rest"), async || {
            let evidence = self.stores.read(campaign).await.ok()?;
            evidence.is_at_rest().then_some(evidence)
        })
        .await;
        assert_eq!(breaches(expected, history, &evidence), [], "{campaign}");
    }
}
