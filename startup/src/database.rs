//! Reads and checks the address of the MySQL or MariaDB database, with its parameters for TLS.

use crate::BadSetting;
use crate::parse::is_blank;
use crate::pem::{certificates, key_of};
use crate::secret::Secret;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use sqlx::ConnectOptions;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use std::path::{Path, PathBuf};
use url::Url;

const VARIABLE: &str = "DATABASE_URL";

#[derive(Args, Clone, Debug)]
pub struct DatabaseSettings {
    /// Address of MySQL or MariaDB: mysql://user:password@host:port/name; for TLS, add
    /// ?ssl-mode=VERIFY_IDENTITY&ssl-ca=FILE
    #[arg(id = "database_url", long = "database-url", env = VARIABLE, value_name = "URL")]
    #[arg(hide_env_values = true, global = true)]
    #[arg(default_value = "", hide_default_value = true)]
    pub url: SecretString,

    /// File with the address of MySQL or MariaDB
    #[arg(
        id = "database_url_file",
        long = "database-url-file",
        env = "DATABASE_URL_FILE"
    )]
    #[arg(value_name = "FILE", global = true)]
    pub url_file: Option<PathBuf>,
}

impl DatabaseSettings {
    /// The database on this machine: the operator's default. It counts as unset if there is a file with the address.
    pub const LOCAL: &str = "mysql://rushgate@127.0.0.1:3306/rushgate";

    /// The options to connect with. Do not print them: they contain the password.
    ///
    /// # Errors
    /// When the address is missing or cannot be used. The error does not quote it.
    pub fn options(&self) -> Result<MySqlConnectOptions, BadSetting> {
        let is_default = self.url_file.is_some() && self.url.expose_secret() == Self::LOCAL;
        let address = Secret {
            variable: VARIABLE,
            value: Some(&self.url).filter(|_| !is_default),
            file_variable: "DATABASE_URL_FILE",
            file: self.url_file.as_deref(),
        };
        let (variable, url) = address
            .read()?
            .unwrap_or((VARIABLE, SecretString::default()));
        let url = url.expose_secret();
        let bad = |problem: &str| {
            BadSetting::new(
                variable,
                format!(
                    "{problem}: write mysql://user:password@host:port/name, and in user and password write % @ : / as \
                     %25 %40 %3A %2F"
                ),
            )
        };
        if is_blank(url) {
            return Err(bad("is not set"));
        }
        if !url.starts_with("mysql://") && !url.starts_with("mariadb://") {
            return Err(bad("does not begin with mysql:// (or mariadb://)"));
        }
        let parsed: Url = url.parse().map_err(|_| bad("is not an address"))?;
        check_tls(&parsed).map_err(|problem| BadSetting::new(variable, problem))?;
        let options: MySqlConnectOptions = url.parse().map_err(|_| bad("is not an address"))?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err(bad("names no database"));
        }
        Ok(options
            .timezone(Some("+00:00".to_owned()))
            .charset("utf8mb4")
            .disable_statement_logging())
    }

    /// The address without user, password and parameters, for error messages.
    pub fn shown(options: &MySqlConnectOptions) -> String {
        let (host, port) = (options.get_host(), options.get_port());
        format!(
            "{host}:{port}/{}",
            options.get_database().unwrap_or_default()
        )
    }
}

