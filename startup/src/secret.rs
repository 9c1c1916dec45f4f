//! A secret from a variable, or from a file that a second variable names, so that it need not be in the environment.
//!
//! The final newline of the file is not part of the secret. Errors quote neither the secret nor the file's content.

use crate::BadSetting;
use crate::parse::is_blank;
use rushgate_gate::secret_keys;
use secrecy::{ExposeSecret, SecretString};
use std::path::Path;

/// Where a secret may come from.
pub(crate) struct Secret<'a> {
    pub(crate) variable: &'static str,
    pub(crate) value: Option<&'a SecretString>,
    pub(crate) file_variable: &'static str,
    pub(crate) file: Option<&'a Path>,
}

impl Secret<'_> {
    /// The secret, and the variable that gave it. `None` if neither variable is set.
    ///
    /// # Errors
    /// When both variables are set, or the file is empty or cannot be read.
    pub(crate) fn read(&self) -> Result<Option<(&'static str, SecretString)>, BadSetting> {
        let value = self
            .value
            .filter(|value| !is_blank(value.expose_secret()))
            .map(|value| (self.variable, value.clone()));
        let Some(file) = self.file else {
            return Ok(value);
        };
        let bad = |problem| BadSetting::new(self.file_variable, problem);
        if value.is_some() {
            return Err(bad(format!(
                "is set together with {}: remove one of them",
                self.variable
            )));
        }
        let shown = file.display();
        let text = std::fs::read_to_string(file).map_err(|error| {
            bad(format!(
                "reading {shown}: {error}: name a file that this program may read"
            ))
        })?;
        if is_blank(&text) {
            return Err(bad(format!("{shown} is empty: write the secret into it")));
        }
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let secret = line.strip_suffix('\r').unwrap_or(line);
        Ok(Some((self.file_variable, secret.into())))
    }

    /// The keys of a list, and the variable to name in errors. Empty if neither variable is set.
    ///
    /// # Errors
    /// As [`Self::read`]; also when a key is too short, or the file has no key. The error quotes no key.
    pub(crate) fn read_keys(&self) -> Result<(&'static str, Vec<SecretString>), BadSetting> {
        let Some((variable, list)) = self.read()? else {
            return Ok((self.variable, vec![]));
        };
        let keys = secret_keys::split(list.expose_secret());
        let keys = keys.map_err(|error| BadSetting::new(variable, error.to_string()))?;
        if keys.is_empty() {
            return Err(BadSetting::new(
                variable,
                "has no key: make one with `openssl rand -hex 32`",
            ));
        }
        Ok((variable, keys.into_iter().map(SecretString::from).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(
        value: Option<&str>,
        file: Option<&Path>,
    ) -> Result<Option<(&'static str, String)>, String> {
        let value = value.map(SecretString::from);
        let secret = Secret {
            variable: "WORD",
            value: value.as_ref(),
            file_variable: "WORD_FILE",
            file,
        };
        let read = secret.read().map_err(|error| error.to_string())?;
        Ok(read.map(|(variable, secret)| (variable, secret.expose_secret().to_owned())))
    }

    #[test]
    fn a_secret_comes_from_a_variable_or_a_file_without_its_final_newline() {
        assert_eq!(read(None, None), Ok(None));
        assert_eq!(read(Some(" "), None), Ok(None));
        assert_eq!(
            read(Some("hush "), None),
            Ok(Some(("WORD", "hush ".into())))
        );
        for (content, secret) in [
            ("hush", "hush"),
            ("hush\n", "hush"),
            ("hush \r\n", "hush "),
            ("hu\nsh\n\n", "hu\nsh\n"),
        ] {
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            file.write_all(content.as_bytes()).expect("written");
            for blank in [None, Some("")] {
                let expected = Ok(Some(("WORD_FILE", secret.to_owned())));
                assert_eq!(read(blank, Some(file.path())), expected, "{content:?}");
            }
        }
    }

    #[test]
    fn an_unusable_file_is_named() {
        for (value, file, expected) in [
            (
                Some("hush"),
                "/dev/null",
                "WORD_FILE: is set together with WORD: remove",
            ),
            (
                None,
                "/no/such",
                "WORD_FILE: reading /no/such: No such file",
            ),
            (None, "/", "WORD_FILE: reading /: Is a directory"),
            (None, "/dev/null", "WORD_FILE: /dev/null is empty: write"),
        ] {
            let error = read(value, Some(Path::new(file))).expect_err(expected);
            assert!(
                error.starts_with(expected) && !error.contains("hush"),
                "{error}"
            );
        }
    }
}
