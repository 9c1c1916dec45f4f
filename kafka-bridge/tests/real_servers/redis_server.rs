//! Starts a separate Redis server for each test, and writes the data that the gate would write.

use redis::{Commands as _, Connection};
use rushgate_gate::keys::{BRIDGE_GROUP, CAMPAIGNS};
use rushgate_gate::{CampaignId, Keys};
use rushgate_testbed::process::Process;
use rushgate_testbed::servers::redis::Redis;
use rushgate_testbed::wait::until_blocking;
use std::collections::HashMap;
use std::os::unix::net::UnixListener;

pub(crate) struct RedisServer {
    redis: Redis,
    process: Option<Process>,
    pub(crate) directory: tempfile::TempDir,
}

/// A campaign on a [`RedisServer`].
pub(crate) struct Campaign {
    pub(crate) redis: Connection,
    pub(crate) id: CampaignId,
    pub(crate) keys: Keys,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        let mut server = Self::stopped();
        server.restart();
        server
    }

    /// Not started yet; its address is known.
    pub(crate) fn stopped() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self {
            redis: Redis::on_socket(directory.path()),
            process: None,
            directory,
        }
    }

    /// Starts the server again, with its data.
    pub(crate) fn restart(&mut self) {
        self.kill();
        // Tests expect the bridge's warning.
        let process = self.redis.start(&["--maxmemory", "0"]);
        self.process = Some(process.expect("Redis"));
    }

    /// Waits until clients have come in vain, before the server starts. The first may be any; by the third, the one
    /// that reads has come.
    pub(crate) fn until_clients_have_come(&self) {
        let socket = self.directory.path().join("redis.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        listener.set_nonblocking(true).expect("nonblocking");
        for number in 1..=3 {
            let what = format!("client {number} comes");
            until_blocking(&what, || listener.accept().is_ok());
        }
        std::fs::remove_file(&socket).expect("removed");
    }

    /// Waits until the bridge has gone on: everything that it would do next, it has done.
    ///
    /// It does one step after the other. It finds two new campaigns, each in a step of its own that begins after this
    /// call, and creates their groups.
    pub(crate) fn until_bridge_has_gone_on(&self) {
        for id in ["later-1", "later-2"] {
            let mut later = self.campaign(id);
            until_blocking("a new campaign is found", || later.has_group());
        }
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    pub(crate) fn url(&self) -> String {
        self.redis.url()
    }

    pub(crate) fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).expect("an address")
    }

    pub(crate) fn campaign(&self, id: &str) -> Campaign {
        let mut redis = self.client().get_connection().expect("a connection");
        redis.sadd::<_, _, ()>(CAMPAIGNS, id).expect("SADD");
        let id: CampaignId = id.parse().expect("an id");
        let keys = Keys::of(&id);
        Campaign { redis, id, keys }
    }
}

impl Campaign {
    /// Grants the serials in order, each to the user of the same number, as the gate would.
    pub(crate) fn grant(&mut self, serials: impl IntoIterator<Item = u32>) {
        self.grant_to(serials, |serial| serial.to_string());
    }

    /// Grants the serials in order, each to `user_id(serial)`.
    pub(crate) fn grant_to(
        &mut self,
        serials: impl IntoIterator<Item = u32>,
        user_id: impl Fn(u32) -> String,
    ) {
        let stream = self.keys.stream();
        let mut commands = redis::pipe();
        for serial in serials {
            let mut fields = self.fields(serial);
            fields[4].1 = user_id(serial);
            commands.xadd(&stream, "*", &fields).ignore();
        }
        commands.exec(&mut self.redis).expect("XADD");
    }

    pub(crate) fn fields(&self, serial: u32) -> Vec<(&'static str, String)> {
        vec![
            ("type", "coupon.granted".to_owned()),
            ("campaign", self.id.to_string()),
            ("round", "once".to_owned()),
            ("serial", serial.to_string()),
            ("user_id", serial.to_string()),
            ("at", "1796086800123".to_owned()),
        ]
    }

    pub(crate) fn add(&mut self, fields: &[(&'static str, String)]) -> String {
        self.redis
            .xadd(self.keys.stream(), "*", fields)
            .expect("XADD")
    }

    /// Assigns up to `count` entries to a bridge of this name, which does nothing with them.
    pub(crate) fn give_to(&mut self, consumer: &str, count: usize) {
        let stream = self.keys.stream();
        // The group exists already if a bridge runs.
        let _ = self
            .redis
            .xgroup_create_mkstream::<_, _, _, ()>(&stream, BRIDGE_GROUP, "0");
        let options = redis::streams::StreamReadOptions::default()
            .group(BRIDGE_GROUP, consumer)
            .count(count);
        let given: redis::streams::StreamReadReply = self
            .redis
            .xread_options(&[stream], &[">"], &options)
            .expect("XREADGROUP");
        assert_eq!(given.keys[0].ids.len(), count);
    }

    pub(crate) fn length(&mut self) -> usize {
        self.redis.xlen(self.keys.stream()).expect("XLEN")
    }

    /// The number of pending entries; 0 without a group.
    pub(crate) fn pending(&mut self) -> usize {
        let pending = redis::cmd("XPENDING")
            .arg(self.keys.stream())
            .arg(BRIDGE_GROUP)
            .query::<redis::streams::StreamPendingReply>(&mut self.redis);
        match pending {
            Ok(pending) => pending.count(),
            Err(error) => {
                assert_eq!(error.code(), Some("NOGROUP"), "{error}");
                0
            }
        }
    }

    /// How often clients have called this command.
    pub(crate) fn calls(&mut self, command: &str) -> u64 {
        let statistics: redis::InfoDict = (redis::cmd("INFO").arg("commandstats"))
            .query(&mut self.redis)
            .expect("INFO");
        let line: Option<String> = statistics.get(&format!("cmdstat_{command}"));
        let calls = line
            .as_deref()
            .and_then(|line| line.split(['=', ',']).nth(1));
        calls.map_or(0, |calls| calls.parse().expect("a number"))
    }

    /// The number of commands that Redis has refused because of its ACL.
    pub(crate) fn refused_commands(&mut self) -> i64 {
        let mut log = redis::cmd("ACL");
        let log: Vec<HashMap<String, redis::Value>> =
            (log.arg("LOG").query(&mut self.redis)).expect("ACL LOG");
        let count = |line: &HashMap<String, redis::Value>| match line.get("count") {
            Some(redis::Value::Int(count)) => *count,
            other => panic!("{other:?} is not a count"),
        };
        log.iter().map(count).sum()
    }

    pub(crate) fn has_group(&mut self) -> bool {
        let groups: redis::RedisResult<redis::streams::StreamInfoGroupsReply> =
            self.redis.xinfo_groups(self.keys.stream());
        groups.is_ok_and(|groups| groups.groups.len() == 1)
    }

    /// Waits until the stream is empty and nothing is pending.
    pub(crate) fn wait_until_empty(&mut self) {
        let what = format!("the stream of {} is empty", self.id);
        until_blocking(&what, || self.length() == 0 && self.pending() == 0);
    }
}
