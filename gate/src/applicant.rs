//! An applicant, identified by a checked user id.

use crate::text::{Rule, checked_text};

checked_text! {
    /// A user id of the calling system: 1 to 64 characters of `A-Z a-z 0-9 . _ : @ -`.
    ///
    /// The number 42 and the text `"42"` name the same applicant.
    Applicant, "user_id", Rule { longest: 64, punctuation: "._:@-", upper_case: true }
}

/// The largest numeric user id: the maximum of a signed 64-bit column.
pub const MAX_NUMERIC_USER_ID: u64 = i64::MAX as u64;

impl Applicant {
    /// `None` if `user_id` is above [`MAX_NUMERIC_USER_ID`].
    pub fn from_number(user_id: u64) -> Option<Self> {
        (user_id <= MAX_NUMERIC_USER_ID).then(|| Self(user_id.to_string()))
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
        for bad in ["", " ", "a b", "a/b", "{a}", "é", "a\n", &"x".repeat(65)] {
            let error = bad.parse::<Applicant>().expect_err(bad).to_string();
            assert_eq!(
                error, "user_id must be 1 to 64 characters of A-Z a-z 0-9 . _ : @ -",
                "{bad:?}"
            );
        }
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

        #[test]
        fn an_accepted_text_is_unchanged(text in "\\PC{0,70}") {
            if let Ok(applicant) = text.parse::<Applicant>() {
                prop_assert_eq!(applicant.as_str(), text);
            }
        }
    }
}
