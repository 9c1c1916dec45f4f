//! Tests `spin.toml`: it has everything that `spin up` needs, and refers to nothing that does not exist.

use std::collections::BTreeSet;

use toml::Value;

use super::read;

fn manifest() -> toml::Table {
    read("spin.toml").parse().unwrap()
}

fn component(manifest: &toml::Table) -> &Value {
    &manifest["component"]["apply-handler"]
}

/// Every `name` of `{{ name }}` in a value.
fn templates(value: &Value) -> BTreeSet<String> {
    let text = value.to_string();
    text.split("{{")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once("}}")?.0.trim().to_owned()))
        .collect()
}

#[test]
fn variables_have_defaults_and_all_are_used() {
    let manifest = manifest();
    let declared = manifest["variables"].as_table().unwrap();
    for (name, variable) in declared {
        assert!(variable.get("default").is_some(), "{name} has no default");
    }
    let declared: BTreeSet<String> = declared.keys().cloned().collect();
    assert_eq!(templates(component(&manifest)), declared);
}

#[test]
fn secrets_are_marked() {
    let manifest = manifest();
    for (name, variable) in manifest["variables"].as_table().unwrap() {
        let marked = variable.get("secret").and_then(Value::as_bool) == Some(true);
        let is_secret = ["redis_password", "jwt_keys", "coupon_code_keys"].contains(&name.as_str());
        assert_eq!(marked, is_secret, "{name}");
    }
}

#[test]
fn the_component_reaches_redis_and_nothing_else() {
    let manifest = manifest();
    let hosts = component(&manifest)["allowed_outbound_hosts"]
        .as_array()
        .unwrap();
    assert_eq!(hosts, &[Value::from("{{ redis_url }}")]);
}

#[test]
fn every_route_leads_to_the_component() {
    let manifest = manifest();
    let triggers = manifest["trigger"]["http"].as_array().unwrap();
    assert_eq!(triggers.len(), 1);
    assert_eq!(triggers[0]["component"].as_str(), Some("apply-handler"));
    assert_eq!(triggers[0]["route"].as_str(), Some("/..."));
}

#[test]
fn the_build_makes_the_source() {
    let manifest = manifest();
    let command = component(&manifest)["build"]["command"].as_str().unwrap();
    let words: Vec<&str> = command.split(' ').collect();
    let after = |option: &str| {
        let position = words.iter().position(|word| *word == option).unwrap();
        words[position + 1]
    };
    let file = after("--package").replace('-', "_");
    let source = format!("target/{}/release/{file}.wasm", after("--target"));
    assert!(words.contains(&"--release"));
    assert_eq!(
        component(&manifest)["source"].as_str(),
        Some(source.as_str())
    );
}

#[test]
fn what_is_watched_is_there() {
    let manifest = manifest();
    for pattern in component(&manifest)["build"]["watch"].as_array().unwrap() {
        let pattern = pattern.as_str().unwrap();
        let fixed = pattern.split('*').next().unwrap().trim_end_matches('/');
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(fixed);
        assert!(path.exists(), "{pattern}");
    }
}
