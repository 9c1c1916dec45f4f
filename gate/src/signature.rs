//! What a bridge writes on a record so that a consumer can tell it from one that no gate has granted.
//!
//! An HMAC-SHA-256 over the record's key and value and over the headers that say what happened, so that none of them can
//! be changed, or put on another record, by somebody who can write to the topic and does not have the key. A record that
//! is sent again as it was keeps its signature: it is absorbed, as any record is that is delivered twice.

use crate::record::VERSION_HEADER;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;

/// The header that holds it.
pub const HEADER: &str = "rushgate-signature";

/// The reason of a dead letter that has none, or a wrong one. What it says is nobody's grant.
pub const REASON: &str = "bad_signature";

/// What a signature begins with: which of the ways to make one.
const VERSION: &str = "v1=";

/// The headers that an event is read from ([`record`](crate::record)), which are signed with it; and so is
/// [`VERSION_HEADER`].
const SIGNED_HEADERS: [&str; 5] = ["content-type", "ce_type", "ce_time", "ce_turn", "ce_win"];

/// Keys that both sides have: the first signs, each of them is accepted, so that a key can be replaced.
#[derive(Clone)]
pub struct SigningKeys {
    signing: Hmac<Sha256>,
    accepted: Vec<Hmac<Sha256>>,
}

/// Which records are believed to be a bridge's.
#[derive(Clone, Debug)]
pub struct SignaturePolicy {
    keys: Option<SigningKeys>,
    is_strict: bool,
}

/// Why a record is not believed to be a bridge's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It has none.
    #[error("header {HEADER} is missing: no bridge with a key has published the record")]
    Missing,
    /// It does not fit any of the keys.
    #[error(
        "header {HEADER} fits none of the keys: the record was changed, or signed with a key that is not among them"
    )]
    Wrong,
}

impl SigningKeys {
    /// The keys, as they are: the first signs. `None` if there is none.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        // A key of any length will do for HMAC.
        let accepted: Vec<Hmac<Sha256>> = keys
            .into_iter()
            .filter_map(|key| Hmac::new_from_slice(key.as_bytes()).ok())
            .collect();
        Some(Self {
            signing: accepted.first()?.clone(),
            accepted,
        })
    }

    /// The signature of a record; `header` finds a header by its name, whatever its case.
    pub fn sign<'a>(
        &self,
        key: &[u8],
        value: &[u8],
        header: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> String {
        let mac = mac_of(self.signing.clone(), key, value, header).finalize();
        let mac = mac.into_bytes();
        let digits = mac.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        let digits = digits.filter_map(|digit| char::from_digit(digit.into(), 16));
        VERSION.chars().chain(digits).collect()
    }

    /// Whether one of the keys has signed the record; `header` finds a header by its name, whatever its case.
    ///
    /// # Errors
    /// When none has.
    pub fn verify<'a>(
        &self,
        key: &[u8],
        value: &[u8],
        header: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> Result<(), SignatureError> {
        let signature = header(HEADER).ok_or(SignatureError::Missing)?;
        let signature = parse(signature).ok_or(SignatureError::Wrong)?;
        let mut accepted = self.accepted.iter();
        accepted
            .any(|keyed| {
                let mac = mac_of(keyed.clone(), key, value, &header);
                mac.verify_slice(&signature).is_ok()
            })
            .then_some(())
            .ok_or(SignatureError::Wrong)
    }
}

impl SignaturePolicy {
    /// In what one of `keys` has signed; if not `is_strict`, in all others as well.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>, is_strict: bool) -> Self {
        Self {
            keys: SigningKeys::new(keys),
            is_strict,
        }
    }

    /// Whether what is doubtful must not be taken.
    pub fn is_strict(&self) -> bool {
        self.is_strict
    }

    /// Why a record is doubtful; nothing, also if there are no keys to tell.
    pub fn problem<'a>(
        &self,
        key: &[u8],
        value: &[u8],
        header: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> Option<SignatureError> {
        self.keys.as_ref()?.verify(key, value, header).err()
    }
}

/// The keys are not shown.
impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.accepted.len())
    }
}

/// Each part with its length before it, so that no other parts make the same bytes.
fn mac_of<'a>(
    mut keyed: Hmac<Sha256>,
    key: &[u8],
    value: &[u8],
    header: impl Fn(&str) -> Option<&'a [u8]>,
) -> Hmac<Sha256> {
    // Its absence leaves no trace, so that signatures of version 1, which no record states, stay what they are.
    let version = header(VERSION_HEADER).map(Some);
    let headers = SIGNED_HEADERS.map(header).into_iter().chain(version);
    for part in [Some(key), Some(value)].into_iter().chain(headers) {
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        keyed.update(&length.to_be_bytes());
        keyed.update(part.unwrap_or_default());
    }
    keyed
}

