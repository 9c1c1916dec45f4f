//! Compares Rushgate with the usual ways to give out coupons. All get the same applicants on the same servers. There
//! are far more applicants than coupons, and one applicant in ten clicks twice.

use crate::finding::{Finding, Unit};
use crate::measure::{Contender, Turns, interleaved};
use crate::testbed::programs::Server;
use crate::testbed::{Route, Testbed};
use crate::ways::Way;
use crate::ways::given::{Given, given, rows};
use crate::ways::schema::Schema;
use crate::ways::shown::{MEASURES, Shown};
use crate::ways::table::title;
use anyhow::{Result, bail};
use redis::cmd;
use rushgate_testbed::load::{Load, Template, Until};
use rushgate_testbed::process::Process;
use rushgate_testbed::usage::Usage;
use sqlx::{AssertSqlSafe, MySqlConnection, Row};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::time::sleep;

pub(super) const NAME: &str = "ways";

/// The name of Rushgate in the comparison.
const OURS: &str = "Rushgate";

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

/// A way with its services. They are dropped before the schema.
struct Usual {
    service: Server,
    _consumer: Option<Process>,
    schema: Schema,
}

/// What the database server has done so far.
struct Work {
    cpu: Option<Duration>,
    statements: u64,
}

pub(super) fn run(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let scale = testbed.scale;
    let (people, quota) = scale.crowd();
    let route = testbed.route()?;
    let handler = testbed.handler()?;
    let _parts = (testbed.bridge(&route)?, testbed.consumer(&route)?);
    let route_of_ways = testbed.route()?;
    let mut usual = vec![];
    for way in Way::ALL {
        usual.push(Usual::start(testbed, way, quota, &route_of_ways)?);
    }
    let testbed = RefCell::new(testbed);

    let crowd = |server: &Server, campaign: &str, table: &str| Crowd {
        load: Load {
            until: Until::Requests(people + people / SECOND_CLICKS),
            ..super::http::applications(
                scale,
                server.address,
                vec![Template::application(campaign, false).with_second_clicks(SECOND_CLICKS)],
            )
        },
        quota,
        table: table.to_owned(),
        campaign: campaign.to_owned(),
    };
    let ours = || {
        let mut testbed = testbed.borrow_mut();
        let campaign = testbed.campaign(quota.into(), &route)?;
        let shown = crowd(&handler, campaign.as_str(), "coupons").come(&testbed)?;
        testbed.gate.remove(&campaign)?;
        Ok(shown)
    };
    let turn = |usual: &Usual| {
        let mut testbed = testbed.borrow_mut();
        let campaign = fresh_id();
        let opened = usual.schema.open(&campaign, quota);
        testbed.with_database(async |_| Ok(opened.await))??;
        let shown = crowd(&usual.service, &campaign, &usual.schema.coupons()).come(&testbed)?;
        let keys = ["count", "applied", "people"].map(|key| format!("way:{campaign}:{key}"));
        testbed.gate.run::<()>(cmd("DEL").arg(&keys))?;
        testbed.gate.wait_until_idle()?;
        Ok(shown)
    };
    let [a, b, c, d, e] = Way::ALL;
    let contender = |way: Way, number: usize| {
        let usual = &usual[number];
        Contender::new(way.title(), move || turn(usual))
    };
    let turns = interleaved(
        scale.long_rounds(),
        [
            Contender::new(OURS, ours),
            contender(a, 0),
            contender(b, 1),
            contender(c, 2),
            contender(d, 3),
            contender(e, 4),
        ],
    )?;
    // Checked outside the turn, because a failed turn is repeated.
    turns[0].0.iter().try_for_each(exact)?;
    let names = [OURS, a.title(), b.title(), c.title(), d.title(), e.title()];
    Ok(findings(names, &turns))
}

/// All figures of one contender after the other.
fn findings(names: [&'static str; 6], turns: &[Turns<Shown>; 6]) -> Vec<Finding> {
    let [ours, ..] = turns;
    let mut findings = vec![];
    for (name, turns) in names.into_iter().zip(turns) {
        for measure in MEASURES {
            let figure = |turns: &Turns<Shown>| turns.figure(measure.of);
            if figure(turns).median.is_nan() {
                continue;
            }
            let what = title(name, measure.name);
            let finding = Finding::new(NAME, what, figure(turns), measure.unit);
            let compared = name != OURS && measure.unit != Unit::Count;
            findings.push(if compared {
                finding.beside(OURS, figure(ours))
            } else {
                finding
            });
        }
    }
    findings
}

/// Rushgate gives exactly the quota, one to each applicant, whatever is measured.
fn exact(shown: &Shown) -> Result<()> {
    let expected = Given {
        rows: shown.quota.into(),
        doubled: 0,
    };
    if shown.given != expected {
        bail!("the table has {:?}, expected {expected:?}", shown.given);
    }
    Ok(())
}

fn fresh_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("bench-way-{}-{number}", std::process::id())
}

impl Usual {
    fn start(testbed: &Testbed, way: Way, quota: u32, route: &Route) -> Result<Self> {
        let name = format!("{}-{}", way.name(), fresh_id());
        let created = Schema::create(&testbed.servers.database_url, &name, way);
        let schema = testbed.with_database(async |_| Ok(created.await))??;
        let consumer = match way {
            Way::IncrKafka => Some(testbed.way_consumer(&schema, route)?),
            _ => None,
        };
        Ok(Self {
            service: testbed.way(way, quota, &schema, route)?,
            _consumer: consumer,
            schema,
        })
    }
}

impl Crowd {
    /// Sends the crowd, waits for the answers and for the rows.
    fn come(self, testbed: &Testbed) -> Result<Shown> {
        let process = testbed.servers.database_process;
        testbed.with_database(async |database| Ok(self.measured(process, database).await))?
    }

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
