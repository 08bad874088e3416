mod grids;

use proptest::prelude::*;

use super::{
    super::{
        Decoder, Schema,
        fields::{EntityState, TimeState},
    },
    *,
};
use crate::{
    config::settings::{EntityFrom, FeatureSelection, RecordFormat, RecordSettings, TimestampField, TimestampFormat},
    record::{
        Position, RawRecord, SlotState,
        features::{FeatureKind, FeatureSetting, Transform, slots_of},
        path::FieldPath,
    },
};
use SlotState::{Missing, Present, UnknownCategory, Unusable};

const NUMERIC: FeatureKind = FeatureKind::Numeric { transform: Transform::None };

fn feature(path: &str, kind: FeatureKind) -> FeatureSetting {
    FeatureSetting { name: path.to_owned(), path: path.parse().unwrap(), kind }
}

fn categorical(path: &str) -> FeatureSetting {
    let vocabulary = ["red", "1", "true", "é", "2.5"].map(str::to_owned).to_vec();
    feature(path, FeatureKind::Categorical { vocabulary })
}

fn settings() -> RecordSettings {
    RecordSettings {
        entity: EntityFrom::Nothing,
        timestamp: None,
        format: RecordFormat::Json,
        features: FeatureSelection::Listed(Vec::new()),
        lateness: None,
        duplicates: crate::config::settings::Duplicates::Keep,
        max_bytes: 100_000,
        max_missing: 0.5,
    }
}

fn raw(payload: &[u8]) -> RawRecord<'_> {
    let position = Position { partition: 0, offset: 0 };
    RawRecord { position, timestamp_ms: Some(1), key: None, payload: Some(payload), headers: None }
}

fn undecodable_at(at: usize, what: &str) -> RecordError {
    RecordError::Undecodable { format: "JSON", at, what: what.to_owned() }
}

fn decode(
    features: &[FeatureSetting],
    settings: &RecordSettings,
    raw: RawRecord<'_>,
) -> Result<DecodedRecord, RecordError> {
    let mut out = DecodedRecord::default();
    Decoder::new(Schema::new(features, settings)).decode(&raw, &mut out).map(|()| out)
}

/// Value and state of the only slot; NaN as -1, to compare.
fn slot(kind: FeatureKind, payload: &str) -> (f64, SlotState) {
    let out = decode(&[feature("a", kind)], &settings(), raw(payload.as_bytes())).unwrap();
    (if out.values[0].is_nan() { -1.0 } else { out.values[0] }, out.states[0])
}

fn states(features: &[FeatureSetting], payload: &str) -> Vec<SlotState> {
    decode(features, &settings(), raw(payload.as_bytes())).unwrap().states
}

fn undecodable(payload: &str) -> (usize, String) {
    match decode(&[feature("a", NUMERIC)], &settings(), raw(payload.as_bytes())) {
        Err(RecordError::Undecodable { at, what, .. }) => (at, what),
        other => panic!("{payload}: {other:?}"),
    }
}

#[test]
fn fields_are_taken_from_anywhere_in_any_order() {
    let features = ["b", "v.x", "v.list.2", "v.list.0", r"dotted\.key", "b"].map(|path| feature(path, NUMERIC));
    let payload = br#" { "v" : {"list":[1.5, "no", 3, {}], "u":[{"x":9}], "x": -2e1},
        "unknown": {"b": 7, "deep": [[["\n"]]]}, "dotted.key": 4, "b": 0.25 } "#;
    let out = decode(&features, &settings(), raw(payload)).unwrap();
    assert_eq!(out.values, [0.25, -20.0, 3.0, 1.5, 4.0, 0.25]);
    assert_eq!(out.states, [Present; 6]);
}

#[test]
fn cyclic_time_has_no_slot() {
    let features = [feature("hour", FeatureKind::HourOfDay), feature("a", NUMERIC)];
    let schema = Schema::new(&features, &settings());
    assert_eq!((schema.slots(), slots_of(&features)), (1, vec![None, Some(0)]));
}

