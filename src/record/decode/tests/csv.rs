//! Lines of CSV: a cell is what it is in a file.

use super::*;
use crate::{
    file::csv::CsvRows,
    record::{
        decode::{CsvFormat, names_in},
        discover::Discovery,
    },
};

const COLUMNS: [&str; 5] = ["a", "b", "c", "e", "t"];

fn format() -> RecordFormat {
    RecordFormat::Csv(CsvFormat { columns: COLUMNS.map(Into::into).into(), separator: b',' })
}

/// Those of the features that a line can hold.
fn flat() -> Vec<FeatureSetting> {
    features().into_iter().filter(|feature| COLUMNS.contains(&feature.name.as_str())).collect()
}

fn flat_decoder(format: RecordFormat) -> Decoder {
    Decoder::new(Schema::new(&flat(), &settings(format)))
}

/// The line as a file reader makes JSON of it.
fn as_in_a_file(line: &[u8]) -> Vec<u8> {
    let file = [COLUMNS.join(",").as_bytes(), b"\n", line].concat();
    let mut rows = CsvRows::new("rows.csv".as_ref(), Box::new(std::io::Cursor::new(file))).unwrap();
    let names = names_in(&flat(), &settings(RecordFormat::Json));
    rows.keep_text(&names.iter().filter_map(|name| name.name()).collect::<Vec<_>>());
    let mut payload = Vec::new();
    assert!(rows.next(&mut payload).unwrap());
    payload
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_line_means_what_it_means_in_a_file(
        cells in prop::collection::vec(
            "|[0-9]{1,3}|[+-]?[0-9]{0,2}\\.?[0-9]{0,2}(e-?[0-9]{1,3})?| ?(true|FALSE|nan|-inf|Infinity) ?|[a-z \",é\r\n;]{0,6}|red|1714564800",
            5,
        ),
        end in prop::sample::select(vec!["", "\n", "\r\n"]),
    ) {
        let mut writer = ::csv::WriterBuilder::new().terminator(::csv::Terminator::Any(b'\n')).from_writer(Vec::new());
        writer.write_record(&cells).unwrap();
        let mut line = writer.into_inner().unwrap();
        line.pop();
        line.extend_from_slice(end.as_bytes());
        let expected = read(&mut flat_decoder(RecordFormat::Json), &as_in_a_file(&line));
        prop_assert_eq!(read(&mut flat_decoder(format()), &line), expected, "{:?}", cells);
    }
}

#[test]
fn numbers_stay_text_where_names_stand() {
    let read = read(&mut flat_decoder(format()), b"007,1,1,007,1714564800");
    assert_eq!((read.entity.as_str(), f64::from_bits(read.values[0])), ("007", 7.0));
    assert_eq!(f64::from_bits(read.values[1]), 1.0, "the category `1` is the second one");
}

#[test]
fn a_line_that_does_not_hold_the_columns_is_told() {
    for (line, told) in [
        (&b"1,2,3"[..], "the line has 3 cells, expected 5 cells as in record.format.csv.columns"),
        (b"1,2,3,4,5,6", "more than 5 cells"),
        (b"1,2,3,4,5,6,7,8", "more than 5 cells"),
        (b"1,2,3,4,5\n1,2,3,4,5", "at byte 10: a second line follows"),
        (b"", "the line is empty"),
        (b"\n", "the line is empty"),
        (b"1,2,\xff,4,5", "not UTF-8 in the column `c`"),
    ] {
        let error = read(&mut flat_decoder(format()), line).result.unwrap_err().to_string();
        assert!(error.starts_with("not valid CSV") && error.contains(told), "{error}");
    }
}

#[test]
fn another_separator_and_quotes_are_heeded() {
    let csv = CsvFormat { columns: ["a".into(), "e".into(), "t".into()].into(), separator: b';' };
    let read = read(&mut flat_decoder(RecordFormat::Csv(csv)), b"1.5;\"x;\"\"y\"\"\";1714564800");
    assert_eq!((read.result, read.entity.as_str(), f64::from_bits(read.values[0])), (Ok(()), "x;\"y\"", 1.5));
}

#[test]
fn numeric_columns_and_categories_are_found_in_lines() {
    let mut numbers = Discovery::of_numbers(&format());
    numbers.observe_all([&b"1,x,2,h,3"[..], b"2,y,,h,4", b"torn"].into_iter());
    let names: Vec<String> = numbers.numeric_features(&[]).unwrap().into_iter().map(|feature| feature.name).collect();
    assert_eq!((names, numbers.unreadable()), (["a", "c", "t"].map(str::to_owned).to_vec(), 1));
    let mut open = [feature("c", FeatureKind::Categorical { vocabulary: Vec::new() })];
    let mut categories = Discovery::of_categories(&open, &format());
    categories.observe_all([&b"1,x,007,h,3"[..], b"2,y,7,h,4", b"2,y,7,h,4"].into_iter());
    categories.fill_vocabularies(&mut open).unwrap();
    let FeatureKind::Categorical { vocabulary } = &open[0].kind else { panic!() };
    assert_eq!(vocabulary, &["7", "007"]);
}
