//! Where a field stands in a record.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The way from the top of a record to one field: keys of nested objects, and indices of arrays.
///
/// Written as text, segments are separated by `.`; a backslash takes the meaning from a dot or a backslash
/// (`rooms.3\.14.kelvin` has three segments), and `\e` stands for a key of no characters. A segment of digits
/// (`values.3`) is an index from 0 where an array is met, and a key where an object is met.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath {
    /// At least one; compared literally, so they are kept without escapes.
    segments: Vec<Box<str>>,
}

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldPathError {
    /// The text has no characters.
    #[error("the field path is empty, expected a name such as `temperature` or `values.temperature`")]
    Empty,
    /// Two dots in a row, or a dot at an end.
    #[error("the field path `{0}` has an empty segment; write `\\.` for a dot that is part of a name")]
    EmptySegment(String),
    /// A backslash before anything that needs none.
    #[error("the field path `{0}` has a lone backslash; write `\\\\` for a backslash and `\\.` for a dot in a name")]
    BadEscape(String),
}

impl FieldPath {
    /// The path of one segment that is a literal name, such as a column of a CSV file; dots in it are part of the name.
    pub fn key(name: &str) -> Self {
        Self { segments: vec![name.into()] }
    }

    /// The path one step deeper than this one, by a literal name.
    pub fn join(&self, name: &str) -> Self {
        let mut segments = self.segments.clone();
        segments.push(name.into());
        Self { segments }
    }

    /// Its segments without escapes, from the top down; never empty.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = &str> {
        self.segments.iter().map(|segment| &**segment)
    }

    /// The plain name where there is but one segment, such as a column of a CSV file.
    pub fn name(&self) -> Option<&str> {
        match &*self.segments {
            [name] => Some(name),
            _ => None,
        }
    }

    /// How it is called in events and scores: its plain name where there is but one segment, so that the column
    /// `pressure.bar` keeps its name; else its text, also where that name is `taken` by another field.
    pub fn label(&self, taken: impl Fn(&str) -> bool) -> String {
        match self.name().filter(|name| !name.is_empty() && !taken(name)) {
            Some(name) => name.to_owned(),
            None => self.to_string(),
        }
    }

    /// Whether `self` is `other` or stands above it.
    pub fn contains(&self, other: &Self) -> bool {
        other.segments.starts_with(&self.segments)
    }
}

