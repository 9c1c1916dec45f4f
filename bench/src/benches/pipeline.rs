//! Starts the whole system for the benchmarks that need it: handler, bridge and consumer. It also creates the campaigns
//! that these benchmarks use.

use super::http::applications;
use super::progress::progress;
use crate::testbed::programs::Server;
use crate::testbed::{Route, Testbed};
use anyhow::Result;
use rushgate_gate::{CampaignId, Quota};
use rushgate_testbed::load::{Load, Template};
use rushgate_testbed::usage::Usage;

/// Everything from the request to the row.
pub(super) struct Pipeline {
    pub(super) handler: Server,
    pub(super) bridge: Server,
    pub(super) consumer: Server,
    pub(super) campaigns: Vec<CampaignId>,
    pub(super) route: Route,
    /// For each campaign, the grants that will never have a row: they existed before.
    rowless: Vec<u64>,
}

impl Pipeline {
    /// Starts the system with no coupon in the tables and one campaign.
    pub(super) fn start(testbed: &mut Testbed) -> Result<Self> {
        let route = testbed.route()?;
        testbed.empty_tables()?;
        let campaign = testbed.campaign(u64::from(Quota::MAX), &route)?;
        Self::over(testbed, vec![campaign], route)
    }

    /// Starts the system for existing campaigns.
    pub(super) fn over(
        testbed: &mut Testbed,
        campaigns: Vec<CampaignId>,
        route: Route,
    ) -> Result<Self> {
        let rowless = campaigns.iter().map(|campaign| {
            let grants = testbed.gate.grants(campaign)?;
            Ok(grants.given - grants.issued)
        });
        Ok(Self {
            rowless: rowless.collect::<Result<_>>()?,
            handler: testbed.handler()?,
            bridge: testbed.bridge(&route)?,
            consumer: testbed.consumer(&route)?,
            campaigns,
            route,
        })
    }

    /// The programs and servers, as far as their processes are known.
    fn processes(&self, testbed: &mut Testbed) -> Result<Vec<(&'static str, u32)>> {
        let redis = testbed.gate.info("process_id")?.parse()?;
        let processes = [
            ("Redis", Some(redis)),
            ("handler", Some(self.handler.process.id())),
            ("bridge", Some(self.bridge.process.id())),
            ("Kafka", testbed.servers.kafka_process),
            ("consumer", Some(self.consumer.process.id())),
            ("database", testbed.servers.database_process),
        ];
        let known = processes.into_iter();
        Ok(known
            .filter_map(|(name, process)| Some((name, process?)))
            .collect())
    }

    /// Forgets the peaks of memory so far: the servers have served other benches.
    pub(super) fn forget_peaks(&self, testbed: &mut Testbed) -> Result<()> {
        let mut processes = self.processes(testbed)?.into_iter();
        processes.try_for_each(|(_, process)| Usage::forget_peak(process))
    }

    /// CPU and memory of all programs and servers, as far as they can be read.
    pub(super) fn usage(&self, testbed: &mut Testbed) -> Result<Vec<(&'static str, Usage)>> {
        self.processes(testbed)?
            .into_iter()
            .map(|(name, process)| {
                let usage = match name {
                    // `spin up` serves in a child.
                    "handler" => Usage::of_tree(process),
                    _ => Usage::of(process),
                };
                Ok((name, usage?))
            })
            .collect()
    }

    /// Applications of applicants from number `first` on, to the campaigns in turn.
    pub(super) fn applications(&self, testbed: &Testbed, first: u64) -> Load {
        let campaigns = self.campaigns.iter();
        let templates = campaigns.map(|campaign| Template::application(campaign.as_str(), false));
        Load {
            first,
            ..applications(testbed.scale, self.handler.address, templates.collect())
        }
    }

    /// Waits until every grant has its row and its confirmation. The gate is asked, because other counts may differ: an
    /// application whose answer was not awaited may have been granted, and a record that comes twice is confirmed
    /// twice.
    pub(super) fn until_issued(&mut self, testbed: &mut Testbed) -> Result<()> {
        for (campaign, rowless) in self.campaigns.iter().zip(&self.rowless) {
            let given = testbed.gate.grants(campaign)?.given;
            progress(given - rowless, || {
                self.bridge.process.check()?;
                self.consumer.process.check()?;
                Ok(testbed.gate.grants(campaign)?.issued)
            })?;
        }
        Ok(())
    }

    /// Stops the system, and removes its keys from the gate.
    pub(super) fn end(self, testbed: &mut Testbed) -> Result<()> {
        let Self {
            handler,
            bridge,
            consumer,
            campaigns,
            ..
        } = self;
        drop((handler, bridge, consumer));
        for campaign in &campaigns {
            testbed.gate.remove(campaign)?;
        }
        Ok(())
    }
}
