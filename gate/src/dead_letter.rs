//! Stores the headers of a dead letter as a JSON array of names and values. It keeps their order and their bytes, so
//! that the record can be sent again unchanged.

use serde::{Deserialize, Serialize};

/// Name and optional value.
pub type Header = (String, Option<Vec<u8>>);

/// A value: a string if it is valid UTF-8, otherwise an array of bytes.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Bytes(Vec<u8>),
}

pub fn encode_headers<'a>(
    headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
) -> String {
    let headers = headers.into_iter().map(|(name, value)| {
        let value = value.map(|value| match str::from_utf8(value) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Bytes(value.to_owned()),
        });
        (name, value)
    });
    let headers: Vec<_> = headers.collect();
    // Strings and numbers only, so this cannot fail.
    serde_json::to_string(&headers).unwrap_or_default()
}

/// Reverses [`encode_headers`].
///
/// # Errors
/// When the text is not a result of [`encode_headers`].
pub fn decode_headers(encoded: &str) -> Result<Vec<Header>, serde_json::Error> {
    let headers: Vec<(String, Option<Value>)> = serde_json::from_str(encoded)?;
    let headers = headers.into_iter().map(|(name, value)| {
        let value = value.map(|value| match value {
            Value::Text(text) => text.into_bytes(),
            Value::Bytes(bytes) => bytes,
        });
        (name, value)
    });
    Ok(headers.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn valid_utf8_is_stored_as_a_string() {
        let all: [(&str, Option<&[u8]>); 3] =
            [("ce_id", Some(b"a\"b")), ("x", Some(&[0xff])), ("x", None)];
        assert_eq!(
            encode_headers(all),
            r#"[["ce_id","a\"b"],["x",[255]],["x",null]]"#
        );
    }

    proptest! {
        #[test]
        fn encoded_headers_are_decoded(
            all in prop::collection::vec(("\\PC{0,9}", prop::option::of(prop::collection::vec(any::<u8>(), 0..9))), 0..9),
        ) {
            let borrowed = all.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
            prop_assert_eq!(decode_headers(&encode_headers(borrowed)).expect("JSON"), all);
        }
    }
}