/// The index that a segment names where an array is met: decimal digits without leading zeros.
pub(crate) fn array_index(segment: &str) -> Option<usize> {
    let digits = segment.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = segment == "0" || !segment.starts_with('0');
    if digits && canonical { segment.parse().ok() } else { None }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.segments.iter().enumerate() {
            if position > 0 {
                f.write_str(".")?;
            }
            if segment.is_empty() {
                f.write_str("\\e")?;
            }
            for character in segment.chars() {
                if matches!(character, '.' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for FieldPath {
    type Err = FieldPathError;

    fn from_str(text: &str) -> Result<Self, FieldPathError> {
        if text.is_empty() {
            return Err(FieldPathError::Empty);
        }
        let mut segments = Vec::new();
        let mut rest = text;
        loop {
            let (segment, after) = first_segment(rest, text)?;
            segments.push(segment.into_boxed_str());
            match after {
                Some(after) => rest = after,
                None => return Ok(Self { segments }),
            }
        }
    }
}

/// Takes one segment off `rest`; what follows its dot is `None` at the end. `whole` is for error texts.
fn first_segment<'a>(rest: &'a str, whole: &str) -> Result<(String, Option<&'a str>), FieldPathError> {
    let (empty_key, end) = (rest == "\\e", rest.starts_with("\\e."));
    if empty_key || end {
        return Ok((String::new(), rest.strip_prefix("\\e.")));
    }
    let mut segment = String::new();
    let mut characters = rest.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '.' if segment.is_empty() => return Err(FieldPathError::EmptySegment(whole.to_owned())),
            '.' => return Ok((segment, Some(&rest[at + 1..]))),
            '\\' => match characters.next() {
                Some((_, escaped @ ('.' | '\\'))) => segment.push(escaped),
                _ => return Err(FieldPathError::BadEscape(whole.to_owned())),
            },
            other => segment.push(other),
        }
    }
    if segment.is_empty() { Err(FieldPathError::EmptySegment(whole.to_owned())) } else { Ok((segment, None)) }
}

impl Serialize for FieldPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FieldPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl schemars::JsonSchema for FieldPath {
    fn schema_name() -> Cow<'static, str> {
        "FieldPath".into()
    }

    fn json_schema(_generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "minLength": 1,
            "description": "Where a field stands: keys separated by `.` (`\\.` for a dot in a key), digits index arrays"
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segments(text: &str) -> Vec<String> {
        text.parse::<FieldPath>().unwrap().segments().map(str::to_owned).collect()
    }

    #[test]
    fn dots_separate_segments_and_a_backslash_keeps_them() {
        assert_eq!(segments("values.temperature"), ["values", "temperature"]);
        assert_eq!(segments(r"rooms.3\.14.a\\b"), ["rooms", "3.14", r"a\b"]);
        assert_eq!(segments(r"\e.a"), ["", "a"]);
        assert_eq!(FieldPath::key("a.b").to_string(), r"a\.b");
        assert_eq!(r"a\.b".parse(), Ok(FieldPath::key("a.b")));
    }

    #[test]
    fn a_single_segment_is_called_by_its_plain_name_unless_that_is_taken() {
        assert_eq!(FieldPath::key("pressure.bar").label(|_| false), "pressure.bar");
        assert_eq!(FieldPath::key("pressure.bar").label(|name| name == "pressure.bar"), r"pressure\.bar");
        assert_eq!(r"a.b\.c".parse::<FieldPath>().unwrap().label(|_| false), r"a.b\.c");
        assert_eq!(FieldPath::key("").label(|_| false), r"\e");
    }

    #[test]
    fn a_text_that_is_no_path_is_named_in_the_error() {
        assert_eq!("".parse::<FieldPath>(), Err(FieldPathError::Empty));
        for text in [".", "a.", ".a", "a..b"] {
            assert_eq!(text.parse::<FieldPath>(), Err(FieldPathError::EmptySegment(text.to_owned())), "{text}");
        }
        for text in ["\\", r"a\b", r"a\", r"\ea", r"a\e"] {
            assert_eq!(text.parse::<FieldPath>(), Err(FieldPathError::BadEscape(text.to_owned())), "{text}");
        }
        assert!(serde_json::from_str::<FieldPath>(r#""a..b""#).unwrap_err().to_string().contains("`a..b`"));
    }

    #[test]
    fn a_path_contains_itself_and_what_stands_beneath() {
        let above: FieldPath = "a.b".parse().unwrap();
        assert!(above.contains(&above) && above.contains(&above.join("c")));
        assert!(!above.contains(&FieldPath::key("a")) && !above.contains(&"a.bc".parse().unwrap()));
    }

    #[test]
    fn only_canonical_digits_index_arrays() {
        assert_eq!(array_index("0"), Some(0));
        assert_eq!(array_index("12"), Some(12));
        for segment in ["", "01", "+1", "-1", "1a", "99999999999999999999999"] {
            assert_eq!(array_index(segment), None, "{segment}");
        }
    }

    proptest! {
        #[test]
        fn every_path_survives_its_text(parts in prop::collection::vec("[a-z.\\\\e]{0,4}|\\PC{0,6}", 1..5)) {
            let mut path = FieldPath::key(&parts[0]);
            for part in &parts[1..] {
                path = path.join(part);
            }
            prop_assert_eq!(path.to_string().parse::<FieldPath>().unwrap(), path.clone());
            let json = serde_json::to_string(&path).unwrap();
            prop_assert_eq!(serde_json::from_str::<FieldPath>(&json).unwrap(), path);
        }
    }
}
