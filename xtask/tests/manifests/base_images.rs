//! Tests `testbed/images/override.yml`: it replaces every image that the Compose file and the Dockerfile would pull.

use super::compose::load;
use super::read;

const OURS: &str = "rushgate-base/";

#[test]
fn the_override_replaces_every_image() {
    let (file, over) = (
        load(&read("docker-compose.yml")),
        load(&read("testbed/images/override.yml")),
    );
    for (name, service) in file["services"].as_hash().unwrap() {
        let replaced = &over["services"][name.as_str().unwrap()];
        let is_ours = if service["build"].is_badvalue() {
            let image = replaced["image"].as_str().unwrap_or_default();
            image.starts_with(OURS) || service["profiles"][0].as_str() == Some("load")
        } else {
            let contexts = &replaced["build"]["additional_contexts"];
            bases(&read("deploy/Dockerfile")).iter().all(|base| {
                let context = contexts[base.as_str()].as_str().unwrap_or_default();
                context.starts_with(&format!("docker-image://{OURS}"))
            })
        };
        assert!(is_ours, "{name:?} pulls an image");
    }
}

/// The images of a Dockerfile that are not its own stages.
fn bases(text: &str) -> Vec<String> {
    let stages: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("FROM ")?.split_once(" AS "))
        .collect();
    let is_stage = |base: &str| stages.iter().any(|(_, name)| *name == base);
    let bases = stages.iter().filter(|(base, _)| !is_stage(base));
    bases.map(|(base, _)| (*base).to_owned()).collect()
}
