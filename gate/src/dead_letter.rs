//! The headers of a record that became a dead letter, as they are kept: all of them, in their order, byte for byte, so that
//! the record can be sent again as it was. A JSON array of names and values.

use serde::{Deserialize, Serialize};

/// A header's name, and its value if it has one.
pub type Header = (String, Option<Vec<u8>>);

/// A value: a text where it is one.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Bytes(Vec<u8>),
}

/// The headers as they are kept.
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
    // Texts and numbers; there is nothing in them that JSON cannot say.
    serde_json::to_string(&headers).unwrap_or_default()
}

/// The reverse of [`encode_headers`].
///
/// # Errors
/// When it is nothing that [`encode_headers`] has made.
pub fn decode_headers(kept: &str) -> Result<Vec<Header>, serde_json::Error> {
    let headers: Vec<(String, Option<Value>)> = serde_json::from_str(kept)?;
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
    fn a_text_is_kept_as_a_text() {
        let all: [(&str, Option<&[u8]>); 3] =
            [("ce_id", Some(b"a\"b")), ("x", Some(&[0xff])), ("x", None)];
        assert_eq!(
            encode_headers(all),
            r#"[["ce_id","a\"b"],["x",[255]],["x",null]]"#
        );
    }

    proptest! {
        #[test]
        fn what_is_kept_is_read_back(
            all in prop::collection::vec(("\\PC{0,9}", prop::option::of(prop::collection::vec(any::<u8>(), 0..9))), 0..9),
        ) {
            let borrowed = all.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
            prop_assert_eq!(decode_headers(&encode_headers(borrowed)).expect("JSON"), all);
        }
    }
}
