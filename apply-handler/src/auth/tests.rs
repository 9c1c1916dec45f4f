//! Tests of authentication: tokens signed with real keys are accepted, and forged or malformed tokens are rejected.

use super::*;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, encode};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;

/// A signing key and its name in the key set.
struct Signer {
    kid: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

fn der(base64: &str) -> Vec<u8> {
    let base64: String = base64.split_whitespace().collect();
    base64::engine::general_purpose::STANDARD
        .decode(base64)
        .expect("base64")
}

fn signers() -> [Signer; 4] {
    let ec = der(include_str!("../../testdata/ec.pkcs8.b64"));
    let ed = der(include_str!("../../testdata/ed.pkcs8.b64"));
    let rsa = der(include_str!("../../testdata/rsa.pkcs1.b64"));
    [
        Signer {
            kid: "hs",
            algorithm: Algorithm::HS256,
            key: EncodingKey::from_secret(SECRET),
        },
        Signer {
            kid: "ec",
            algorithm: Algorithm::ES256,
            key: EncodingKey::from_ec_der(&ec),
        },
        Signer {
            kid: "ed",
            algorithm: Algorithm::EdDSA,
            key: EncodingKey::from_ed_der(&ed),
        },
        Signer {
            kid: "rs",
            algorithm: Algorithm::RS256,
            key: EncodingKey::from_rsa_der(&rsa),
        },
    ]
}

fn jwk(signer: &Signer) -> Value {
    let jwk = Jwk::from_encoding_key(&signer.key, signer.algorithm).expect("a key");
    let mut jwk = serde_json::to_value(jwk).expect("JSON");
    jwk["kid"] = signer.kid.into();
    jwk
}

fn tokens() -> TokenPolicy {
    let keys: Vec<Value> = signers().iter().map(jwk).collect();
    TokenPolicy {
        keys: Keys::parse(&json!({ "keys": keys }).to_string()).expect("keys"),
        issuer: "https://id.example".into(),
        audience: Some("rushgate".into()),
        subject_claim: "sub".into(),
        leeway: 30,
    }
}

fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

fn claims() -> Value {
    json!({"sub": "42", "iss": "https://id.example", "aud": "rushgate", "exp": now() + 600, "nbf": now() - 5})
}

/// Signs any header and any claims, good or bad.
fn sign(signer: &Signer, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &signer.key, signer.algorithm);
    format!("{message}.{}", signature.expect("a signature"))
}

fn header_of(signer: &Signer) -> Value {
    json!({"alg": signer.algorithm, "typ": "JWT", "kid": signer.kid})
}

