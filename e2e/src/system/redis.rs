//! The Redis of a system: it is started, killed, replaced by a replica, or loses its data.

use super::System;
use crate::replica::{self, Replica};
use crate::secured::Secured;
use redis::aio::MultiplexedConnection;
use rushgate_testbed::process::Process;
use rushgate_testbed::servers::redis::Redis;
use std::path::PathBuf;

impl System {
    pub fn redis(&self) -> &Process {
        self.redis.as_ref().expect("Redis runs")
    }

    /// Starts Redis on its stored data, and waits until it answers.
    pub fn start_redis(&mut self) {
        let mut redis = Redis::on_port(self.redis_port.number(), &self.redis_directory);
        redis.tls = self.logins.secured.as_ref().map(Secured::redis);
        let acl = self.redis_acl.display().to_string();
        self.redis = Some(redis.start(&["--aclfile", &acl]).expect("Redis"));
    }

    /// Kills Redis, as in a crash.
    pub fn crash_redis(&mut self) {
        self.redis.take().expect("Redis runs").crash();
    }

    /// Moves away the stored data of a crashed Redis; returns where it is now.
    pub fn lose_redis_data(&mut self) -> PathBuf {
        assert!(self.redis.is_none(), "Redis still runs");
        let lost = self.directory.path().join("redis-lost");
        std::fs::rename(&self.redis_directory, &lost).expect("moved");
        lost
    }

    /// Redis's append-only file.
    pub fn redis_log(&self) -> PathBuf {
        let directory = self.redis_directory.join("appendonlydir");
        directory.join("appendonly.aof.1.incr.aof")
    }

    /// A connection to Redis, if it answers.
    pub async fn redis_connection(&self) -> Option<MultiplexedConnection> {
        replica::connection(self.redis_port.number()).await
    }

    /// Starts a replica, and waits until it is in sync.
    pub async fn start_replica(&self) -> Replica {
        let directory = self.directory.path().join("redis-replica");
        Replica::start(directory, self.redis_port.number(), &self.redis_acl).await
    }

    /// Kills Redis, as in a crash, and puts the replica in its place.
    pub async fn promote(&mut self, replica: Replica) {
        self.crash_redis();
        let (redis, directory) = replica.promote(self.redis_port.number()).await;
        self.redis = Some(redis);
        self.redis_directory = directory;
    }
}
