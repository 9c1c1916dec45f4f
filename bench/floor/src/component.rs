//! The entry point of the component. It takes in requests and hands out responses as the handler does
//! (`apply-handler/src/http_io.rs`), and keeps one connection, as the handler does.

use crate::{Answer, KEYS};
use futures::lock::Mutex;
use futures::poll;
use spin_sdk::redis::{Connection, RedisParameter, RedisResult};
use spin_sdk::wasip3::exports::http::handler::Guest;
use spin_sdk::wasip3::http::service::export;
use spin_sdk::wasip3::http::types::{self, ErrorCode, Fields, Method, Request};
use spin_sdk::wasip3::wit_bindgen::StreamResult;
use spin_sdk::wasip3::{wit_bindgen, wit_future, wit_stream};
use std::sync::{Arc, OnceLock};

struct Component;

export!(Component);

struct Settings {
    redis_url: String,
    script: String,
    refusal: Option<Answer>,
}

impl Guest for Component {
    async fn handle(request: Request) -> Result<types::Response, ErrorCode> {
        let settings = Settings::get().await?;
        let method = request.get_method();
        if let Method::Get = method {
            return respond(Answer::ready()).await;
        }
        if let Some(refusal) = &settings.refusal {
            return respond(refusal.clone()).await;
        }
        let path = request.get_path_with_query().unwrap_or_default();
        // The floor has no use for them, but no service does without.
        let _headers = request.get_headers().copy_all();
        let user_id = match method {
            Method::Put => path.rsplit('/').next().unwrap_or_default().to_owned(),
            _ => user_id_in(&body(request).await),
        };
        let serial = settings.grant(&user_id).await?;
        respond(Answer::granted(serial, &user_id)).await
    }
}

impl Settings {
    async fn get() -> Result<&'static Self, ErrorCode> {
        static SETTINGS: OnceLock<Settings> = OnceLock::new();
        if let Some(settings) = SETTINGS.get() {
            return Ok(settings);
        }
        let variable = async |name: &str| spin_sdk::variables::get(name).await.map_err(failed);
        let read = Self {
            redis_url: variable("redis_url").await?,
            script: variable("script").await?,
            refusal: Answer::parse(&variable("refusal").await?),
        };
        Ok(SETTINGS.get_or_init(|| read))
    }

    /// The serial. An error for an applicant with a serial keeps a turn on old keys from looking fast.
    async fn grant(&self, user_id: &str) -> Result<i64, ErrorCode> {
        let [people, count, stream] = KEYS;
        let words = [self.script.as_str(), "3", people, count, stream, user_id];
        let arguments = words.map(|word| RedisParameter::Binary(word.as_bytes().to_vec()));
        let connection = self.connection().await?;
        let reply = connection.execute("EVALSHA", arguments).await;
        match reply.map_err(failed)?.as_slice() {
            [RedisResult::Int64(serial)] if *serial > 0 => Ok(*serial),
            _ => Err(failed("no serial")),
        }
    }

    /// Opened by the first request of an instance, for which the others wait.
    async fn connection(&self) -> Result<Arc<Connection>, ErrorCode> {
        static CONNECTION: Mutex<Option<Arc<Connection>>> = Mutex::new(None);
        let mut shared = CONNECTION.lock().await;
        if let Some(connection) = shared.as_ref() {
            return Ok(connection.clone());
        }
        let opened = Connection::open(&self.redis_url).await.map_err(failed)?;
        Ok(shared.insert(Arc::new(opened)).clone())
    }
}

/// The body of a request, up to the brace that ends it.
async fn body(request: Request) -> Vec<u8> {
    let (read, reader) = wit_future::new(|| Ok(()));
    let (mut stream, trailers) = Request::consume_body(request, reader);
    let mut body = Vec::with_capacity(4 * 1024);
    loop {
        let (result, piece) = stream.read(body).await;
        body = piece;
        if body.ends_with(b"}") || !matches!(result, StreamResult::Complete(_)) {
            break;
        }
    }
    drop((stream, trailers));
    let _ = read.write(Ok(())).await;
    body
}

/// The last text of a JSON object, which is short and has one field.
fn user_id_in(body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    body.rsplit('"').nth(1).unwrap_or_default().to_owned()
}

async fn respond(answer: Answer) -> Result<types::Response, ErrorCode> {
    let Answer {
        status,
        headers,
        body,
    } = answer;
    let headers = Fields::from_list(&headers).map_err(failed)?;
    let (trailers, no_trailers) = wit_future::new(|| Ok(None));
    let (mut writer, contents) = wit_stream::new();
    let mut written = Box::pin(async move {
        writer.write_all(body).await;
        drop(writer);
        let _ = trailers.write(Ok(None)).await;
    });
    if poll!(&mut written).is_pending() {
        wit_bindgen::spawn(written);
    }
    let (response, _sent) = types::Response::new(headers, Some(contents), no_trailers);
    // Fails only for an invalid status code.
    let _ = response.set_status_code(status);
    Ok(response)
}

fn failed(error: impl ToString) -> ErrorCode {
    ErrorCode::InternalError(Some(error.to_string()))
}
