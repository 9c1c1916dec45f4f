//! Lists the reasons for which a token is rejected. Each has a stable code, which clients may depend on.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenError {
    Missing,
    /// Not a JWS of three parts that contain JSON.
    Malformed,
    /// An unsupported algorithm, including `none`.
    Algorithm,
    /// The named key is for another algorithm.
    AlgorithmOfKey,
    /// The token requires an extension (`crit`).
    CriticalHeader,
    /// The key is unknown, or more than one key matches.
    Key,
    /// The signature does not match.
    Signature,
    /// `exp` or another required claim is missing or has a wrong type.
    Claim,
    Expired,
    NotYetValid,
    Issuer,
    Audience,
    /// The claim that names the applicant is missing, empty or not a string.
    Subject,
}

impl TokenError {
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

    /// The stable code in the API.
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

    /// For people: what is wrong, and what to do.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Missing => "Send a token: Authorization: Bearer <token>.",
            Self::Malformed => "The token is not a signed JSON Web Token.",
            Self::Algorithm => "The token must be signed with HS256, ES256, EdDSA or RS256.",
            Self::AlgorithmOfKey => "The kid of the token names a key for another algorithm.",
            Self::CriticalHeader => "The token requires an extension (crit) that is not supported.",
            Self::Key => "The token was signed with a key that this service does not know.",
            Self::Signature => "The signature of the token is wrong.",
            Self::Claim => {
                "A required claim of the token is missing or has a wrong type: exp, and iss and aud where they are required."
            }
            Self::Expired => "The token has expired. Get a new one.",
            Self::NotYetValid => "The token is not valid yet.",
            Self::Issuer => "The token was issued by another issuer.",
            Self::Audience => "The token is for another audience.",
            Self::Subject => {
                "The claim of the token that names the applicant is missing, empty or not a string."
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
