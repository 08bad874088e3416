//! Grids: both ways of reading them agree, and other shapes are refused with words.

use super::*;
use crate::{
    config::settings::RawGrid,
    record::grid::{CellType, Fault, Shape},
};

const SHAPE: Shape = Shape { height: 2, width: 3 };
const GRID: FeatureKind = FeatureKind::Grid { shape: SHAPE, transform: Transform::None };

/// The outcome for a record whose field `g` is a grid of 2 rows of 3 cells.
fn grid(text: &str) -> Result<DecodedRecord, RecordError> {
    decode(&[feature("g", GRID)], &settings(), raw(format!(r#"{{"g":{text}}}"#).as_bytes()))
}

fn refused(text: &str) -> String {
    grid(text).unwrap_err().to_string()
}

#[test]
fn a_grid_is_read_row_by_row_beside_other_fields() {
    let features = [feature("a", NUMERIC), feature("v.g", GRID), feature("b", NUMERIC)];
    let payload = br#" {"b":8 , "v" : {"x":[[1]], "g" : [ [1,-2.5, 3e1] , [ 4 ,5,6 ] ] }, "a":7}"#;
    let out = decode(&features, &settings(), raw(payload)).unwrap();
    assert_eq!(out.values, [7.0, 1.0, -2.5, 30.0, 4.0, 5.0, 6.0, 8.0]);
    assert_eq!(out.states, [Present; 8]);
}

#[test]
fn a_cell_without_a_number_is_missing_or_of_no_use() {
    let states = |text: &str| grid(text).unwrap().states;
    assert_eq!(states("[[1,null,NaN],[4,5,6]]"), [Present, Missing, Unusable, Present, Present, Present]);
    assert_eq!(states(r#"[[true,"1",{"a":[1]}],[-Infinity,1e999,{}]]"#), [Unusable; 6]);
    assert_eq!(
        states(r#"[["\u0061",null,1],[-Infinity,1e999,-0]]"#)[1..],
        [Missing, Present, Unusable, Unusable, Present]
    );
    assert_eq!(states("null"), [Missing; 6]);
    assert_eq!(decode(&[feature("g", GRID)], &settings(), raw(b"{}")).unwrap().states, [Missing; 6]);
}

#[test]
fn a_grid_of_another_shape_is_refused_with_what_was_found_and_where() {
    for (text, told) in [
        ("[]", "has 0 rows"),
        ("[[1,2,3]]", "has 1 row"),
        ("[[1,2,3],[4,5,6],[7,8,9]]", "has 3 rows"),
        ("[[1,2,3],[4,5,6],7,8]", "has 4 rows"),
        ("[[1,2,3],[]]", "has 0 cells in row [1]"),
        ("[[1],[4,5,6]]", "has 1 cell in row [0]"),
        ("[[1,2,3],[4,5]]", "has 2 cells in row [1]"),
        ("[[1,2,3,4,5],[4,5]]", "has 5 cells in row [0]"),
        ("[1,2,3,4,5,6]", "holds no list at [0]"),
        ("[[1,2,3],null]", "holds no list at [1]"),
        ("[[1,2,3],NaN]", "holds no list at [1]"),
        ("[[1,2,3],{}]", "holds no list at [1]"),
        ("[[1,2,3],[4,[5],6]]", "holds a list at [1][1] where a number should be"),
        ("[[[],2,3],[4,5,6]]", "holds a list at [0][0] where a number should be"),
        ("1", "is no list of rows"),
        ("true", "is no list of rows"),
        (r#""[[1,2,3],[4,5,6]]""#, "is no list of rows"),
        (r#"{"0":[1,2,3],"1":[4,5,6]}"#, "is no list of rows"),
        ("Infinity", "is no list of rows"),
    ] {
        assert_eq!(refused(text), format!("the grid `g` {told}, expected 2 rows of 3 cells each"), "{text}");
    }
}

#[test]
fn a_fault_of_the_json_goes_before_that_of_the_shape() {
    for text in ["[[1,2],[3", "[[1,2,3],[4,5,6],]", "[[1,2,3,],[4,5,6]]", "[[1,2]],\"b\":01", "[[1 2],[3]]"] {
        assert!(matches!(grid(text), Err(RecordError::Undecodable { .. })), "{text}");
    }
}

#[test]
fn the_last_of_several_equal_grids_wins() {
    let two = |first: &str, last: &str| grid(&format!(r#"{first},"g":{last}"#));
    let (good, ragged) = ("[[1,2,3],[4,5,6]]", "[[1,2],[3]]");
    assert_eq!(two(ragged, good).unwrap().values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert!(matches!(two(good, ragged), Err(RecordError::WrongShape { .. })));
    for first in [good, ragged, "1"] {
        assert_eq!(two(first, "null").unwrap().states, [Missing; 6]);
    }
    assert_eq!(two("1", "[[1,null,3],[4,5,6]]").unwrap().states[..3], [Present, Missing, Present]);
    let payload = format!(r#"{{"v":{{"g":{ragged}}},"v":{{"x":1}}}}"#);
    assert_eq!(decode(&[feature("v.g", GRID)], &settings(), raw(payload.as_bytes())).unwrap().states, [Missing; 6]);
}

#[test]
fn of_several_grids_the_first_with_a_fault_is_told_and_nothing_shows_in_the_next_record() {
    let small = FeatureKind::Grid { shape: Shape { height: 1, width: 1 }, transform: Transform::None };
    let entity = EntityFrom::Field(FieldPath::key("id"));
    let settings = RecordSettings { entity, ..settings() };
    let mut decoder = Decoder::new(Schema::new(&[feature("s", small), feature("g", GRID)], &settings));
    let mut out = DecodedRecord::default();
    let error = decoder.decode(&raw(br#"{"g":[],"s":[[1,2]],"id":"x"}"#), &mut out).unwrap_err();
    let fault = Fault::Cells { row: 0, cells: 2 };
    assert_eq!(error, RecordError::WrongShape { field: "s".to_owned(), fault, shape: Shape { height: 1, width: 1 } });
    assert_eq!(error.reason().as_str(), "undecodable");
    assert_eq!((out.entity.as_str(), out.known_time_us()), ("x", Some(1_000)), "the dead letter tells them");
    decoder.decode(&raw(br#"{"s":[[9]],"id":"x"}"#), &mut out).unwrap();
    assert_eq!(out.states, [Present, Missing, Missing, Missing, Missing, Missing, Missing]);
}

#[test]
fn raw_bytes_have_the_entity_of_the_key_and_the_time_of_the_message() {
    let format = RecordFormat::Raw(RawGrid { shape: SHAPE, cell: CellType::Int16, big_endian: true });
    let settings = RecordSettings { entity: EntityFrom::Key, format, ..settings() };
    let decode = |payload: &[u8]| {
        let (mut out, features) = (DecodedRecord::default(), [feature("grid", GRID)]);
        let raw = RawRecord { key: Some(b"camera"), ..raw(payload) };
        let read = Decoder::new(Schema::new(&features, &settings)).decode(&raw, &mut out);
        assert_eq!((out.entity.as_str(), out.known_time_us()), ("camera", Some(1_000)));
        read.map(|()| out.values)
    };
    assert_eq!(decode(&[0, 1, 0, 2, 0, 3, 1, 0, 0xff, 0xff, 0xff, 0xfe]).unwrap(), [1.0, 2.0, 3.0, 256.0, -1.0, -2.0]);
    let error = decode(b"{\"grid\":[]}").unwrap_err();
    assert_eq!(error.to_string(), "the record has 11 bytes, expected 12: 2 rows of 3 cells each of type int16");
    assert_eq!(error.reason().as_str(), "undecodable");
}

#[test]
fn a_model_knows_the_shape_of_its_raw_bytes() {
    let written = Shape { height: 3, width: 1 };
    let format = RecordFormat::Raw(RawGrid { shape: written, cell: CellType::Uint8, big_endian: false });
    let settings = RecordSettings { format, ..settings() };
    assert_eq!(decode(&[feature("grid", GRID)], &settings, raw(&[1, 2, 3, 4, 5, 6])).unwrap().values.len(), 6);
    // Without a grid among the features there is nothing to compare with, but nothing to panic of either.
    decode(&[feature("a", NUMERIC)], &settings, raw(&[1, 2, 3])).unwrap();
}

fn two_grids() -> Decoder {
    let tall = FeatureKind::Grid { shape: Shape { height: 3, width: 1 }, transform: Transform::Log1p };
    let features = [feature("v.b", tall), feature("a", GRID), feature("b", NUMERIC), feature("v.2.0", NUMERIC)];
    Decoder::new(Schema::new(&features, &settings()))
}

/// What a decoder makes of a record; where the shape of a grid is wrong, values and states are of no use.
type Read = (Outcome, Result<(), RecordError>);

fn with_faults(decoder: &Decoder, outcome: Outcome) -> Read {
    let shaped = decoder.scratch.check_shapes(&decoder.schema);
    let (values, states, entity, named, time) = outcome;
    let used = if shaped.is_ok() { (values, states) } else { (Vec::new(), Vec::new()) };
    ((used.0, used.1, entity, named, time), shaped)
}

fn scanned(decoder: &mut Decoder, text: &str) -> Option<Read> {
    let outcome = by_scanner(decoder, text)?;
    Some(with_faults(decoder, outcome))
}

fn deserialized(decoder: &mut Decoder, text: &str) -> Result<Read, RecordError> {
    let outcome = by_serde(decoder, text)?;
    Ok(with_faults(decoder, outcome))
}

/// Cells as the scanner reads them itself.
fn plain_cells() -> impl Strategy<Value = String> {
    prop_oneof![6 => numbers(), 1 => prop::sample::select(vec!["null", "true", "NaN", "-Infinity"]).prop_map(str::to_owned)]
}

fn lists(cell: impl Strategy<Value = String>, rows: usize, cells: usize) -> impl Strategy<Value = String> {
    let row = prop::collection::vec((cell, spaces()), cells);
    let joined = |items: Vec<(String, String)>| {
        let items: Vec<String> = items.into_iter().map(|(item, space)| format!("{space}{item}{space}")).collect();
        format!("[{}]", items.join(","))
    };
    prop::collection::vec((row.prop_map(joined), spaces()), rows).prop_map(joined)
}

/// Mostly grids of about the right shape, and anything else.
fn grids_or_so() -> impl Strategy<Value = String> {
    let cells = || prop_oneof![9 => plain_cells(), 1 => values()];
    prop_oneof![
        4 => (1usize..4, 2usize..5).prop_flat_map(move |(rows, width)| lists(cells(), rows, width)),
        2 => (2usize..5).prop_flat_map(move |rows| lists(cells(), rows, 1)),
        1 => values(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn both_ways_read_the_same_grids(documents in prop::collection::vec(object(grids_or_so()), 1..4)) {
        let (mut one, mut other) = (two_grids(), two_grids());
        for document in documents {
            let expected = deserialized(&mut one, &document);
            prop_assert!(expected.is_ok(), "{:?} {}", expected, document);
            if let Some(got) = scanned(&mut other, &document) {
                prop_assert_eq!(Ok(got), expected, "{}", document);
            }
        }
    }

    #[test]
    fn a_grid_of_its_shape_is_read_at_once_and_cell_by_cell(
        cells in prop::collection::vec(plain_cells(), 6), space in spaces(),
    ) {
        let rows: Vec<String> = cells.chunks(3).map(|row| format!("[{space}{}]", row.join(&format!(",{space}")))).collect();
        let document = format!(r#"{{"a":{space}[{}{space}]}}"#, rows.join(","));
        let got = scanned(&mut two_grids(), &document).expect("nothing of it is rare");
        prop_assert_eq!(&got.1, &Ok(()));
        prop_assert_eq!(Ok(got), deserialized(&mut two_grids(), &document));
        let read = decode(&[feature("a", GRID)], &settings(), raw(document.as_bytes())).unwrap();
        for (text, (value, state)) in cells.iter().zip(read.values.iter().zip(&read.states)) {
            let (expected, known) = slot(NUMERIC, &format!(r#"{{"a":{text}}}"#));
            prop_assert_eq!(*state, known, "{}", text);
            let expected = if known == Present { expected } else { f64::NAN };
            prop_assert_eq!(value.to_bits(), expected.to_bits());
        }
    }

    #[test]
    fn the_scanner_takes_no_grid_that_serde_json_refuses(
        document in object(grids_or_so()),
        at in any::<prop::sample::Index>(),
        junk in "[\\x00-\\x7f]{0,2}|[0-9.eE+{}\\[\\],:\"-]",
        cut in 0usize..3,
    ) {
        let mut bytes = document.into_bytes();
        let at = at.index(bytes.len());
        bytes.splice(at..(at + cut).min(bytes.len()), junk.bytes());
        if let Ok(text) = std::str::from_utf8(&bytes)
            && let Some(got) = scanned(&mut two_grids(), text)
        {
            prop_assert_eq!(Ok(got), deserialized(&mut two_grids(), text), "{}", text);
        }
    }
}
