//! Reads the headers of a Kafka record. A header whose name is not UTF-8 does no harm: it is returned without a name.

use rdkafka::bindings::{rd_kafka_header_get_all, rd_kafka_resp_err_t};
use rdkafka::message::BorrowedHeaders;
use std::ffi::CStr;
use std::ptr::{from_ref, null};
use std::slice;

/// The name and value of each header. The name is `None` if it is not UTF-8, and the value if the header has
/// none.
///
/// rdkafka's own iterator panics at a name that is not UTF-8. Kafka accepts such a record from any client that
/// may write to the topic, and would deliver it again after each restart.
pub fn kafka_headers(
    headers: &BorrowedHeaders,
) -> impl Iterator<Item = (Option<&str>, Option<&[u8]>)> {
    (0..).map_while(move |index| {
        let (mut name, mut value, mut length) = (null(), null(), 0);
        // SAFETY: a `BorrowedHeaders` has no content of its own: rdkafka 0.39 creates the reference from the
        // pointer to librdkafka's headers, and reads them by the same cast.
        #[allow(unsafe_code)]
        let code = unsafe {
            let headers = from_ref(headers).cast();
            rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut length)
        };
        if code != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: librdkafka has just set the pointer to a text that ends with a zero byte and lives as long as
        // the headers.
        #[allow(unsafe_code)]
        let name = unsafe { CStr::from_ptr(name) };
        let value = (!value.is_null()).then(|| {
            // SAFETY: `value` points to `length` bytes that live as long as the headers.
            #[allow(unsafe_code)]
            unsafe {
                slice::from_raw_parts(value.cast::<u8>(), length)
            }
        });
        Some((name.to_str().ok(), value))
    })
}
