//! Patterns of names, as people write them for entities and features.

use std::fmt;

/// A name in which `*` stands for any number of characters and `?` for exactly one; all others stand for themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It would match only the nameless.
    #[error("the pattern is empty, expected a name in which * stands for any characters and ? for one")]
    Empty,
}

impl Pattern {
    /// Takes a pattern as it is written.
    ///
    /// # Errors
    /// An empty text.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() { Err(PatternError::Empty) } else { Ok(Self(text.to_owned())) }
    }

    /// Matches every name, the empty one too.
    pub fn any() -> Self {
        Self("*".to_owned())
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole name fits.
    pub fn matches(&self, name: &str) -> bool {
        let (mut pattern, mut rest) = (self.0.chars(), name.chars());
        // Behind the last `*`, and where in the name it stopped taking characters.
        let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
        loop {
            let (wanted, found) = (pattern.clone().next(), rest.clone().next());
            match (wanted, found) {
                (Some('*'), _) => {
                    pattern.next();
                    retry = Some((pattern.clone(), rest.clone()));
                }
                (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                    pattern.next();
                    rest.next();
                }
                (None, None) => return true,
                _ => {
                    let Some((after, from)) = &mut retry else { return false };
                    // The last `*` takes one character more; those before it need not, they took as little as they could.
                    if from.next().is_none() {
                        return false;
                    }
                    (pattern, rest) = (after.clone(), from.clone());
                }
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name that is most like the text, if any is like it at all: what somebody may have meant.
pub fn closest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness =
        |name: &str| strsim::normalized_damerau_levenshtein(&name.to_ascii_lowercase(), &text.to_ascii_lowercase());
    let alike = names.into_iter().map(|name| (likeness(name), name)).filter(|(likeness, _)| *likeness >= 0.5);
    alike.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_take_any_characters_and_question_marks_one() {
        let fits = |pattern: &str, name: &str| Pattern::new(pattern).unwrap().matches(name);
        for (pattern, name) in [
            ("*", ""),
            ("*", "pump-7"),
            ("pump-*", "pump-"),
            ("pump-?", "pump-ü"),
            ("*-*-7", "a-b-c-7"),
            ("a*b*c", "a-b-b-c"),
            ("frame[3][?]", "frame[3][7]"),
            ("**x", "x"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("pump-?", "pump-"), ("pump-?", "pump-77"), ("pump", "pump-7"), ("a*b", "a-b-c"), ("?", ""), ("A*", "a")]
        {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_is_as_fast_as_any() {
        let pattern = Pattern::new(&"*a".repeat(200)).unwrap();
        assert!(!pattern.matches(&format!("{}b", "a".repeat(5000))));
    }

    #[test]
    fn an_empty_pattern_is_refused() {
        assert_eq!(Pattern::new(""), Err(PatternError::Empty));
    }

    #[test]
    fn the_closest_name_is_told_only_where_it_is_alike() {
        assert_eq!(closest("presure", ["flow", "pressure"]), Some("pressure"));
        assert_eq!(closest("temperature", ["flow", "pressure"]), None);
    }
}
