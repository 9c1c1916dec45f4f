//! Signed coupon codes: the code of a grant is computed from the grant and a secret key, and it is stored nowhere before
//! the row.
//!
//! Every program with the key computes the same code for the same grant, and two grants have different codes: another
//! campaign, round, serial, turn or user id gives another code. Without the key, a code can only be guessed: one of 2^80.
//! Codes and keys are secrets, so `Debug` shows neither.

use crate::applicant::Applicant;
use crate::campaign::CampaignId;
use crate::event::{Event, Ordinal};
use crate::failpoint::is_active;
use crate::key_fingerprint::KeyFingerprint;
use crate::pool_code::canonical;
use crate::round::{RoundId, Serial};
use crate::secret_keys::{KeyTooShort, split};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use std::str::FromStr;

/// Number of symbols in a code; each carries 5 bits.
const SYMBOLS: usize = 16;

/// Number of symbols in a group of the written form.
const GROUP: usize = 4;

/// Base 32 of Crockford: without I, L, O and U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// What is computed with a key, and in which version.
const CODE: &[u8] = b"rushgate coupon code v1";
const FINGERPRINT: &[u8] = b"rushgate coupon code key v1";

/// The code of a grant: 80 bits in 16 symbols of Crockford's base 32, written `ABCD-EFGH-JKMN-PQRS`.
///
/// Reading ignores case, spaces and hyphens, and accepts O for 0, and I and L for 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CouponCode([u8; SYMBOLS]);

/// The text is not a code. The error does not quote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not a coupon code: it has {SYMBOLS} letters and digits, such as 7K3M-9QZX-2B4W-H8NT (upper and lower case, \
     spaces and hyphens do not matter)"
)]
pub struct NoCouponCode;

/// What the code of a grant is computed from.
#[derive(Clone, Copy, Debug)]
pub struct CodeOf<'a> {
    pub campaign: &'a CampaignId,
    pub round: &'a RoundId,
    pub serial: Serial,
    pub turn: Ordinal,
    pub applicant: &'a Applicant,
}

/// The secret keys of codes. New campaigns use the first one; a campaign keeps the key that it was created with.
#[derive(Clone, Default)]
pub struct CodeKeys(Vec<(KeyFingerprint, Hmac<Sha256>)>);

impl CodeKeys {
    /// Reads a list of keys: see [`secret_keys`](crate::secret_keys).
    ///
    /// # Errors
    /// When a key is too short.
    pub fn parse(list: &str) -> Result<Self, KeyTooShort> {
        Ok(Self::new(split(list)?))
    }

    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        // HMAC accepts a key of any length, so no key is dropped here.
        let keys = keys
            .into_iter()
            .filter_map(|key| Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok());
        Self(keys.map(|key| (fingerprint(&key), key)).collect())
    }

    /// The fingerprint of the key for new campaigns; `None` without keys.
    pub fn newest(&self) -> Option<KeyFingerprint> {
        self.0.first().map(|(fingerprint, _)| *fingerprint)
    }

    pub fn contains(&self, key: KeyFingerprint) -> bool {
        self.0.iter().any(|(fingerprint, _)| *fingerprint == key)
    }

    /// The code of a grant in a campaign with this key; `None` if the key is missing here.
    pub fn code(&self, key: KeyFingerprint, of: CodeOf<'_>) -> Option<CouponCode> {
        let (_, key) = self.0.iter().find(|(fingerprint, _)| *fingerprint == key)?;
        let (serial, turn) = (of.serial.get(), of.turn.get());
        let applicant = match is_active("bug::code_without_user_id") {
            true => "",
            false => of.applicant.as_str(),
        };
        let mac = mac_of(
            key,
            [
                CODE,
                of.campaign.as_str().as_bytes(),
                of.round.as_str().as_bytes(),
                &serial.to_be_bytes(),
                &turn.to_be_bytes(),
                applicant.as_bytes(),
            ],
        );
        Some(CouponCode::from_bits(&mac))
    }
}

impl<'a> From<&'a Event> for CodeOf<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            campaign: &event.campaign,
            round: &event.round,
            serial: event.serial,
            turn: event.turn,
            applicant: &event.applicant,
        }
    }
}

impl CouponCode {
    /// The code with the first 80 bits of `mac`.
    fn from_bits(mac: &[u8; 32]) -> Self {
        let mut symbols = [0; SYMBOLS];
        // Five bytes are eight symbols.
        for (symbols, bytes) in symbols.chunks_exact_mut(8).zip(mac.chunks_exact(5)) {
            let bits = bytes
                .iter()
                .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            for (place, symbol) in symbols.iter_mut().rev().enumerate() {
                *symbol = ALPHABET[(bits >> (5 * place)) as usize % ALPHABET.len()];
            }
        }
        Self(symbols)
    }
}

impl fmt::Display for CouponCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, symbol) in self.0.iter().enumerate() {
            if place > 0 && place % GROUP == 0 {
                f.write_str("-")?;
            }
            write!(f, "{}", char::from(*symbol))?;
        }
        Ok(())
    }
}

/// Does not show the code.
impl fmt::Debug for CouponCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CouponCode(…)")
    }
}

impl FromStr for CouponCode {
    type Err = NoCouponCode;

    fn from_str(text: &str) -> Result<Self, NoCouponCode> {
        let read = canonical(text);
        let mut read = read.chars();
        let mut symbols = [0; SYMBOLS];
        for symbol in &mut symbols {
            *symbol = read
                .next()
                .and_then(|letter| u8::try_from(letter).ok())
                .filter(|letter| ALPHABET.contains(letter))
                .ok_or(NoCouponCode)?;
        }
        match read.next() {
            None => Ok(Self(symbols)),
            Some(_) => Err(NoCouponCode),
        }
    }
}

