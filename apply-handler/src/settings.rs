//! The settings of the apply handler: its Spin variables, which each Wasm instance reads and checks once.

use crate::auth::{Auth, Keys, TokenPolicy};
use crate::cors::{AllowedHeaders, AllowedOrigins};
use crate::gate::{GateLimits, GateSettings};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rushgate_gate::CodeKeys;
use spin_sdk::variables::Error;
use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

/// See `spin.toml` for the variables.
#[derive(Clone)]
pub struct Settings {
    pub gate: GateSettings,
    /// Time limit for receiving the body of a request (1 ms to 60 s).
    pub body_timeout: Duration,
    pub allowed_origins: AllowedOrigins,
    pub allowed_headers: AllowedHeaders,
    pub auth: Auth,
    /// The origins whose pages may show the web page in a frame.
    pub frame_ancestors: AllowedOrigins,
    /// The keys of signed coupon codes.
    pub code_keys: CodeKeys,
}

/// A variable with an invalid value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("variable {variable}: {problem}; set SPIN_VARIABLE_{}", .variable.to_uppercase())]
pub struct InvalidVariable {
    variable: &'static str,
    problem: String,
}

/// The characters that are escaped in the user info of a URL.
const USER_INFO: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

impl Settings {
    /// The settings of this instance. A missing or blank variable has its default.
    ///
    /// # Errors
    /// When a variable is invalid, or the host cannot provide it.
    pub async fn get() -> Result<&'static Self, InvalidVariable> {
        static SETTINGS: OnceLock<Settings> = OnceLock::new();
        if let Some(settings) = SETTINGS.get() {
            return Ok(settings);
        }
        let mut values: HashMap<&str, String> = HashMap::new();
        for (variable, default) in VARIABLES {
            let is_for_tokens = variable.starts_with("jwt_");
            if is_for_tokens && values.get("auth_mode").is_some_and(|mode| mode != "jwt") {
                continue;
            }
            let value = match spin_sdk::variables::get(variable).await {
                Ok(value) if !value.trim().is_empty() => value,
                // An older manifest does not declare the variable.
                Ok(_) | Err(Error::Undefined(_)) => default.to_owned(),
                Err(error) => {
                    let problem = error.to_string();
                    return Err(InvalidVariable { variable, problem });
                }
            };
            values.insert(variable, value);
        }
        let read = Self::read(|variable| values.get(variable).map_or("", String::as_str))?;
        if SETTINGS.set(read.clone()).is_ok()
            && let Auth::Jwt(tokens) = &read.auth
        {
            for error in tokens.keys.skipped() {
                eprintln!("variable jwt_keys: {error}; this key is skipped");
            }
        }
        Ok(SETTINGS.get_or_init(|| read))
    }

    fn read<'a>(value: impl Fn(&'static str) -> &'a str) -> Result<Self, InvalidVariable> {
        let invalid = |variable, problem: String| InvalidVariable { variable, problem };
        let (scheme, host) = value("redis_url")
            .trim_end_matches('/')
            .split_once("://")
            .filter(|(scheme, host)| {
                matches!(*scheme, "redis" | "rediss") && !host.is_empty() && !host.contains(['@', '/', '?', '#'])
            })
            .ok_or_else(|| {
                invalid("redis_url", "must be redis://HOST:PORT or rediss://HOST:PORT, without ? and # (redis_username, redis_password and redis_database are separate)".into())
            })?;
        let database: u32 = value("redis_database")
            .parse()
            .map_err(|_| invalid("redis_database", "must be a whole number from 0".into()))?;
        let escaped = |text| utf8_percent_encode(text, USER_INFO);
        let user_info = match (value("redis_username"), value("redis_password")) {
            ("", "") => String::new(),
            (user, password) => format!("{}:{}@", escaped(user), escaped(password)),
        };
        let millis = |variable, least: u64| {
            value(variable)
                .parse()
                .ok()
                .filter(|millis| (least..=60_000).contains(millis))
                .map(Duration::from_millis)
                .ok_or_else(|| {
                    let problem = format!("must be a whole number from {least} to 60000");
                    invalid(variable, problem)
                })
        };
        Ok(Self {
            gate: GateSettings {
                address: format!("{scheme}://{user_info}{host}/{database}"),
                limits: GateLimits {
                    timeout: millis("redis_timeout_ms", 1)?,
                    budget: Some(millis("gate_budget_ms", 0)?).filter(|budget| !budget.is_zero()),
                },
            },
            body_timeout: millis("body_timeout_ms", 1)?,
            allowed_origins: AllowedOrigins::parse(value("cors_allowed_origins"))
                .map_err(|problem| invalid("cors_allowed_origins", problem))?,
            allowed_headers: AllowedHeaders::parse(value("cors_allowed_headers"))
                .map_err(|problem| invalid("cors_allowed_headers", problem))?,
            code_keys: CodeKeys::parse(value("coupon_code_keys"))
                .map_err(|problem| invalid("coupon_code_keys", problem.to_string()))?,
            frame_ancestors: AllowedOrigins::parse(value("frame_ancestors"))
                .map_err(|problem| invalid("frame_ancestors", problem))?,
            auth: Self::auth(value)?,
        })
    }

    /// The keys of the codes that responses contain; `None` if identities are not proven.
    pub fn keys_of_told_codes(&self) -> Option<&CodeKeys> {
        self.auth.is_proven().then_some(&self.code_keys)
    }

    fn auth<'a>(value: impl Fn(&'static str) -> &'a str) -> Result<Auth, InvalidVariable> {
        let invalid = |variable, problem: String| InvalidVariable { variable, problem };
        let without_tokens = match value("identities") {
            "unproven" => Auth::Unproven,
            "upstream" => Auth::Upstream,
            _ => return Err(invalid("identities", "must be unproven or upstream".into())),
        };
        match value("auth_mode") {
            "none" => Ok(without_tokens),
            "jwt" => Ok(Auth::Jwt(Box::new(TokenPolicy {
                keys: Keys::parse(value("jwt_keys"))
                    .map_err(|problem| invalid("jwt_keys", problem.to_string()))?,
                issuer: value("jwt_issuer").to_owned(),
                audience: match value("jwt_audience") {
                    "" => {
                        let problem = "must be the aud of tokens for this service, so that tokens for other services with \
                            the same keys are rejected. * accepts any audience, as an empty value did in earlier \
                            versions";
                        return Err(invalid("jwt_audience", problem.into()));
                    }
                    "*" => None,
                    audience => Some(audience.to_owned()),
                },
                subject_claim: value("jwt_subject_claim").to_owned(),
                leeway: value("jwt_leeway_seconds")
                    .parse()
                    .ok()
                    .filter(|seconds| *seconds <= 600)
                    .ok_or_else(|| {
                        invalid(
                            "jwt_leeway_seconds",
                            "must be a whole number from 0 to 600".into(),
                        )
                    })?,
            }))),
            _ => Err(invalid("auth_mode", "must be none or jwt".into())),
        }
    }
}

