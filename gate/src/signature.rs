//! Signs records and verifies signatures, so that a consumer knows that a bridge has published the record.
//!
//! The signature is an HMAC-SHA-256 over the key, the value and the headers that describe the event. A client that can
//! write to the topic but does not have the signing key cannot change a record, or sign another one. It can send a
//! signed record again unchanged; the consumer handles that like any record that is delivered twice.

use crate::record::{CODE_NUMBER_HEADER, VERSION_HEADER};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;

/// The header with the signature.
pub const HEADER: &str = "rushgate-signature";

/// The reason of a dead letter whose signature is missing or wrong. Such a record is not evidence of a grant.
pub const REASON: &str = "bad_signature";

/// The prefix of a signature, which names the algorithm.
const VERSION: &str = "v1=";

/// The signed headers: those that [`record`](crate::record) decodes, in addition to [`VERSION_HEADER`] and
/// [`CODE_NUMBER_HEADER`].
const SIGNED_HEADERS: [&str; 5] = ["content-type", "ce_type", "ce_time", "ce_turn", "ce_win"];

/// Keys shared by bridges and consumers. The first one signs. All of them verify, so that a key can be replaced.
#[derive(Clone)]
pub struct SigningKeys {
    signing: Hmac<Sha256>,
    accepted: Vec<Hmac<Sha256>>,
}

/// Which records a consumer accepts.
#[derive(Clone, Debug)]
pub struct SignaturePolicy {
    keys: Option<SigningKeys>,
    is_strict: bool,
}

/// Why a signature is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error(
        "header {HEADER} is missing: the record was not published by a bridge with a signing key"
    )]
    Missing,
    /// None of the keys made it.
    #[error(
        "header {HEADER} matches none of the keys: the record was changed, or signed with another key"
    )]
    Wrong,
}

impl SigningKeys {
    /// `None` if `keys` is empty.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        // HMAC accepts a key of any length, so no key is dropped here.
        let accepted: Vec<Hmac<Sha256>> = keys
            .into_iter()
            .filter_map(|key| Hmac::new_from_slice(key.as_bytes()).ok())
            .collect();
        Some(Self {
            signing: accepted.first()?.clone(),
            accepted,
        })
    }

    /// Signs a record. `header` finds a header by its name, ignoring case.
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

    /// Verifies the signature of a record. `header` finds a header by its name, ignoring case.
    ///
    /// # Errors
    /// When the signature is missing, or none of the keys made it.
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
    /// Without keys, every record is accepted. With keys, `is_strict` says whether a record without a valid signature
    /// is rejected.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>, is_strict: bool) -> Self {
        Self {
            keys: SigningKeys::new(keys),
            is_strict,
        }
    }

    /// Whether a record without a valid signature must be rejected.
    pub fn is_strict(&self) -> bool {
        self.is_strict
    }

    /// Why the record's signature is not valid; `None` if it is valid, or if there are no keys.
    pub fn problem<'a>(
        &self,
        key: &[u8],
        value: &[u8],
        header: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> Option<SignatureError> {
        self.keys.as_ref()?.verify(key, value, header).err()
    }
}

/// Does not print the keys.
impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.accepted.len())
    }
}

/// Feeds each part with its length before it, so that different parts never produce the same bytes.
fn mac_of<'a>(
    mut keyed: Hmac<Sha256>,
    key: &[u8],
    value: &[u8],
    header: impl Fn(&str) -> Option<&'a [u8]>,
) -> Hmac<Sha256> {
    // The absence of these two leaves no trace, so that signatures of records without them stay what they are. The second
    // one has its name before it, so that the one is never taken for the other.
    let version = header(VERSION_HEADER).map(Some);
    let code_number = header(CODE_NUMBER_HEADER);
    let code_number = code_number.map(|number| [Some(CODE_NUMBER_HEADER.as_bytes()), Some(number)]);
    let headers = SIGNED_HEADERS.map(&header).into_iter();
    let headers = headers
        .chain(version)
        .chain(code_number.into_iter().flatten());
    for part in [Some(key), Some(value)].into_iter().chain(headers) {
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        keyed.update(&length.to_be_bytes());
        keyed.update(part.unwrap_or_default());
    }
    keyed
}

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
        let signed = [&SIGNED_HEADERS[..], &[VERSION_HEADER, CODE_NUMBER_HEADER]].concat();
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
    fn the_signature_is_the_one_that_openssl_computes() {
        // Computed by `printf '…' | openssl dgst -sha256 -hmac key` over the same lengths and parts.
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
    fn no_keys_no_signer_and_debug_hides_keys() {
        assert!(SigningKeys::new([]).is_none());
        let keys = SigningKeys::new(["hush", "hush, too"]).expect("keys");
        assert_eq!(format!("{keys:?}"), "2 keys");
    }

    proptest! {
        #[test]
        fn a_signature_is_valid_wherever_its_key_is_known(parts in parts()) {
            let signature = sign(&["new", "old"], &parts);
            prop_assert_eq!(verify(&["new"], &parts, &signature), Ok(()));
            prop_assert_eq!(verify(&["old", "new"], &parts, &signature), Ok(()));
            prop_assert_eq!(verify(&["old"], &parts, &signature), Err(SignatureError::Wrong));
        }

        #[test]
        fn different_parts_have_different_signatures(parts in parts(), others in parts()) {
            prop_assume!(parts != others);
            let signature = sign(&["key"], &parts);
            prop_assert_eq!(verify(&["key"], &others, &signature), Err(SignatureError::Wrong));
        }

        #[test]
        fn arbitrary_bytes_are_not_a_valid_signature(parts in parts(), signature in "(v1=)?[0-9a-f]{0,70}|\\PC{0,80}") {
            prop_assert_eq!(verify(&["key"], &parts, &signature), Err(SignatureError::Wrong));
        }
    }
}
