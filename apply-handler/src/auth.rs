//! Who may apply: anybody who says who he is, or whoever brings a signed token (RFC 7519, as a bearer token of
//! RFC 6750).
//!
//! A key verifies one algorithm only, the one that its type stands for, so a token cannot choose how it is
//! checked. Keys are those of the configuration; what a token says about where keys are is not looked at.

mod keys;
mod token_error;

pub use keys::{BadKeys, Keys};
pub use token_error::TokenError;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode};
use rushgate_gate::Applicant;
use serde::Deserialize;
use serde_json::Value;
use spin_sdk::http::HeaderMap;

/// The longest token that is looked at, in bytes.
const LONGEST: usize = 8 * 1024;

/// How applicants are known.
#[derive(Clone)]
pub enum Auth {
    /// By what they say.
    None,
    /// By the subject of a token.
    Jwt(Box<TokenPolicy>),
}

/// Which tokens are believed.
#[derive(Clone)]
pub struct TokenPolicy {
    /// The keys, one of which has to have signed it.
    pub keys: Keys,
    /// Its `iss`; any, if this is empty.
    pub issuer: String,
    /// What has to be among its `aud`; any, if there is nothing here.
    pub audience: Option<String>,
    /// By how many seconds clocks may differ.
    pub leeway: u64,
}

#[derive(Deserialize)]
struct Header {
    alg: Value,
    kid: Option<Value>,
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<Value>,
}

impl Auth {
    /// The applicant that the request's token names; `None` where tokens are not asked for.
    ///
    /// # Errors
    /// When there is no token, or not one to be believed.
    pub fn applicant(&self, headers: &HeaderMap) -> Result<Option<Applicant>, TokenError> {
        match self {
            Self::None => Ok(None),
            Self::Jwt(tokens) => tokens.applicant(bearer(headers)?).map(Some),
        }
    }
}

impl TokenPolicy {
    fn applicant(&self, token: &str) -> Result<Applicant, TokenError> {
        let header = header(token)?;
        if header.crit.is_some() {
            return Err(TokenError::CriticalHeader);
        }
        let key = self.keys.choose(&header.alg, header.kid.as_ref())?;
        let mut validation = Validation::new(key.algorithm());
        validation.leeway = self.leeway;
        validation.validate_nbf = true;
        if !self.issuer.is_empty() {
            validation.set_issuer(&[&self.issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        match &self.audience {
            None => validation.validate_aud = false,
            Some(audience) => {
                validation.set_audience(&[audience]);
                validation.required_spec_claims.insert("aud".to_owned());
            }
        }
        let token = decode::<Claims>(token, key.key(), &validation)
            .map_err(|error| token_error(error.kind()))?;
        match token.claims.sub {
            Some(Value::String(subject)) => subject
                .parse()
                .ok()
                .filter(Applicant::is_addressable)
                .ok_or(TokenError::Subject),
            _ => Err(TokenError::Subject),
        }
    }
}

/// The token of `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Result<&str, TokenError> {
    let mut values = headers.get_all("authorization").iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(TokenError::Missing);
    };
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .ok_or(TokenError::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(TokenError::Missing);
    }
    Ok(token.trim_matches(' '))
}

/// What the token says of itself, before anything of it is believed.
fn header(token: &str) -> Result<Header, TokenError> {
    if token.len() > LONGEST {
        return Err(TokenError::Malformed);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::Malformed);
    };
    let json = URL_SAFE_NO_PAD
        .decode(header)
        .map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)
}

fn token_error(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYetValid,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => TokenError::Claim,
        // The algorithm was compared before; what is left is about the form of it.
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
mod tests;
