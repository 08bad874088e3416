//! Parquet rows as JSON records. A column becomes a field of the same name; groups become objects, lists arrays, maps
//! objects. Pages may be plain or compressed with Snappy, gzip or Zstandard.
//!
//! Timestamps (milli-, micro- and nanoseconds; without a zone they are taken as UTC) and dates become RFC 3339 text,
//! times of day `HH:MM:SS`, decimals numbers with all their digits, numbers that are not finite the strings `"NaN"`,
//! `"inf"` and `"-inf"`, nulls `null`. Bytes become text where they are UTF-8, else hexadecimal digits. Inside of lists
//! and maps nanoseconds stay integers, as the record reader doesn't tell them apart there.

use std::{
    collections::HashSet,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use jiff::{Timestamp, civil::Time};
use parquet::{
    basic::{Compression, ConvertedType, LogicalType, TimeUnit},
    data_type::Decimal,
    errors::ParquetError,
    file::{metadata::ColumnChunkMetaData, reader::FileReader as _, serialized_reader::SerializedFileReader},
    record::{
        Field, Row,
        reader::{ReaderIter, TreeBuilder},
    },
    schema::types::{SchemaDescPtr, Type},
};

use super::{FileError, write_non_finite, write_string};

/// Digits of the largest decimal that 128 bits hold.
const MAX_PRECISION: i32 = 38;

/// The rows of one Parquet file.
pub struct ParquetRows {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    schema: SchemaDescPtr,
    /// The next row group to open.
    group: usize,
    rows: Option<ReaderIter>,
    row: u64,
}

impl ParquetRows {
    /// Reads the schema. Fails where the file is no Parquet file, or has columns that can't become JSON.
    pub fn new(path: &Path, file: File) -> Result<Self, FileError> {
        let refused = |what: String| FileError::Header { path: path.to_owned(), what };
        let reader = SerializedFileReader::new(file)
            .map_err(|error| refused(format!("{error}; expected an Apache Parquet file")))?;
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let mut names = HashSet::new();
        for column in schema.root_schema().get_fields() {
            if !names.insert(column.name()) {
                return Err(refused(format!("two columns are named `{}`; names must differ", column.name())));
            }
            check(column).map_err(refused)?;
        }
        drop(names);
        let groups = reader.metadata().row_groups();
        groups.iter().flat_map(|group| group.columns()).try_for_each(check_compression).map_err(refused)?;
        Ok(Self { path: path.to_owned(), reader, schema, group: 0, rows: None, row: 0 })
    }

    /// Names of the top-level columns.
    pub fn names(&self) -> Vec<String> {
        self.schema.root_schema().get_fields().iter().map(|column| column.name().to_owned()).collect()
    }

    /// Replaces `payload` by the next row; `false` at the end.
    pub fn next(&mut self, payload: &mut Vec<u8>) -> Result<bool, FileError> {
        payload.clear();
        let read = self.next_row().map_err(|error| FileError::Read {
            path: self.path.clone(),
            row: self.row,
            cause: error.to_string(),
        })?;
        let Some(row) = read else { return Ok(false) };
        self.row += 1;
        write_object(&row, Some(self.schema.root_schema()), payload);
        Ok(true)
    }

    fn next_row(&mut self) -> Result<Option<Row>, ParquetError> {
        loop {
            if let Some(row) = self.rows.as_mut().and_then(Iterator::next) {
                return row.map(Some);
            }
            if self.group >= self.reader.num_row_groups() {
                return Ok(None);
            }
            let group = self.reader.get_row_group(self.group)?;
            self.rows = Some(TreeBuilder::new().as_iter(self.schema.clone(), &*group)?);
            self.group += 1;
        }
    }
}

/// Refuses types that can't become JSON (and on which the reader would panic).
fn check(column: &Type) -> Result<(), String> {
    if column.is_group() {
        return column.get_fields().iter().try_for_each(|child| check(child));
    }
    match column.get_basic_info().converted_type() {
        ConvertedType::INTERVAL => {
            Err(format!("the column `{}` is an interval, expected numbers, text, times or decimals", column.name()))
        }
        ConvertedType::DECIMAL if column.get_precision() > MAX_PRECISION => Err(format!(
            "the column `{}` is a decimal of {} digits, expected at most {MAX_PRECISION}",
            column.name(),
            column.get_precision()
        )),
        _ => Ok(()),
    }
}

/// Refuses a compression that this build can't undo, before the first row instead of at it.
fn check_compression(column: &ColumnChunkMetaData) -> Result<(), String> {
    match column.compression() {
        Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_) | Compression::ZSTD(_) => Ok(()),
        other => Err(format!(
            "the column `{}` is compressed with {other:?}, expected none, snappy, gzip or zstd",
            column.column_path().string()
        )),
    }
}