#[test]
fn a_number_is_a_finite_number_only() {
    assert_eq!(slot(NUMERIC, r#"{"a":1.5}"#), (1.5, Present));
    for missing in ["{}", r#"{"a":null}"#, r#"{"b":1}"#] {
        assert_eq!(slot(NUMERIC, missing), (-1.0, Missing), "{missing}");
    }
    for value in ["true", r#""1""#, "[]", "{}", "[1]", r#"{"a":1}"#, "NaN", "Infinity", "-Infinity", "1e999", "-1e999"]
    {
        assert_eq!(slot(NUMERIC, &format!(r#"{{"a":{value}}}"#)), (-1.0, Unusable), "{value}");
    }
}

#[test]
fn a_boolean_may_be_written_as_word_number_or_text() {
    for (value, expected) in [
        ("true", (1.0, Present)),
        ("false", (0.0, Present)),
        ("1", (1.0, Present)),
        ("0.0", (0.0, Present)),
        (r#""true""#, (1.0, Present)),
        (r#""false""#, (0.0, Present)),
        ("2", (-1.0, Unusable)),
        (r#""yes""#, (-1.0, Unusable)),
        ("null", (-1.0, Missing)),
        ("NaN", (-1.0, Unusable)),
        ("[]", (-1.0, Unusable)),
    ] {
        assert_eq!(slot(FeatureKind::Boolean, &format!(r#"{{"a":{value}}}"#)), expected, "{value}");
    }
}

#[test]
fn a_category_is_looked_up_by_its_text() {
    for (value, expected) in [
        (r#""red""#, (0.0, Present)),
        ("1", (1.0, Present)),
        ("1.0", (1.0, Present)),
        (r#""1""#, (1.0, Present)),
        ("true", (2.0, Present)),
        (r#""é""#, (3.0, Present)),
        (r#""\u00e9""#, (3.0, Present)),
        ("2.50", (4.0, Present)),
        (r#""blue""#, (-1.0, UnknownCategory)),
        (r#""""#, (-1.0, UnknownCategory)),
        ("false", (-1.0, UnknownCategory)),
        ("null", (-1.0, Missing)),
        ("NaN", (-1.0, Unusable)),
        (r#"["red"]"#, (-1.0, Unusable)),
        ("1e999", (-1.0, Unusable)),
    ] {
        assert_eq!(slot(categorical("a").kind, &format!(r#"{{"a":{value}}}"#)), expected, "{value}");
    }
}

#[test]
fn integers_beyond_two_to_the_53_become_the_nearest_double() {
    for text in ["9007199254740993", "18446744073709551615", "-9223372036854775808", "123456789012345678901234567890"] {
        let expected = text.parse::<f64>().unwrap();
        assert_eq!(slot(NUMERIC, &format!(r#"{{"a":{text}}}"#)), (expected, Present), "{text}");
    }
}

#[test]
fn the_last_of_several_equal_keys_wins() {
    let features = [feature("a", NUMERIC), feature("v.x", NUMERIC), feature("v.y", NUMERIC)];
    let payload = r#"{"a":1,"v":{"x":1,"y":1},"a":2,"v":{"y":2}}"#;
    for payload in [payload.to_owned(), payload.replacen("\"a\"", "\"\\u0061\"", 1)] {
        let out = decode(&features, &settings(), raw(payload.as_bytes())).unwrap();
        assert_eq!((out.values[0], out.values[2]), (2.0, 2.0), "{payload}");
        assert_eq!(out.states, [Present, Missing, Present], "{payload}");
    }
    assert_eq!(states(&features, r#"{"a":1,"v":{"x":1,"y":1},"v":3,"a":null}"#), [Missing; 3]);
    assert_eq!(states(&features, r#"{"v":3,"v":{"x":1}}"#), [Missing, Present, Missing]);
}

#[test]
fn a_path_above_another_is_unusable_as_a_number_but_can_be_walked() {
    let features = [feature("v", NUMERIC), feature("v.x", NUMERIC)];
    assert_eq!(states(&features, r#"{"v":{"x":1}}"#), [Unusable, Present]);
    assert_eq!(states(&features, r#"{"v":1}"#), [Present, Missing]);
}

#[test]
fn escaped_keys_are_the_keys_that_they_spell() {
    let features = [feature("a", NUMERIC), feature(r#"q"\\"#, NUMERIC), feature("n\n", NUMERIC)];
    assert_eq!(states(&features, r#"{"\u0061":1,"q\"\\":2,"n\n":3}"#), [Present; 3]);
    // As bytes in the payload this is a key with a backspace, not the literal `a\b`.
    assert_eq!(states(&[feature(r"a\\b", NUMERIC)], r#"{"a\b":1}"#), [Missing]);
}

#[test]
fn not_a_number_never_kills_a_record() {
    let features = [feature("a", NUMERIC), feature("b", NUMERIC)];
    assert_eq!(states(&features, r#"{"x":[NaN,-Infinity],"a":NaN,"b":1}"#), [Unusable, Present]);
    // An escaped key is only for serde_json, which doesn't know NaN.
    assert_eq!(states(&features, r#"{"x":["NaN \" NaN",NaN],"\u0061":-Infinity,"b":1}"#), [Unusable, Present]);
    // The same with numbers that no double holds; what is not even a number is told all the same.
    assert_eq!(states(&features, r#"{"x":[1e999],"\u0061":-1e999,"b":1}"#), [Unusable, Present]);
    assert_eq!(undecodable(r#"{"\u0061":01e999}"#).0, 11);
    assert_eq!(undecodable(r#"{"\u0061":NaN,"b":1"#).0, 19);
    assert_eq!(undecodable(r#"{"a":NaNa}"#).0, 8);
    assert_eq!(undecodable(r#"{NaN:1}"#).0, 1);
    assert_eq!(undecodable(r#"{"a":nan}"#).0, 6);
}

#[test]
fn what_is_no_json_object_is_told_with_its_place() {
    for (payload, at, what) in [
        ("", 0, "found the end, expected an object"),
        ("  ", 2, "found the end, expected an object"),
        (" [1]", 1, "found an array, expected an object"),
        ("1", 0, "found a number, expected an object"),
        (r#""a""#, 0, "found a text, expected an object"),
        ("null", 0, "found `n`, expected an object"),
        ("\u{feff}{}", 0, "found `\\u{feff}`, expected an object"),
        (r#"{"a":1} x"#, 8, "trailing characters, found `x`"),
        (r#"{"a":1}{"a":1}"#, 7, "trailing characters, found an object"),
        (r#"{"a":01}"#, 6, "invalid number, found a number"),
        ("{\n\"a\":1,\n\"b\" 2}", 13, "expected `:`, found a number"),
        (r#"{"a":1,}"#, 7, "trailing comma, found `}`"),
    ] {
        assert_eq!(undecodable(payload), (at, what.to_owned()), "{payload}");
    }
    let (at, what) = undecodable(r#"{"a":1,"#);
    assert!(at == 7 && what.starts_with("the record is cut off ("), "{at} {what}");
    let latin1 = decode(&[], &settings(), raw(b"{\"a\":\"\xe9\"}"));
    assert_eq!(latin1.unwrap_err(), undecodable_at(6, "byte 0xe9 is not UTF-8"));
}

#[test]
fn a_tombstone_and_a_record_too_large_are_told_apart() {
    let tombstone = RawRecord { payload: None, ..raw(b"") };
    assert_eq!(decode(&[], &settings(), tombstone).unwrap_err(), RecordError::Empty);
    let small = RecordSettings { max_bytes: 1, ..settings() };
    assert_eq!(decode(&[], &small, raw(b"{}")).unwrap_err(), RecordError::TooLarge { bytes: 2, limit: 1 });
}

#[test]
fn an_entity_comes_from_its_field() {
    let settings = RecordSettings { entity: EntityFrom::Field("m.id".parse().unwrap()), ..settings() };
    let entity = |value: &str| {
        let payload = format!(r#"{{"m":{{"id":{value}}}}}"#);
        decode(&[], &settings, raw(payload.as_bytes())).map(|out| out.entity)
    };
    for (value, expected) in
        [(r#""m-1""#, "m-1"), (r#""a\nb""#, "a\nb"), ("17", "17"), ("17.0", "17"), ("true", "true")]
    {
        assert_eq!(entity(value).as_deref(), Ok(expected), "{value}");
    }
    assert_eq!(entity("18446744073709551615").as_deref(), Ok("18446744073709551615"));
    for value in ["null", r#""""#, "{}", "[1]", "NaN", r#""x"},"m":{"y":1"#] {
        match entity(value) {
            Err(RecordError::NoEntity(what)) => assert!(what.contains("`m.id`"), "{what}"),
            other => panic!("{value}: {other:?}"),
        }
    }
}

#[test]
fn an_entity_comes_from_the_key() {
    let settings = RecordSettings { entity: EntityFrom::Key, ..settings() };
    let entity = |key| decode(&[], &settings, RawRecord { key, ..raw(b"{}") }).map(|out| out.entity);
    assert_eq!(entity(Some("m-ü".as_bytes())).as_deref(), Ok("m-ü"));
    assert_eq!(entity(None).as_deref(), Ok(""));
    assert!(matches!(entity(Some(b"\xff")), Err(RecordError::NoEntity(_))));
}

#[test]
fn event_time_comes_from_its_field_or_the_message() {
    let field = TimestampField { path: FieldPath::key("ts"), format: TimestampFormat::Auto };
    let with_field = RecordSettings { timestamp: Some(field), ..settings() };
    let time = |payload: &str| decode(&[], &with_field, raw(payload.as_bytes())).map(|out| out.time_us);
    assert_eq!(time(r#"{"ts":"1970-01-01T00:00:01Z"}"#), Ok(1_000_000));
    assert_eq!(time(r#"{"ts":1714564800123}"#), Ok(1_714_564_800_123_000));
    for payload in [
        "{}",
        r#"{"ts":null}"#,
        r#"{"ts":"soon"}"#,
        r#"{"ts":true}"#,
        r#"{"ts":NaN}"#,
        r#"{"ts":1e300}"#,
        r#"{"ts":1,"ts":[]}"#,
    ] {
        match time(payload) {
            Err(RecordError::BadTimestamp(what)) => assert!(what.contains("`ts`"), "{what}"),
            other => panic!("{payload}: {other:?}"),
        }
    }
    let message =
        |timestamp_ms| decode(&[], &settings(), RawRecord { timestamp_ms, ..raw(b"{}") }).map(|out| out.time_us);
    assert_eq!(message(Some(5)), Ok(5_000));
    assert!(matches!(message(None), Err(RecordError::BadTimestamp(_))));
    assert!(matches!(message(Some(i64::MAX)), Err(RecordError::BadTimestamp(_))));
}

#[test]
fn nothing_of_a_record_shows_in_the_next() {
    let features = [feature("a", NUMERIC), categorical("c")];
    let settings = RecordSettings { entity: EntityFrom::Key, ..settings() };
    let mut decoder = Decoder::new(Schema::new(&features, &settings));
    let mut out = DecodedRecord::default();
    decoder.decode(&RawRecord { key: Some(b"x"), ..raw(br#"{"a":1,"c":"red"}"#) }, &mut out).unwrap();
    let (values, states) = (out.values.as_ptr(), out.states.as_ptr());
    decoder.decode(&raw(b"{}"), &mut out).unwrap();
    assert_eq!((out.states.as_slice(), out.entity.as_str()), (&[Missing; 2][..], ""));
    assert!(out.values.iter().all(|value| value.is_nan()));
    assert_eq!((values, states), (out.values.as_ptr(), out.states.as_ptr()));
}

#[test]
fn a_record_that_fails_shows_nothing_of_the_last_one_and_what_could_be_told_of_it() {
    let field = TimestampField { path: FieldPath::key("ts"), format: TimestampFormat::Auto };
    let entity = EntityFrom::Field(FieldPath::key("id"));
    let settings = RecordSettings { entity, timestamp: Some(field), max_bytes: 40, ..settings() };
    let mut decoder = Decoder::new(Schema::new(&[feature("a", NUMERIC)], &settings));
    let mut out = DecodedRecord::default();
    let long = "x".repeat(41);
    for (payload, entity, time_us) in [
        (None, "", None),
        (Some(long.as_bytes()), "", None),
        (Some(b"{\"id\":\"b\xff\"}"), "", None),
        (Some(br#"{"id":"b","ts":2"#), "", None),
        (Some(br#"{"id":"b","ts":"soon"}"#), "b", None),
        (Some(br#"{"id":"b"}"#), "b", None),
        (Some(br#"{"id":[],"ts":2}"#), "", Some(2_000_000)),
    ] {
        decoder.decode(&raw(br#"{"id":"a","ts":1}"#), &mut out).unwrap();
        assert_eq!((out.entity.as_str(), out.known_time_us()), ("a", Some(1_000_000)));
        decoder.decode(&RawRecord { payload, ..raw(b"") }, &mut out).unwrap_err();
        assert_eq!((out.entity.as_str(), out.known_time_us()), (entity, time_us), "{payload:?}");
    }
}

/// The schema of the property tests: every kind of slot, nested, in an array, shared, entity and time.
fn rich() -> Decoder {
    let mut features =
        ["a", "b", "v.a", "v.b", "v.0", "v.2", "v", "v.a.b", "ts", "é"].map(|path| feature(path, NUMERIC)).to_vec();
    features.extend([
        feature("b", FeatureKind::Boolean),
        feature("v.b", FeatureKind::Counter),
        categorical("c"),
        categorical("v.1"),
    ]);
    let field = TimestampField { path: FieldPath::key("ts"), format: TimestampFormat::Auto };
    let entity = EntityFrom::Field("v.c".parse().unwrap());
    Decoder::new(Schema::new(&features, &RecordSettings { entity, timestamp: Some(field), ..settings() }))
}

type Outcome = (Vec<u64>, Vec<SlotState>, String, EntityState, TimeState);

fn outcome(decoder: &Decoder, out: &DecodedRecord) -> Outcome {
    let values = out.values.iter().map(|value| value.to_bits()).collect();
    (values, out.states.clone(), out.entity.clone(), decoder.scratch.entity, decoder.scratch.time.clone())
}

fn by_scanner(decoder: &mut Decoder, text: &str) -> Option<Outcome> {
    let mut out = DecodedRecord::default();
    scan(text, &mut Fields::begin(&decoder.schema, &mut decoder.scratch, &mut out))?;
    Some(outcome(decoder, &out))
}

fn by_serde(decoder: &mut Decoder, text: &str) -> Result<Outcome, RecordError> {
    let mut out = DecodedRecord::default();
    decoder.read_by_serde(text, &mut out)?;
    Ok(outcome(decoder, &out))
}

/// Numbers as texts, with what is hard about them: many digits, halfway cases, subnormals, exponents.
fn numbers() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        "0",
        "-0",
        "-0.0",
        "0e5",
        "0e-999999999999",
        "1",
        "-1",
        "1E2",
        "1e+2",
        "1.0",
        "9007199254740993",
        "9007199254740992.9",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775808",
        "-9223372036854775809",
        "4.9e-324",
        "2.4e-324",
        "2.2250738585072011e-308",
        "1.7976931348623157e308",
        "0.1e-400",
        "123456789012345678901234567890.5e-20",
        "1e22",
        "1e23",
        "9007199254740991e22",
        "9007199254740993e22",
        "0.000000000000000000000000000001",
        "1714564800123",
        "1.00000000000000011102230246251565",
        "9999999999999999999",
        "99999999999999999999",
        "-9999999999999999999",
        "1e-7",
        "17976931348623157e292",
        "1e999",
        "-1e999",
        "1.8e308",
        "99999999999999999999e300",
    ]);
    prop_oneof![
        odd.prop_map(str::to_owned),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(|number| format!("{number:e}")),
        any::<i64>().prop_map(|number| number.to_string()),
        (-1e6..1e6).prop_map(|number: f64| format!("{number:.4}")),
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?",
        "-?[1-9][0-9]{306,311}",
    ]
}

fn texts() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "red",
        "true",
        "false",
        "1",
        "a\\u0062",
        "\\ud83d\\ude00",
        "\\n",
        "\\/",
        "2024-05-01T12:00:00Z",
        "é",
        "",
    ]);
    prop_oneof![known.prop_map(str::to_owned), "[a-zA-Zäß😀 .:{}\\[\\],]{0,6}"].prop_map(|text| format!("\"{text}\""))
}

fn keys() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "v", "c", "ts", "0", "1", "2", "é", "x", "", "\\u0061", "q\\\"", "long key"])
        .prop_map(|key| format!("\"{key}\""))
}

fn spaces() -> impl Strategy<Value = String> {
    prop_oneof![8 => Just(String::new()), 1 => "[ \\t\\r\\n]{1,3}"]
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop::collection::vec((keys(), spaces(), value, spaces()), 0..7).prop_map(|members| {
        let members = members
            .into_iter()
            .map(|(key, before, value, after)| format!("{before}{key}{after}:{before}{value}{after}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    })
}

fn values() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec!["true", "false", "null", "{}", "[]"]).prop_map(str::to_owned);
    let scalar = prop_oneof![5 => numbers(), 2 => texts(), 2 => words];
    scalar.prop_recursive(4, 40, 6, |inner| {
        let list = prop::collection::vec((inner.clone(), spaces()), 0..5).prop_map(|items| {
            let items = items.into_iter().map(|(item, space)| format!("{space}{item}{space}"));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        });
        prop_oneof![list, object(inner)]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn scanner_and_serde_json_agree_to_the_bit(documents in prop::collection::vec(object(values()), 1..4)) {
        let (mut one, mut other) = (rich(), rich());
        for document in documents {
            let expected = by_serde(&mut one, &document);
            prop_assert!(expected.is_ok(), "{:?} {}", expected, document);
            match by_scanner(&mut other, &document) {
                Some(got) => prop_assert_eq!(Ok(got), expected, "{}", document),
                None => prop_assert!(document.contains('\\'), "only escapes are rare here: {}", document),
            }
        }
    }

    #[test]
    fn the_scanner_takes_no_document_that_serde_json_refuses(
        document in object(values()),
        at in any::<prop::sample::Index>(),
        junk in "[\\x00-\\x7f]{0,2}|[0-9.eE+{}\\[\\],:\"-]",
        cut in 0usize..3,
    ) {
        let mut bytes = document.into_bytes();
        let at = at.index(bytes.len());
        bytes.splice(at..(at + cut).min(bytes.len()), junk.bytes());
        if let Ok(text) = std::str::from_utf8(&bytes)
            && let Some(got) = by_scanner(&mut rich(), text)
        {
            prop_assert_eq!(Ok(got), by_serde(&mut rich(), text), "{}", text);
        }
    }

    #[test]
    fn a_number_is_the_nearest_double(number in numbers()) {
        let expected = number.parse::<f64>().unwrap();
        let (value, state) = slot(NUMERIC, &format!(r#"{{"a":{number}}}"#));
        if expected.is_finite() {
            prop_assert_eq!((value.to_bits(), state), (expected.to_bits(), Present));
        } else {
            prop_assert_eq!(state, Unusable);
        }
    }

    #[test]
    fn no_payload_makes_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        text in "[{}\\[\\]\",:0-9.eE+NaInfity\\\\u -]{0,40}",
    ) {
        let (mut decoder, mut out) = (rich(), DecodedRecord::default());
        let object = format!("{{\"a\":{text}}}");
        for payload in [&bytes[..], text.as_bytes(), object.as_bytes()] {
            let _ = decoder.decode(&raw(payload), &mut out);
        }
    }
}

#[test]
fn nesting_without_end_neither_overflows_nor_is_taken() {
    let open = "[".repeat(50_000);
    for payload in [format!(r#"{{"x":{open}"#), format!(r#"{{"a":{open}"#), r#"{"a":"#.repeat(20_000)] {
        undecodable(&payload);
    }
    let nested = format!(r#"{{"x":{open}{},"a":1}}"#, "]".repeat(50_000));
    let large = RecordSettings { max_bytes: usize::MAX, ..settings() };
    assert_eq!(decode(&[feature("a", NUMERIC)], &large, raw(nested.as_bytes())).unwrap().values, [1.0]);
}
