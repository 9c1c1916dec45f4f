//! Reads and checks the keys that sign Kafka records and verify their signatures.

use crate::BadSetting;
use crate::secret::Secret;
use clap::Args;
use clap::builder::BoolishValueParser;
use secrecy::SecretString;
use std::path::PathBuf;

#[derive(Args, Clone, Debug)]
pub struct SigningSettings {
    /// Keys that sign the Kafka records, separated by commas: the first one signs, all of them verify
    #[arg(
        id = "kafka_signing_keys",
        long = "kafka-signing-keys",
        env = "KAFKA_SIGNING_KEYS"
    )]
    #[arg(value_name = "KEYS", global = true, hide_env_values = true)]
    pub keys: Option<SecretString>,

    /// File with the signing keys, one a line
    #[arg(id = "kafka_signing_keys_file", long = "kafka-signing-keys-file")]
    #[arg(env = "KAFKA_SIGNING_KEYS_FILE", value_name = "FILE", global = true)]
    pub file: Option<PathBuf>,

    /// Refuse records that none of these keys has signed
    #[arg(id = "kafka_require_signatures", long = "kafka-require-signatures")]
    #[arg(env = "KAFKA_REQUIRE_SIGNATURES", value_name = "BOOL", global = true)]
    #[arg(value_parser = BoolishValueParser::new(), default_value = "false", hide_default_value = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub are_required: bool,
}

impl SigningSettings {
    /// The keys, of which the first signs. Empty if records are not signed.
    ///
    /// # Errors
    /// When the file cannot be read, or a key is too short. The error quotes no key.
    pub fn keys(&self) -> Result<Vec<SecretString>, BadSetting> {
        let source = Secret {
            variable: "KAFKA_SIGNING_KEYS",
            value: self.keys.as_ref(),
            file_variable: "KAFKA_SIGNING_KEYS_FILE",
            file: self.file.as_deref(),
        };
        let (variable, keys) = source.read_keys()?;
        if keys.is_empty() && self.are_required {
            return Err(BadSetting::new(
                variable,
                "has no key: make one with `openssl rand -hex 32`, and use the same for bridge, consumer and operator",
            ));
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use secrecy::ExposeSecret;
    use std::io::Write;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        signing: SigningSettings,
    }

    const OLD: &str = "hush, an old key of 32 characters";
    const NEW: &str = "hush: a new key of 32 characters.";

    fn keys(more: &[&str]) -> Result<Vec<String>, String> {
        let program = Program::try_parse_from(["program"].iter().chain(more)).expect("parses");
        assert!(!format!("{program:?} {program:#?}").contains("hush"));
        let keys = program.signing.keys().map_err(|error| error.to_string())?;
        Ok(keys
            .iter()
            .map(|key| key.expose_secret().to_owned())
            .collect())
    }

    #[test]
    fn keys_come_from_a_variable_or_a_file_and_the_first_one_signs() {
        let (old, new) = (OLD.replace(',', ""), NEW);
        assert_eq!(keys(&[]), Ok(vec![]));
        let both = format!("{new}, {old}");
        let expected = vec![new.to_owned(), old.clone()];
        assert_eq!(keys(&["--kafka-signing-keys", &both]), Ok(expected.clone()));
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        writeln!(file, "{new}\n\n{old}").expect("written");
        let path = file.path().to_str().expect("a path");
        let arguments = [
            "--kafka-signing-keys-file",
            path,
            "--kafka-require-signatures",
        ];
        assert_eq!(keys(&arguments), Ok(expected));
    }

    #[test]
    fn an_unusable_key_is_refused_and_not_quoted() {
        for (more, expected) in [
            (
                &["--kafka-signing-keys", "hush"][..],
                "KAFKA_SIGNING_KEYS: has a key of fewer",
            ),
            (
                &["--kafka-signing-keys", OLD],
                "KAFKA_SIGNING_KEYS: has a key of fewer",
            ),
            (
                &["--kafka-require-signatures=true"],
                "KAFKA_SIGNING_KEYS: has no key",
            ),
            (
                &["--kafka-signing-keys-file", "/no/such"],
                "KAFKA_SIGNING_KEYS_FILE: reading /no/such: ",
            ),
            (
                &["--kafka-signing-keys-file", "/dev/null"],
                "KAFKA_SIGNING_KEYS_FILE: /dev/null is empty",
            ),
            (
                &[
                    "--kafka-signing-keys",
                    NEW,
                    "--kafka-signing-keys-file",
                    "/x",
                ],
                "KAFKA_SIGNING_KEYS_FILE: is set together with",
            ),
        ] {
            let error = keys(more).expect_err(expected);
            assert!(error.starts_with(expected), "{more:?}: {error}");
            assert!(!error.contains("hush"), "{more:?}: {error}");
        }
    }
}