/// `group` is the type of the row, for what a field alone doesn't tell.
fn write_object(row: &Row, group: Option<&Type>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, field)) in row.get_column_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        let column = group.and_then(|group| group.get_fields().get(index)).map(|column| &**column);
        write_field(field, column, out);
    }
    out.push(b'}');
}

fn write_field(field: &Field, column: Option<&Type>, out: &mut Vec<u8>) {
    match field {
        Field::Null => out.extend_from_slice(b"null"),
        Field::Bool(value) => write_json(value, out),
        Field::Byte(value) => write_json(value, out),
        Field::Short(value) => write_json(value, out),
        Field::Int(value) => write_json(value, out),
        Field::Long(value) => write_long(*value, column, out),
        Field::UByte(value) => write_json(value, out),
        Field::UShort(value) => write_json(value, out),
        Field::UInt(value) => write_json(value, out),
        Field::ULong(value) => write_json(value, out),
        Field::Float16(value) => write_single(value.to_f32(), out),
        Field::Float(value) => write_single(*value, out),
        Field::Double(value) if value.is_finite() => write_json(value, out),
        Field::Double(value) => write_non_finite(*value, out),
        Field::Decimal(value) => write_decimal(value, out),
        Field::Str(value) => write_string(value, out),
        Field::Bytes(value) => write_bytes(value.data(), out),
        Field::Date(days) => write_timestamp(i64::from(*days), i128::from(*days) * 86_400_000_000_000, out),
        Field::TimeMillis(value) => write_time(i128::from(*value) * 1_000_000, out),
        Field::TimeMicros(value) => write_time(i128::from(*value) * 1000, out),
        Field::TimestampMillis(value) => write_timestamp(*value, i128::from(*value) * 1_000_000, out),
        Field::TimestampMicros(value) => write_timestamp(*value, i128::from(*value) * 1000, out),
        Field::Group(row) => write_object(row, column, out),
        Field::ListInternal(list) => write_list(list.elements(), out),
        Field::MapInternal(map) => write_map(map.entries(), out),
    }
}

fn write_json(value: &impl serde::Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("numbers and booleans can always be written as JSON into memory");
}

/// Single precision keeps its short decimal form: 0.1, not 0.10000000149011612.
fn write_single(value: f32, out: &mut Vec<u8>) {
    if value.is_finite() { write_json(&value, out) } else { write_non_finite(f64::from(value), out) }
}

/// Nanoseconds have no kind of field of their own: only the schema tells them from plain integers.
fn write_long(value: i64, column: Option<&Type>, out: &mut Vec<u8>) {
    let nanoseconds = |unit: &TimeUnit| match unit {
        TimeUnit::MILLIS => i128::from(value) * 1_000_000,
        TimeUnit::MICROS => i128::from(value) * 1000,
        TimeUnit::NANOS => i128::from(value),
    };
    match column.and_then(|column| column.get_basic_info().logical_type_ref()) {
        Some(LogicalType::Timestamp(kind)) => write_timestamp(value, nanoseconds(&kind.unit), out),
        Some(LogicalType::Time(kind)) => write_time(nanoseconds(&kind.unit), out),
        _ => write_json(&value, out),
    }
}

