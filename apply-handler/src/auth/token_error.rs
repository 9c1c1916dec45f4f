//! Why a token is not believed.

/// Why a token is not believed. Each has a code of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenError {
    /// There is none.
    Missing,
    /// It is not a JWS of three parts with JSON in them.
    Malformed,
    /// An algorithm that nobody here verifies, `none` among them.
    Algorithm,
    /// The key it names is for another algorithm.
    AlgorithmOfKey,
    /// It asks for an extension (`crit`).
    CriticalHeader,
    /// None of the keys here, or not clear which.
    Key,
    /// The key did not sign it.
    Signature,
    /// `exp`, or a claim that is asked for, is not there or not what it must be.
    Claim,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// Another issuer.
    Issuer,
    /// For another audience.
    Audience,
    /// It names nobody who can apply.
    Subject,
}

impl TokenError {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Missing,
        Self::Malformed,
        Self::Algorithm,
        Self::AlgorithmOfKey,
        Self::CriticalHeader,
        Self::Key,
        Self::Signature,
        Self::Claim,
        Self::Expired,
        Self::NotYetValid,
        Self::Issuer,
        Self::Audience,
        Self::Subject,
    ];

    /// The stable word for it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing_token",
            Self::Malformed => "malformed_token",
            Self::Algorithm => "unsupported_algorithm",
            Self::AlgorithmOfKey => "algorithm_mismatch",
            Self::CriticalHeader => "unsupported_critical_header",
            Self::Key => "unknown_key",
            Self::Signature => "bad_signature",
            Self::Claim => "missing_claim",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::Issuer => "wrong_issuer",
            Self::Audience => "wrong_audience",
            Self::Subject => "invalid_subject",
        }
    }

    /// What is wrong and what to do about it.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Missing => "Send a token: Authorization: Bearer <token>.",
            Self::Malformed => "The token is not a signed JSON Web Token.",
            Self::Algorithm => "The token must be signed with HS256, ES256, EdDSA or RS256.",
            Self::AlgorithmOfKey => "The key that the token names is for another algorithm.",
            Self::CriticalHeader => "The token asks for an extension that is not understood here.",
            Self::Key => "The token is of a key that is not known here.",
            Self::Signature => "The signature of the token does not fit.",
            Self::Claim => {
                "The token lacks a claim, or has one of a wrong type: exp, and iss and aud where they are asked for."
            }
            Self::Expired => "The token has expired: get a new one.",
            Self::NotYetValid => "The token is not valid yet.",
            Self::Issuer => "The token is of another issuer.",
            Self::Audience => "The token is for another audience.",
            Self::Subject => {
                "The token's sub must be 1 to 64 characters of A-Z a-z 0-9 . _ : @ -, and not . or .."
            }
        }
    }

    /// The `WWW-Authenticate` header of RFC 6750.
    pub fn challenge(self) -> String {
        match self {
            Self::Missing => r#"Bearer realm="rushgate""#.to_owned(),
            other => format!(
                r#"Bearer realm="rushgate", error="invalid_token", error_description="{}""#,
                other.code()
            ),
        }
    }
}
