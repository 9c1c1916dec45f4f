//! One of the compared systems at work: Rushgate or a usual way, with its programs and its campaigns.

use crate::testbed::programs::Server;
use crate::testbed::{Route, Testbed};
use crate::topic::is_consumed;
use crate::ways::Way;
use crate::ways::costs::{Costs, Used};
use crate::ways::given::{Given, given, rows};
use crate::ways::schema::Schema;
use anyhow::{Result, bail};
use redis::cmd;
use rushgate_gate::CampaignId;
use rushgate_testbed::usage::Usage;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The name of Rushgate in the comparison.
pub(super) const OURS: &str = "Rushgate";

/// How long coupons may be on their way to the table: Kafka gives the partitions of a consumer that was killed to the
/// next one after its session timeout, by default 45 s.
const PATIENCE: Duration = Duration::from_secs(180);

/// Polling interval of the table.
const LOOK: Duration = Duration::from_millis(200);

/// The programs are dropped before the schema.
pub(super) struct System {
    pub(super) name: &'static str,
    /// The program that answers applications.
    pub(super) service: Server,
    /// The programs between answer and row; none if the service inserts by itself.
    pub(super) consumers: Vec<Server>,
    route: Route,
    /// None for Rushgate.
    schema: Option<Schema>,
}

impl System {
    /// Rushgate first, then all usual ways, which give out `quota` coupons of a campaign.
    pub(super) fn all(testbed: &Testbed, quota: u32) -> Result<Vec<Self>> {
        let mut systems = vec![Self::ours(testbed)?];
        for way in Way::ALL {
            systems.push(Self::usual(testbed, way, quota)?);
        }
        Ok(systems)
    }

    fn ours(testbed: &Testbed) -> Result<Self> {
        let route = testbed.route()?;
        Ok(Self {
            name: OURS,
            service: testbed.handler()?,
            consumers: vec![testbed.bridge(&route)?, testbed.consumer(&route)?],
            route,
            schema: None,
        })
    }

    fn usual(testbed: &Testbed, way: Way, quota: u32) -> Result<Self> {
        let name = format!("{}-{}", way.name(), fresh_id());
        let created = Schema::create(&testbed.servers.database_url, &name, way);
        let schema = testbed.with_database(async |_| Ok(created.await))??;
        let route = testbed.route()?;
        let mut consumers = vec![];
        if way.has_consumer() {
            consumers.push(testbed.way_consumer(way, &schema, &route)?);
        }
        Ok(Self {
            name: way.title(),
            service: testbed.way(way, quota, &schema, &route)?,
            consumers,
            route,
            schema: Some(schema),
        })
    }

    pub(super) fn is_ours(&self) -> bool {
        self.schema.is_none()
    }

    /// Creates a campaign with the quota of the services; returns its id.
    pub(super) fn open(&self, testbed: &mut Testbed, quota: u32) -> Result<String> {
        let Some(schema) = &self.schema else {
            let campaign = testbed.campaign(quota.into(), &self.route)?;
            return Ok(campaign.as_str().to_owned());
        };
        let campaign = fresh_id();
        let opened = schema.open(&campaign, quota);
        testbed.with_database(async |_| Ok(opened.await))??;
        Ok(campaign)
    }

    /// Removes a campaign from Redis.
    pub(super) fn close(&self, testbed: &mut Testbed, campaign: &str) -> Result<()> {
        if self.is_ours() {
            let campaign: CampaignId = campaign.parse()?;
            return testbed.gate.remove(&campaign);
        }
        let keys = ["count", "applied", "people"].map(|key| format!("way:{campaign}:{key}"));
        testbed.gate.run::<()>(cmd("DEL").arg(&keys))?;
        testbed.gate.wait_until_idle()
    }

    /// The table of coupons.
    pub(super) fn table(&self) -> String {
        let schema = self.schema.as_ref();
        schema.map_or("coupons".to_owned(), Schema::coupons)
    }

    /// The number of rows of a campaign.
    pub(super) fn rows(&self, testbed: &Testbed, campaign: &str) -> Result<u64> {
        let table = self.table();
        testbed.with_database(async |database| rows(database, &table, campaign).await)
    }

    /// The coupons of a campaign.
    pub(super) fn given(&self, testbed: &Testbed, campaign: &str) -> Result<Given> {
        let table = self.table();
        testbed.with_database(async |database| given(database, &table, campaign).await)
    }

    /// Waits until no coupon of a campaign is on its way to the table.
    pub(super) fn until_at_rest(&mut self, testbed: &mut Testbed, campaign: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut before = None;
        loop {
            for consumer in &mut self.consumers {
                consumer.process.check()?;
            }
            let now = Some(self.rows(testbed, campaign)?);
            if before == now && self.is_at_rest(testbed, campaign)? {
                return Ok(());
            }
            before = now;
            if Instant::now() > deadline {
                bail!("coupons are still on their way after {PATIENCE:?}");
            }
            sleep(LOOK);
        }
    }

    fn is_at_rest(&self, testbed: &mut Testbed, campaign: &str) -> Result<bool> {
        if self.is_ours() {
            let campaign: CampaignId = campaign.parse()?;
            let grants = testbed.gate.grants(&campaign)?;
            return Ok(grants.issued >= grants.given);
        }
        let brokers = &testbed.servers.kafka_brokers;
        Ok(self.consumers.is_empty() || is_consumed(brokers, &self.route.topic)?)
    }

    /// The costs of its programs and of the servers so far.
    pub(super) fn costs(&self, testbed: &mut Testbed) -> Result<Costs> {
        let redis: u32 = testbed.gate.info("process_id")?.parse()?;
        let servers = &testbed.servers;
        let servers = [Some(redis), servers.kafka_process, servers.database_process];
        let mut costs = Costs::default();
        for server in servers.into_iter().flatten() {
            costs.servers += Usage::of(server)?.cpu;
        }
        let used = |program: &Server| -> Result<Used> {
            let usage = program.process.usage()?;
            Ok(Used {
                cpu: usage.cpu,
                peak_memory: usage.peak_memory,
            })
        };
        costs.service = used(&self.service)?;
        for consumer in &self.consumers {
            let more = used(consumer)?;
            let sum = costs.consumers.get_or_insert_default();
            sum.cpu += more.cpu;
            sum.peak_memory += more.peak_memory;
        }
        Ok(costs)
    }
}

/// A name for a campaign or a schema that no other has.
fn fresh_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("bench-way-{}-{number}", std::process::id())
}
