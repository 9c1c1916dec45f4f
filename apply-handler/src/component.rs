//! The entry point of the Wasm component. Spin calls it once for each request.

use crate::handle::handle;
use crate::http_io::send;
use spin_sdk::wasip3::exports::http::handler::Guest;
use spin_sdk::wasip3::http::service::export;
use spin_sdk::wasip3::http::types;

struct Component;

export!(Component);

impl Guest for Component {
    async fn handle(request: types::Request) -> Result<types::Response, types::ErrorCode> {
        send(handle(request).await).await
    }
}
