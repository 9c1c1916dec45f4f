//! An applicant, identified by a checked user id. Any subject of a token has a user id, by a rule without collisions.

use crate::text::{InvalidText, Rule, checked_text};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::fmt::Write;

checked_text! {
    /// A user id of the calling system: 1 to 128 characters of `A-Z a-z 0-9 . _ : @ - ! $ & ' ( ) * + , ; = | ~`. Except
    /// for `|`, these are the characters that a path segment of a URL may have unescaped (RFC 3986).
    ///
    /// The number 42 and the text `"42"` name the same applicant.
    Applicant, "user_id", RULE
}

const RULE: Rule = Rule {
    longest: 128,
    punctuation: "._:@-!$&'()*+,;=|~",
    upper_case: true,
};

/// Begins an escaped byte in the user id of a subject.
const ESCAPE: u8 = b'~';

/// Begins the user id of a long subject. In an escaped subject, two hexadecimal digits in upper case follow a `~`.
const HASHED: &str = "~sha256~";

/// The largest numeric user id: the maximum of a signed 64-bit column.
pub const MAX_NUMERIC_USER_ID: u64 = i64::MAX as u64;

impl Applicant {
    /// `None` if `user_id` is above [`MAX_NUMERIC_USER_ID`].
    pub fn from_number(user_id: u64) -> Option<Self> {
        (user_id <= MAX_NUMERIC_USER_ID).then(|| Self(user_id.to_string()))
    }

    /// The applicant with this subject in their token. Different subjects are different applicants.
    ///
    /// A subject that is a user id without `~` is that user id. In other subjects, each byte that no user id may have, and
    /// each `~`, becomes `~` and two hexadecimal digits in upper case; so does each dot of `.` and `..`. If that has more
    /// than 128 characters, the user id is `~sha256~` and the SHA-256 of the subject in base64url without padding.
    ///
    /// # Errors
    /// When the subject is empty.
    pub fn of_subject(subject: &str) -> Result<Self, InvalidText> {
        let is_dots = matches!(subject, "." | "..");
        let mut user_id = String::with_capacity(subject.len());
        for byte in subject.bytes() {
            if RULE.allows(byte) && byte != ESCAPE && !is_dots {
                user_id.push(byte.into());
            } else {
                // Writing to a string cannot fail.
                let _ = write!(user_id, "{}{byte:02X}", char::from(ESCAPE));
            }
        }
        if user_id.len() > RULE.longest {
            let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(subject));
            user_id = format!("{HASHED}{hash}");
        }
        user_id.try_into()
    }

    /// False for `.` and `..`, because HTTP clients remove these segments from a URL path.
    pub fn is_addressable(&self) -> bool {
        !matches!(self.as_str(), "." | "..")
    }

    /// The user id as a number, if it is one in canonical form (no sign, no leading zeros) and at most
    /// [`MAX_NUMERIC_USER_ID`].
    pub fn as_number(&self) -> Option<i64> {
        let number: i64 = self.0.parse().ok()?;
        (number.to_string() == self.0 && number >= 0).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_invalid_user_id_is_rejected_with_the_rule() {
        for bad in [
            "",
            " ",
            "a b",
            "a/b",
            "{a}",
            "é",
            "a\n",
            "a%",
            "#1",
            "\"",
            "\\",
            &"x".repeat(129),
        ] {
            let error = bad.parse::<Applicant>().expect_err(bad).to_string();
            assert_eq!(
                error,
                "user_id must be 1 to 128 characters of A-Z a-z 0-9 . _ : @ - ! $ & ' ( ) * + , ; = | ~",
                "{bad:?}"
            );
        }
    }

    #[test]
    fn subjects_have_the_documented_user_ids() {
        let (longest, longer) = ("x".repeat(128), "x".repeat(129));
        for (subject, user_id) in [
            ("42", "42"),
            ("auth0|66f0c2", "auth0|66f0c2"),
            ("kim+promo@example.com", "kim+promo@example.com"),
            ("https://id.example/u/7", "https:~2F~2Fid.example~2Fu~2F7"),
            ("김", "~EA~B9~80"),
            ("a b\0", "a~20b~00"),
            ("~2F", "~7E2F"),
            (".", "~2E"),
            ("..", "~2E~2E"),
            ("...", "..."),
            ("me", "me"),
            (&longest, &longest),
            (
                &longer,
                "~sha256~DsnrM-dFELzdHy6lUgboLyFknFwr7L8rQz60dbNMAb0",
            ),
        ] {
            let applicant = Applicant::of_subject(subject).expect(subject);
            assert_eq!(applicant.as_str(), user_id, "{subject}");
        }
        assert!(Applicant::of_subject("").is_err());
    }

    /// The subject of a user id that is not hashed.
    fn unescaped(user_id: &str) -> String {
        let mut parts = user_id.split('~');
        let mut bytes = parts.next().expect("a part").as_bytes().to_vec();
        for part in parts {
            let (digits, rest) = part.split_at(2);
            assert_eq!(digits, digits.to_uppercase());
            bytes.push(u8::from_str_radix(digits, 16).expect("digits"));
            bytes.extend(rest.bytes());
        }
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn dot_segments_are_not_addressable() {
        for (text, is_addressable) in [(".", false), ("..", false), ("...", true), (".a", true)] {
            let applicant: Applicant = text.parse().expect(text);
            assert_eq!(applicant.is_addressable(), is_addressable, "{text}");
        }
    }

    #[test]
    fn only_canonical_numbers_are_numeric() {
        for (text, number) in [
            ("0", Some(0)),
            ("42", Some(42)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("042", None),
            ("-1", None),
            ("-0", None),
            ("alice", None),
        ] {
            let applicant: Applicant = text.parse().expect(text);
            assert_eq!(applicant.as_number(), number, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_number_and_its_text_are_the_same_applicant(user_id in 0..=MAX_NUMERIC_USER_ID) {
            let by_number = Applicant::from_number(user_id).expect("in range");
            prop_assert_eq!(&by_number, &user_id.to_string().parse::<Applicant>().expect("digits"));
            prop_assert_eq!(by_number.as_number(), i64::try_from(user_id).ok());
        }

        /// The rule can be reversed, so no two subjects have the same user id.
        #[test]
        fn a_subject_can_be_read_from_its_user_id(subject in prop_oneof!["[~.2EFa/é ]{1,8}", "\\PC{1,40}", "[a~/]{40,130}"]) {
            let applicant = Applicant::of_subject(&subject).expect("not empty");
            prop_assert!(applicant.is_addressable());
            match applicant.as_str().strip_prefix(HASHED) {
                Some(hash) => prop_assert!(hash.len() == 43 && subject.len() > 128 / 3),
                None => prop_assert_eq!(unescaped(applicant.as_str()), subject),
            }
        }

        /// As before user ids could have more characters.
        #[test]
        fn a_subject_of_the_old_alphabet_is_its_own_user_id(subject in "[A-Za-z0-9._:@-]{1,64}") {
            let applicant = Applicant::of_subject(&subject).expect("not empty");
            prop_assert_eq!(applicant.as_str() == subject, !matches!(&*subject, "." | ".."));
        }

        #[test]
        fn an_accepted_text_is_unchanged(text in "\\PC{0,140}") {
            if let Ok(applicant) = text.parse::<Applicant>() {
                prop_assert_eq!(applicant.as_str(), text);
            }
        }
    }
}