fn authenticate(authorization: &str) -> Result<String, TokenError> {
    let mut headers = HeaderMap::new();
    let value = authorization.parse().expect("a header");
    headers.insert("authorization", value);
    let auth = Auth::Jwt(Box::new(tokens()));
    let applicant = auth.applicant(|| &headers)?;
    Ok(applicant.expect("jwt").to_string())
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn a_token_of_each_key_gives_its_subject() {
    for signer in signers() {
        let token = sign(&signer, &header_of(&signer), &claims());
        assert_eq!(
            authenticate(&bearer(&token)),
            Ok("42".into()),
            "{}",
            signer.kid
        );
        // Without a kid, the only key of that algorithm is used.
        let unnamed = sign(&signer, &json!({"alg": signer.algorithm}), &claims());
        assert_eq!(
            authenticate(&format!("bearer  {unnamed} ")),
            Ok("42".into())
        );
        // A token made by the library itself.
        let header = jsonwebtoken::Header::new(signer.algorithm);
        let theirs = encode(&header, &claims(), &signer.key).expect("a token");
        assert_eq!(authenticate(&bearer(&theirs)), Ok("42".into()));
    }
    let several = json!({"sub": "a@b", "iss": "https://id.example", "aud": ["x", "rushgate"], "exp": now() - 10});
    let signer = &signers()[0];
    assert_eq!(
        authenticate(&bearer(&sign(signer, &header_of(signer), &several))),
        Ok("a@b".into()),
        "within the leeway, one audience of several"
    );
}

#[test]
fn any_subject_has_a_user_id_and_another_claim_may_name_the_applicant() {
    let signer = &signers()[0];
    let mut tokens = tokens();
    let mut applicant = |claim: &str, name: &str, value: Value| {
        tokens.subject_claim = claim.to_owned();
        let mut claims = claims();
        claims[name] = value;
        let applicant = tokens.applicant(&sign(signer, &header_of(signer), &claims));
        applicant.map(|applicant| applicant.to_string())
    };
    let own = "https://shop.example/member";
    for (claim, name, value, expected) in [
        ("sub", "sub", json!("auth0|66f0"), Ok("auth0|66f0")),
        ("sub", "sub", json!("a b"), Ok("a~20b")),
        ("sub", "sub", json!(".."), Ok("~2E~2E")),
        (
            own,
            own,
            json!("kim+promo@shop.example"),
            Ok("kim+promo@shop.example"),
        ),
        ("sub", own, json!("7"), Ok("42")),
        (own, "sub", json!("7"), Err(TokenError::Subject)),
        (own, own, json!(7), Err(TokenError::Subject)),
        (own, own, json!(""), Err(TokenError::Subject)),
    ] {
        let expected = expected.map(str::to_owned);
        assert_eq!(applicant(claim, name, value), expected, "{claim}, {name}");
    }
}

/// Hostile tokens of one signer, each with the expected error.
fn hostile(signer: &Signer, others: &[Signer]) -> Vec<(&'static str, String, TokenError)> {
    let header = header_of(signer);
    let good = sign(signer, &header, &claims());
    let with_header = |name: &str, value: Value| {
        let mut changed = header.clone();
        changed[name] = value;
        sign(signer, &changed, &claims())
    };
    let with_claim = |name: &str, value: Value| {
        let mut changed = claims();
        changed[name] = value;
        sign(signer, &header, &changed)
    };
    let without = |name: &str| {
        let mut changed = claims();
        changed.as_object_mut().expect("an object").remove(name);
        sign(signer, &header, &changed)
    };
    let parts: Vec<&str> = good.split('.').collect();
    let unsigned = |alg: &str| {
        let header = json!({"alg": alg, "kid": signer.kid}).to_string();
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), parts[1])
    };
    let other = others
        .iter()
        .find(|other| other.kid != signer.kid)
        .expect("another key");
    let flipped = {
        let mut signature = URL_SAFE_NO_PAD.decode(parts[2]).expect("base64");
        signature[7] ^= 1;
        URL_SAFE_NO_PAD.encode(signature)
    };
    let mallory = URL_SAFE_NO_PAD.encode(
        json!({"sub": "mallory", "iss": "https://id.example", "aud": "rushgate", "exp": now() + 600}).to_string(),
    );
    let foreign = {
        let secret = Signer {
            kid: signer.kid,
            algorithm: Algorithm::HS256,
            key: EncodingKey::from_secret(b"another secret of thirty-two byte"),
        };
        sign(&secret, &json!({"alg": "HS256", "kid": "hs"}), &claims())
    };
    // The public key used as an HS256 secret: algorithm confusion.
    let confused = {
        let public = jwk(signer).to_string();
        let secret = Signer {
            kid: signer.kid,
            algorithm: Algorithm::HS256,
            key: EncodingKey::from_secret(public.as_bytes()),
        };
        sign(
            &secret,
            &json!({"alg": "HS256", "kid": signer.kid}),
            &claims(),
        )
    };
    let confusion = match signer.algorithm {
        Algorithm::HS256 => TokenError::Signature,
        _ => TokenError::AlgorithmOfKey,
    };
    let own_key = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET)});
    vec![
        ("alg none", unsigned("none"), TokenError::Algorithm),
        ("alg None", unsigned("None"), TokenError::Algorithm),
        ("alg empty", unsigned(""), TokenError::Algorithm),
        ("alg HS512", unsigned("HS512"), TokenError::Algorithm),
        (
            "alg in another case",
            unsigned("hs256"),
            TokenError::Algorithm,
        ),
        (
            "alg no text",
            with_header("alg", json!(["HS256"])),
            TokenError::Malformed,
        ),
        (
            "alg null",
            with_header("alg", Value::Null),
            TokenError::Malformed,
        ),
        (
            "alg of another key",
            with_header("alg", json!(other.algorithm)),
            TokenError::AlgorithmOfKey,
        ),
        (
            "kid of another key",
            with_header("kid", other.kid.into()),
            TokenError::AlgorithmOfKey,
        ),
        (
            "kid unknown",
            with_header("kid", "2019".into()),
            TokenError::Key,
        ),
        (
            "kid a path",
            with_header("kid", "../../dev/null".into()),
            TokenError::Key,
        ),
        (
            "kid SQL",
            with_header("kid", "x' UNION SELECT 'a".into()),
            TokenError::Key,
        ),
        (
            "kid no text",
            with_header("kid", json!(1)),
            TokenError::Malformed,
        ),
        (
            "crit",
            with_header("crit", json!(["exp"])),
            TokenError::CriticalHeader,
        ),
        ("confusion", confused, confusion),
        ("another secret", foreign, TokenError::Signature),
        (
            "a bit of the signature",
            format!("{}.{}.{flipped}", parts[0], parts[1]),
            TokenError::Signature,
        ),
        (
            "no signature",
            format!("{}.{}.", parts[0], parts[1]),
            TokenError::Signature,
        ),
        (
            "other claims",
            format!("{}.{mallory}.{}", parts[0], parts[2]),
            TokenError::Signature,
        ),
        (
            "two parts",
            format!("{}.{}", parts[0], parts[1]),
            TokenError::Malformed,
        ),
        ("four parts", format!("{good}.x"), TokenError::Malformed),
        ("encrypted", format!("{good}.x.y"), TokenError::Malformed),
        ("no base64", format!("*{good}"), TokenError::Malformed),
        ("padded", good.replacen('.', "=.", 1), TokenError::Malformed),
        (
            "header no JSON",
            format!("{}.{}.{}", URL_SAFE_NO_PAD.encode("{"), parts[1], parts[2]),
            TokenError::Malformed,
        ),
        (
            "header no object",
            format!("{}.{}.{}", URL_SAFE_NO_PAD.encode("[]"), parts[1], parts[2]),
            TokenError::Malformed,
        ),
        (
            "too long",
            format!("{good}{}", "A".repeat(9_000)),
            TokenError::Malformed,
        ),
        (
            "claims no object",
            sign(signer, &header, &json!(["42"])),
            TokenError::Malformed,
        ),
        ("exp missing", without("exp"), TokenError::Claim),
        (
            "exp a text",
            with_claim("exp", "tomorrow".into()),
            TokenError::Claim,
        ),
        (
            "exp negative",
            with_claim("exp", json!(-1)),
            TokenError::Claim,
        ),
        (
            "exp null",
            with_claim("exp", Value::Null),
            TokenError::Claim,
        ),
        (
            "expired",
            with_claim("exp", json!(now() - 40)),
            TokenError::Expired,
        ),
        (
            "expired in 1970",
            with_claim("exp", json!(0)),
            TokenError::Expired,
        ),
        (
            "not yet",
            with_claim("nbf", json!(now() + 60)),
            TokenError::NotYetValid,
        ),
        (
            "nbf a text",
            with_claim("nbf", "now".into()),
            TokenError::Claim,
        ),
        ("iss missing", without("iss"), TokenError::Claim),
        (
            "iss another",
            with_claim("iss", "https://id.example.evil".into()),
            TokenError::Issuer,
        ),
        (
            "iss in another case",
            with_claim("iss", "https://ID.example".into()),
            TokenError::Issuer,
        ),
        ("aud missing", without("aud"), TokenError::Claim),
        (
            "aud another",
            with_claim("aud", "shop".into()),
            TokenError::Audience,
        ),
        (
            "aud others",
            with_claim("aud", json!(["shop", "rush"])),
            TokenError::Audience,
        ),
        ("sub missing", without("sub"), TokenError::Subject),
        (
            "sub a number",
            with_claim("sub", json!(42)),
            TokenError::Subject,
        ),
        (
            "sub empty",
            with_claim("sub", "".into()),
            TokenError::Subject,
        ),
        // A key in the header of the token is ignored.
        (
            "own key",
            {
                let key = Signer {
                    kid: "hs",
                    algorithm: Algorithm::HS256,
                    key: EncodingKey::from_secret(b"mallory's own secret of 32 bytes"),
                };
                sign(
                    &key,
                    &json!({"alg": "HS256", "kid": "hs", "jwk": own_key, "jku": "https://evil.example"}),
                    &claims(),
                )
            },
            TokenError::Signature,
        ),
    ]
}

