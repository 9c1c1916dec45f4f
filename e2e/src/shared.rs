//! The servers that all tests share; `cargo xtask test` starts them.

/// The address in this variable.
///
/// # Panics
/// When it is not set.
pub fn server(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run `cargo xtask test`"))
}

/// The listener of the shared Kafka that requires a login.
#[derive(Clone, Debug)]
pub struct KafkaLogin {
    pub port: u16,
    /// An administrator.
    pub user: String,
    /// The password of every user.
    pub password: String,
}

/// `RUSHGATE_SASL_KAFKA`, which is `user:password@host:port`.
///
/// # Panics
/// When it is not set, or has another form.
pub fn kafka_login() -> KafkaLogin {
    let url = format!("kafka://{}", server("RUSHGATE_SASL_KAFKA"));
    let url = url::Url::parse(&url).unwrap_or_else(|error| panic!("RUSHGATE_SASL_KAFKA: {error}"));
    KafkaLogin {
        port: url
            .port()
            .unwrap_or_else(|| panic!("RUSHGATE_SASL_KAFKA has no port")),
        user: url.username().to_owned(),
        password: url.password().unwrap_or_default().to_owned(),
    }
}
