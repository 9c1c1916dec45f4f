//! Tests `deploy/alerts.yml`: each alert says something, and counts what bridge or consumer count.

use crate::read;
use yaml_rust2::YamlLoader;

#[test]
fn every_alert_has_a_summary_and_is_about_a_metric_that_exists() {
    let sources = [
        "consumer/src/metrics.rs",
        "kafka-bridge/src/metrics.rs",
        "docs/operating.md",
    ]
    .map(read);
    let file = &YamlLoader::load_from_str(&read("deploy/alerts.yml")).unwrap()[0];
    let rules = file["groups"][0]["rules"].as_vec().unwrap();
    let mut metrics = 0;
    for rule in rules {
        assert!(
            rule["annotations"]["summary"].as_str().is_some(),
            "{rule:?}"
        );
        let names = rule["expr"].as_str().unwrap();
        let names = names.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in names.filter(|name| name.starts_with("rushgate_")) {
            let [consumer, bridge, page] = sources.each_ref().map(|text| text.contains(name));
            assert!((consumer || bridge) && page, "{name}");
            metrics += 1;
        }
    }
    assert!(metrics >= rules.len());
}