/// Does not show the keys.
impl fmt::Debug for CodeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

fn fingerprint(key: &Hmac<Sha256>) -> KeyFingerprint {
    let [a, b, c, d, ..] = mac_of(key, [FINGERPRINT]);
    KeyFingerprint::of([a, b, c, d])
}

/// Feeds each part with its length before it, so that different parts never produce the same bytes.
fn mac_of<const N: usize>(key: &Hmac<Sha256>, parts: [&[u8]; N]) -> [u8; 32] {
    let mut keyed = key.clone();
    for part in parts {
        keyed.update(&(part.len() as u64).to_be_bytes());
        keyed.update(part);
    }
    keyed.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "hush, a key of at least 32 characters";
    const OTHER: &str = "hush, another key of 32 characters.";

    type Parts = (String, String, u32, u32, String);

    fn code(key: &str, (campaign, round, serial, turn, user_id): &Parts) -> CouponCode {
        let keys = CodeKeys::new([key]);
        let of = CodeOf {
            campaign: &campaign.parse().expect("a campaign"),
            round: &round.parse().expect("a round"),
            serial: Serial::try_from(*serial).expect("a serial"),
            turn: Ordinal::try_from(*turn).expect("not 0"),
            applicant: &user_id.parse().expect("an applicant"),
        };
        keys.code(keys.newest().expect("a key"), of)
            .expect("a code")
    }

    fn grant(campaign: &str, round: &str, serial: u32, turn: u32, user_id: &str) -> Parts {
        (campaign.into(), round.into(), serial, turn, user_id.into())
    }

    fn parts() -> impl Strategy<Value = Parts> {
        // Short and alike, so that two of them often differ only in where a part ends.
        let text = || "a{1,3}";
        (text(), text(), 1..3_u32, 1..3_u32, text())
    }

    #[test]
    fn the_code_is_the_one_that_openssl_computes() {
        // Each part with its length before it, through `openssl dgst -sha256 -hmac`, then base 32 of Crockford.
        let code = code(KEY, &grant("welcome", "once", 42, 1, "7"));
        assert_eq!(code.to_string(), EXPECTED.0);
        assert_eq!(
            CodeKeys::new([KEY]).newest().map(|key| key.to_string()),
            Some(EXPECTED.1.to_owned())
        );
    }

    const EXPECTED: (&str, &str) = ("WJ58-9GJ1-V9R1-CK00", "8ae37267");

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        let code: CouponCode = "0123-456J-KMNP-QRST".parse().expect("a code");
        for typed in [
            "0123456JKMNPQRST",
            "oI23 456j-kmnp qrst",
            " Ol23--456JKMNPQR\tST ",
        ] {
            assert_eq!(typed.parse(), Ok(code), "{typed}");
        }
        for wrong in [
            "",
            "0123-456J-KMNP-QRS",
            "0123-456J-KMNP-QRST-V",
            "0123-456J-KMNP-QRSU",
            "0123-456J-KMNP-QRSé",
        ] {
            assert_eq!(wrong.parse::<CouponCode>(), Err(NoCouponCode), "{wrong}");
        }
    }

    #[test]
    fn a_missing_key_makes_no_code_and_an_old_one_still_does() {
        let [new, old] = [OTHER, KEY].map(|key| CodeKeys::new([key]).newest().expect("a key"));
        let (both, none) = (CodeKeys::new([OTHER, KEY]), CodeKeys::default());
        assert_eq!((both.newest(), none.newest()), (Some(new), None));
        assert!(both.contains(old) && !none.contains(old));
        let event: Event = serde_json::from_str(
            r#"{"type":"coupon.granted","campaign":"c","round":"once","serial":1,"user_id":"7","at":1}"#,
        )
        .expect("an event");
        let expected = code(KEY, &grant("c", "once", 1, 1, "7"));
        assert_eq!(both.code(old, (&event).into()), Some(expected));
        assert_eq!(none.code(old, (&event).into()), None);
        assert_eq!(CodeKeys::parse("short").expect_err("short"), KeyTooShort);
    }

    #[test]
    fn debug_shows_neither_code_nor_key() {
        let keys = CodeKeys::new([KEY, OTHER]);
        assert_eq!(format!("{keys:?}"), "2 keys");
        let code = code(KEY, &grant("welcome", "once", 42, 1, "7"));
        assert_eq!(format!("{code:?}"), "CouponCode(…)");
    }

    proptest! {
        #[test]
        fn different_grants_and_keys_have_different_codes(a in parts(), b in parts()) {
            prop_assert_eq!(code(KEY, &a) == code(KEY, &b), a == b);
            prop_assert_ne!(code(KEY, &a), code(OTHER, &a));
        }

        #[test]
        fn a_written_code_is_read_again(a in parts(), lower: bool, separator in "[ -]{0,2}") {
            let code = code(KEY, &a);
            let written = code.to_string().replace('-', &separator);
            let written = if lower { written.to_lowercase() } else { written };
            prop_assert_eq!(written.parse(), Ok(code));
        }

        #[test]
        fn a_text_never_reads_as_another_code(text in "\\PC{0,24}") {
            if let Ok(code) = text.parse::<CouponCode>() {
                prop_assert_eq!(code.to_string().parse(), Ok(code));
            }
        }
    }
}
