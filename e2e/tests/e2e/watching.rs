//! Tests `rushgate watch`: its JSON follows a rush through a stopped consumer, and its screen changes a campaign after a
//! question.

use crate::view::{View, granted};
use rushgate_e2e::campaign::AS_JSON;
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::process::Signal;
use rushgate_testbed::wait::{DEADLINE, until};
use serde_json::Value;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const LAUNCH: &str = "launch";

/// A running `rushgate watch --output json`.
struct Watcher {
    lines: Lines<BufReader<ChildStdout>>,
    /// Ends with this.
    _child: Child,
}

impl Watcher {
    fn start(system: &System) -> Self {
        let words = ["watch", "--campaign", LAUNCH, "--oldest", "2s"];
        let words = [&words[..], &AS_JSON].concat().join(" ");
        let mut command = Command::from(system.script(&format!("exec rushgate {words}")));
        command.stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("it starts");
        let stdout = child.stdout.take().expect("its output");
        Self {
            lines: BufReader::new(stdout).lines(),
            _child: child,
        }
    }

    /// The first sample from now on for which this is true.
    async fn sees(&mut self, what: &str, is_seen: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let seen = timeout(DEADLINE, async {
            loop {
                let line = self.lines.next_line().await.expect("its output");
                let line = line.unwrap_or_else(|| panic!("it has ended; {what}: {last}"));
                last = serde_json::from_str(&line).expect(&line);
                if is_seen(&last) {
                    return last.clone();
                }
            }
        });
        let seen = seen.await;
        seen.unwrap_or_else(|_| panic!("{what} was not seen in {DEADLINE:?}"))
    }
}

fn has_alarm(sample: &Value, alarm: &str) -> bool {
    let alarms = sample["alarms"].as_array().expect("alarms");
    alarms.iter().any(|found| found["alarm"] == alarm)
}

