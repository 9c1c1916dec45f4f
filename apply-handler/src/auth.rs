//! Authentication: decides which applicant a request is for. Either the handler trusts every request to name its
//! applicant, or each request needs a signed token (a JWT of RFC 7519, sent as a bearer token of RFC 6750) whose
//! subject is the applicant. Every subject has a user id: see [`Applicant::of_subject`].
//!
//! Each key verifies exactly one algorithm, which follows from the type of the key. So a token cannot choose the
//! algorithm that verifies it. Keys come only from the configuration: token headers that point to other keys are
//! ignored.

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
use serde_json::{Map, Value};
use spin_sdk::http::HeaderMap;

/// Maximum length of a token, in bytes.
const MAX_TOKEN_LENGTH: usize = 8 * 1024;

/// The authentication mode.
#[derive(Clone)]
pub enum Auth {
    /// No authentication: the request names the applicant, and any client may have sent it.
    Unproven,
    /// No authentication here: a gateway in front has proven that the request comes from the applicant that it names.
    Upstream,
    /// The subject of a token is the applicant.
    Jwt(Box<TokenPolicy>),
}

/// Which tokens are accepted.
#[derive(Clone)]
pub struct TokenPolicy {
    pub keys: Keys,
    /// Required `iss`; empty: any.
    pub issuer: String,
    /// Required entry of `aud`; `None`: any.
    pub audience: Option<String>,
    /// The claim that names the applicant.
    pub subject_claim: String,
    /// Accepted clock difference for `exp` and `nbf`, in seconds.
    pub leeway: u64,
}

#[derive(Deserialize)]
struct Header {
    alg: Value,
    kid: Option<Value>,
    crit: Option<Value>,
}

impl Auth {
    /// How applicants are known, as clients are told.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unproven => "unproven",
            Self::Upstream => "upstream",
            Self::Jwt(_) => "jwt",
        }
    }

    /// Whether it is certain that a request comes from its applicant.
    pub fn is_proven(&self) -> bool {
        !matches!(self, Self::Unproven)
    }

    /// The subject of the request's token; `None` if no tokens are required. Then it does not ask for headers.
    ///
    /// # Errors
    /// When the token is missing or not accepted.
    pub fn applicant<'a>(
        &self,
        headers: impl FnOnce() -> &'a HeaderMap,
    ) -> Result<Option<Applicant>, TokenError> {
        match self {
            Self::Unproven | Self::Upstream => Ok(None),
            Self::Jwt(tokens) => tokens.applicant(bearer(headers())?).map(Some),
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
        let token = decode::<Map<String, Value>>(token, key.key(), &validation)
            .map_err(|error| token_error(error.kind()))?;
        let subject = token.claims.get(&self.subject_claim);
        let subject = subject.and_then(Value::as_str).ok_or(TokenError::Subject)?;
        Applicant::of_subject(subject).map_err(|_| TokenError::Subject)
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

/// The header of a token whose signature is not verified yet.
fn header(token: &str) -> Result<Header, TokenError> {
    if token.len() > MAX_TOKEN_LENGTH {
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
        // The algorithm was compared before. The remaining errors concern the form of the token.
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
mod tests;
