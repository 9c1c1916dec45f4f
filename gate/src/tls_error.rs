//! Recognises why a TLS connection failed by OpenSSL's text, and says what to do about it: for all programs and all
//! servers. The handler gets nothing but this text from Spin.
//!
//! Whether to try again never depends on it.

/// How a program that uses a server names its settings in an error.
#[derive(Clone, Copy, Debug)]
pub struct TlsSettings {
    /// The setting for the authorities.
    pub ca: &'static str,
    /// What to do if the server requires a certificate of this program.
    pub certificate: &'static str,
    /// The setting for the address.
    pub address: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsError {
    UnknownAuthority,
    OtherHost,
    Expired,
    NotYetValid,
    /// The server wants a certificate of this program, and got none or one that it does not accept.
    ClientCertificate,
    NoTls,
}

/// What OpenSSL 1.1 to 3.5 says, and sqlx about a server without TLS.
const TEXTS: [(&str, TlsError); 18] = [
    // Before the alerts, some of which have the same words.
    ("alert certificate required", TlsError::ClientCertificate),
    ("alert bad certificate", TlsError::ClientCertificate),
    ("alert unsupported certificate", TlsError::ClientCertificate),
    ("alert unknown ca", TlsError::ClientCertificate),
    ("alert certificate unknown", TlsError::ClientCertificate),
    ("alert certificate expired", TlsError::ClientCertificate),
    ("alert certificate revoked", TlsError::ClientCertificate),
    ("alert handshake failure", TlsError::ClientCertificate),
    ("self-signed certificate", TlsError::UnknownAuthority),
    ("self signed certificate", TlsError::UnknownAuthority),
    ("unable to get local issuer", TlsError::UnknownAuthority),
    ("unable to get issuer", TlsError::UnknownAuthority),
    ("unable to verify the first", TlsError::UnknownAuthority),
    ("address mismatch", TlsError::OtherHost),
    ("hostname mismatch", TlsError::OtherHost),
    ("certificate has expired", TlsError::Expired),
    ("certificate is not yet valid", TlsError::NotYetValid),
    ("wrong version number", TlsError::NoTls),
];

impl TlsError {
    /// The problem, if the text is that of one.
    pub fn of(text: &str) -> Option<Self> {
        let text = text.to_lowercase();
        let mut found = TEXTS.iter().filter(|(part, _)| text.contains(part));
        found.next().map(|(_, error)| *error)
    }

    /// What is wrong, and which setting to change.
    pub fn advice(self, settings: &TlsSettings) -> String {
        let TlsSettings {
            ca,
            certificate,
            address,
        } = settings;
        match self {
            Self::UnknownAuthority => format!(
                "no authority that this program trusts has signed the server's certificate: set {ca} to a file with the \
                 certificate of its authority"
            ),
            Self::OtherHost => format!(
                "the server's certificate is for another host name: write a name of the certificate in {address}, or \
                 give the server a certificate for this one"
            ),
            Self::Expired => {
                "the server's certificate, or that of its authority, has expired: renew it"
                    .to_owned()
            }
            Self::NotYetValid => {
                "the server's certificate begins later: check the clocks of both machines"
                    .to_owned()
            }
            Self::ClientCertificate => {
                format!("the server requires a certificate of this program: {certificate}")
            }
            Self::NoTls => format!("the server does not speak TLS at this port: check {address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssl_says_which_it_is() {
        const FAILED: &str = "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify failed:\
                              ../ssl/statem/statem_clnt.c:1889:";
        for (text, expected) in [
            (
                "(self-signed certificate in certificate chain)",
                Some(TlsError::UnknownAuthority),
            ),
            (
                "(unable to get local issuer certificate)",
                Some(TlsError::UnknownAuthority),
            ),
            ("(IP address mismatch)", Some(TlsError::OtherHost)),
            ("(hostname mismatch)", Some(TlsError::OtherHost)),
            ("(Hostname mismatch)", Some(TlsError::OtherHost)),
            ("(certificate has expired)", Some(TlsError::Expired)),
            (
                "(certificate is not yet valid)",
                Some(TlsError::NotYetValid),
            ),
            ("(CRL signature failure)", None),
        ] {
            assert_eq!(
                TlsError::of(&format!("{FAILED} {text}")),
                expected,
                "{text}"
            );
        }
        for (text, expected) in [
            (
                "error:0A00045C:SSL routines:ssl3_read_bytes:tlsv13 alert certificate required:ssl/record/rec_layer_s3.c:1590:SSL \
                 alert number 116",
                Some(TlsError::ClientCertificate),
            ),
            (
                "error:0A000418:SSL routines::tlsv1 alert unknown ca: SSL alert number 48",
                Some(TlsError::ClientCertificate),
            ),
            (
                "error:0A00010B:SSL routines:ssl3_get_record:wrong version number",
                Some(TlsError::NoTls),
            ),
            ("Connection refused (os error 111)", None),
        ] {
            assert_eq!(TlsError::of(text), expected, "{text}");
        }
    }

    #[test]
    fn the_advice_names_the_setting() {
        let settings = TlsSettings {
            ca: "AUTHORITIES",
            certificate: "set CERTIFICATE",
            address: "ADDRESS",
        };
        for (error, named) in [
            (TlsError::UnknownAuthority, "set AUTHORITIES to"),
            (TlsError::OtherHost, "in ADDRESS, or"),
            (TlsError::ClientCertificate, "this program: set CERTIFICATE"),
            (TlsError::NoTls, "check ADDRESS"),
        ] {
            let advice = error.advice(&settings);
            assert!(advice.contains(named), "{advice}");
        }
    }
}