/// The bytes of a signature.
fn parse(signature: &[u8]) -> Option<[u8; 32]> {
    let digits = signature.strip_prefix(VERSION.as_bytes())?;
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(digit(digits[0])? << 4 | digit(digits[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::event;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    type Parts = (Vec<u8>, Vec<u8>, Vec<(String, Vec<u8>)>);

    fn sign(keys: &[&str], (key, value, headers): &Parts) -> String {
        let keys = SigningKeys::new(keys.iter().copied()).expect("keys");
        keys.sign(key, value, |name| find(headers, name))
    }

    fn verify(keys: &[&str], parts: &Parts, signature: &str) -> Result<(), SignatureError> {
        let (key, value, headers) = parts;
        let keys = SigningKeys::new(keys.iter().copied()).expect("keys");
        keys.verify(key, value, |name| match name {
            HEADER => Some(signature.as_bytes()),
            name => find(headers, name),
        })
    }

    fn find<'a>(headers: &'a [(String, Vec<u8>)], name: &str) -> Option<&'a [u8]> {
        let (_, value) = headers.iter().find(|(header, _)| header == name)?;
        Some(value)
    }

    fn parts() -> impl Strategy<Value = Parts> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        let signed = [&SIGNED_HEADERS[..], &[VERSION_HEADER]].concat();
        let header = (prop::sample::select(signed), bytes());
        let headers = prop::collection::vec(header, 0..4);
        let headers = headers.prop_map(|headers| {
            let mut named: Vec<(String, Vec<u8>)> = vec![];
            for (name, value) in headers {
                if find(&named, name).is_none() {
                    named.push((name.to_owned(), value));
                }
            }
            named.sort();
            named
        });
        (bytes(), bytes(), headers)
    }

    #[test]
    fn it_is_what_others_make_of_the_same_parts() {
        // printf '…' | openssl dgst -sha256 -hmac key, of lengths and parts as above.
        let parts = (b"welcome/once/1".to_vec(), b"{}".to_vec(), vec![]);
        let signature = sign(&["key"], &parts);
        assert_eq!(signature, EXPECTED);
        assert_eq!(verify(&["other", "key"], &parts, &signature), Ok(()));
    }

    const EXPECTED: &str = "v1=25647dd559074a8bda429e70c4c3977c70c809d6e59536463f3ebdc6ea93730b";

    #[test]
    fn every_header_that_an_event_is_read_from_is_signed() {
        let (key, value) = (b"welcome/once/1".to_vec(), 7_i64.to_be_bytes().to_vec());
        let asked = RefCell::new(BTreeSet::new());
        let read = event(&key, &value, |name| {
            asked.borrow_mut().insert(name.to_owned());
            match name {
                "content-type" => Some(&b"application/octet-stream"[..]),
                "ce_type" => Some(b"coupon.granted"),
                "ce_time" => Some(b"2026-12-01T01:00:00.123Z"),
                _ => None,
            }
        });
        read.expect("an event");
        let mut parts = (key, value, vec![]);
        let signature = sign(&["key"], &parts);
        for name in asked.take() {
            parts.2 = vec![(name.clone(), b"2".to_vec())];
            let verified = verify(&["key"], &parts, &signature);
            assert_eq!(verified, Err(SignatureError::Wrong), "{name}");
        }
    }

    #[test]
    fn there_is_none_without_a_key_and_no_key_is_shown() {
        assert!(SigningKeys::new([]).is_none());
        let keys = SigningKeys::new(["hush", "hush, too"]).expect("keys");
        assert_eq!(format!("{keys:?}"), "2 keys");
    }

    proptest! {
        #[test]
        fn what_one_key_has_signed_each_that_has_it_believes(parts in parts()) {
            let signature = sign(&["new", "old"], &parts);
            prop_assert_eq!(verify(&["new"], &parts, &signature), Ok(()));
            prop_assert_eq!(verify(&["old", "new"], &parts, &signature), Ok(()));
            prop_assert_eq!(verify(&["old"], &parts, &signature), Err(SignatureError::Wrong));
        }

        #[test]
        fn other_parts_have_another_signature(parts in parts(), others in parts()) {
            prop_assume!(parts != others);
            let signature = sign(&["key"], &parts);
            prop_assert_eq!(verify(&["key"], &others, &signature), Err(SignatureError::Wrong));
        }

        #[test]
        fn arbitrary_bytes_are_no_signature(parts in parts(), signature in "(v1=)?[0-9a-f]{0,70}|\\PC{0,80}") {
            prop_assert_eq!(verify(&["key"], &parts, &signature), Err(SignatureError::Wrong));
        }
    }
}
