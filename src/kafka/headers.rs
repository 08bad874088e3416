//! Headers of a message that was read, where librdkafka keeps them.

use std::{ffi::CStr, ptr};

use rdkafka::{
    Message as _,
    bindings::{rd_kafka_header_get_all, rd_kafka_resp_err_t},
    message::{BorrowedMessage, Headers as _},
};

use crate::record::headers::Headers;

/// The headers of a message; librdkafka reads them when they are visited, and not before.
#[derive(Debug)]
pub(super) struct MessageHeaders<'m>(pub(super) &'m BorrowedMessage<'m>);

impl Headers for MessageHeaders<'_> {
    fn visit(&self, visit: &mut dyn FnMut(&str, Option<&[u8]>)) {
        let Some(headers) = self.0.headers() else { return };
        for index in 0..headers.count() {
            let (mut key, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // rdkafka's own way to a header panics at a key that is no UTF-8, which any producer can write.
            // SAFETY: `headers` is the message's list behind an opaque reference, as rdkafka itself takes it, and the message
            // outlives this call; the pointers are filled where there is no error.
            let code = unsafe {
                rd_kafka_header_get_all(
                    ptr::from_ref(headers).cast(),
                    index,
                    &raw mut key,
                    &raw mut value,
                    &raw mut size,
                )
            };
            if code != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            // SAFETY: librdkafka ends keys with a zero and says how long values are; both live as long as the message.
            let (key, value) = unsafe {
                let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
                (CStr::from_ptr(key).to_string_lossy(), value)
            };
            visit(&key, value);
        }
    }
}