#[test]
fn each_hostile_token_is_rejected_with_its_own_error() {
    let all = signers();
    let mut counts: BTreeMap<TokenError, usize> = BTreeMap::new();
    for signer in &all {
        for (what, token, expected) in hostile(signer, &all) {
            assert_eq!(
                authenticate(&bearer(&token)),
                Err(expected),
                "{}: {what}",
                signer.kid
            );
            *counts.entry(expected).or_default() += 1;
        }
    }
    let good = sign(&all[0], &header_of(&all[0]), &claims());
    for missing in [
        "",
        "Bearer",
        "Basic NDI6eA==",
        &good,
        &format!("Token {good}"),
    ] {
        assert_eq!(
            authenticate(missing),
            Err(TokenError::Missing),
            "{missing:?}"
        );
        *counts.entry(TokenError::Missing).or_default() += 1;
    }
    assert!(counts.values().sum::<usize>() >= 100, "{counts:?}");
    assert_eq!(
        counts.len(),
        TokenError::ALL.len(),
        "each reason has its token: {counts:?}"
    );
}

#[test]
fn two_authorization_headers_are_rejected() {
    let signer = &signers()[0];
    let token = bearer(&sign(signer, &header_of(signer), &claims()));
    let mut headers = HeaderMap::new();
    for _ in 0..2 {
        headers.append("authorization", token.parse().expect("a header"));
    }
    let auth = Auth::Jwt(Box::new(tokens()));
    assert_eq!(auth.applicant(|| &headers), Err(TokenError::Missing));
    for (auth, is_proven) in [(Auth::Unproven, false), (Auth::Upstream, true)] {
        assert_eq!(
            (auth.applicant(|| &headers), auth.is_proven()),
            (Ok(None), is_proven)
        );
    }
    assert!(Auth::Jwt(Box::new(tokens())).is_proven());
}

