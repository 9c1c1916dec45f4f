//! One application or cancellation over HTTP: as a client of its own sends it, as the load generator does, and what the
//! answer means.

use crate::history::{CancelReply, Place, Reply};
use anyhow::{Context, Result};
use reqwest::{Client, Method};
use rushgate_testbed::load::{Load, LoadResult, Requests};
use serde::Deserialize;
use std::io::Write;
use tokio::sync::oneshot;

#[derive(Deserialize)]
struct Body {
    user_id: String,
    #[serde(flatten)]
    place: Option<Place>,
    position: Option<u32>,
    code: Option<String>,
}

/// Sends one application of `user_id` to `url`.
///
/// # Errors
/// When there is no answer.
pub async fn apply(client: &Client, url: &str, user_id: &str) -> reqwest::Result<Reply> {
    let (reply, _) = apply_by(Method::POST, client, url, user_id).await?;
    Ok(reply)
}

/// The same by POST or by PUT. Also returns the coupon code in the answer.
///
/// # Errors
/// When there is no answer.
pub async fn apply_by(
    method: Method,
    client: &Client,
    url: &str,
    user_id: &str,
) -> reqwest::Result<(Reply, Option<String>)> {
    let request = match method {
        Method::PUT => client.put(format!("{url}/{user_id}")),
        _ => client
            .post(url)
            .header("content-type", "application/json")
            .body(format!(r#"{{"user_id":"{user_id}"}}"#)),
    };
    let response = request.send().await?;
    let status = response.status().as_u16();
    let text = response.text().await?;
    let code = theirs(&text, user_id).and_then(|body| body.code);
    Ok((reply(status, &text, user_id), code))
}

/// Cancels for `user_id`: they leave the waitlist, or give their coupon back.
///
/// # Errors
/// When there is no answer.
pub async fn cancel(client: &Client, url: &str, user_id: &str) -> reqwest::Result<CancelReply> {
    let response = client.delete(format!("{url}/{user_id}")).send().await?;
    let status = response.status().as_u16();
    let text = response.text().await?;
    let place = theirs(&text, user_id).and_then(|body| body.place);
    let says = |word: &str| text.contains(&format!("\"{word}\""));
    Ok(match (status, place) {
        (200, Some(place)) if says("revoked") => CancelReply::GivenBack(place),
        (200, _) if says("left") => CancelReply::Left,
        (404, _) if says("application_not_found") => CancelReply::NotFound,
        (409, _) if says("coupon_redeemed") => CancelReply::Redeemed,
        (503, _) => CancelReply::Unavailable,
        _ => CancelReply::Unexplained(format!("{status} {text}")),
    })
}

/// The body of an answer to this applicant.
fn theirs(text: &str, user_id: &str) -> Option<Body> {
    let body = serde_json::from_str::<Body>(text).ok();
    body.filter(|body| body.user_id == user_id)
}

/// What an answer tells the applicant.
pub(crate) fn reply(status: u16, text: &str, user_id: &str) -> Reply {
    let theirs = theirs(text, user_id);
    let (place, position) = theirs.map_or((None, None), |body| (body.place, body.position));
    match (status, place, position) {
        (201, Some(place), _) => Reply::Granted(place),
        (200, Some(place), _) => Reply::AlreadyGranted(place),
        (202, _, Some(position)) => Reply::Waitlisted(position),
        (410, ..) if text.contains(r#""decision":"sold_out""#) => Reply::SoldOut,
        (410, ..) if text.contains(r#""decision":"revoked""#) => Reply::Revoked,
        (410, ..) if text.contains(r#""decision":"closed""#) => Reply::Closed,
        (503, ..) => Reply::Unavailable,
        _ => Reply::Unexplained(format!("{status} {text}")),
    }
}

/// The grant that an answer tells the applicant, with its code.
pub fn told_code(text: &str, user_id: &str) -> Option<(Place, String)> {
    let theirs = theirs(text, user_id)?;
    theirs.place.zip(theirs.code)
}

/// Writes a request to the applications of a campaign, with a body of this type.
pub(crate) fn write(out: &mut Vec<u8>, method: &str, campaign: &str, kind: &str, body: &str) {
    let length = body.len();
    // Writing to a vector cannot fail.
    let _ = write!(
        out,
        "{method} /v1/campaigns/{campaign}/applications HTTP/1.1\r\nhost: rushgate\r\ncontent-type: {kind}\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
}

/// Writes the application of `user_id`.
pub(crate) fn write_application(out: &mut Vec<u8>, campaign: &str, user_id: &str) {
    let body = format!(r#"{{"user_id":"{user_id}"}}"#);
    write(out, "POST", campaign, "application/json", &body);
}

/// Runs a load in a thread of its own; returns its result, and its requests with what they saw.
pub(crate) async fn run<R: Requests + Send + 'static>(
    mut load: Load<R>,
) -> Result<(LoadResult, R)> {
    let (done, result) = oneshot::channel();
    std::thread::spawn(move || {
        let result = load.run().map(|result| (result, load.requests));
        // A test that has failed meanwhile does not wait for it.
        let _ = done.send(result);
    });
    result.await.context("the load generator has panicked")?
}
