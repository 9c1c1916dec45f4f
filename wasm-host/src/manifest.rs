//! Parses `spin.toml`: one component, its variables, and the hosts that it may call.
//!
//! It supports only the part of Spin's manifest that an HTTP application on Redis needs. A setting that would change
//! the component's environment and is not supported (`files`, `key_value_stores`, …) is an error; it is never ignored.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The route of the component: every path.
pub(crate) const ROUTE: &str = "/...";

#[derive(Debug)]
pub(crate) struct Manifest {
    /// The variables that the application declares, by name.
    pub(crate) variables: BTreeMap<String, Variable>,
    pub(crate) component_id: String,
    /// The component of [`ROUTE`].
    pub(crate) component: Component,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Variable {
    /// Used unless another value is given.
    pub(crate) default: Option<String>,
    /// Whether a value must be given. True exactly for variables without a default.
    #[serde(default)]
    required: bool,
    // Values are never printed, so this changes nothing.
    #[serde(default, rename = "secret")]
    _secret: bool,
    #[serde(default, rename = "description")]
    _description: IgnoredAny,
}

/// What is known about a component.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Component {
    /// The compiled component, relative to the manifest.
    pub(crate) source: PathBuf,
    /// Templates of the hosts that it may call.
    #[serde(default)]
    pub(crate) allowed_outbound_hosts: Vec<String>,
    /// Templates of the values that it may ask for, by name.
    #[serde(default)]
    pub(crate) variables: BTreeMap<String, String>,
    build: Option<Build>,
    #[serde(default, rename = "description")]
    _description: IgnoredAny,
    #[serde(default, rename = "targets")]
    _targets: IgnoredAny,
    #[serde(default, rename = "tool")]
    _tool: IgnoredAny,
}

#[derive(Debug, Deserialize)]
struct Build {
    command: Commands,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Commands {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct Document {
    spin_manifest_version: u32,
    #[serde(default)]
    variables: BTreeMap<String, Variable>,
    #[serde(default)]
    trigger: Triggers,
    #[serde(default)]
    component: BTreeMap<String, toml::Value>,
}

#[derive(Default, Deserialize)]
struct Triggers {
    #[serde(default)]
    http: Vec<HttpTrigger>,
}

// Spin also allows a table here; it is not supported.
#[derive(Deserialize)]
struct HttpTrigger {
    route: toml::Value,
    component: Option<toml::Value>,
}

impl Manifest {
    /// # Errors
    /// When there is no such file, or [`Manifest::parse`] fails.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the manifest {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not valid", path.display()))
    }

    /// # Errors
    /// When the text is not a manifest of version 2, has no component on [`ROUTE`], or uses an unsupported setting.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut document: Document = toml::from_str(text)?;
        ensure!(
            document.spin_manifest_version == 2,
            "spin_manifest_version is {}, but only 2 is supported",
            document.spin_manifest_version
        );
        for (name, variable) in &document.variables {
            ensure_name(name)?;
            ensure!(
                variable.required != variable.default.is_some(),
                "variable `{name}` must either be `required` or have a `default`"
            );
        }

        let component_id = document.trigger.served()?;
        let component: Component = document
            .component
            .remove(&component_id)
            .with_context(|| format!("there is no [component.{component_id}]"))?
            .try_into()
            .with_context(|| format!("[component.{component_id}] has an unsupported setting"))?;
        component
            .variables
            .keys()
            .try_for_each(|name| ensure_name(name))?;
        Ok(Self {
            variables: document.variables,
            component_id,
            component,
        })
    }
}

impl Component {
    /// The command that builds the component.
    pub(crate) fn build_command(&self) -> Option<String> {
        Some(match &self.build.as_ref()?.command {
            Commands::One(command) => command.clone(),
            Commands::Several(commands) => commands.join(" && "),
        })
    }
}

impl Triggers {
    fn served(&self) -> Result<String> {
        let (served, others): (Vec<_>, Vec<_>) = self
            .http
            .iter()
            .partition(|trigger| trigger.route.as_str() == Some(ROUTE));
        for other in others {
            tracing::warn!(route = %other.route, "this route is not supported, only {ROUTE} is");
        }
        let Some(trigger) = served.first() else {
            bail!("there is no [[trigger.http]] with route = \"{ROUTE}\"");
        };
        let id = trigger.component.as_ref().and_then(toml::Value::as_str);
        Ok(id
            .with_context(|| format!("the trigger of {ROUTE} must name a component"))?
            .to_owned())
    }
}

