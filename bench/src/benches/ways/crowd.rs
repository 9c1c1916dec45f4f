//! Far more applicants than coupons, and some of them click twice.

use super::system::System;
use crate::benches::http::applications;
use crate::testbed::Testbed;
use crate::ways::costs::Costs;
use crate::ways::given::{given, rows};
use crate::ways::shown::Shown;
use anyhow::Result;
use rushgate_testbed::load::{Load, Template, Until};
use rushgate_testbed::usage::Usage;
use sqlx::{AssertSqlSafe, MySqlConnection, Row};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// One in this many applicants clicks twice.
const SECOND_CLICKS: u64 = 10;

/// How long the row of a granted coupon may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A crowd at a service.
struct Crowd {
    load: Load,
    quota: u32,
    table: String,
    campaign: String,
}

/// What the database server has done so far.
struct Work {
    cpu: Option<Duration>,
    statements: u64,
}

/// Sends the crowd to a campaign of its own, waits for the answers and for the rows.
pub(super) fn turn(system: &mut System, testbed: &mut Testbed) -> Result<Shown> {
    let (people, quota) = testbed.scale.crowd();
    let campaign = system.open(testbed, quota)?;
    let template = Template::application(&campaign, false).with_second_clicks(SECOND_CLICKS);
    let crowd = Crowd {
        load: Load {
            until: Until::Requests(people + people / SECOND_CLICKS),
            ..applications(testbed.scale, system.service.address, vec![template])
        },
        quota,
        table: system.table(),
        campaign: campaign.clone(),
    };
    let before = system.costs(testbed)?;
    let process = testbed.servers.database_process;
    let shown =
        testbed.with_database(async |database| Ok(crowd.measured(process, database).await))??;
    let costs = system.costs(testbed)?.since(&before);
    system.close(testbed, &campaign)?;
    Ok(Shown { costs, ..shown })
}

impl Crowd {
    /// Everything but the costs.
    async fn measured(
        mut self,
        process: Option<u32>,
        database: &mut MySqlConnection,
    ) -> Result<Shown> {
        let before = Work::so_far(process, database).await?;
        let outcome = self.load.run()?;
        let promised = outcome.answers.get(&201).copied().unwrap_or(0);
        let answered = Instant::now();
        let mut looks = 0;
        while rows(database, &self.table, &self.campaign).await? < promised {
            looks += 1;
            // This row will not come any more: a place that no applicant got.
            if answered.elapsed() > PATIENCE {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        let last_row_after = answered.elapsed();
        let after = Work::so_far(process, database).await?;
        // The polls, one more than were in vain, and this query itself.
        let own = looks + 2;
        Ok(Shown {
            outcome,
            quota: self.quota,
            given: given(database, &self.table, &self.campaign).await?,
            last_row_after,
            costs: Costs::default(),
            database_cpu: after
                .cpu
                .zip(before.cpu)
                .map(|(after, before)| after - before),
            statements: (after.statements - before.statements).saturating_sub(own),
        })
    }
}

impl Work {
    async fn so_far(process: Option<u32>, database: &mut MySqlConnection) -> Result<Self> {
        let status = AssertSqlSafe("SHOW GLOBAL STATUS LIKE 'Questions'");
        let row = sqlx::raw_sql(status).fetch_one(database).await?;
        let usage = process.map(Usage::of).transpose()?;
        Ok(Self {
            cpu: usage.map(|usage| usage.cpu),
            statements: row.try_get::<String, _>("Value")?.parse()?,
        })
    }
}