#[test]
fn keys_rotate_by_kid() {
    let old = Signer {
        kid: "2025",
        algorithm: Algorithm::HS256,
        key: EncodingKey::from_secret(b"the secret of the year that was."),
    };
    let new = &signers()[0];
    let set = json!({"keys": [jwk(&old), jwk(new)]}).to_string();
    let mut tokens = tokens();
    tokens.keys = Keys::parse(&set).expect("keys");
    for signer in [&old, new] {
        let token = sign(signer, &header_of(signer), &claims());
        assert_eq!(
            tokens.applicant(&token).map(|a| a.to_string()),
            Ok("42".into()),
            "{}",
            signer.kid
        );
        // Two keys match, so no key is chosen.
        let unnamed = sign(signer, &json!({"alg": "HS256"}), &claims());
        let refused = tokens.applicant(&unnamed);
        assert_eq!(refused, Err(TokenError::Key), "{}", signer.kid);
    }
    tokens.keys = Keys::parse(&jwk(new).to_string()).expect("a key");
    let token = sign(&old, &header_of(&old), &claims());
    assert_eq!(tokens.applicant(&token), Err(TokenError::Key));
}

#[test]
fn unsafe_keys_are_rejected_at_start() {
    let short_rsa = {
        let der = der(include_str!("../../testdata/rsa-1024.pkcs1.b64"));
        jwk(&Signer {
            kid: "short",
            algorithm: Algorithm::RS256,
            key: EncodingKey::from_rsa_der(&der),
        })
    };
    let [hs, ec, ..] = signers();
    let mut for_encryption = jwk(&ec);
    for_encryption["use"] = "enc".into();
    let mut other_algorithm = jwk(&hs);
    other_algorithm["alg"] = "HS512".into();
    let mut torn = jwk(&ec);
    torn["x"] = "AAAA".into();
    for (keys, expected) in [
        (json!(""), BadKeys::NotKeys),
        (json!({"keys": 1}), BadKeys::NotKeys),
        (json!({"keys": []}), BadKeys::NoneUsable),
        (json!({"kty": "oct", "k": "c2VjcmV0"}), BadKeys::TooShort(1)),
        (short_rsa, BadKeys::TooShort(1)),
        (for_encryption, BadKeys::NoneUsable),
        (other_algorithm, BadKeys::NoneUsable),
        (torn, BadKeys::Malformed(1)),
        (json!({"kty": "secret"}), BadKeys::NoneUsable),
        (json!({"k": "c2VjcmV0"}), BadKeys::Malformed(1)),
    ] {
        let error = Keys::parse(&keys.to_string()).err();
        assert_eq!(error, Some(expected), "{keys}");
    }
    // Other keys of a provider's set are ignored.
    let mixed = json!({"keys": [{"kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB"}, {"kty": "magic"}, jwk(&ec)]});
    let keys = Keys::parse(&mixed.to_string()).expect("one of them");
    assert_eq!(keys.skipped(), []);
}

