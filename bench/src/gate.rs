//! Manages the gate's Redis for the benchmarks: it creates and removes campaigns, loads scripts, and waits between two
//! measurements until Redis has no work left.

use crate::scale::Scale;
use anyhow::{Context, Result, bail};
use redis::{Cmd, Connection, FromRedisValue, Pipeline, cmd};
use rushgate_gate::project::{self, Origin};
use rushgate_gate::script::Eval;
use rushgate_gate::{
    Call, CampaignId, CampaignState, Codes, FencingToken, Keys, Millis, OnePer, Quota, Round,
    RoundId, Terms, UserIds, Value, Waitlist, apply, keys,
};
use rushgate_testbed::load::{Load, LoadResult, MARK, Protocol, Template, Until};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// The append-only file is rewritten when it has grown by this many bytes, between two turns and never during one.
const LARGE: u64 = 256 << 20;

/// A connection to the gate's Redis.
pub struct Gate {
    redis: Connection,
    address: SocketAddr,
    scale: Scale,
}

/// Grants of a campaign.
#[derive(Clone, Copy, Debug)]
pub struct Grants {
    /// All grants.
    pub given: u64,
    /// Grants with their rows.
    pub issued: u64,
}

impl Gate {
    /// Connects, and loads the apply script.
    pub fn connect(url: &str, scale: Scale) -> Result<Self> {
        let client = redis::Client::open(url).context("REDIS_URL")?;
        let address = client.get_connection_info().addr().to_string();
        let mut addresses = address.to_socket_addrs().context("REDIS_URL")?;
        let mut gate = Self {
            redis: client.get_connection().context("cannot use Redis")?,
            address: addresses.next().context("REDIS_URL has no address")?,
            scale,
        };
        gate.load_script(apply::SCRIPT.source())?;
        if scale != Scale::Smoke {
            // Rewritten by `wait_until_idle` only.
            gate.run::<()>(
                cmd("CONFIG")
                    .arg("SET")
                    .arg("auto-aof-rewrite-percentage")
                    .arg(0),
            )?;
        }
        Ok(gate)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// Runs a command.
    ///
    /// # Errors
    /// When Redis refuses it.
    pub fn run<T: FromRedisValue>(&mut self, command: &mut Cmd) -> Result<T> {
        Ok(command.query(&mut self.redis)?)
    }

    /// Runs commands, sent in one go.
    ///
    /// # Errors
    /// When Redis refuses one of them.
    pub fn run_all<T: FromRedisValue>(&mut self, commands: &Pipeline) -> Result<T> {
        Ok(commands.query(&mut self.redis)?)
    }

    /// Loads a script; returns its SHA-1.
    ///
    /// # Errors
    /// When Redis refuses it.
    pub fn load_script(&mut self, source: &str) -> Result<String> {
        self.run(cmd("SCRIPT").arg("LOAD").arg(source))
    }

    /// A field of INFO, such as `redis_version`.
    ///
    /// # Errors
    /// When Redis does not return it.
    pub fn info(&mut self, name: &str) -> Result<String> {
        let info: String = self.run(cmd("INFO").arg("everything"))?;
        let mut pairs = info.lines().filter_map(|line| line.split_once(':'));
        let value = pairs.find_map(|(key, value)| (key == name).then(|| value.to_owned()));
        value.with_context(|| format!("Redis returned no {name}"))
    }

    /// Creates a campaign that is open now and that no database knows; returns its id.
    ///
    /// # Errors
    /// When Redis refuses it.
    pub fn open(&mut self, quota: u32) -> Result<CampaignId> {
        self.create(quota, None, Codes::None)
    }

    /// The same with an opening time, and with codes.
    ///
    /// # Errors
    /// When Redis refuses it.
    pub fn create(
        &mut self,
        quota: u32,
        opens_at: Option<Millis>,
        codes: Codes,
    ) -> Result<CampaignId> {
        let campaign = fresh_id()?;
        let round = Round {
            id: RoundId::once(),
            opens_at,
            closes_at: None,
            quota: Quota::try_from(quota)?,
        };
        let terms = Terms {
            one_per: OnePer::Campaign,
            waitlist: Waitlist::default(),
            user_ids: UserIds::Any,
            codes,
            ..Terms::default()
        };
        let running = CampaignState::Running;
        let fence = FencingToken::default();
        let call = project::call(&campaign, Origin::New, running, &terms, &[round], fence);
        let reply = self.call(&call)?;
        match project::outcome(&reply)? {
            project::ProjectOutcome::Projected { .. } => Ok(campaign),
            other => bail!("projecting a campaign: the gate refused it ({other:?})"),
        }
    }

    /// Registers a campaign for the bridges.
    ///
    /// # Errors
    /// When Redis refuses.
    pub fn announce(&mut self, campaign: &CampaignId) -> Result<()> {
        self.run(cmd("SADD").arg(keys::CAMPAIGNS).arg(campaign.as_str()))
    }

    /// Length of a campaign's stream.
    pub fn backlog(&mut self, campaign: &CampaignId) -> Result<u64> {
        self.run(cmd("XLEN").arg(Keys::of(campaign).stream()))
    }

    /// Number of grants of a campaign.
    pub fn grants(&mut self, campaign: &CampaignId) -> Result<Grants> {
        let once = RoundId::once();
        let fields = [format!("{once}/granted"), format!("{once}/issued")];
        let mut command = cmd("HMGET");
        command.arg(Keys::of(campaign).rounds()).arg(&fields);
        let (given, issued): (Option<u64>, Option<u64>) = self.run(&mut command)?;
        Ok(Grants {
            given: given.unwrap_or(0),
            issued: issued.unwrap_or(0),
        })
    }

    /// Runs one of the gate's scripts.
    ///
    /// # Errors
    /// When Redis refuses it.
    pub fn call(&mut self, call: &Call) -> Result<Vec<Value>> {
        self.run(&mut call.command(Eval::BySource))
    }

    /// Applications to these campaigns in turn, as fast as the gate decides, without a handler.
    pub fn decisions(&self, campaigns: &[CampaignId], depth: usize, until: Until) -> Load {
        let requests = campaigns.iter().map(decision).collect();
        Load {
            protocol: Protocol::Redis,
            connections: self.scale.connections(),
            depth,
            until,
            ..Load::new(self.address, requests)
        }
    }

    /// Grants coupons to applicants from number `first` on, quickly and without measuring.
    ///
    /// # Errors
    /// When they are not granted.
    pub fn grant(&self, campaigns: &[CampaignId], first: u64, count: u64) -> Result<LoadResult> {
        if count == 0 {
            bail!("there are no applicants to grant to");
        }
        let mut load = Load {
            first,
            ..self.decisions(campaigns, 64, Until::Requests(count))
        };
        load.run()?.all(0)
    }

    /// Removes a campaign with all its keys, and waits until Redis is idle.
    ///
    /// # Errors
    /// When Redis refuses.
    pub fn remove(&mut self, campaign: &CampaignId) -> Result<()> {
        // Not UNLINK, which would free the memory during the next turn.
        let keys = Keys::of(campaign).all();
        self.run::<()>(cmd("DEL").arg(keys.as_slice()))?;
        self.run::<()>(cmd("SREM").arg(keys::CAMPAIGNS).arg(campaign.as_str()))?;
        self.wait_until_idle()
    }

    /// Waits until Redis has no work left from an earlier turn.
    pub fn wait_until_idle(&mut self) -> Result<()> {
        if self.scale == Scale::Smoke {
            return Ok(());
        }
        let size: u64 = self.info("aof_current_size")?.parse()?;
        // Relative to the last rewrite: what is kept on purpose is not rewritten again and again.
        let base: u64 = self.info("aof_base_size")?.parse()?;
        if size > base + LARGE {
            self.run::<()>(&mut cmd("BGREWRITEAOF"))?;
            while self.info("aof_rewrite_in_progress")? != "0"
                || self.info("aof_rewrite_scheduled")? != "0"
            {
                sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

/// A decision as the apply script makes it, called by SHA-1.
fn decision(campaign: &CampaignId) -> Template {
    // Twelve zeros are a valid user id.
    let Ok(applicant) = MARK.parse() else {
        return Template::new(String::new());
    };
    script(&apply::call(campaign, &applicant))
}

/// A call of one of the gate's scripts by SHA-1.
pub(crate) fn script(call: &Call) -> Template {
    let arguments: Vec<&str> = call.arguments(Eval::BySha).collect();
    Template::command(&[&["EVALSHA"], arguments.as_slice()].concat())
}

/// An id that no campaign has had.
fn fresh_id() -> Result<CampaignId> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ok(format!("bench-{}-{number}", std::process::id()).parse()?)
}
