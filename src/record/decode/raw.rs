//! Payloads that are the bytes of one grid, cell after cell, row by row.

use super::super::{
    DecodedRecord, RecordError, SlotState,
    features::{EncoderError, FeatureSetting, grid_of},
    grid::{CellType, Shape},
};
use crate::config::settings::{RawGrid, RecordFormat};

/// Reads a whole payload into the slots.
///
/// # Errors
/// [`RecordError::WrongLength`] where the payload has other than the grid's bytes.
pub(super) fn read(grid: RawGrid, payload: &[u8], out: &mut DecodedRecord) -> Result<(), RecordError> {
    let RawGrid { shape, cell, big_endian } = grid;
    let expected = shape.cells() * cell.bytes();
    if payload.len() != expected {
        return Err(RecordError::WrongLength { bytes: payload.len(), expected, shape, cell });
    }
    match (cell, big_endian) {
        (CellType::Uint8, _) => cells(payload, out, |[byte]| f64::from(byte)),
        (CellType::Uint16, false) => cells(payload, out, |bytes| f64::from(u16::from_le_bytes(bytes))),
        (CellType::Uint16, true) => cells(payload, out, |bytes| f64::from(u16::from_be_bytes(bytes))),
        (CellType::Int16, false) => cells(payload, out, |bytes| f64::from(i16::from_le_bytes(bytes))),
        (CellType::Int16, true) => cells(payload, out, |bytes| f64::from(i16::from_be_bytes(bytes))),
        (CellType::Float32, false) => cells(payload, out, |bytes| f64::from(f32::from_le_bytes(bytes))),
        (CellType::Float32, true) => cells(payload, out, |bytes| f64::from(f32::from_be_bytes(bytes))),
        (CellType::Float64, false) => cells(payload, out, f64::from_le_bytes),
        (CellType::Float64, true) => cells(payload, out, f64::from_be_bytes),
    }
    Ok(())
}

/// Fills one slot per cell of `N` bytes; what is not finite is of no use.
fn cells<const N: usize>(payload: &[u8], out: &mut DecodedRecord, number: impl Fn([u8; N]) -> f64) {
    let (bytes, _) = payload.as_chunks();
    let finite = |number: f64| if number.is_finite() { number } else { f64::NAN };
    out.values.clear();
    out.values.extend(bytes.iter().map(|bytes| finite(number(*bytes))));
    let state = |value: &f64| if value.is_nan() { SlotState::Unusable } else { SlotState::Present };
    out.states.clear();
    out.states.extend(out.values.iter().map(state));
}

/// Refuses features that records of this format can't have: raw bytes are one grid, of the configured shape.
///
/// # Errors
/// [`EncoderError::RawFormat`].
pub fn check_format(features: &[FeatureSetting], format: &RecordFormat) -> Result<(), EncoderError> {
    let RecordFormat::Raw(raw) = format else { return Ok(()) };
    match grid_of(features).map(Shape::from) {
        Some(shape) if shape == raw.shape => Ok(()),
        Some(shape) => Err(EncoderError::RawFormat { configured: raw.shape, features: format!("a grid of {shape}") }),
        None => Err(EncoderError::RawFormat { configured: raw.shape, features: "no single grid".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::features::{FeatureKind, Transform};

    const SHAPE: Shape = Shape { height: 1, width: 2 };

    fn read_of(cell: CellType, big_endian: bool, payload: &[u8]) -> Result<DecodedRecord, RecordError> {
        let mut out = DecodedRecord::default();
        read(RawGrid { shape: SHAPE, cell, big_endian }, payload, &mut out).map(|()| out)
    }

    fn values(cell: CellType, big_endian: bool, payload: &[u8]) -> Vec<f64> {
        let out = read_of(cell, big_endian, payload).unwrap();
        assert_eq!(out.states, [SlotState::Present; 2]);
        out.values
    }

    #[test]
    fn each_type_is_read_in_its_byte_order() {
        for big_endian in [false, true] {
            assert_eq!(values(CellType::Uint8, big_endian, &[0, 255]), [0.0, 255.0]);
        }
        assert_eq!(values(CellType::Uint16, false, &[1, 2, 255, 255]), [513.0, 65_535.0]);
        assert_eq!(values(CellType::Uint16, true, &[1, 2, 255, 255]), [258.0, 65_535.0]);
        assert_eq!(values(CellType::Int16, false, &[0, 128, 254, 255]), [-32_768.0, -2.0]);
        assert_eq!(values(CellType::Int16, true, &[128, 0, 255, 254]), [-32_768.0, -2.0]);
    }

    proptest! {
        #[test]
        fn floats_come_through_to_the_bit_and_what_is_not_finite_is_of_no_use(
            large in any::<[f64; 2]>(), small in any::<[f32; 2]>(),
        ) {
            let little = [large[0].to_le_bytes(), large[1].to_le_bytes()].concat();
            let big = [large[0].to_be_bytes(), large[1].to_be_bytes()].concat();
            let short = [small[0].to_le_bytes(), small[1].to_le_bytes()].concat();
            let short_big = [small[0].to_be_bytes(), small[1].to_be_bytes()].concat();
            for (cell, big_endian, payload, wanted) in [
                (CellType::Float64, false, little, large),
                (CellType::Float64, true, big, large),
                (CellType::Float32, false, short, small.map(f64::from)),
                (CellType::Float32, true, short_big, small.map(f64::from)),
            ] {
                let out = read_of(cell, big_endian, &payload).unwrap();
                for ((wanted, value), state) in wanted.iter().zip(&out.values).zip(&out.states) {
                    let finite = wanted.is_finite();
                    prop_assert_eq!(*state == SlotState::Present, finite);
                    let wanted = if finite { *wanted } else { f64::NAN };
                    prop_assert_eq!(value.to_bits(), wanted.to_bits());
                }
            }
        }
    }

    #[test]
    fn infinite_and_no_numbers_are_of_no_use() {
        let payload = [f32::NAN.to_le_bytes(), f32::NEG_INFINITY.to_le_bytes()].concat();
        let out = read_of(CellType::Float32, false, &payload).unwrap();
        assert!(out.values.iter().all(|value| value.is_nan()));
        assert_eq!(out.states, [SlotState::Unusable; 2]);
    }

    #[test]
    fn another_length_is_refused_with_what_would_be_right() {
        for bytes in [0, 3, 5] {
            let error = read_of(CellType::Uint16, false, &vec![0; bytes]).unwrap_err();
            let told = format!("the record has {bytes} bytes, expected 4: 1 row of 2 cells of type uint16");
            assert_eq!(error.to_string(), told);
        }
    }

    #[test]
    fn features_other_than_a_grid_of_the_shape_do_not_go_with_raw_bytes() {
        let grid = |height, width| {
            let kind = FeatureKind::Grid { shape: Shape { height, width }, transform: Transform::None };
            FeatureSetting { name: "grid".to_owned(), path: "grid".parse().unwrap(), kind }
        };
        let raw = RecordFormat::Raw(RawGrid { shape: SHAPE, cell: CellType::Uint8, big_endian: false });
        assert_eq!(check_format(&[grid(1, 2)], &raw), Ok(()));
        assert_eq!(check_format(&[grid(2, 1), grid(1, 1)], &RecordFormat::Json), Ok(()));
        let told = |features: &[FeatureSetting]| check_format(features, &raw).unwrap_err().to_string();
        assert!(
            told(&[grid(2, 1)]).contains("of 1 row of 2 cells, but the features are a grid of 2 rows of 1 cell each")
        );
        assert!(told(&[grid(1, 2), grid(1, 2)]).contains("no single grid"));
    }
}
