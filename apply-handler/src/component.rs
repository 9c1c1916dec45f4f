//! What Spin calls.
//!
//! Instead of the SDK's `http_service` attribute, which turns a request that it cannot convert into an
//! internal error, so that such a request too is answered with what is wrong with it.

use crate::handle::handle;
use crate::problem::Problem;
use spin_sdk::http::{FromRequest, IntoResponse, Request};
use spin_sdk::wasip3::exports::http::handler::Guest;
use spin_sdk::wasip3::http::service::export;
use spin_sdk::wasip3::http::types;

struct Component;

export!(Component);

impl Guest for Component {
    async fn handle(request: types::Request) -> Result<types::Response, types::ErrorCode> {
        match Request::from_request(request) {
            Ok(request) => handle(request).await,
            Err(_) => Problem::MalformedRequest.answer().into_response(),
        }
        .into_response()
    }
}
