//! The whole system, for the benches that need it: handler, bridge and consumer, and a campaign that all of them know.

use super::http::applications;
use crate::ground::{Ground, Route, Server};
use crate::load::{Load, Template};
use anyhow::{Result, bail};
use rushgate_gate::{CampaignId, Quota};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long no row may be inserted.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything from the request to the row.
pub(super) struct Pipeline {
    pub(super) handler: Server,
    pub(super) bridge: Server,
    pub(super) consumer: Server,
    pub(super) campaign: CampaignId,
    pub(super) route: Route,
}

impl Pipeline {
    /// Starts it, with no coupon in the tables.
    pub(super) fn start(ground: &mut Ground) -> Result<Self> {
        let route = ground.route()?;
        ground.empty_tables()?;
        let campaign = ground.campaign(u64::from(Quota::MAX), &route)?;
        Ok(Self {
            handler: ground.handler()?,
            bridge: ground.bridge(&route)?,
            consumer: ground.consumer(&route)?,
            campaign,
            route,
        })
    }

    /// Applications of people from number `first` on.
    pub(super) fn applications(&self, ground: &Ground, first: u64) -> Load {
        let template = Template::application(self.campaign.as_str(), false);
        Load {
            first,
            ..applications(ground.scale, self.handler.address, template)
        }
    }

    /// Waits until so many grants have their rows and the gate knows of it.
    pub(super) fn until_issued(&mut self, grants: u64) -> Result<()> {
        let mut issued = 0;
        let mut moved = Instant::now();
        while issued < grants {
            sleep(Duration::from_millis(10));
            let now_issued = self.consumer.counted("rushgate_consumer_confirmed_total");
            if now_issued > issued {
                moved = Instant::now();
            }
            issued = now_issued;
            self.bridge.process.check()?;
            self.consumer.process.check()?;
            if moved.elapsed() > PATIENCE {
                bail!("{issued} rows of {grants}, and no more");
            }
        }
        Ok(())
    }

    /// Ends it, and removes what it leaves in the gate.
    pub(super) fn end(self, ground: &mut Ground) -> Result<()> {
        let Self {
            handler,
            bridge,
            consumer,
            campaign,
            ..
        } = self;
        drop((handler, bridge, consumer));
        ground.gate.remove(&campaign)
    }
}
