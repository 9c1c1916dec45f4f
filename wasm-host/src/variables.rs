//! Resolves the application's variables, and those that a component may read.
//!
//! Values do not change while the host runs, so all templates are filled at start, where an error can be reported.
//! Values may be secrets: they are never printed, and no type here implements `Debug`.

use crate::manifest::Variable;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

/// Prefix of the environment variables that give values; the name follows in capital letters.
pub(crate) const ENVIRONMENT_PREFIX: &str = "SPIN_VARIABLE_";

/// The application's variables with their values.
pub(crate) struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Finds each value: from the command line (the last one counts), else from the environment, else the default.
    ///
    /// # Errors
    /// When a variable has no value, or a value is given for a variable that is not declared.
    pub(crate) fn resolve(
        declared: &BTreeMap<String, Variable>,
        given: &[(String, String)],
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        if let Some((name, _)) = given.iter().find(|(name, _)| !declared.contains_key(name)) {
            bail!("the manifest has no variable `{name}`");
        }
        let value = |(name, variable): (&String, &Variable)| {
            let in_environment = format!("{ENVIRONMENT_PREFIX}{}", name.to_ascii_uppercase());
            let given = given.iter().rev().find(|(given, _)| given == name);
            let value = given
                .map(|(_, value)| value.clone())
                .or_else(|| environment(&in_environment))
                .or_else(|| variable.default.clone())
                .with_context(|| {
                    format!("variable `{name}` is required and has no value: set {in_environment}")
                })?;
            Ok((name.clone(), value))
        };
        Ok(Self(declared.iter().map(value).collect::<Result<_>>()?))
    }

    #[cfg(test)]
    pub(crate) fn of(values: BTreeMap<String, String>) -> Self {
        Self(values)
    }

    /// Replaces every `{{ name }}` by its value.
    ///
    /// # Errors
    /// When a name is not declared, or a `{{` is not closed.
    pub(crate) fn fill(&self, template: &str) -> Result<String> {
        let mut filled = String::new();
        let mut rest = template;
        while let Some((literal, after)) = rest.split_once("{{") {
            let (name, after) = after
                .split_once("}}")
                .with_context(|| format!("`{template}` lacks a `}}}}`"))?;
            let name = name.trim();
            filled.push_str(literal);
            filled.push_str(self.0.get(name).with_context(|| {
                format!("`{template}` names `{name}`, which is not in [variables]")
            })?);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

/// The variables that a component may read.
pub(crate) struct ComponentVariables {
    component: String,
    values: BTreeMap<String, String>,
}

impl ComponentVariables {
    /// Fills the templates of a component.
    ///
    /// # Errors
    ///
    /// When [`Variables::fill`] fails for one of them.
    pub(crate) fn resolve(
        component: &str,
        templates: &BTreeMap<String, String>,
        variables: &Variables,
    ) -> Result<Self> {
        let value = |(name, template): (&String, &String)| {
            let value = variables.fill(template);
            let value = value.with_context(|| format!("[component.{component}.variables] {name}"));
            Ok((name.clone(), value?))
        };
        Ok(Self {
            component: component.to_owned(),
            values: templates.iter().map(value).collect::<Result<_>>()?,
        })
    }

    /// The value; `None` if the component has no such variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The id of the component.
    pub(crate) fn component(&self) -> &str {
        &self.component
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    fn resolve(given: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Variables> {
        let manifest = Manifest::parse(
            r#"
            spin_manifest_version = 2
            [variables]
            host = { default = "localhost" }
            port = { required = true }
            [[trigger.http]]
            route = "/..."
            component = "front"
            [component.front]
            source = "front.wasm"
        "#,
        )?;
        let given: Vec<_> = given
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        let environment: BTreeMap<_, _> = environment.iter().copied().collect();
        Variables::resolve(&manifest.variables, &given, |name| {
            environment.get(name).map(|value| (*value).to_owned())
        })
    }

    fn message<T>(result: Result<T>) -> String {
        format!("{:#}", result.err().expect("an error"))
    }

    #[test]
    fn what_is_given_goes_before_the_environment_and_that_before_the_default() {
        let host = |given: &[_], environment: &[_]| {
            let environment = [environment, &[("SPIN_VARIABLE_PORT", "1")]].concat();
            resolve(given, &environment)
                .unwrap()
                .fill("{{ host }}")
                .unwrap()
        };
        assert_eq!(host(&[], &[]), "localhost");
        assert_eq!(host(&[], &[("SPIN_VARIABLE_HOST", "b")]), "b");
        assert_eq!(host(&[], &[("SPIN_VARIABLE_HOST", "")]), "");
        assert_eq!(host(&[("host", "c")], &[("SPIN_VARIABLE_HOST", "b")]), "c");
        assert_eq!(host(&[("host", "c"), ("host", "d")], &[]), "d");
    }

    #[test]
    fn a_value_that_is_missing_says_where_it_belongs() {
        let message = message(resolve(&[], &[]));
        assert!(message.contains("`port` is required and has no value: set SPIN_VARIABLE_PORT"));
    }

    #[test]
    fn a_value_for_an_unknown_variable_is_an_error() {
        assert!(message(resolve(&[("prot", "1")], &[])).contains("no variable `prot`"));
    }

    #[test]
    fn templates_are_filled() {
        let variables = resolve(&[("port", "63")], &[]).unwrap();
        for (template, filled) in [
            ("", ""),
            ("plain } { text", "plain } { text"),
            ("{{ host }}", "localhost"),
            ("redis://{{host}}:{{  port  }}/", "redis://localhost:63/"),
            ("{{ host }}{{ port }}", "localhost63"),
        ] {
            assert_eq!(variables.fill(template).unwrap(), filled, "{template}");
        }
        assert!(message(variables.fill("{{ hots }}")).contains("`hots`, which is not in"));
        assert!(message(variables.fill("{{ host }} {{ port")).contains("lacks a `}}`"));
    }

    #[test]
    fn a_component_gets_its_own_variables_and_no_others() {
        let variables = resolve(&[("port", "63")], &[]).unwrap();
        let templates = BTreeMap::from([("at".to_owned(), "{{ host }}:{{ port }}".to_owned())]);
        let component = ComponentVariables::resolve("front", &templates, &variables).unwrap();
        assert_eq!(component.get("at"), Some("localhost:63"));
        assert_eq!(component.get("host"), None);
    }
}
