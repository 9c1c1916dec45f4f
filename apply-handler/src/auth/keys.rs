//! Parses the keys that verify tokens: one JSON Web Key or a JSON Web Key Set (RFC 7517). A key that cannot be used is
//! skipped, and the other keys of the set still work.

use super::TokenError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// Minimum length of an HS256 secret, in bytes: the length of the hash (RFC 7518, section 3.2).
const MIN_SECRET_LENGTH: usize = 32;

/// Minimum length of an RS256 modulus, in bytes (RFC 7518, section 3.3).
const MIN_MODULUS_LENGTH: usize = 2_048 / 8;

#[derive(Clone)]
pub struct Keys {
    keys: Vec<Key>,
    skipped: Vec<BadKeys>,
}

/// A key for one algorithm.
#[derive(Clone)]
pub struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Why no key is usable, or why one key is skipped. The text never contains a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    #[error("must be a JSON Web Key or a JSON Web Key set")]
    NotKeys,
    #[error(
        "no usable key: keys must be RSA (RS256), EC P-256 (ES256), OKP Ed25519 (EdDSA) or oct (HS256)"
    )]
    NoneUsable,
    #[error("key {0} is too short: an oct key must have at least 32 bytes, an RSA key 2048 bits")]
    TooShort(usize),
    #[error("key {0} has the same kid as an earlier key")]
    SameName(usize),
    /// A field has the wrong type, or the numbers do not form a key.
    #[error("key {0} is malformed")]
    Malformed(usize),
}

impl Key {
    /// The only algorithm that this key verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub fn key(&self) -> &DecodingKey {
        &self.key
    }
}

impl Keys {
    /// Parses a key or a key set. Keys for other uses or algorithms are ignored. Invalid keys are skipped, so that they
    /// do not disable the valid keys of the set; see [`Keys::skipped`].
    ///
    /// # Errors
    /// When no key is usable.
    pub fn parse(json: &str) -> Result<Self, BadKeys> {
        let value: Value = serde_json::from_str(json).map_err(|_| BadKeys::NotKeys)?;
        let set = match value {
            Value::Object(mut object) => match object.remove("keys") {
                Some(Value::Array(keys)) => keys,
                Some(_) => return Err(BadKeys::NotKeys),
                None => vec![Value::Object(object)],
            },
            _ => return Err(BadKeys::NotKeys),
        };
        let (mut keys, mut skipped) = (vec![], vec![]);
        for (index, jwk) in set.into_iter().enumerate() {
            match key(index + 1, jwk, &keys) {
                Ok(Some(key)) => keys.push(key),
                Ok(None) => {}
                Err(error) => skipped.push(error),
            }
        }
        if keys.is_empty() {
            return Err(skipped.into_iter().next().unwrap_or(BadKeys::NoneUsable));
        }
        Ok(Self { keys, skipped })
    }

    /// The errors of the skipped keys.
    pub fn skipped(&self) -> &[BadKeys] {
        &self.skipped
    }

    /// The key for a token with this `alg` and `kid`. Without a `kid`: the only key of that algorithm.
    ///
    /// # Errors
    /// When no key or more than one key matches, or the named key is for another algorithm.
    pub fn choose(&self, alg: &Value, kid: Option<&Value>) -> Result<&Key, TokenError> {
        let algorithm = match alg.as_str() {
            Some("HS256") => Algorithm::HS256,
            Some("ES256") => Algorithm::ES256,
            Some("EdDSA") => Algorithm::EdDSA,
            Some("RS256") => Algorithm::RS256,
            Some(_) => return Err(TokenError::Algorithm),
            None => return Err(TokenError::Malformed),
        };
        match kid {
            Some(Value::String(kid)) => {
                let named = |key: &&Key| key.id.as_deref() == Some(kid);
                let key = self.keys.iter().find(named).ok_or(TokenError::Key)?;
                if key.algorithm == algorithm {
                    Ok(key)
                } else {
                    Err(TokenError::AlgorithmOfKey)
                }
            }
            Some(_) => Err(TokenError::Malformed),
            None => {
                let mut fitting = self.keys.iter().filter(|key| key.algorithm == algorithm);
                match (fitting.next(), fitting.next()) {
                    (Some(key), None) => Ok(key),
                    _ => Err(TokenError::Key),
                }
            }
        }
    }
}

/// Parses one key of a set; `others` are the keys before it. `None` if it has another use or algorithm.
fn key(number: usize, jwk: Value, others: &[Key]) -> Result<Option<Key>, BadKeys> {
    match jwk.get("kty").and_then(Value::as_str) {
        Some("RSA" | "EC" | "OKP" | "oct") => {}
        Some(_) => return Ok(None),
        None => return Err(BadKeys::Malformed(number)),
    }
    let jwk: Jwk = serde_json::from_value(jwk).map_err(|_| BadKeys::Malformed(number))?;
    let Some(algorithm) = algorithm(&jwk) else {
        return Ok(None);
    };
    check(&jwk).map_err(|problem| problem(number))?;
    let id = jwk.common.key_id.clone();
    if id.is_some() && others.iter().any(|other| other.id == id) {
        return Err(BadKeys::SameName(number));
    }
    let key = DecodingKey::from_jwk(&jwk).map_err(|_| BadKeys::Malformed(number))?;
    Ok(Some(Key { id, algorithm, key }))
}

/// The algorithm that follows from the type of a key; `None` if the key has another use or algorithm.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        _ => return None,
    };
    let is_for_signatures = match &jwk.common.public_key_use {
        None | Some(PublicKeyUse::Signature) => true,
        Some(_) => false,
    };
    let says_so = jwk.common.key_algorithm;
    (is_for_signatures && says_so.is_none_or(|named| named == algorithm.into()))
        .then_some(algorithm)
}

/// Checks the encoding and the length of a key.
fn check(jwk: &Jwk) -> Result<(), fn(usize) -> BadKeys> {
    let bytes = |text: &str| {
        URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| BadKeys::Malformed as fn(usize) -> BadKeys)
    };
    let exactly = |text: &str, length: usize| match bytes(text)?.len() == length {
        true => Ok(()),
        false => Err(BadKeys::Malformed as fn(usize) -> BadKeys),
    };
    match &jwk.algorithm {
        AlgorithmParameters::OctetKey(key) if bytes(&key.value)?.len() < MIN_SECRET_LENGTH => {
            Err(BadKeys::TooShort)
        }
        AlgorithmParameters::RSA(key) => {
            let modulus = bytes(&key.n)?;
            let leading = modulus.iter().take_while(|byte| **byte == 0).count();
            if modulus.len() - leading < MIN_MODULUS_LENGTH {
                return Err(BadKeys::TooShort);
            }
            bytes(&key.e).map(drop)
        }
        AlgorithmParameters::EllipticCurve(key) => {
            exactly(&key.x, 32)?;
            exactly(&key.y, 32)
        }
        AlgorithmParameters::OctetKeyPair(key) => exactly(&key.x, 32),
        _ => Ok(()),
    }
}
