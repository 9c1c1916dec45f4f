//! Tests what all programs say when Redis has a wrong certificate, or refuses their login or their rights, and that they
//! work again as soon as it is right.

use super::DATABASE_CERTIFICATE;
use super::says::{Log, says};
use crate::view::View;
use redis::aio::MultiplexedConnection;
use rushgate_e2e::history::Place;
use rushgate_e2e::rights::{Role, redis_rules, set_redis_rules};
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::certificates::{Certificates, EXPIRED, FOREIGN, OTHER_NAME, SERVER};
use rushgate_testbed::process::{Process, Signal};
use rushgate_testbed::wait::until;

/// What is wrong with Redis.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Certificate(&'static str),
    WantsCertificate,
    Password,
    Right,
}

/// What is wrong; what the handler says, and what the other programs say.
const CASES: [(Wrong, &[&str], &[&str]); 6] = [
    (
        Wrong::Certificate(FOREIGN),
        &["authority", "SSL_CERT_FILE"],
        &["authority", "REDIS_SSL_CA"],
    ),
    (
        Wrong::Certificate(OTHER_NAME),
        &["another host name", "redis_url"],
        &["another host name", "REDIS_URL"],
    ),
    (Wrong::Certificate(EXPIRED), &["expired"], &["expired"]),
    // The refusal itself can be lost with TLS 1.3. Then the connection is reset, and Redis "may require" it.
    (
        Wrong::WantsCertificate,
        &["a certificate of", "tls-auth-clients"],
        &["a certificate of this program", "REDIS_SSL_CERTIFICATE"],
    ),
    (
        Wrong::Password,
        &["login was refused", "redis_password"],
        &["login was refused", "REDIS_URL"],
    ),
    (
        Wrong::Right,
        &["lacks a right", "deploy/rights/redis.acl"],
        &["lacks a right", "deploy/rights/redis.acl"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_of_redis_is_told_and_healed() {
    let _verified = DATABASE_CERTIFICATE.lock().await;
    let system = System::start_secured(Size::ONE_OF_EACH, &[]).await;
    system
        .operator
        .create("launch", 100)
        .await
        .expect("created");
    let launch = View::of(&system, "launch");
    let redis = system.redis_connection().await.expect("Redis");
    let mut redis = Admin {
        redis,
        certificates: system.secured().certificates.clone(),
    };
    for (number, (wrong, handler, native)) in (1..).zip(CASES) {
        // So that the consumer has a grant to confirm.
        system.consumers[0]
            .signal(Signal::SIGSTOP)
            .expect("a signal");
        let place = Place::new("once", u32::try_from(number).expect("few"));
        launch.gets(&format!("user-{number}"), place).await;
        until("the grant is in Kafka", async || {
            let evidence = system.stores().read("launch").await.ok()?;
            (evidence.lag == 1 && evidence.entries == 0).then_some(())
        })
        .await;
        let logs = [
            Log::now("the handler", system.handler(0)),
            Log::now("the bridge", &system.bridges[0]),
            Log::now("the consumer", &system.consumers[0]),
        ];
        redis.becomes(wrong).await;
        system.consumers[0]
            .signal(Signal::SIGCONT)
            .expect("a signal");
        // Often enough that a cause which alternates with another one shows.
        for number in 0..12 {
            let refusal = launch.refusal(&format!("refused-{number}")).await;
            assert_eq!(refusal.0, 503, "{wrong:?}");
        }
        let show = system
            .operator
            .end_of(&["campaign", "show", "launch"])
            .await;
        let show = show.expect("run");
        assert_eq!(show.code, Some(1), "{wrong:?}: {show:?}");
        says("the operator", &show.stderr, native).expect("the reason");
        for (log, words) in logs.iter().zip([handler, native, native]) {
            log.says(words).await;
        }
        let attempts = redis.attempts(system.redis()).await;
        until("they have tried again, several times", async || {
            (redis.attempts(system.redis()).await >= attempts + 6).then_some(())
        })
        .await;
        for (log, words) in logs.iter().zip([handler, native, native]) {
            log.is_short(words);
        }
        redis.becomes_right().await;
        launch.has_rows(number).await;
        system.drained("launch").await;
    }
}

/// The programs with users in Redis.
const PROGRAMS: [Role; 4] = [Role::Handler, Role::Bridge, Role::Consumer, Role::Operator];

/// The administrator, over the port without TLS.
struct Admin {
    redis: MultiplexedConnection,
    certificates: Certificates,
}

impl Admin {
    async fn does(&mut self, words: &[&str]) {
        let mut command = redis::cmd(words[0]);
        let done = command.arg(&words[1..]).exec_async(&mut self.redis).await;
        done.unwrap_or_else(|error| panic!("{words:?}: {error}"));
    }

    async fn has_certificate(&mut self, name: &str) {
        let certificate = self.certificates.certificate(name).display().to_string();
        let key = self.certificates.key(name).display().to_string();
        let set = [
            "CONFIG",
            "SET",
            "tls-cert-file",
            &certificate,
            "tls-key-file",
            &key,
        ];
        self.does(&set).await;
    }

    /// Each user gets these rules.
    async fn changes_users(&mut self, rules: &[&str]) {
        for program in PROGRAMS {
            let words = [&["ACL", "SETUSER", program.user()][..], rules].concat();
            self.does(&words).await;
        }
    }

    async fn becomes(&mut self, wrong: Wrong) {
        match wrong {
            Wrong::Certificate(name) => self.has_certificate(name).await,
            Wrong::WantsCertificate => {
                self.does(&["CONFIG", "SET", "tls-auth-clients", "yes"])
                    .await;
            }
            Wrong::Password => self.changes_users(&["resetpass", ">an0ther"]).await,
            Wrong::Right => self.changes_users(&["clearselectors", "-@all"]).await,
        }
        self.does(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
            .await;
    }

    async fn becomes_right(&mut self) {
        self.has_certificate(SERVER).await;
        self.does(&["CONFIG", "SET", "tls-auth-clients", "optional"])
            .await;
        for program in PROGRAMS {
            let set = set_redis_rules(program, &redis_rules(program));
            let done = set.exec_async(&mut self.redis).await;
            done.expect("ACL SETUSER");
        }
    }

    /// Connections since it started, failed handshakes, and errors that it has replied: a program that lacks a right
    /// keeps its connection.
    async fn attempts(&mut self, process: &Process) -> usize {
        let mut stats = redis::cmd("INFO");
        let stats = stats.arg("stats").query_async(&mut self.redis).await;
        let stats: redis::InfoDict = stats.expect("INFO");
        let count = |name| stats.get::<usize>(name).expect("a number");
        let log = process.log();
        let handshakes = log.matches("Error accepting a client connection").count();
        count("total_connections_received") + count("total_error_replies") + handshakes
    }
}
