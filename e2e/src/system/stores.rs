//! What the stores of a system hold once nothing is on its way any more, compared with the replies.

use super::System;
use crate::check::{Breach, Expected, breaches};
use crate::evidence::{Evidence, Stores};
use crate::rush::RushResult;
use crate::shared::server;
use rushgate_testbed::wait::until;
use std::collections::BTreeMap;

impl System {
    /// Waits until nothing of a finished rush is on its way, and compares the stores with the replies.
    pub async fn check(
        &self,
        expected: &Expected,
        campaign: &str,
        outcome: &RushResult,
    ) -> Vec<Breach> {
        let granted = outcome.history.places.len() as u64;
        until("every grant has its row", async || {
            let count = self.database.count(campaign).await.expect("the database");
            (count >= granted).then_some(())
        })
        .await;
        self.drained(campaign).await;
        let evidence = self.stores().read(campaign).await.expect("all stores");
        self.redis_refused_nothing().await;
        breaches(expected, &outcome.history, &evidence)
    }

    /// Every program may do in Redis what it has tried. Some failures do not show otherwise: a metric stays 0.
    pub async fn redis_refused_nothing(&self) {
        let mut redis = self.redis_connection().await.expect("Redis");
        let log = redis::cmd("ACL").arg("LOG").query_async(&mut redis).await;
        let log: Vec<BTreeMap<String, redis::Value>> = log.expect("a log");
        let mut entries = log.into_iter().map(|mut entry| {
            let mut text = |name| redis::from_redis_value(entry.remove(name)?).ok();
            (text("username"), text("object"))
        });
        // Newer servers know this command of Spin's client, which does not need it.
        let harmless = ("rushgate-handler", "client|setinfo");
        let refused = entries.find(|(user, object): &(Option<String>, Option<String>)| {
            (user.as_deref(), object.as_deref()) != (Some(harmless.0), Some(harmless.1))
        });
        assert!(refused.is_none(), "{refused:?}");
    }

    /// The stores once nothing is on its way any more. Dead letters may be left.
    pub async fn at_rest(&self, campaign: &str) -> Evidence {
        until("nothing is on its way any more", async || {
            let evidence = self.stores().read(campaign).await.ok()?;
            evidence.is_at_rest().then_some(evidence)
        })
        .await
    }

    /// The stores of this system.
    pub fn stores(&self) -> Stores {
        Stores {
            database: self.database.clone(),
            redis_url: format!("redis://{}", self.redis_port.address()),
            kafka_brokers: server("KAFKA_BROKERS"),
            topic: self.name.clone(),
            group: self.name.clone(),
        }
    }

    /// C5: nothing pending, nothing in the stream, nothing in Kafka, nothing done by hand.
    pub async fn drained(&self, campaign: &str) {
        until("nothing is on its way any more", async || {
            let show = ["campaign", "show", campaign];
            let shown = self.operator.json(&show).await.ok()?.pop()?;
            let empty = [
                "in_stream",
                "in_kafka",
                "bridge_dead_letters",
                "consumer_dead_letters",
            ];
            empty.iter().all(|what| shown[what] == 0).then_some(())
        })
        .await;
    }
}
