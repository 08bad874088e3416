//! A binary payload while it is read from its front to its end, and what may be wrong with it.

use std::{borrow::Cow, fmt, str};

/// The most levels of maps and lists in each other that are read.
pub(super) const MAX_DEPTH: u32 = 64;

/// The bytes of a payload, and how many of them were read.
#[derive(Debug, Clone)]
pub(super) struct Bytes<'p> {
    payload: &'p [u8],
    at: usize,
}

/// What is wrong, and where.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(super) struct Fault {
    what: Cow<'static, str>,
    /// Byte of the payload; `None`: where reading has come to.
    at: Option<usize>,
}

impl Fault {
    pub(super) fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.into(), at: None }
    }

    pub(super) fn at(byte: usize, what: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.into(), at: Some(byte) }
    }

    /// What is wrong, and the byte where: `reached` unless another one is known.
    pub(super) fn told(self, reached: usize) -> (usize, String) {
        (self.at.unwrap_or(reached), self.what.into_owned())
    }
}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self::new(what.to_string())
    }
}

impl<'p> Bytes<'p> {
    /// A payload of which `at` bytes are already read.
    pub(super) fn after(payload: &'p [u8], at: usize) -> Self {
        Self { payload, at }
    }

    /// The same up to the byte `end`.
    pub(super) fn until(self, end: usize) -> Self {
        Self { payload: &self.payload[..end], ..self }
    }

    /// Something is wrong at the place that was reached.
    pub(super) fn fault(&self, what: impl Into<Cow<'static, str>>) -> Fault {
        Fault::at(self.at, what)
    }

    /// How many bytes were read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.payload.len() - self.at
    }

    /// The next `count` bytes.
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'p [u8], Fault> {
        let rest = &self.payload[self.at..];
        let Some(taken) = rest.get(..count) else {
            return Err(self.fault(format!("the record is cut off: of {count} bytes {} are there", rest.len())));
        };
        self.at += count;
        Ok(taken)
    }

    /// The next `N` bytes.
    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let rest = &self.payload[self.at..];
        let Some(taken) = rest.first_chunk() else { return self.take(N).map(|_| [0; N]) };
        self.at += N;
        Ok(*taken)
    }

    /// Nothing follows the record.
    pub(super) fn end(&self) -> Result<(), Fault> {
        match self.left() {
            0 => Ok(()),
            left => Err(self.fault(format!("the record ends here, but {left} more bytes follow"))),
        }
    }

    /// The next byte.
    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Fault> {
        self.array().map(|[byte]| byte)
    }

    /// The next `count` bytes as text.
    #[inline]
    pub(super) fn text(&mut self, count: usize) -> Result<&'p str, Fault> {
        let taken = self.take(count)?;
        str::from_utf8(taken).map_err(|cause| {
            // The fault is where the text is bad, not behind it.
            self.at -= count - cause.valid_up_to();
            self.fault(format!("byte 0x{:02x} is not UTF-8", taken[cause.valid_up_to()]))
        })
    }

    /// An integer of 1 to 10 bytes, seven bits in each, the lowest first.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Fault> {
        let first = self.byte()?;
        if first < 0x80 { Ok(u64::from(first)) } else { self.long_varint(first) }
    }

    fn long_varint(&mut self, first: u8) -> Result<u64, Fault> {
        let mut number = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // The tenth byte has but one bit left.
                return if shift < 63 || byte < 2 { Ok(number) } else { Err(self.too_long()) };
            }
        }
        Err(self.too_long())
    }

    fn too_long(&self) -> Fault {
        self.fault("an integer has more than 64 bits")
    }

    /// The same, where an odd number stands for a negative one.
    #[inline]
    pub(super) fn zigzag(&mut self) -> Result<i64, Fault> {
        self.varint().map(unzigzag)
    }
}

/// The number that a zigzag code stands for.
#[inline]
pub(super) fn unzigzag(code: u64) -> i64 {
    (code >> 1) as i64 ^ -((code & 1) as i64)
}

/// Deeper than [`MAX_DEPTH`].
pub(super) fn too_deep() -> Fault {
    Fault::new(format!("more than {MAX_DEPTH} levels of maps and lists in each other"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_seven_bits_a_byte_are_read_up_to_64_bits_and_no_further() {
        let read = |bytes: &[u8]| Bytes::after(bytes, 0).varint().map_err(|fault| fault.told(0).1);
        assert_eq!(read(&[0]), Ok(0));
        assert_eq!(read(&[0xac, 0x02]), Ok(300));
        assert_eq!(read(&[&[0xff; 9][..], &[1]].concat()), Ok(u64::MAX));
        assert_eq!(read(&[&[0xff; 9][..], &[2]].concat()), Err("an integer has more than 64 bits".to_owned()));
        assert_eq!(read(&[0xff; 11]), Err("an integer has more than 64 bits".to_owned()));
        assert!(read(&[0x80]).unwrap_err().contains("cut off"));
        for (code, number) in [(0, 0), (1, -1), (2, 1), (3, -2), (u64::MAX, i64::MIN), (u64::MAX - 1, i64::MAX)] {
            assert_eq!(unzigzag(code), number);
        }
    }

    #[test]
    fn a_text_that_is_no_utf_8_is_told_where_it_is_bad() {
        let mut bytes = Bytes::after(b"ab\xffd", 0);
        assert_eq!(bytes.text(4).unwrap_err().told(0), (2, "byte 0xff is not UTF-8".to_owned()));
        let mut short = Bytes::after(b"abc", 1);
        let told = "the record is cut off: of 3 bytes 2 are there".to_owned();
        assert_eq!(short.take(3).unwrap_err().told(0), (1, told));
    }
}
