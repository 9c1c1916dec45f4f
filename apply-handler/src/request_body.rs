//! Parses the body of an application, `{"user_id":"42"}` or `{"user_id":42}`, into the applicant.

use crate::problem::{InvalidUserId, Problem};
use rushgate_gate::Applicant;
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

/// Maximum size in bytes.
pub const MAX_BODY: usize = 4 * 1024;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
}

/// Whether `content_type` is `application/json`, with or without parameters.
pub fn is_json(content_type: &[u8]) -> bool {
    content_type
        .split(|byte| *byte == b';')
        .next()
        .is_some_and(|essence| {
            essence
                .trim_ascii()
                .eq_ignore_ascii_case(b"application/json")
        })
}

/// The applicant named in the body. Fields other than `user_id` are ignored.
///
/// # Errors
/// When the body is invalid or names no applicant.
pub fn required_applicant(body: &[u8]) -> Result<Applicant, Problem> {
    if body.is_empty() {
        return Err(Problem::EmptyBody);
    }
    optional_applicant(body)?.ok_or(Problem::UserId(InvalidUserId::Missing))
}

/// The applicant named in the body; `None` if the body is empty or has no `user_id`.
///
/// # Errors
/// When the body is invalid.
pub fn optional_applicant(body: &[u8]) -> Result<Option<Applicant>, Problem> {
    if body.is_empty() {
        return Ok(None);
    }
    let Body { user_id } =
        serde_json::from_slice(body).map_err(|error| match error.classify() {
            Category::Data => Problem::NotAnObject,
            Category::Syntax | Category::Eof | Category::Io => Problem::InvalidJson {
                line: error.line(),
                column: error.column(),
            },
        })?;
    // serde also accepts an array for a struct.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::NotAnObject);
    }
    let Some(user_id) = user_id.map(RawValue::get) else {
        return Ok(None);
    };
    let applicant = match user_id.as_bytes() {
        [b'"', ..] => serde_json::from_str::<String>(user_id)
            .ok()
            .and_then(|text| Applicant::try_from(text).ok())
            .filter(Applicant::is_addressable)
            .ok_or(Problem::UserId(InvalidUserId::NotAllowed)),
        // 42.0 and 4.2e1 are rejected: some JSON parsers read them as 42, others do not.
        [b'0'..=b'9' | b'-', ..] => user_id
            .parse()
            .ok()
            .and_then(Applicant::from_number)
            .ok_or(Problem::UserId(InvalidUserId::NotAnInteger)),
        _ => Err(Problem::UserId(InvalidUserId::WrongType)),
    };
    applicant.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_user_id_is_a_string_or_a_number() {
        for (body, user_id) in [
            (r#"{"user_id":"42"}"#, "42"),
            (r#"{"user_id":42}"#, "42"),
            (r#" { "user_id" : 0 , "utm": {"a":[1,2]} } "#, "0"),
            (r#"{"user_id":9223372036854775807}"#, "9223372036854775807"),
            (r#"{"user_id":"\u0061.b_c:d@e-f"}"#, "a.b_c:d@e-f"),
            (r#"{"user_id":"..."}"#, "..."),
        ] {
            let applicant = required_applicant(body.as_bytes()).expect(body);
            assert_eq!(applicant.as_str(), user_id, "{body}");
        }
    }

    #[test]
    fn invalid_json_and_invalid_user_ids_are_different_problems() {
        let user_id = |problem| Err(Problem::UserId(problem));
        let deep = format!(
            "{{\"user_id\":{}1{}}}",
            "[".repeat(2_000),
            "]".repeat(2_000)
        );
        for (body, expected) in [
            ("", Err(Problem::EmptyBody)),
            ("{", Err(Problem::InvalidJson { line: 1, column: 1 })),
            (
                "{\"user_id\":\n01}",
                Err(Problem::InvalidJson { line: 2, column: 2 }),
            ),
            (
                "user_id=42",
                Err(Problem::InvalidJson { line: 1, column: 1 }),
            ),
            (
                "\u{feff}{}",
                Err(Problem::InvalidJson { line: 1, column: 1 }),
            ),
            ("null", Err(Problem::NotAnObject)),
            ("[\"42\"]", Err(Problem::NotAnObject)),
            ("\"42\"", Err(Problem::NotAnObject)),
            (r#"{"user_id":1,"user_id":2}"#, Err(Problem::NotAnObject)),
            ("{}", user_id(InvalidUserId::Missing)),
            (r#"{"user_id":null}"#, user_id(InvalidUserId::Missing)),
            (r#"{"user":"42"}"#, user_id(InvalidUserId::Missing)),
            (r#"{"user_id":""}"#, user_id(InvalidUserId::NotAllowed)),
            (r#"{"user_id":"a b"}"#, user_id(InvalidUserId::NotAllowed)),
            (
                r#"{"user_id":"\u0000"}"#,
                user_id(InvalidUserId::NotAllowed),
            ),
            (
                r#"{"user_id":"\ud800"}"#,
                user_id(InvalidUserId::NotAllowed),
            ),
            (r#"{"user_id":"."}"#, user_id(InvalidUserId::NotAllowed)),
            (r#"{"user_id":".."}"#, user_id(InvalidUserId::NotAllowed)),
            (
                r#"{"user_id":"\u002e."}"#,
                user_id(InvalidUserId::NotAllowed),
            ),
            (r#"{"user_id":-1}"#, user_id(InvalidUserId::NotAnInteger)),
            (r#"{"user_id":-0}"#, user_id(InvalidUserId::NotAnInteger)),
            (r#"{"user_id":42.0}"#, user_id(InvalidUserId::NotAnInteger)),
            (r#"{"user_id":4.2e1}"#, user_id(InvalidUserId::NotAnInteger)),
            (
                r#"{"user_id":4200E-2}"#,
                user_id(InvalidUserId::NotAnInteger),
            ),
            (r#"{"user_id":1.5}"#, user_id(InvalidUserId::NotAnInteger)),
            (r#"{"user_id":1e-1}"#, user_id(InvalidUserId::NotAnInteger)),
            (r#"{"user_id":1e19}"#, user_id(InvalidUserId::NotAnInteger)),
            (
                r#"{"user_id":1e99999999999}"#,
                user_id(InvalidUserId::NotAnInteger),
            ),
            (
                r#"{"user_id":1e2147483647}"#,
                user_id(InvalidUserId::NotAnInteger),
            ),
            (
                r#"{"user_id":9223372036854775808}"#,
                user_id(InvalidUserId::NotAnInteger),
            ),
            (r#"{"user_id":true}"#, user_id(InvalidUserId::WrongType)),
            (r#"{"user_id":{"a":1}}"#, user_id(InvalidUserId::WrongType)),
            (&deep, user_id(InvalidUserId::WrongType)),
        ] {
            assert_eq!(required_applicant(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn json_is_recognised_in_any_case_and_with_parameters() {
        for yes in [
            "application/json",
            "Application/JSON; charset=utf-8",
            " application/json ;x",
        ] {
            assert!(is_json(yes.as_bytes()), "{yes}");
        }
        for no in [
            "",
            "text/plain",
            "application/jsonp",
            "application/x-www-form-urlencoded",
        ] {
            assert!(!is_json(no.as_bytes()), "{no}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_a_problem_and_not_a_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Err(problem) = required_applicant(&body) {
                prop_assert!(matches!(problem.status().as_u16(), 400 | 422));
            }
        }

        #[test]
        fn arbitrary_values_are_a_problem_and_not_a_panic(value in "\\PC{0,40}") {
            if let Err(problem) = required_applicant(format!("{{\"user_id\":{value}}}").as_bytes()) {
                prop_assert!(matches!(problem.status().as_u16(), 400 | 422));
            }
        }
    }
}
