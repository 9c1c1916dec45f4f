//! Certificates for tests: an authority, what it has signed for servers and clients, and certificates that a client must
//! refuse. All are PEM files in one directory, made by the program `openssl`, so that nothing has to be compiled for
//! them.

use crate::program::{find, printed_version, run, version_after};
use anyhow::{Context, Result};
use semver::Version;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Signs everything here but [`FOREIGN`].
pub const AUTHORITY: &str = "authority";
/// An authority that no client is told to trust.
pub const OTHER_AUTHORITY: &str = "other-authority";
/// Of a server on this machine.
pub const SERVER: &str = "server";
/// Another copy of [`SERVER`], for the database: it reads its certificate again when it is told to, so a test can replace
/// these two files.
pub const DATABASE: &str = "database";
/// Of a server on this machine, signed by [`OTHER_AUTHORITY`].
pub const FOREIGN: &str = "foreign";
/// Of a server with another name.
pub const OTHER_NAME: &str = "other-name";
/// Of a server on this machine, until yesterday.
pub const EXPIRED: &str = "expired";
/// Of a client.
pub const CLIENT: &str = "client";
/// The client's key once more, encrypted with [`KEY_PASSWORD`].
pub const LOCKED: &str = "client-locked";

/// The common name of the client.
pub const CLIENT_NAME: &str = "rushgate-bridge";
pub const KEY_PASSWORD: &str = "k3y-pa55word";

const HERE: &str = "subjectAltName=IP:127.0.0.1,DNS:localhost";
const ELSEWHERE: &str = "subjectAltName=DNS:other.example";
const DAYS: &str = "2";

/// The authority, the certificate, its common name, its extension, and for how many days it is valid.
const SIGNED: [(&str, &str, &str, &str, &str); 5] = [
    (AUTHORITY, SERVER, "server", HERE, DAYS),
    (OTHER_AUTHORITY, FOREIGN, "server", HERE, DAYS),
    (AUTHORITY, OTHER_NAME, "server", ELSEWHERE, DAYS),
    (AUTHORITY, EXPIRED, "server", HERE, "-1"),
    (
        AUTHORITY,
        CLIENT,
        CLIENT_NAME,
        "extendedKeyUsage=clientAuth",
        DAYS,
    ),
];

/// The program, if it is new enough. LibreSSL, which macOS calls `openssl` too, is not.
pub fn program() -> Option<PathBuf> {
    find("openssl").filter(|openssl| {
        printed_version(openssl, "version")
            .and_then(|text| version_after("OpenSSL ", &text))
            .is_some_and(|version| version >= Version::new(3, 0, 0))
    })
}

/// The directory of the files.
#[derive(Clone, Debug)]
pub struct Certificates(PathBuf);

impl Certificates {
    /// Those that [`make`](Self::make) has made in this directory.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// Makes all of them.
    ///
    /// # Errors
    /// When `openssl` is not installed or fails.
    pub fn make(directory: impl Into<PathBuf>) -> Result<Self> {
        let made = Self(directory.into());
        fs::create_dir_all(&made.0)
            .with_context(|| format!("cannot create {}", made.0.display()))?;
        // Without the settings of this machine.
        let settings = "[req]\ndistinguished_name=name\n[name]\n";
        fs::write(made.settings(), settings).context("cannot write openssl's settings")?;
        for authority in [AUTHORITY, OTHER_AUTHORITY] {
            let mut command =
                made.request(authority, authority, "basicConstraints=critical,CA:TRUE")?;
            command.args(["-x509", "-days", DAYS, "-out"]);
            run(command.arg(made.certificate(authority)))?;
        }
        for (authority, name, subject, extension, days) in SIGNED {
            let request = made.0.join(name).with_extension("request");
            let mut command = made.request(name, subject, extension)?;
            run(command.arg("-out").arg(&request))?;
            let mut command = openssl("x509")?;
            command
                .args(["-req", "-copy_extensions", "copy", "-days", days, "-in"])
                .arg(request);
            command.arg("-CA").arg(made.certificate(authority));
            command.arg("-CAkey").arg(made.key(authority));
            run(command.arg("-out").arg(made.certificate(name)))?;
        }
        let mut command = openssl("pkey")?;
        command.args([
            "-aes256",
            "-passout",
            &format!("pass:{KEY_PASSWORD}"),
            "-in",
        ]);
        command.arg(made.key(CLIENT));
        run(command.arg("-out").arg(made.key(LOCKED)))?;
        made.install(SERVER)?;
        Ok(made)
    }

    pub fn directory(&self) -> String {
        self.0.display().to_string()
    }

    /// Makes this certificate that of the database, as soon as it reads the files again.
    ///
    /// # Errors
    /// When a file cannot be copied.
    pub fn install(&self, name: &str) -> Result<()> {
        fs::copy(self.certificate(name), self.certificate(DATABASE))?;
        fs::copy(self.key(name), self.key(DATABASE)).context("cannot copy a key")?;
        Ok(())
    }

    /// The file with this certificate.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.0.join(name).with_extension("pem")
    }

    /// The file with the key of this certificate.
    pub fn key(&self, name: &str) -> PathBuf {
        self.0.join(name).with_extension("key")
    }

    fn settings(&self) -> PathBuf {
        self.0.join("openssl.cnf")
    }

    /// A command that makes a key, and what is to be signed.
    fn request(&self, name: &str, subject: &str, extension: &str) -> Result<Command> {
        let mut command = openssl("req")?;
        command.arg("-config").arg(self.settings());
        command.args([
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ]);
        command.args(["-subj", &format!("/CN={subject}"), "-addext", extension]);
        command.arg("-keyout").arg(self.key(name));
        Ok(command)
    }
}

fn openssl(command: &str) -> Result<Command> {
    let program = program().context("OpenSSL 3.0 or newer (openssl) is not installed")?;
    let mut openssl = Command::new(program);
    openssl.arg(command);
    Ok(openssl)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether OpenSSL trusts a server with this certificate.
    fn verify(certificates: &Certificates, name: &str) -> String {
        let mut command = openssl("verify").unwrap();
        command.args(["-verify_ip", "127.0.0.1", "-CAfile"]);
        command.arg(certificates.certificate(AUTHORITY));
        match run(command.arg(certificates.certificate(name))) {
            Ok(_) => "fine".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn each_is_wrong_for_its_own_reason() {
        let directory = tempfile::tempdir().unwrap();
        let certificates = Certificates::make(directory.path()).unwrap();
        for (name, expected) in [
            (SERVER, "fine"),
            (DATABASE, "fine"),
            (FOREIGN, "unable to get local issuer"),
            (OTHER_NAME, "IP address mismatch"),
            (EXPIRED, "certificate has expired"),
        ] {
            let verified = verify(&certificates, name);
            assert!(verified.contains(expected), "{name}: {verified}");
        }
        let locked = fs::read_to_string(certificates.key(LOCKED)).unwrap();
        assert!(locked.contains("ENCRYPTED PRIVATE KEY"), "{locked}");
    }
}