#[test]
fn an_invalid_key_does_not_affect_the_rest_of_the_set() {
    let [hs, ec, ..] = signers();
    let with = |name: &str, value: Value| {
        let mut odd = jwk(&ec);
        odd["kid"] = "odd".into();
        odd[name] = value;
        odd
    };
    for (odd, expected) in [
        (json!({"kty": "oct", "k": "c2VjcmV0"}), BadKeys::TooShort(1)),
        (with("kid", json!(2026)), BadKeys::Malformed(1)),
        (with("x5c", json!("MIIB")), BadKeys::Malformed(1)),
        (with("x5c", json!([1])), BadKeys::Malformed(1)),
        (with("key_ops", json!("verify")), BadKeys::Malformed(1)),
        (with("x", "AAAA".into()), BadKeys::Malformed(1)),
        (json!("text"), BadKeys::Malformed(1)),
    ] {
        let set = json!({"keys": [odd, jwk(&hs)]}).to_string();
        let mut tokens = tokens();
        tokens.keys = Keys::parse(&set).expect("the other one");
        assert_eq!(tokens.keys.skipped(), [expected], "{set}");
        let token = sign(&hs, &header_of(&hs), &claims());
        assert!(tokens.applicant(&token).is_ok(), "{set}");
    }
    let twice = json!({"keys": [jwk(&hs), jwk(&hs)]}).to_string();
    let keys = Keys::parse(&twice).expect("the first one");
    assert_eq!(keys.skipped(), [BadKeys::SameName(2)]);
}

proptest! {
    #[test]
    fn an_arbitrary_token_is_rejected_without_a_panic(
        header in prop::collection::vec(any::<u8>(), 0..60),
        claims in prop::collection::vec(any::<u8>(), 0..60),
        signature in prop::collection::vec(any::<u8>(), 0..300),
        text in "[ -~]{0,80}",
    ) {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let wrapped = format!("{}.{}.{}", part(&header), part(&claims), part(&signature));
        let real_header = part(header_of(&signers()[1]).to_string().as_bytes());
        let half_real = format!("{real_header}.{}.{}", part(&claims), part(&signature));
        for token in [wrapped, half_real, text.clone()] {
            prop_assert!(authenticate(&bearer(&token)).is_err());
        }
        prop_assert!(authenticate(&text).is_err());
    }

    #[test]
    fn arbitrary_keys_are_rejected_without_a_panic(
        text in "[ -~]{0,80}", kty in "RSA|EC|OKP|oct|x", value in "[A-Za-z0-9_=-]{0,60}", crv in "P-256|P-384|Ed25519|x",
    ) {
        prop_assert!(Keys::parse(&text).is_err());
        let key = json!({"kty": kty, "n": value, "e": value, "x": value, "y": value, "k": value, "crv": crv});
        let _ = Keys::parse(&key.to_string());
    }
}
