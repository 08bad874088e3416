//! What MessagePack has beyond JSON, and what is wrong with bytes that are none.

use super::*;
use crate::record::SlotState::{Missing, Present, Unusable};

const FORMAT: RecordFormat = RecordFormat::MessagePack;

/// A map with `a`, the entity and this time.
fn with_time(time: &[u8]) -> Vec<u8> {
    [b"\x83\xa1a\x01\xa1e\xa1x\xa1t", time].concat()
}

/// A map with the entity, a time and this under `a`.
fn with_a(value: &[u8]) -> Vec<u8> {
    [b"\x83\xa1e\xa1x\xa1t\xce\x66\x32\x30\xc0\xa1a", value].concat()
}

#[test]
fn a_timestamp_of_each_length_is_an_event_time() {
    let mut decoder = decoder(FORMAT);
    let noon: u32 = 1_714_564_800;
    let short = [&[0xd6, 0xff][..], &noon.to_be_bytes()].concat();
    let nanoseconds = 250_000_999_u64 << 34 | u64::from(noon);
    let middle = [&[0xd7, 0xff][..], &nanoseconds.to_be_bytes()].concat();
    let long = [&[0xc7, 12, 0xff][..], &7_000_u32.to_be_bytes(), &(-1_i64).to_be_bytes()].concat();
    for (time, us) in [(short, 1_714_564_800_000_000), (middle, 1_714_564_800_250_000), (long, -999_993)] {
        let read = read(&mut decoder, &with_time(&time));
        assert_eq!((read.result, read.time), (Ok(()), Some(us)));
    }
    let far = [&[0xc7, 12, 0xff][..], &[0; 4], &i64::MAX.to_be_bytes()].concat();
    let told = read(&mut decoder, &with_time(&far)).result.unwrap_err().to_string();
    assert!(told.contains("outside of the years 0001 to 9999"), "{told}");
}

#[test]
fn what_is_no_number_is_of_no_use_as_one() {
    let mut decoder = decoder(FORMAT);
    let mut state = |value: &[u8]| read(&mut decoder, &with_a(value)).states[0];
    assert_eq!(state(b"\xc0"), Missing);
    assert_eq!(state(b"\xca\x3f\x80\0\0"), Present);
    assert_eq!(state(b"\xe0"), Present);
    for unusable in [
        &b"\xc4\x01\x07"[..],        // bytes
        b"\xd6\xff\0\0\0\0",         // a timestamp
        b"\xd4\x05\x07",             // an extension that nobody knows
        b"\xcb\x7f\xf8\0\0\0\0\0\0", // NaN
        b"\xca\x7f\x80\0\0",         // infinity
        b"\xa11",                    // a text
    ] {
        assert_eq!(state(unusable), Unusable, "{unusable:02x?}");
    }
}

#[test]
fn a_key_that_is_an_integer_is_known_by_its_digits_and_other_keys_are_passed_over() {
    let vocabulary = Vec::new();
    let features =
        [feature("m.7", NUMERIC), feature("m.-1", NUMERIC), feature("c", FeatureKind::Categorical { vocabulary })];
    let settings = RecordSettings { entity: EntityFrom::Nothing, timestamp: None, ..settings(FORMAT) };
    let mut decoder = Decoder::new(Schema::new(&features, &settings));
    let mut out = DecodedRecord::default();
    // {"m": {7: 1, -1: 2, nil: [3, {}], 1.5: 4}}
    let payload = b"\x81\xa1m\x84\x07\x01\xff\x02\xc0\x92\x03\x80\xcb\x3f\xf8\0\0\0\0\0\0\x04";
    decoder.decode(&raw(payload), &mut out).unwrap();
    assert_eq!(out.values[..2], [1.0, 2.0]);
}

#[test]
fn bytes_that_are_no_record_are_told_where_they_go_wrong() {
    for (payload, told) in [
        (&b"\x93\x01\x02\x03"[..], "invalid type: sequence, expected a map"),
        (b"\x07", "invalid type: integer `7`, expected a map"),
        (b"\xc1", "at byte 1: byte 0xc1 begins no value"),
        (b"", "cut off"),
        (b"\x81\xa1a", "at byte 3: the record is cut off: of 1 bytes 0 are there"),
        (b"\x81\xa1x\xdb\xff\xff\xff\xff", "cut off: of 4294967295 bytes 0 are there"),
        (b"\x81\xa1x\xdd\xff\xff\xff\xff", "cut off"),
        (b"\x81\xa1a\xa2\xffx", "at byte 4: byte 0xff is not UTF-8"),
        (b"\x80\x80", "at byte 1: the record ends here, but 1 more bytes follow"),
        (b"\x81\xa1t\xd4\xff\x00", "a timestamp of 1 bytes, expected 4, 8 or 12"),
    ] {
        let error = undecodable(FORMAT, payload);
        assert!(error.starts_with("not valid MessagePack") && error.contains(told), "{error}");
    }
}

#[test]
fn nesting_without_end_neither_overflows_nor_is_taken() {
    let deep = [&b"\x81\xa1x"[..], &[0x91; 50_000], b"\x01"].concat();
    let mut decoder = decoder(FORMAT);
    assert!(!matches!(read(&mut decoder, &deep).result, Err(RecordError::Undecodable { .. })), "nobody wants it");
    let found = &mut crate::record::discover::Discovery::of_numbers(&FORMAT);
    let error = found.observe(&deep).unwrap_err().to_string();
    assert!(error.contains("more than 64 levels"), "{error}");
}

proptest! {
    #[test]
    fn no_payload_makes_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        record in record(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut torn = rmp_serde::to_vec(&record).unwrap();
        let at = at.index(torn.len());
        torn[at] = byte;
        for payload in [&bytes[..], &torn, &torn[..at]] {
            read(&mut decoder(FORMAT), payload);
            let _ = crate::record::discover::Discovery::of_numbers(&FORMAT).observe(payload);
        }
    }
}
