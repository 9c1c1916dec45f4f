//! Reads and checks files with certificates and keys (PEM), so that an unusable one is an error at the start, and not
//! at each attempt to connect. An error names the file, and what to do.

use native_tls::{Certificate, Identity, TlsConnector};
use std::path::Path;

/// How the only form of a key begins that native-tls reads.
const PKCS8: &[u8] = b"-----BEGIN PRIVATE KEY-----";

/// The content of a file with at least one certificate.
///
/// # Errors
/// When it cannot be read, or a certificate in it cannot be used.
pub(crate) fn certificates(file: &Path) -> Result<Vec<u8>, String> {
    let (content, shown) = (read(file)?, file.display());
    match Certificate::stack_from_pem(&content) {
        Ok(found) if !found.is_empty() => Ok(content),
        Ok(_) => Err(format!(
            "{shown} has no certificate: name a file with certificates in PEM format"
        )),
        Err(error) => Err(format!(
            "{shown} has a certificate that cannot be used: {error}: name a file with certificates in PEM format"
        )),
    }
}

/// The content of a file with the private key for `certificates`.
///
/// # Errors
/// When it cannot be read, has another form than unencrypted PKCS#8, or is not the key of the first certificate.
pub(crate) fn key_of(certificates: &[u8], file: &Path) -> Result<Vec<u8>, String> {
    let (content, shown) = (read(file)?, file.display());
    if !content.starts_with(PKCS8) {
        return Err(format!(
            "{shown} does not begin with {}: make an unencrypted PKCS#8 key of it with `openssl pkcs8 -topk8 -nocrypt \
             -in KEY -out NEW`, and name that",
            String::from_utf8_lossy(PKCS8)
        ));
    }
    let identity = Identity::from_pkcs8(certificates, &content);
    let fits = identity.and_then(|identity| TlsConnector::builder().identity(identity).build());
    match fits {
        Ok(_) => Ok(content),
        Err(error) => Err(format!(
            "{shown} is not the key of this certificate: {error}: name certificate and key that belong together"
        )),
    }
}

/// The content of a file that another library checks.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| {
        format!(
            "reading {}: {error}: name a file in PEM format that this program may read",
            file.display()
        )
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use openssl::asn1::Asn1Time;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::hash::MessageDigest;
    use openssl::nid::Nid;
    use openssl::pkey::{PKey, Private};
    use openssl::x509::X509;
    use std::fs::write;
    use tempfile::TempDir;

    /// Files that settings may name: `certificate.pem`, its key in several forms, the key of another certificate, and
    /// files that are neither.
    pub(crate) fn files() -> TempDir {
        let (directory, key) = (tempfile::tempdir().expect("a directory"), key());
        for (name, content) in [
            ("certificate.pem", certificate(&key)),
            ("key.pem", key.private_key_to_pem_pkcs8().expect("a PEM")),
            (
                "ec-key.pem",
                key.ec_key()
                    .expect("an EC key")
                    .private_key_to_pem()
                    .expect("a PEM"),
            ),
            (
                "other-key.pem",
                self::key().private_key_to_pem_pkcs8().expect("a PEM"),
            ),
            (
                "broken.pem",
                b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec(),
            ),
            ("text.pem", b"hush".to_vec()),
        ] {
            write(directory.path().join(name), content).expect("written");
        }
        directory
    }

    fn key() -> PKey<Private> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
        let key = EcKey::generate(&group).expect("a key");
        PKey::from_ec_key(key).expect("a key")
    }

    fn certificate(key: &PKey<Private>) -> Vec<u8> {
        let mut builder = X509::builder().expect("a builder");
        builder.set_pubkey(key).expect("a key");
        for (is_end, days) in [(false, 0), (true, 1)] {
            let time = Asn1Time::days_from_now(days).expect("a time");
            match is_end {
                false => builder.set_not_before(&time),
                true => builder.set_not_after(&time),
            }
            .expect("set");
        }
        builder.sign(key, MessageDigest::sha256()).expect("signed");
        builder.build().to_pem().expect("a PEM")
    }

    #[test]
    fn files_that_cannot_be_used_are_named_with_what_to_do() {
        let files = files();
        let file = |name: &str| files.path().join(name);
        let certificate = certificates(&file("certificate.pem")).expect("usable");
        key_of(&certificate, &file("key.pem")).expect("usable");
        for (name, expected) in [
            (
                "gone.pem",
                "No such file or directory (os error 2): name a file",
            ),
            ("text.pem", "has no certificate: name a file with"),
            ("key.pem", "has no certificate: name a file with"),
            ("broken.pem", "has a certificate that cannot be used: "),
        ] {
            let error = certificates(&file(name)).expect_err(name);
            assert!(error.contains(expected) && error.contains(name), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
        for (name, expected) in [
            (
                "gone.pem",
                "No such file or directory (os error 2): name a file",
            ),
            (
                "ec-key.pem",
                "does not begin with -----BEGIN PRIVATE KEY-----: make",
            ),
            (
                "text.pem",
                "does not begin with -----BEGIN PRIVATE KEY-----: make",
            ),
            ("other-key.pem", "is not the key of this certificate: "),
        ] {
            let error = key_of(&certificate, &file(name)).expect_err(name);
            assert!(error.contains(expected) && error.contains(name), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
