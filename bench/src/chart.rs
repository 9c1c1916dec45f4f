//! Draws an SVG chart of all results that have a goal. It shows how close each result is to its goal.

use crate::finding::{Finding, Goal};
use crate::report::Report;
use std::fmt::Write as _;

const WIDTH: f64 = 1250.0;
const ROW: f64 = 26.0;
const HEAD: f64 = 56.0;
/// Left edge of the bars, and the position of the goal line.
const LEFT: f64 = 650.0;
const GOAL: f64 = 870.0;
/// Bars are cut at this multiple of the goal.
const MOST: f64 = 1.9;

/// The chart of a report.
///
/// Every bar is scaled to its own goal, so a bar that reaches the line meets the goal. A goal "at most" is inverted, so
/// that longer is always better.
pub fn svg(report: &Report) -> String {
    let findings: Vec<_> = report.findings.iter().filter_map(bar).collect();
    let height = HEAD + ROW * findings.len() as f64 + 44.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"17\">Rushgate beside its baselines: ratio and goal</text>\n\
         <text x=\"{GOAL}\" y=\"46\" text-anchor=\"middle\" fill=\"#555555\">goal</text>\n"
    );
    for (place, (finding, reached, goal)) in findings.iter().enumerate() {
        let y = HEAD + ROW * place as f64;
        let length = reached.min(MOST) * (GOAL - LEFT);
        let colour = if *reached >= 1.0 {
            "#2e7d5b"
        } else {
            "#c4572e"
        };
        let ratio = finding.ratio.unwrap_or(f64::NAN);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{LEFT}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" fill=\"{colour}\"/>\n\
             <text x=\"{:.1}\" y=\"{}\" fill=\"#333333\">{ratio:.2} ({goal})</text>",
            LEFT - 8.0,
            y + 17.0,
            escaped(&label(finding)),
            y + 4.0,
            ROW - 8.0,
            LEFT + length.max(GOAL - LEFT) + 8.0,
            y + 17.0,
        );
    }
    let bottom = HEAD + ROW * findings.len() as f64;
    let _ = write!(
        svg,
        "<line x1=\"{GOAL}\" y1=\"{}\" x2=\"{GOAL}\" y2=\"{bottom}\" stroke=\"#222222\" stroke-dasharray=\"4 3\"/>\n\
         <text x=\"16\" y=\"{}\" font-size=\"11\" fill=\"#555555\">{}</text>\n</svg>\n",
        HEAD - 4.0,
        bottom + 26.0,
        caption(report),
    );
    svg
}

/// The part of its goal that a finding reaches.
fn bar(finding: &Finding) -> Option<(&Finding, f64, Goal)> {
    let (ratio, goal) = (finding.ratio?, finding.goal?);
    let reached = match goal {
        Goal::AtLeast(least) => ratio / least,
        Goal::AtMost(most) => most / ratio,
    };
    Some((finding, reached, goal))
}

fn label(finding: &Finding) -> String {
    let baseline = finding.baseline.as_ref();
    let beside = baseline.map_or(String::new(), |baseline| format!(" : {}", baseline.what));
    format!("{}, {}{beside}", finding.bench, finding.what)
}

/// The machine, for the foot of a chart.
pub(crate) fn caption(report: &Report) -> String {
    let machine = &report.machine;
    escaped(&format!(
        "{} cores of {} for everything; Redis {}, Kafka {}, {}; components on {}",
        machine.cores, machine.cpu, machine.redis, machine.kafka, machine.database, machine.host
    ))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Unit;
    use crate::machine::Machine;
    use crate::measure::Figure;
    use crate::scale::Scale;

    #[test]
    fn bars_that_reach_the_line_meet_their_goals() {
        let finding = |ours: f64, goal| {
            Finding::new("b", "p99 < all", Figure::known(ours), Unit::Milliseconds)
                .beside("its own", Figure::known(10.0))
                .to_be(goal)
        };
        let mut report = Report {
            findings: vec![
                finding(9.0, Goal::AtLeast(0.8)),
                finding(9.0, Goal::AtMost(0.8)),
            ],
            ..Report::new(Machine::this(), Scale::Smoke)
        };
        let chart = svg(&report);
        assert_eq!(chart.matches("#2e7d5b").count(), 1);
        assert_eq!(chart.matches("#c4572e").count(), 1);
        assert!(chart.contains("p99 &lt; all"));
        report.findings.clear();
        assert!(!svg(&report).contains("NaN"));
    }
}
