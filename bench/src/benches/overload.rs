//! Measures what applicants get at ten times the load that can be served: how many are answered within a second, with
//! what, and how much memory each program takes. The edge has its limits as shipped.

use crate::finding::{Finding, Goal, Unit};
use crate::measure::Figure;
use crate::testbed::Testbed;
use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use rushgate_e2e::overload::{MOST_MEMORY, overload};
use tokio::runtime::Runtime;

pub(super) const NAME: &str = "overload";

/// How much of the intended load must come, as a ratio to what can be served. Less means that the generator was late,
/// and the other figures say nothing.
const TEN_TIMES: f64 = 9.5;

/// Of the applications, this many must be answered within a second.
const IN_TIME: f64 = 0.99;

pub(super) fn run(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let applicants = testbed.scale.flood();
    let overload = Runtime::new()?.block_on(overload(applicants, applicants as u32 / 2));
    let flood = &overload.flood;
    let wrong = flood.undocumented(true);
    ensure!(wrong.is_empty(), "answers to applications: {wrong:?}");
    let unexplained = &overload.unexplained;
    ensure!(unexplained.is_empty(), "without a body: {unexplained:?}");
    ensure!(overload.breaches.is_empty(), "{:?}", overload.breaches);

    let found =
        |what: &str, number: f64, unit| Finding::new(NAME, what, Figure::known(number), unit);
    let came = applicants as f64 / flood.sending.as_secs_f64();
    let capacity = Figure::known(overload.capacity);
    let all = Figure::known(applicants as f64);
    let mut findings = vec![
        found("applications that come", came, Unit::PerSecond)
            .beside("decided without overload", capacity)
            .to_be(Goal::AtLeast(TEN_TIMES)),
        found(
            "sent more than 0.1 s late",
            flood.sent_late as f64,
            Unit::Count,
        ),
        found(
            "answered within 1 s",
            flood.within_a_second as f64,
            Unit::Count,
        )
        .beside("all applications", all)
        .to_be(Goal::AtLeast(IN_TIME)),
    ];
    let answers = flood.answers.iter();
    findings.extend(answers.map(|(kind, count)| found(kind, *count as f64, Unit::Count)));
    for (what, times) in [("decided", &flood.decided), ("refused", &flood.refused)] {
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
            let milliseconds = milliseconds(times, quantile);
            findings.push(found(
                &format!("{what}, {name}"),
                milliseconds,
                Unit::Milliseconds,
            ));
        }
    }
    for (part, peak) in &overload.peak_memory {
        let mebibytes = *peak as f64 / f64::from(1 << 20);
        let finding = found(&format!("{part}, most memory"), mebibytes, Unit::Mebibytes);
        let most = MOST_MEMORY.iter().find(|(name, _)| name == part);
        findings.extend(most.map(|(_, most)| {
            finding
                .beside("what it may take", Figure::known(*most as f64))
                .to_be(Goal::AtMost(1.0))
        }));
    }
    Ok(findings)
}

fn milliseconds(times: &Histogram<u64>, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64 / 1e3
}