/// The variables in `spin.toml`, with their defaults. Those of tokens stand after `auth_mode`, which says whether they are of
/// use: each is a call to the host.
const VARIABLES: [(&str, &str); 18] = [
    ("redis_url", "redis://127.0.0.1:6379"),
    ("redis_username", ""),
    ("redis_password", ""),
    ("redis_database", "0"),
    ("redis_timeout_ms", "1000"),
    ("gate_budget_ms", "500"),
    ("body_timeout_ms", "5000"),
    ("cors_allowed_origins", ""),
    (
        "cors_allowed_headers",
        "traceparent, tracestate, baggage, sentry-trace",
    ),
    ("auth_mode", "none"),
    ("identities", "unproven"),
    ("jwt_keys", ""),
    ("jwt_issuer", ""),
    ("jwt_audience", ""),
    ("jwt_subject_claim", "sub"),
    ("jwt_leeway_seconds", "30"),
    ("coupon_code_keys", ""),
    ("frame_ancestors", ""),
];

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("limits", &self.gate.limits)
            .field("allowed_origins", &self.allowed_origins)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(changes: &[(&'static str, &'static str)]) -> Result<Settings, InvalidVariable> {
        let mut values = HashMap::from(VARIABLES);
        values.extend(changes.iter().copied());
        Settings::read(|variable| values.get(variable).copied().unwrap_or(""))
    }

    #[test]
    fn credentials_become_part_of_the_url() {
        for (changes, address) in [
            (vec![], "redis://127.0.0.1:6379/0"),
            (
                vec![("redis_password", "p@ss/w:rd")],
                "redis://:p%40ss%2Fw%3Ard@127.0.0.1:6379/0",
            ),
            (
                vec![
                    ("redis_url", "rediss://cache.example:6380/"),
                    ("redis_username", "gate"),
                    ("redis_password", "x"),
                    ("redis_database", "2"),
                ],
                "rediss://gate:x@cache.example:6380/2",
            ),
        ] {
            assert_eq!(
                read(&changes).expect("valid").gate.address,
                address,
                "{changes:?}"
            );
        }
    }

    #[test]
    fn defaults_are_those_of_the_manifest() {
        let manifest = include_str!("../../spin.toml");
        for (variable, default) in VARIABLES {
            let declared = format!("\n{variable} = {{ default = \"{default}\"");
            assert!(manifest.contains(&declared), "{declared}");
            let handed_on = format!("\n{variable} = \"{{{{ {variable} }}}}\"\n");
            assert!(manifest.contains(&handed_on), "{handed_on}");
        }
    }

    #[test]
    fn the_audience_is_required_and_a_star_accepts_any() {
        let audience = |audience| {
            let keys = r#"{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
            let jwt = [
                ("auth_mode", "jwt"),
                ("jwt_keys", keys),
                ("jwt_audience", audience),
            ];
            read(&jwt).map(|settings| match settings.auth {
                Auth::Jwt(tokens) => tokens.audience,
                _ => panic!("no tokens"),
            })
        };
        assert_eq!(audience("shop"), Ok(Some("shop".to_owned())));
        assert_eq!(audience("*"), Ok(None));
        let error = audience("").expect_err("no audience").to_string();
        assert!(error.contains("* accepts any"), "{error}");
    }

    #[test]
    fn a_budget_of_zero_turns_load_shedding_off() {
        let budget = |text| {
            read(&[("gate_budget_ms", text)])
                .expect("valid")
                .gate
                .limits
                .budget
        };
        assert_eq!(budget("500"), Some(Duration::from_millis(500)));
        assert_eq!(budget("0"), None);
    }

    #[test]
    fn the_error_names_the_variable_and_how_to_set_it() {
        for (variable, value) in [
            ("redis_url", "127.0.0.1:6379"),
            ("redis_url", "http://127.0.0.1"),
            ("redis_url", "redis://user:secret@127.0.0.1"),
            ("redis_url", "rediss://127.0.0.1/2"),
            ("redis_url", "rediss://127.0.0.1?protocol=resp3"),
            ("redis_url", "rediss://127.0.0.1#insecure"),
            ("redis_url", "rediss://127.0.0.1/#insecure"),
            ("redis_database", "x"),
            ("redis_timeout_ms", "0"),
            ("redis_timeout_ms", "1s"),
            ("gate_budget_ms", "-1"),
            ("gate_budget_ms", "60001"),
            ("cors_allowed_origins", "shop.example"),
            ("cors_allowed_headers", "a b"),
            ("frame_ancestors", "shop.example"),
            ("auth_mode", "JWT"),
            ("identities", "proven"),
            ("jwt_keys", ""),
            ("jwt_audience", ""),
            ("jwt_keys", r#"{"kty":"oct","k":"c2VjcmV0"}"#),
            ("jwt_keys", r#"{"kty":"secret"}"#),
            ("jwt_leeway_seconds", "601"),
            ("coupon_code_keys", "secret"),
        ] {
            let keys = r#"{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
            let mut changes = vec![
                ("auth_mode", "jwt"),
                ("jwt_keys", keys),
                ("jwt_audience", "rushgate"),
            ];
            changes.push((variable, value));
            let error = read(&changes).expect_err(value).to_string();
            assert!(
                error.starts_with(&format!("variable {variable}: ")),
                "{variable}={value}: {error}"
            );
            assert!(
                error.ends_with(&format!("set SPIN_VARIABLE_{}", variable.to_uppercase())),
                "{variable}={value}: {error}"
            );
            assert!(
                !error.contains("secret") && !error.contains("c2VjcmV0"),
                "{variable}={value}: {error}"
            );
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let key = r#"{"kty":"oct","k":"aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMmh1bnRlcjI"}"#;
        let secrets = [
            ("redis_password", "hunter2"),
            ("auth_mode", "jwt"),
            ("jwt_keys", key),
            ("jwt_audience", "*"),
            ("coupon_code_keys", "hunter2hunter2hunter2hunter2hunter2"),
        ];
        let shown = format!("{:?}", read(&secrets).expect("valid"));
        assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVy"));
    }
}