/// A moment outside of the years -9999 to 9999 has no RFC 3339 form and stays the number that it is in the file.
fn write_timestamp(value: i64, nanoseconds: i128, out: &mut Vec<u8>) {
    match Timestamp::from_nanosecond(nanoseconds) {
        Ok(moment) => write_string(&moment.to_string(), out),
        Err(_) => write_json(&value, out),
    }
}

/// A time of day beyond 24 hours stays a number, in nanoseconds.
fn write_time(nanoseconds: i128, out: &mut Vec<u8>) {
    let (seconds, fraction) = (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
    let part = |value: i128| i8::try_from(value).unwrap_or(-1);
    let time = Time::new(
        part(seconds.div_euclid(3600)),
        part(seconds / 60 % 60),
        part(seconds % 60),
        i32::try_from(fraction).unwrap_or(0),
    );
    match time {
        Ok(time) => write_string(&time.to_string(), out),
        Err(_) => write_json(&nanoseconds, out),
    }
}

/// All digits, as `1234` with scale 2 is `12.34`.
fn write_decimal(value: &Decimal, out: &mut Vec<u8>) {
    let negative = value.data().first().is_some_and(|byte| byte & 0x80 != 0);
    let start = if negative { -1 } else { 0 };
    // Big-endian two's complement; the schema check keeps it within 128 bits of value, longer data is sign extension.
    let unscaled = value.data().iter().fold(start as i128, |sum, byte| (sum << 8) | i128::from(*byte));
    let digits = unscaled.unsigned_abs().to_string();
    let scale = usize::try_from(value.scale()).unwrap_or(0);
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (integer, fraction) = padded.split_at(padded.len() - scale);
    if unscaled < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(integer.as_bytes());
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => write_string(text, out),
        Err(_) => {
            out.push(b'"');
            for byte in bytes {
                write!(out, "{byte:02x}").expect("writing into memory cannot fail");
            }
            out.push(b'"');
        }
    }
}

fn write_list(elements: &[Field], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_field(element, None, out);
    }
    out.push(b']');
}

