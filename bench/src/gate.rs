//! The gate's Redis, as the benches need it: campaigns made and removed, scripts loaded, and nothing left to do between
//! two turns.

use crate::load::{Load, Outcome, Pace, Protocol, Template, Until};
use crate::scale::Scale;
use anyhow::{Context, Result, bail};
use redis::{Cmd, Connection, FromRedisValue, Pipeline, cmd};
use rushgate_gate::project::{self, Origin};
use rushgate_gate::script::Eval;
use rushgate_gate::{
    Call, CampaignId, CampaignState, FencingToken, Keys, Millis, OnePer, Quota, Round, RoundId,
    Terms, UserIds, Value, Waitlist, apply, keys,
};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// The file that Redis appends to is written anew once so many bytes have come to it, between two turns and never in one.
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
    /// All that were given.
    pub given: u64,
    /// Of these, how many have their rows.
    pub issued: u64,
}

impl Gate {
    /// Connects, and loads the script that decides.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub fn connect(url: &str, scale: Scale) -> Result<Self> {
        let client = redis::Client::open(url).context("REDIS_URL")?;
        let address = client.get_connection_info().addr().to_string();
        let mut addresses = address.to_socket_addrs().context("REDIS_URL")?;
        let mut gate = Self {
            redis: client.get_connection().context("cannot use Redis")?,
            address: addresses.next().context("REDIS_URL names no address")?,
            scale,
        };
        gate.load_script(apply::SCRIPT.source())?;
        if scale != Scale::Smoke {
            // Rewritten when we say so, see `settle`.
            gate.run::<()>(
                cmd("CONFIG")
                    .arg("SET")
                    .arg("auto-aof-rewrite-percentage")
                    .arg(0),
            )?;
        }
        Ok(gate)
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How much is measured.
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

    /// Lets Redis know a script; its SHA-1.
    ///
    /// # Errors
    /// When Redis refuses it.
    pub fn load_script(&mut self, source: &str) -> Result<String> {
        self.run(cmd("SCRIPT").arg("LOAD").arg(source))
    }

    /// One word of what Redis says of itself, such as `redis_version`.
    ///
    /// # Errors
    /// When it does not say it.
    pub fn info(&mut self, name: &str) -> Result<String> {
        let info: String = self.run(cmd("INFO").arg("everything"))?;
        let mut pairs = info.lines().filter_map(|line| line.split_once(':'));
        let value = pairs.find_map(|(key, value)| (key == name).then(|| value.to_owned()));
        value.with_context(|| format!("Redis says no {name}"))
    }

    /// A new campaign that is open now and that no database knows; its id.
    ///
    /// # Errors
    /// When Redis refuses it.
    pub fn open(&mut self, quota: u32) -> Result<CampaignId> {
        self.create(quota, None)
    }

    /// The same, opening only then.
    ///
    /// # Errors
    /// When Redis refuses it.
    pub fn create(&mut self, quota: u32, opens_at: Option<Millis>) -> Result<CampaignId> {
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
        };
        let running = CampaignState::Running;
        let fence = FencingToken::default();
        let call = project::call(&campaign, Origin::New, running, &terms, &[round], fence);
        let reply = self.call(&call)?;
        match project::outcome(&reply)? {
            project::ProjectOutcome::Projected { .. } => Ok(campaign),
            other => bail!("the gate refused a campaign: {other:?}"),
        }
    }

    /// Lets bridges know of a campaign.
    ///
    /// # Errors
    /// When Redis refuses.
    pub fn announce(&mut self, campaign: &CampaignId) -> Result<()> {
        self.run(cmd("SADD").arg(keys::CAMPAIGNS).arg(campaign.as_str()))
    }

    /// Entries in the stream of a campaign.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub fn backlog(&mut self, campaign: &CampaignId) -> Result<u64> {
        self.run(cmd("XLEN").arg(Keys::of(campaign).stream()))
    }

    /// How many grants a campaign has given.
    ///
    /// # Errors
    /// When Redis does not answer.
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

    /// Runs a script of the gate's.
    ///
    /// # Errors
    /// When Redis refuses it.
    pub fn call(&mut self, call: &Call) -> Result<Vec<Value>> {
        let mut command = cmd(Eval::BySource.command());
        command.arg(call.arguments(Eval::BySource).collect::<Vec<_>>());
        let reply: Vec<redis::Value> = self.run(&mut command)?;
        Ok(reply.into_iter().map(value).collect())
    }

    /// Applications to these campaigns in turn, as fast as the gate decides, without a handler.
    pub fn decisions(&self, campaigns: &[CampaignId], depth: usize, until: Until) -> Load {
        Load {
            address: self.address,
            protocol: Protocol::Redis,
            templates: campaigns.iter().map(Template::decision).collect(),
            first: 0,
            people: None,
            connections: self.scale.connections(),
            depth,
            pace: Pace::Closed,
            until,
        }
    }

    /// Grants to people number `first` and on, which is done in no time and is not measured.
    ///
    /// # Errors
    /// When they are not granted.
    pub fn grant(&self, campaigns: &[CampaignId], first: u64, count: u64) -> Result<Outcome> {
        if count == 0 {
            bail!("nobody to grant to");
        }
        let load = Load {
            first,
            ..self.decisions(campaigns, 64, Until::Requests(count))
        };
        load.run()?.all(0)
    }

    /// Removes a campaign and everything of it, and lets Redis settle.
    ///
    /// # Errors
    /// When Redis refuses.
    pub fn remove(&mut self, campaign: &CampaignId) -> Result<()> {
        // Not UNLINK, which would free the memory during the next turn.
        let keys = Keys::of(campaign).all();
        self.run::<()>(cmd("DEL").arg(keys.as_slice()))?;
        self.run::<()>(cmd("SREM").arg(keys::CAMPAIGNS).arg(campaign.as_str()))?;
        self.settle()
    }

    /// Waits until Redis has nothing to do that belongs to an earlier turn.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub fn settle(&mut self) -> Result<()> {
        if self.scale == Scale::Smoke {
            return Ok(());
        }
        let size: u64 = self.info("aof_current_size")?.parse()?;
        // As it was when it was last rewritten: what is kept on purpose is not written again and again.
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

/// An id that no campaign has had.
fn fresh_id() -> Result<CampaignId> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ok(format!("bench-{}-{number}", std::process::id()).parse()?)
}

/// An element of a reply, as the gate reads it.
pub(crate) fn value(value: redis::Value) -> Value {
    match value {
        redis::Value::Int(number) => Value::Integer(number),
        redis::Value::BulkString(bytes) => Value::Bytes(bytes),
        redis::Value::SimpleString(text) => Value::Bytes(text.into_bytes()),
        _ => Value::Other,
    }
}