/// A figure of the funnel of the only campaign.
fn funnel(sample: &Value, figure: &str) -> Option<u64> {
    sample["campaigns"][0]["funnel"][figure].as_u64()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_consumer_is_seen_and_so_is_the_drain_to_the_last_row() {
    let mut system = System::start(Size::ONE_OF_EACH).await;
    system.operator.create(LAUNCH, 100).await.expect("created");
    let mut watcher = Watcher::start(&system);
    watcher
        .sees("a quiet system", |sample| {
            sample["alarms"] == Value::Array(vec![])
                && sample["kafka"]["consumers"] == 1
                && funnel(sample, "granted") == Some(0)
        })
        .await;

    // The bridge does not read.
    system.bridges[0].signal(Signal::SIGSTOP).expect("a signal");
    {
        let launch = View::of(&system, LAUNCH);
        for serial in 1..=20 {
            assert_eq!(launch.apply(&format!("p{serial}")).await, granted(serial));
        }
    }
    let sample = watcher
        .sees("grants in the stream", |sample| {
            funnel(sample, "in_stream") == Some(20) && has_alarm(sample, "stream_old")
        })
        .await;
    assert_eq!(funnel(&sample, "granted"), Some(20), "{sample}");
    assert_eq!(funnel(&sample, "inserted"), Some(0), "{sample}");
    system.bridges[0].signal(Signal::SIGCONT).expect("a signal");
    watcher
        .sees("twenty rows", |sample| {
            funnel(sample, "confirmed") == Some(20)
        })
        .await;

    // The consumer is stopped during the rush.
    assert_eq!(system.consumers.remove(0).terminate(), Some(0));
    let launch = View::of(&system, LAUNCH);
    for serial in 21..=50 {
        assert_eq!(launch.apply(&format!("p{serial}")).await, granted(serial));
    }
    let sample = watcher
        .sees("grants in Kafka, and no consumer", |sample| {
            funnel(sample, "in_kafka") == Some(30)
                && has_alarm(sample, "kafka_old")
                && has_alarm(sample, "consumer_stopped")
        })
        .await;
    assert_eq!(sample["kafka"]["lag"], 30, "{sample}");
    assert_eq!(funnel(&sample, "inserted"), Some(20), "{sample}");
    assert_eq!(funnel(&sample, "without_row"), Some(0), "{sample}");

    system.start_consumer().await;
    let sample = watcher
        .sees("the drain", |sample| {
            sample["kafka"]["lag"] == 0
                && funnel(sample, "confirmed") == Some(50)
                && funnel(sample, "inserted") == Some(50)
        })
        .await;
    for (figure, expected) in [
        ("granted", 50),
        ("in_stream", 0),
        ("in_kafka", 0),
        ("without_row", 0),
        ("bridge_dead_letters", 0),
        ("consumer_dead_letters", 0),
    ] {
        assert_eq!(
            funnel(&sample, figure),
            Some(expected),
            "{figure}: {sample}"
        );
    }
    assert_eq!(system.database.count(LAUNCH).await.expect("rows"), 50);
    watcher
        .sees("no alarm", |sample| {
            sample["alarms"] == Value::Array(vec![])
        })
        .await;

    // A row that is lost.
    let lose = "DELETE FROM coupons WHERE user_id = 'p7'";
    assert_eq!(system.database.run(lose).await.expect("deleted"), 1);
    let sample = watcher
        .sees("a grant without a row", |sample| {
            has_alarm(sample, "grants_without_row")
        })
        .await;
    assert_eq!(funnel(&sample, "without_row"), Some(1), "{sample}");
    let alarms = sample["alarms"].as_array().expect("alarms");
    assert_eq!(alarms[0]["command"], "rushgate audit launch --repair");

    // Redis is away, and comes back.
    system.crash_redis();
    watcher
        .sees("Redis is away, and Kafka is not", |sample| {
            sample["unavailable"][0]["server"] == "redis" && sample["kafka"]["lag"].is_u64()
        })
        .await;
    system.start_redis();
    watcher
        .sees("Redis is back", |sample| {
            funnel(sample, "granted") == Some(50)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_is_paused_and_resumed_on_the_screen_after_a_question() {
    let system = System::start(Size::ONLY_A_HANDLER).await;
    system.operator.create(LAUNCH, 5).await.expect("created");
    let launch = View::of(&system, LAUNCH);
    // `script` gives it a terminal.
    let inside = "stty cols 120 rows 40; exec rushgate watch";
    let script = format!("exec script --quiet --flush --return --command '{inside}' /dev/null");
    let mut command = Command::from(system.script(&script));
    command.env("TERM", "xterm-256color").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut keys = child.stdin.take().expect("its input");
    let mut output = child.stdout.take().expect("its output");
    let mut screen = Screen::default();

    screen.shows(&mut output, "CAMPAIGN").await;
    screen.shows(&mut output, "launch").await;
    for (key, state) in [("p", "paused"), ("r", "running")] {
        keys.write_all(key.as_bytes()).await.expect("a key");
        screen.shows(&mut output, "Sure?").await;
        keys.write_all(b"y").await.expect("a key");
        until(&format!("it is {state}"), async || {
            (launch.states().await[LAUNCH] == state).then_some(())
        })
        .await;
    }
    until("both are in the log", async || {
        (launch.actions().await == ["created", "paused", "resumed"]).then_some(())
    })
    .await;
    keys.write_all(b"p").await.expect("a key");
    screen.shows(&mut output, "Sure?").await;
    keys.write_all(b"n").await.expect("a key");
    keys.write_all(b"q").await.expect("a key");
    let ended = timeout(DEADLINE, child.wait()).await.expect("it ends");
    assert_eq!(ended.expect("run").code(), Some(0));
    assert_eq!(launch.states().await[LAUNCH], "running");
    assert_eq!(launch.actions().await, ["created", "paused", "resumed"]);
}

/// What a terminal has received and the test has not looked for yet.
#[derive(Default)]
struct Screen(String);

impl Screen {
    /// Waits until this text is drawn; the cursor may be moved between its words.
    async fn shows(&mut self, output: &mut ChildStdout, expected: &str) {
        let shown = timeout(DEADLINE, async {
            loop {
                if let Some(at) = self.0.find(expected) {
                    self.0.drain(..at + expected.len());
                    return;
                }
                let mut bytes = [0; 4096];
                let count = output.read(&mut bytes).await.expect("its output");
                assert!(count > 0, "it has ended: {}", self.0);
                self.0.push_str(&without_escapes(&bytes[..count]));
            }
        });
        let shown = shown.await;
        shown.unwrap_or_else(|_| panic!("{expected:?} is not in {:?}", self.0));
    }
}

/// The text without the sequences that move the cursor and set colours.
fn without_escapes(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |shown, part| {
        let end = part.find(|end: char| end.is_ascii_alphabetic());
        shown + end.map_or("", |end| &part[end + 1..])
    })
}
