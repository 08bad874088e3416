//! Headers of a message: what other programs wrote beside key and value. Nothing is judged by them; a dead letter keeps them.

use std::fmt;

/// Headers that are kept of a record at most, and their bytes, keys and values together: far below what brokers take as one
/// message, however many came.
const MOST_HEADERS: usize = 64;
const MOST_BYTES: usize = 16 * 1024;

/// Headers where they lie. They are read only where they are wanted, which those of most records never are.
pub trait Headers: fmt::Debug {
    /// Shows each header, key and value, in their order. A key is text; what of it is none was replaced.
    fn visit(&self, visit: &mut dyn FnMut(&str, Option<&[u8]>));

    /// How many more there were that were not kept.
    fn left_out(&self) -> usize {
        0
    }
}

/// Key and value.
type Kept = (Box<str>, Option<Box<[u8]>>);

/// A copy of headers, as far as they are few and small.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptHeaders {
    entries: Vec<Kept>,
    bytes: usize,
    left_out: usize,
}

impl KeptHeaders {
    /// Copies what is there: at most 64 headers of 16 KiB in all. What doesn't fit is left out and counted.
    pub fn copy(headers: &dyn Headers) -> Self {
        let mut kept = Self { left_out: headers.left_out(), ..Self::default() };
        headers.visit(&mut |key, value| {
            let bytes = key.len() + value.map_or(0, <[u8]>::len);
            if kept.entries.len() < MOST_HEADERS && kept.bytes + bytes <= MOST_BYTES {
                kept.bytes += bytes;
                kept.entries.push((key.into(), value.map(Into::into)));
            } else {
                kept.left_out += 1;
            }
        });
        kept
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.left_out == 0
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keys and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.entries.iter().map(|(key, value)| (&**key, value.as_deref()))
    }
}

impl Headers for KeptHeaders {
    fn visit(&self, visit: &mut dyn FnMut(&str, Option<&[u8]>)) {
        self.iter().for_each(|(key, value)| visit(key, value));
    }

    fn left_out(&self) -> usize {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Flood(usize, usize);

    /// So many headers of so many bytes, and a small one behind them.
    impl Headers for Flood {
        fn visit(&self, visit: &mut dyn FnMut(&str, Option<&[u8]>)) {
            let value = vec![b'x'; self.1 - 1];
            (0..self.0).for_each(|_| visit("k", Some(&value)));
            visit("last", None);
        }
    }

    #[test]
    fn few_and_small_headers_are_kept_as_they_came() {
        let kept = KeptHeaders::copy(&Flood(2, 3));
        let entries: Vec<(&str, Option<&[u8]>)> = kept.iter().collect();
        assert_eq!(entries, [("k", Some(&b"xx"[..])), ("k", Some(&b"xx"[..])), ("last", None)]);
        assert_eq!((kept.bytes(), kept.left_out(), kept.is_empty()), (10, 0, false));
        assert_eq!(KeptHeaders::copy(&kept), kept);
        assert!(KeptHeaders::default().is_empty());
    }

    #[test]
    fn of_a_flood_of_headers_only_so_much_is_kept_and_the_rest_counted() {
        let many = KeptHeaders::copy(&Flood(100_000, 1));
        assert_eq!((many.iter().count(), many.left_out()), (MOST_HEADERS, 100_001 - MOST_HEADERS));
        let large = KeptHeaders::copy(&Flood(3, MOST_BYTES / 2));
        assert_eq!((large.iter().count(), large.bytes(), large.left_out()), (2, MOST_BYTES, 2));
        let whole = KeptHeaders::copy(&Flood(1, MOST_BYTES + 1));
        assert_eq!(whole.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["last"], "what is small still fits");
        assert_eq!(KeptHeaders::copy(&whole).left_out(), 1, "what was left out is not forgotten by another copy");
    }
}