/// Whether a variable may have this name: lower-case words of letters and digits, joined by single underscores.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.split('_').all(|word| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        })
}

fn ensure_name(name: &str) -> Result<()> {
    ensure!(
        is_name(name),
        "`{name}` is not a valid name of a variable: use lower_snake_case"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"
        spin_manifest_version = 2
        [application]
        name = "shop"
        [variables]
        url = { default = "redis://127.0.0.1:6379" }
        password = { required = true, secret = true }
        [[trigger.http]]
        route = "/..."
        component = "front"
        [component.front]
        source = "target/front.wasm"
        allowed_outbound_hosts = ["{{ url }}"]
        [component.front.variables]
        url = "{{ url }}"
        [component.front.build]
        command = "cargo build"
        watch = ["src/**/*.rs"]
    "#;

    fn error(manifest: &str) -> String {
        format!("{:#}", Manifest::parse(manifest).unwrap_err())
    }

    #[test]
    fn a_manifest_is_understood() {
        let manifest = Manifest::parse(MANIFEST).unwrap();
        assert_eq!(manifest.component_id, "front");
        assert_eq!(manifest.component.source, Path::new("target/front.wasm"));
        assert_eq!(manifest.component.allowed_outbound_hosts, ["{{ url }}"]);
        assert_eq!(manifest.component.variables["url"], "{{ url }}");
        assert_eq!(
            manifest.component.build_command().as_deref(),
            Some("cargo build")
        );
        assert_eq!(
            manifest.variables["url"].default.as_deref(),
            Some("redis://127.0.0.1:6379")
        );
        assert_eq!(manifest.variables["password"].default, None);
    }

    #[test]
    fn the_repository_s_own_manifest_is_understood() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spin.toml");
        let manifest = Manifest::read(&path).unwrap();
        assert!(manifest.component.build_command().is_some());
    }

    #[test]
    fn several_build_commands_are_joined() {
        let text = MANIFEST.replace("\"cargo build\"", "[\"one\", \"two\"]");
        let manifest = Manifest::parse(&text).unwrap();
        assert_eq!(
            manifest.component.build_command().as_deref(),
            Some("one && two")
        );
    }

    #[test]
    fn only_the_component_of_every_path_is_read() {
        let more = r#"
            [[trigger.http]]
            route = { private = true }
            component = "back"
            [component.back]
            source = { url = "https://shop.example/back.wasm", digest = "sha256:0" }
            files = ["assets"]
        "#;
        let manifest = Manifest::parse(&format!("{MANIFEST}{more}")).unwrap();
        assert_eq!(manifest.component_id, "front");
    }

    #[test]
    fn what_is_not_usable_is_named() {
        let other_route = MANIFEST.replace("\"/...\"", "\"/shop\"");
        assert!(error(&other_route).contains("no [[trigger.http]] with route = \"/...\""));
        let other_component = MANIFEST.replace("component = \"front\"", "component = \"rear\"");
        assert!(error(&other_component).contains("there is no [component.rear]"));
        let inline = MANIFEST.replace("component = \"front\"", "component = { source = \"a\" }");
        assert!(error(&inline).contains("must name a component"));
        let version = MANIFEST.replace("version = 2", "version = 1");
        assert!(error(&version).contains("only 2 is supported"));
        let files = MANIFEST.replace("source =", "files = [\"assets\"]\nsource =");
        assert!(error(&files).contains("unknown field `files`"));
        let neither = MANIFEST.replace("{ required = true, secret = true }", "{ secret = true }");
        assert!(
            error(&neither).contains("`password` must either be `required` or have a `default`")
        );
        let name = MANIFEST.replace("password =", "passWord =");
        assert!(error(&name).contains("`passWord` is not a valid name"));
        assert!(error("spin_manifest_version = ").contains("TOML parse error"));
    }

    #[test]
    fn names_are_spin_s() {
        for name in ["a", "a1", "redis_url", "a_1"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "A", "1a", "_a", "a_", "a__b", "a-b", "ä"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