/// Checks the parameters for TLS. The client ignores a parameter that it does not know, and a file that the mode does
/// not need, and reads files only when it connects.
fn check_tls(url: &Url) -> Result<(), String> {
    let (mut mode, mut ca, mut certificate, mut key) = (MySqlSslMode::Preferred, None, None, None);
    for (name, value) in url.query_pairs() {
        match &*name {
            "ssl-mode" | "sslmode" => {
                let known = value.parse::<MySqlSslMode>();
                mode = known.map_err(|_| {
                    "has an unknown ssl-mode: write DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY"
                })?;
            }
            "ssl-ca" | "sslca" => ca = Some(value),
            "ssl-cert" | "sslcert" => certificate = Some(value),
            "ssl-key" | "sslkey" => key = Some(value),
            name => {
                let name = name.to_ascii_lowercase();
                if ["ssl", "tls", "usessl"]
                    .iter()
                    .any(|start| name.starts_with(start))
                {
                    return Err(
                        "has an unknown parameter for TLS: write ssl-mode, ssl-ca, ssl-cert or ssl-key".to_owned(),
                    );
                }
            }
        }
    }
    if matches!(mode, MySqlSslMode::Disabled) && (certificate.is_some() || key.is_some()) {
        return Err("has ssl-cert or ssl-key, but ssl-mode=DISABLED does not use it: set another mode, or remove it".to_owned());
    }
    if let Some(ca) = ca {
        if !matches!(mode, MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity) {
            return Err(
                "has ssl-ca, but only ssl-mode=VERIFY_IDENTITY and VERIFY_CA use it: set one of these, or remove it"
                    .to_owned(),
            );
        }
        certificates(Path::new(&*ca)).map_err(|problem| format!("has ssl-ca, but {problem}"))?;
    }
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let certificate = certificates(Path::new(&*certificate));
            let certificate =
                certificate.map_err(|problem| format!("has ssl-cert, but {problem}"))?;
            let key = key_of(&certificate, Path::new(&*key));
            key.map(drop)
                .map_err(|problem| format!("has ssl-key, but {problem}"))
        }
        (None, None) => Ok(()),
        _ => Err("has only one of ssl-cert and ssl-key: set both, or none".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pem::tests::files;

    fn options(url: &str) -> Result<MySqlConnectOptions, String> {
        of(url, None)
    }

    fn of(url: &str, url_file: Option<PathBuf>) -> Result<MySqlConnectOptions, String> {
        let url = url.into();
        let settings = DatabaseSettings { url, url_file };
        settings.options().map_err(|error| error.to_string())
    }

    #[test]
    fn a_bad_address_is_explained_and_not_quoted() {
        for (url, problem) in [
            ("", "is not set"),
            ("hush", "does not begin with mysql://"),
            (
                "postgres://user:hush@host/name",
                "does not begin with mysql://",
            ),
            ("mysql://user:hush@host", "names no database"),
            ("mysql://user:hush@host/", "names no database"),
            ("mysql://user:hu sh@ho st:port/x", "is not an address"),
        ] {
            let error = options(url).expect_err(url);
            assert!(
                error.starts_with(&format!("DATABASE_URL: {problem}")),
                "{problem}: {error}"
            );
            assert!(
                error.contains("mysql://user:password@host:port/name"),
                "{problem}: {error}"
            );
            assert!(!error.contains("hush"), "{problem}: {error}");
        }
    }

    #[test]
    fn the_address_may_be_in_a_file() {
        let files = files();
        let file = |name: &str| Some(files.path().join(name));
        let content = "mysql://user:hush@host:3307/name\n";
        std::fs::write(files.path().join("address"), content).expect("written");
        for url in ["", DatabaseSettings::LOCAL] {
            let options = of(url, file("address")).expect("an address");
            assert_eq!(DatabaseSettings::shown(&options), "host:3307/name");
        }
        for (url, name, expected) in [
            (
                "mysql://host/name",
                "address",
                "DATABASE_URL_FILE: is set together with DATABASE_URL",
            ),
            (
                "",
                "text.pem",
                "DATABASE_URL_FILE: does not begin with mysql://",
            ),
        ] {
            let error = of(url, file(name)).expect_err(expected);
            assert!(
                error.starts_with(expected) && !error.contains("hush"),
                "{error}"
            );
        }
    }

    #[test]
    fn parameters_for_tls_that_do_not_fit_are_refused() {
        let files = files();
        let with = |parameters: &str| {
            let folder = files.path().display().to_string();
            let url = format!(
                "mysql://user:hush@host/name?{}",
                parameters.replace("=/", &format!("={folder}/"))
            );
            options(&url)
        };
        for usable in [
            "ssl-mode=REQUIRED",
            "charset=utf8mb4&ssl-mode=verify_identity",
            "sslmode=VERIFY_CA&sslca=/certificate.pem",
            "ssl-mode=VERIFY_IDENTITY&ssl-ca=/certificate.pem&ssl-cert=/certificate.pem&ssl-key=/key.pem",
            "ssl-cert=/certificate.pem&ssl-key=/key.pem",
        ] {
            with(usable).expect(usable);
        }
        for (parameters, problem) in [
            (
                "ssl-mode=guess",
                "has an unknown ssl-mode: write DISABLED, ",
            ),
            (
                "ssl_mode=VERIFY_CA",
                "has an unknown parameter for TLS: write ssl-mode, ",
            ),
            ("useSSL=true", "has an unknown parameter for TLS"),
            (
                "ssl-ca=/certificate.pem",
                "has ssl-ca, but only ssl-mode=VERIFY_IDENTITY and ",
            ),
            (
                "ssl-mode=REQUIRED&ssl-ca=/certificate.pem",
                "has ssl-ca, but only ssl-mode",
            ),
            (
                "ssl-mode=VERIFY_CA&ssl-ca=/gone.pem",
                "has ssl-ca, but reading ",
            ),
            ("ssl-mode=VERIFY_CA&ssl-ca=/text.pem", "has ssl-ca, but "),
            (
                "ssl-cert=/certificate.pem",
                "has only one of ssl-cert and ssl-key",
            ),
            ("ssl-key=/key.pem", "has only one of ssl-cert and ssl-key"),
            (
                "ssl-cert=/gone.pem&ssl-key=/key.pem",
                "has ssl-cert, but reading ",
            ),
            (
                "ssl-cert=/certificate.pem&ssl-key=/ec-key.pem",
                "has ssl-key, but ",
            ),
            (
                "ssl-mode=DISABLED&ssl-cert=/certificate.pem&ssl-key=/key.pem",
                "has ssl-cert or ssl-key, but ssl-mode=DISABLED",
            ),
        ] {
            let error = with(parameters).expect_err(problem);
            let expected = format!("DATABASE_URL: {problem}");
            assert!(
                error.starts_with(&expected) && !error.contains("hush"),
                "{parameters}: {error}"
            );
        }
    }

    #[test]
    fn user_password_and_parameters_are_not_shown() {
        let url = "mysql://rushgate:hush@db.example:3307/rushgate?ssl-mode=REQUIRED";
        let options = options(url).expect("an address");
        assert_eq!(
            DatabaseSettings::shown(&options),
            "db.example:3307/rushgate"
        );
    }
}
