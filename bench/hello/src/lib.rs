//! A hello-world component that measures the cost of the Wasm host. Its responses look like those of Rushgate, with a
//! Content-Length and a small JSON body, and it does nothing else.

use bytes::Bytes;
use spin_sdk::http::{FullBody, HeaderValue, Response};

/// The body of every response.
const BODY: &str = r#"{"hello":"world"}"#;

/// The answer to any request.
pub fn answer() -> Response<FullBody<Bytes>> {
    let mut response = Response::new(FullBody::new(Bytes::from_static(BODY.as_bytes())));
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("content-length", HeaderValue::from(BODY.len()));
    response
}

#[cfg(target_family = "wasm")]
mod component {
    use spin_sdk::http::IntoResponse;
    use spin_sdk::wasip3::exports::http::handler::Guest;
    use spin_sdk::wasip3::http::service::export;
    use spin_sdk::wasip3::http::types;

    struct Component;

    export!(Component);

    impl Guest for Component {
        async fn handle(_: types::Request) -> Result<types::Response, types::ErrorCode> {
            super::answer().into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_says_how_long_it_is() {
        let headers = answer().headers().clone();
        assert_eq!(headers["content-length"], BODY.len().to_string().as_str());
    }
}
