//! Tests tokens with the compiled component: an applicant with a token can apply and ask only for themselves.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Client, Method, StatusCode};
use rushgate_e2e::system::{Size, System};
use serde_json::{Value, json};

const SECRET: &str = "correct horse battery staple 32!";

pub(crate) fn key_set() -> String {
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&secret, Algorithm::HS256).expect("a key");
    let mut jwk = serde_json::to_value(jwk).expect("JSON");
    jwk["kid"] = json!("2026");
    json!({ "keys": [jwk] }).to_string()
}

pub(crate) fn token(subject: &str, expires_in: i64) -> String {
    let now = i64::try_from(jsonwebtoken::get_current_timestamp()).expect("a time");
    let claims = json!({"sub": subject, "aud": "rushgate", "exp": now + expires_in});
    let header = Header {
        kid: Some("2026".into()),
        ..Header::new(Algorithm::HS256)
    };
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&header, &claims, &key).expect("a token")
}

/// A system that accepts tokens of these keys.
async fn system_with(keys: &str) -> System {
    let settings = [
        ("SPIN_VARIABLE_AUTH_MODE", "jwt"),
        ("SPIN_VARIABLE_JWT_KEYS", keys),
        ("SPIN_VARIABLE_JWT_AUDIENCE", "rushgate"),
    ];
    System::start_with(Size::ONLY_A_HANDLER, &settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tokens_applicants_apply_and_ask_for_themselves_only() {
    let keys = key_set();
    let system = system_with(&keys).await;
    system.operator.create("launch", 10).await.expect("created");
    let client = Client::new();
    let campaign = format!("{}/v1/campaigns/launch", system.url());
    let request = async |method: Method, path: &str, token: Option<&str>, body: &'static str| {
        let mut request = client.request(method, format!("{campaign}{path}"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if !body.is_empty() {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        let response = request.send().await.expect("an answer");
        let challenge = response.headers().get("www-authenticate").cloned();
        let challenge = challenge.map(|value| value.to_str().expect("ASCII").to_owned());
        let status = response.status();
        let body: Value = response.json().await.expect("JSON");
        (status, challenge, body)
    };

    let alice = token("alice", 60);
    let (status, challenge, body) = request(
        Method::POST,
        "/applications",
        None,
        r#"{"user_id":"alice"}"#,
    )
    .await;
    assert_eq!(
        (status, &body["code"]),
        (StatusCode::UNAUTHORIZED, &json!("missing_token"))
    );
    assert_eq!(challenge.as_deref(), Some(r#"Bearer realm="rushgate""#));
    let late = token("alice", -60);
    let (status, challenge, body) = request(Method::POST, "/applications", Some(&late), "").await;
    assert_eq!(
        (status, &body["code"]),
        (StatusCode::UNAUTHORIZED, &json!("token_expired"))
    );
    assert!(challenge.is_some_and(|challenge| challenge.contains(r#"error="invalid_token""#)));

    // The token names the applicant; a body may, too, if it names the same one.
    for (body, status) in [
        ("", StatusCode::CREATED),
        ("{}", StatusCode::OK),
        (r#"{"user_id":"alice"}"#, StatusCode::OK),
    ] {
        let (seen, _, answer) = request(Method::POST, "/applications", Some(&alice), body).await;
        assert_eq!(
            (seen, &answer["user_id"]),
            (status, &json!("alice")),
            "{body}"
        );
    }
    let (status, _, body) = request(
        Method::POST,
        "/applications",
        Some(&alice),
        r#"{"user_id":"bob"}"#,
    )
    .await;
    assert_eq!(
        (status, &body["code"]),
        (StatusCode::FORBIDDEN, &json!("not_your_application"))
    );
    for method in [Method::GET, Method::PUT] {
        for (path, token, expected) in [
            (
                "/applications/alice",
                Some(&alice),
                (StatusCode::OK, "alice", ""),
            ),
            (
                "/applications/me",
                Some(&alice),
                (StatusCode::OK, "alice", ""),
            ),
            (
                "/applications/bob",
                Some(&alice),
                (StatusCode::FORBIDDEN, "", "not_your_application"),
            ),
            (
                "/applications/alice",
                None,
                (StatusCode::UNAUTHORIZED, "", "missing_token"),
            ),
            (
                "/applications/me",
                None,
                (StatusCode::UNAUTHORIZED, "", "missing_token"),
            ),
        ] {
            let token = token.map(String::as_str);
            let (status, _, body) = request(method.clone(), path, token, "").await;
            let word = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            let seen = (status, &*word("user_id"), &*word("code"));
            assert_eq!(seen, expected, "{method} {path}");
        }
    }
    for (path, token, expected) in [
        (
            "/applications/me",
            Some(&alice),
            (StatusCode::CONFLICT, "cancellation_not_allowed"),
        ),
        (
            "/applications/bob",
            Some(&alice),
            (StatusCode::FORBIDDEN, "not_your_application"),
        ),
        (
            "/applications/alice",
            None,
            (StatusCode::UNAUTHORIZED, "missing_token"),
        ),
    ] {
        let token = token.map(String::as_str);
        let (status, _, body) = request(Method::DELETE, path, token, "").await;
        assert_eq!(
            (status, body["code"].as_str().unwrap_or_default()),
            expected,
            "{path}"
        );
    }
    let me = token("me", 60);
    let (status, _, body) = request(Method::PUT, "/applications/me", Some(&me), "").await;
    assert_eq!(
        (status, &body["user_id"]),
        (StatusCode::CREATED, &json!("me"))
    );
    // Counts are public.
    let (status, _, body) = request(Method::GET, "", None, "").await;
    assert_eq!(
        (status, &body["round"]["granted"]),
        (StatusCode::OK, &json!(2))
    );
    assert!(!system.logs().contains("alice"), "{}", system.logs());
}

/// The stack of an instance is small (`apply-handler/build.rs`). An instance whose stack is full would answer 500.
#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_key_and_the_deepest_tokens_fit_on_the_stack_of_an_instance() {
    let der = |base64: &str| {
        let base64: String = base64.split_whitespace().collect();
        STANDARD.decode(base64).expect("base64")
    };
    let rsa = der(include_str!(
        "../../../apply-handler/testdata/rsa.pkcs1.b64"
    ));
    let ec = der(include_str!("../../../apply-handler/testdata/ec.pkcs8.b64"));
    let ed = der(include_str!("../../../apply-handler/testdata/ed.pkcs8.b64"));
    let signers = [
        (
            Algorithm::HS256,
            EncodingKey::from_secret(SECRET.as_bytes()),
        ),
        (Algorithm::RS256, EncodingKey::from_rsa_der(&rsa)),
        (Algorithm::ES256, EncodingKey::from_ec_der(&ec)),
        (Algorithm::EdDSA, EncodingKey::from_ed_der(&ed)),
    ];
    let keys = signers.iter().map(|(algorithm, key)| {
        let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(key, *algorithm).expect("a key");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = json!(algorithm);
        jwk
    });
    let keys = json!({ "keys": keys.collect::<Vec<_>>() }).to_string();
    let system = system_with(&keys).await;
    system.operator.create("launch", 10).await.expect("created");
    let client = Client::new();
    let apply = async |token: &str| {
        let url = format!("{}/v1/campaigns/launch/applications", system.url());
        let response = client.post(url).bearer_auth(token).send().await;
        response.expect("an answer").status()
    };
    // Nearly as deep as serde_json reads.
    let deep = (0..120).fold(json!(1), |inner, _| json!([inner]));
    let expires = jsonwebtoken::get_current_timestamp() + 60;
    for (algorithm, key) in &signers {
        let subject = format!("{algorithm:?}");
        let claims = json!({"sub": subject, "aud": "rushgate", "exp": expires, "more": deep});
        let header = Header {
            kid: Some(subject),
            ..Header::new(*algorithm)
        };
        let token = encode(&header, &claims, key).expect("a token");
        assert_eq!(apply(&token).await, StatusCode::CREATED, "{algorithm:?}");
    }
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": deep}).to_string());
    let unsigned = format!("{header}.{}.{}", URL_SAFE_NO_PAD.encode("{}"), "AAAA");
    assert_eq!(apply(&unsigned).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_work_is_named_in_the_log_and_shown_nowhere() {
    let settings = [
        ("SPIN_VARIABLE_AUTH_MODE", "jwt"),
        ("SPIN_VARIABLE_JWT_AUDIENCE", "rushgate"),
        (
            "SPIN_VARIABLE_JWT_KEYS",
            r#"{"kty":"oct","k":"aHVudGVyMg"}"#,
        ),
    ];
    let system = System::start_unready(&settings).await;
    let response = reqwest::get(format!("{}/healthz", system.url()))
        .await
        .expect("an answer");
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let body = response.text().await.expect("a body");
    assert!(
        body.contains("misconfigured") && !body.contains("jwt"),
        "{body}"
    );
    for _ in 0..98 {
        let response = reqwest::get(format!("{}/healthz", system.url())).await;
        assert_eq!(
            response.expect("an answer").status(),
            StatusCode::INTERNAL_SERVER_ERROR
        );
    }
    let log = system.logs();
    let complaint = "variable jwt_keys: key 1 is too short";
    assert!(log.contains(complaint), "{log}");
    assert!(!log.contains("aHVudGVyMg"), "{log}");
    // One line for an instance, with a count; not a line for a request. An idle instance is replaced.
    let told = log.matches(complaint).count();
    assert!(told <= 50, "{told} times: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_odd_key_of_a_set_is_passed_over_with_a_line_in_the_log() {
    let mut keys: Value = serde_json::from_str(&key_set()).expect("JSON");
    let set = keys["keys"].as_array_mut().expect("a set");
    set.insert(0, json!({"kty": "oct", "kid": 2025, "k": "aHVudGVyMg"}));
    let keys = keys.to_string();
    let system = system_with(&keys).await;
    system.operator.create("launch", 1).await.expect("created");
    let response = Client::new()
        .post(format!("{}/v1/campaigns/launch/applications", system.url()))
        .bearer_auth(token("alice", 60))
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), StatusCode::CREATED);
    let log = system.logs();
    let line = "variable jwt_keys: key 1 is malformed; this key is skipped";
    assert!(log.contains(line) && !log.contains("aHVudGVyMg"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_for_any_audience_are_taken_on_purpose_only() {
    let keys = key_set();
    let jwt = [
        ("SPIN_VARIABLE_AUTH_MODE", "jwt"),
        ("SPIN_VARIABLE_JWT_KEYS", keys.as_str()),
    ];
    let system = System::start_unready(&jwt).await;
    let response = reqwest::get(format!("{}/healthz", system.url())).await;
    assert_eq!(
        response.expect("an answer").status(),
        StatusCode::INTERNAL_SERVER_ERROR
    );
    let log = system.logs();
    assert!(
        log.contains("variable jwt_audience: must be the aud of tokens for this service")
            && log.contains("* accepts any"),
        "{log}"
    );
    let any = [&jwt[..], &[("SPIN_VARIABLE_JWT_AUDIENCE", "*")]].concat();
    System::start_with(Size::ONLY_A_HANDLER, &any).await;
}