/// Keys of an object are text, so a key of another type is written as its JSON form inside a string.
fn write_map(entries: &[(Field, Field)], out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (key, value)) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let mut text = Vec::new();
        write_field(key, None, &mut text);
        if text.first() == Some(&b'"') {
            out.extend_from_slice(&text);
        } else {
            write_string(&String::from_utf8_lossy(&text), out);
        }
        out.push(b':');
        write_field(value, None, out);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::{
        basic::ZstdLevel,
        data_type::{
            BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArrayType, FloatType, Int32Type,
            Int64Type,
        },
        file::{
            properties::WriterProperties,
            writer::{SerializedFileWriter, SerializedRowGroupWriter},
        },
        schema::{parser::parse_message_type, types::SchemaDescriptor},
    };
    use tempfile::TempDir;

    use super::*;
    use crate::file::{FileReader, tests::rest};

    type Group<'a> = SerializedRowGroupWriter<'a, File>;

    /// Writes one row group after the other.
    fn write(folder: &TempDir, schema: &str, groups: &[&dyn Fn(&mut Group<'_>)]) -> PathBuf {
        let path = folder.path().join("x.parquet");
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(File::create(&path).unwrap(), schema, properties).unwrap();
        for group in groups {
            let mut rows = writer.next_row_group().unwrap();
            group(&mut rows);
            rows.close().unwrap();
        }
        writer.close().unwrap();
        path
    }

    /// `levels`: definition levels, for columns that may be null.
    fn column<T: DataType>(group: &mut Group<'_>, values: &[T::T], levels: Option<&[i16]>) {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<T>().write_batch(values, levels, None).unwrap();
        column.close().unwrap();
    }

    fn rows(path: &Path) -> Vec<String> {
        rest(&mut FileReader::open(path).unwrap())
    }

    #[test]
    fn numbers_text_and_nulls_of_all_row_groups_become_records() {
        let folder = TempDir::new().unwrap();
        let schema = "message m { optional double d; required float f; required int64 i; required boolean b; \
                      optional binary s (UTF8); }";
        let first = |group: &mut Group<'_>| {
            column::<DoubleType>(group, &[0.1, f64::NAN], Some(&[1, 1]));
            column::<FloatType>(group, &[0.1, f32::NEG_INFINITY], None);
            column::<Int64Type>(group, &[i64::MAX, -1], None);
            column::<BoolType>(group, &[true, false], None);
            column::<ByteArrayType>(group, &[ByteArray::from("a \"b\"")], Some(&[1, 0]));
        };
        let second = |group: &mut Group<'_>| {
            column::<DoubleType>(group, &[], Some(&[0]));
            column::<FloatType>(group, &[2.0], None);
            column::<Int64Type>(group, &[0], None);
            column::<BoolType>(group, &[true], None);
            column::<ByteArrayType>(group, &[ByteArray::from("z")], Some(&[1]));
        };
        let path = write(&folder, schema, &[&first, &second]);
        assert_eq!(
            rows(&path),
            [
                r#"{"d":0.1,"f":0.1,"i":9223372036854775807,"b":true,"s":"a \"b\""}"#,
                r#"{"d":"NaN","f":"-inf","i":-1,"b":false,"s":null}"#,
                r#"{"d":null,"f":2.0,"i":0,"b":true,"s":"z"}"#
            ]
        );
    }

    #[test]
    fn timestamps_of_every_unit_dates_and_times_become_text() {
        let folder = TempDir::new().unwrap();
        let schema = "message m { required int64 ms (TIMESTAMP(MILLIS,true)); \
                      required int64 us (TIMESTAMP(MICROS,false)); \
                      required int64 ns (TIMESTAMP(NANOS,true)); required int32 day (DATE); \
                      required int64 clock (TIME(MICROS,true)); required int64 nano (TIME(NANOS,true)); }";
        let group = |group: &mut Group<'_>| {
            column::<Int64Type>(group, &[1_704_067_200_000], None);
            column::<Int64Type>(group, &[1_704_067_200_000_001], None);
            column::<Int64Type>(group, &[1_704_067_200_500_000_000], None);
            column::<Int32Type>(group, &[19_723], None);
            column::<Int64Type>(group, &[3_661_500_000], None);
            column::<Int64Type>(group, &[86_399_000_000_000], None);
        };
        let path = write(&folder, schema, &[&group]);
        assert_eq!(
            rows(&path),
            [concat!(
                r#"{"ms":"2024-01-01T00:00:00Z","us":"2024-01-01T00:00:00.000001Z","ns":"2024-01-01T00:00:00.5Z","#,
                r#""day":"2024-01-01T00:00:00Z","clock":"01:01:01.5","nano":"23:59:59"}"#
            )]
        );
    }

    #[test]
    fn decimals_keep_all_their_digits() {
        let folder = TempDir::new().unwrap();
        let schema = "message m { required int32 a (DECIMAL(9,2)); required int64 b (DECIMAL(18,0)); \
                      required fixed_len_byte_array(3) c (DECIMAL(5,4)); }";
        let group = |group: &mut Group<'_>| {
            column::<Int32Type>(group, &[-5, 12345], None);
            column::<Int64Type>(group, &[-7, 999_999_999_999_999_999], None);
            let fixed = [vec![0xFF, 0xFF, 0xFE], vec![0, 1, 0]].map(|bytes| ByteArray::from(bytes).into());
            column::<FixedLenByteArrayType>(group, &fixed, None);
        };
        let path = write(&folder, schema, &[&group]);
        let expected = [r#"{"a":-0.05,"b":-7,"c":-0.0002}"#, r#"{"a":123.45,"b":999999999999999999,"c":0.0256}"#];
        assert_eq!(rows(&path), expected);
    }

    #[test]
    fn nested_columns_become_objects_and_know_their_nanoseconds() {
        let folder = TempDir::new().unwrap();
        let schema = "message m { required group at { required int64 ns (TIMESTAMP(NANOS,true)); required group in { \
                      optional int32 x; } } required binary raw; }";
        let group = |group: &mut Group<'_>| {
            column::<Int64Type>(group, &[0, 1_000], None);
            column::<Int32Type>(group, &[7], Some(&[1, 0]));
            column::<ByteArrayType>(group, &[ByteArray::from("ok"), ByteArray::from(vec![0xFF, 0x01])], None);
        };
        let path = write(&folder, schema, &[&group]);
        assert_eq!(
            rows(&path),
            [
                r#"{"at":{"ns":"1970-01-01T00:00:00Z","in":{"x":7}},"raw":"ok"}"#,
                r#"{"at":{"ns":"1970-01-01T00:00:00.000001Z","in":{"x":null}},"raw":"ff01"}"#
            ]
        );
    }

    #[test]
    fn lists_and_maps_become_arrays_and_objects() {
        let text = |field: &Field| {
            let mut out = Vec::new();
            write_field(field, None, &mut out);
            String::from_utf8(out).unwrap()
        };
        let row = |fields: Vec<(&str, Field)>| {
            Row::new(fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect())
        };
        let group = Field::Group(row(vec![("a", Field::Int(1)), ("b", Field::Null)]));
        assert_eq!(text(&group), r#"{"a":1,"b":null}"#);
        let mut out = Vec::new();
        write_list(&[group, Field::Double(1.5)], &mut out);
        write_map(&[(Field::Str("k".to_owned()), Field::Int(1)), (Field::Int(2), Field::Bool(true))], &mut out);
        assert_eq!(out, br#"[{"a":1,"b":null},1.5]{"k":1,"2":true}"#);
    }

    #[test]
    fn columns_come_from_the_schema() {
        let folder = TempDir::new().unwrap();
        let group = |group: &mut Group<'_>| {
            column::<Int64Type>(group, &[0], None);
            column::<DoubleType>(group, &[f64::NAN], None);
        };
        let schema = "message m { required int64 Timestamp (TIMESTAMP(NANOS,true)); required double x; }";
        let path = write(&folder, schema, &[&group]);
        let mut reader = FileReader::open(&path).unwrap();
        let found = reader.columns().unwrap();
        assert_eq!(found.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["Timestamp", "x"]);
        assert_eq!(rest(&mut reader), [r#"{"Timestamp":"1970-01-01T00:00:00Z","x":"NaN"}"#]);
    }

    #[test]
    fn a_compression_that_cannot_be_undone_is_refused_before_the_first_row() {
        let schema = parse_message_type("message m { required double x; }").unwrap();
        let column = SchemaDescriptor::new(Arc::new(schema)).column(0);
        let check = |compression| {
            let builder = ColumnChunkMetaData::builder(column.clone());
            check_compression(&builder.set_compression(compression).build().unwrap())
        };
        assert_eq!(check(Compression::ZSTD(ZstdLevel::default())), Ok(()));
        let refused = "the column `x` is compressed with LZ4_RAW, expected none, snappy, gzip or zstd";
        assert_eq!(check(Compression::LZ4_RAW), Err(refused.to_owned()));
    }

    #[test]
    fn what_cannot_become_json_is_refused_with_the_column_named() {
        let folder = TempDir::new().unwrap();
        let interval = "message m { required group g { required fixed_len_byte_array(12) span (INTERVAL); } }";
        let error = FileReader::open(write(&folder, interval, &[])).err().unwrap().to_string();
        assert!(
            error.ends_with("the column `span` is an interval, expected numbers, text, times or decimals"),
            "{error}"
        );
        let path = folder.path().join("text.parquet");
        std::fs::write(&path, "a,b\n1,2\n").unwrap();
        let error = FileReader::open(&path).err().unwrap().to_string();
        assert!(error.contains("text.parquet has no usable header: ") && error.contains("Apache Parquet"), "{error}");
    }
}
