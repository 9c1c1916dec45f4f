//! Says what to do about an error of MySQL or MariaDB: which setting or right to change.

use rushgate_gate::tls_error::{TlsError, TlsSettings};
use sqlx::Error;
use sqlx::mysql::MySqlDatabaseError;

const TLS: TlsSettings = TlsSettings {
    ca: "ssl-ca in DATABASE_URL",
    certificate: "set ssl-cert and ssl-key in DATABASE_URL to a certificate that its authorities have signed and \
                  that is not too old",
    address: "DATABASE_URL",
};

/// Not allowed from this host (1130), wrong user or password (1045, 1698), password expired (1820, 1862), account
/// locked (3118, on MariaDB 4151).
const LOGIN: [u16; 7] = [1045, 1130, 1698, 1820, 1862, 3118, 4151];

/// No right on the database (1044), on a table (1142), a column (1143) or a routine (1370), or of an administrator
/// (1227).
const RIGHT: [u16; 5] = [1044, 1142, 1143, 1227, 1370];

/// The server accepts only encrypted connections.
const TLS_REQUIRED: u16 = 3159;

pub(crate) fn advice(error: &Error) -> Option<String> {
    let server = error.as_database_error();
    let server = server.and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
    match (server.map(MySqlDatabaseError::number), error) {
        (Some(number), _) => of_number(number).map(str::to_owned),
        (None, Error::Tls(cause)) if cause.to_string().contains("does not support TLS") => {
            Some(TlsError::NoTls.advice(&TLS))
        }
        (None, error) => TlsError::of(&error.to_string()).map(|tls| tls.advice(&TLS)),
    }
}

fn of_number(number: u16) -> Option<&'static str> {
    if LOGIN.contains(&number) {
        return Some(
            "the login was refused: check user and password in DATABASE_URL, and ssl-cert and ssl-key if the account \
             requires a certificate",
        );
    }
    if RIGHT.contains(&number) {
        return Some(
            "the database user lacks a right: give it the rights that deploy/rights lists for this program",
        );
    }
    (number == TLS_REQUIRED).then_some(
        "the server accepts only encrypted connections: set ssl-mode=VERIFY_IDENTITY in DATABASE_URL",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_whether_the_login_or_a_right_is_wrong() {
        for (number, expected) in [
            (1045, Some("the login was refused")),
            (1044, Some("the database user lacks a right")),
            (1142, Some("the database user lacks a right")),
            (3159, Some("the server accepts only encrypted")),
            (1213, None),
        ] {
            let advice = of_number(number);
            let begins = advice.map(|advice| expected.is_some_and(|it| advice.starts_with(it)));
            assert_eq!(begins, expected.map(|_| true), "{number}: {advice:?}");
        }
    }
}
