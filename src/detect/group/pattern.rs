//! Patterns of entities that stray together, and which part of a name tells their group.

/// What stands for the part of an entity's name that tells its group.
pub const PLACEHOLDER: &str = "{group}";

/// A name in which `*` stands for any number of characters, `?` for exactly one, and `{group}`, at most once, for the part
/// that tells the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPattern {
    before: String,
    /// What stands behind `{group}`; `None` where it is not there, and all that match are one group.
    after: Option<String>,
}

/// Why a text is no pattern of groups.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupPatternError {
    /// It would match only the nameless.
    #[error(
        "is empty, expected a name in which * stands for any characters, ? for one, and {PLACEHOLDER} for what tells the group"
    )]
    Empty,
    /// A brace that does not belong to `{group}`.
    #[error("`{found}` is unknown, expected {PLACEHOLDER}, or ? where a name has a brace")]
    Unknown {
        /// The brace, with what is behind it.
        found: String,
    },
    /// `{group}` more than once.
    #[error(
        "{PLACEHOLDER} stands in it more than once, expected it once, or not at all for one group of all that match"
    )]
    Twice,
    /// `{group}` beside `*`.
    #[error(
        "`{found}` leaves open where the group's part of the name ends, expected a character between {PLACEHOLDER} and *"
    )]
    Open {
        /// The two.
        found: String,
    },
    /// No two entities could be in one group.
    #[error("`{text}` tells each entity apart, expected * or ? for the part in which entities of a group differ")]
    Single {
        /// The pattern.
        text: String,
    },
}

impl GroupPattern {
    /// Takes a pattern as it is written.
    ///
    /// # Errors
    /// It is empty, has other placeholders or too many, or can't tell where a group's part ends.
    pub fn new(text: &str) -> Result<Self, GroupPatternError> {
        if text.is_empty() {
            return Err(GroupPatternError::Empty);
        }
        let mut pieces = text.split(PLACEHOLDER);
        let (before, after) = (pieces.next().unwrap_or_default(), pieces.next());
        if let Some(found) = pieces.chain([before]).chain(after).find_map(brace) {
            return Err(GroupPatternError::Unknown { found });
        }
        if text.matches(PLACEHOLDER).count() > 1 {
            return Err(GroupPatternError::Twice);
        }
        if let Some(after) = after {
            if before.ends_with('*') {
                return Err(GroupPatternError::Open { found: format!("*{PLACEHOLDER}") });
            }
            if after.starts_with('*') {
                return Err(GroupPatternError::Open { found: format!("{PLACEHOLDER}*") });
            }
        }
        if !text.contains(['*', '?']) {
            return Err(GroupPatternError::Single { text: text.to_owned() });
        }
        Ok(Self { before: before.to_owned(), after: after.map(str::to_owned) })
    }

    /// The group of an entity: the pattern with the group's part of the name filled in, which is a pattern of all its
    /// entities. `None` where the name doesn't fit. The part has at least one character and, as `*` has, as few as fit.
    pub fn group_of(&self, entity: &str) -> Option<String> {
        let name: Vec<char> = entity.chars().collect();
        let before = fitting(self.before.chars(), name.iter().copied());
        let Some(after) = &self.after else {
            return before[name.len()].then(|| self.before.clone());
        };
        let after_fits = fitting(after.chars().rev(), name.iter().rev().copied());
        let start = before.iter().position(|fits| *fits)?;
        let end = (start + 1..=name.len()).find(|end| after_fits[name.len() - end])?;
        let part: String = name[start..end].iter().collect();
        Some(format!("{}{part}{after}", self.before))
    }
}

/// A brace and what is behind it, up to its partner.
fn brace(text: &str) -> Option<String> {
    let rest = &text[text.find(['{', '}'])?..];
    let end = if rest.starts_with('{') { rest.find('}') } else { Some(0) };
    Some(rest[..end.map_or(rest.len(), |end| end + 1)].to_owned())
}

/// Whether the first 0, 1, ... characters of a name fit a pattern without `{group}`.
fn fitting(pattern: impl Iterator<Item = char>, name: impl Iterator<Item = char>) -> Vec<bool> {
    let name: Vec<char> = name.collect();
    let mut fits = vec![false; name.len() + 1];
    fits[0] = true;
    for wanted in pattern {
        if wanted == '*' {
            let mut any = false;
            fits.iter_mut().for_each(|fits| {
                any |= *fits;
                *fits = any;
            });
            continue;
        }
        for at in (0..name.len()).rev() {
            fits[at + 1] = fits[at] && (wanted == '?' || wanted == name[at]);
        }
        fits[0] = false;
    }
    fits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::detect::gates::pattern::Pattern;

    fn group(pattern: &str, entity: &str) -> Option<String> {
        GroupPattern::new(pattern).unwrap().group_of(entity)
    }

    #[test]
    fn the_groups_part_of_a_name_is_filled_in() {
        for (pattern, entity, name) in [
            ("{group}/pump-*", "hall-3/pump-7", "hall-3/pump-*"),
            ("rack-{group}-*", "rack-7-pump-1", "rack-7-*"),
            ("{group}-*", "rack-7-pump-1", "rack-*"),
            ("*-{group}-?", "a-b-c-d", "*-b-c-?"),
            ("pump-?@{group}", "pump-ü@ost", "pump-?@ost"),
            ("{group}/pump-*", "a/b/pump-1", "a/b/pump-*"),
            ("pump-*", "pump-", "pump-*"),
            ("*", "", "*"),
        ] {
            assert_eq!(group(pattern, entity).as_deref(), Some(name), "{pattern} {entity}");
        }
        for (pattern, entity) in
            [("{group}/pump-*", "/pump-7"), ("rack-{group}-*", "rack-7"), ("pump-*", "fan-7"), ("?-{group}", "a-")]
        {
            assert_eq!(group(pattern, entity), None, "{pattern} {entity}");
        }
    }

    #[test]
    fn a_pattern_that_can_tell_no_group_is_refused_with_what_would_be_right() {
        for (bad, told) in [
            ("", "is empty, expected a name in which"),
            ("{rack}-*", "`{rack}` is unknown, expected {group}"),
            ("{group}-{hall}-*", "`{hall}` is unknown"),
            ("a{-*", "`{-*` is unknown"),
            ("a}-*", "`}` is unknown"),
            ("{Group}-*", "`{Group}` is unknown"),
            ("{group}-{group}-*", "{group} stands in it more than once"),
            ("{group}*", "`{group}*` leaves open where"),
            ("*{group}-?", "`*{group}` leaves open where"),
            ("{group}", "`{group}` tells each entity apart, expected * or ?"),
            ("pump-7", "`pump-7` tells each entity apart"),
        ] {
            let error = GroupPattern::new(bad).unwrap_err().to_string();
            assert!(error.starts_with(told) && error.contains(", expected "), "{bad}: {error}");
        }
    }

    #[test]
    fn a_long_name_and_many_stars_cost_no_more_than_their_product() {
        let pattern = format!("{}b{{group}}-{}b", "*a".repeat(50), "*a".repeat(50));
        assert_eq!(group(&pattern, &"a".repeat(5000)), None);
    }

    proptest! {
        #[test]
        fn the_name_of_a_group_is_a_pattern_of_each_of_its_entities(
            before in "[ab*?]{0,3}[ab?]",
            after in "[ab?][ab*?]{0,3}",
            entity in "[ab]{0,8}",
        ) {
            let text = format!("{before}{PLACEHOLDER}{after}*");
            let pattern = GroupPattern::new(&text).unwrap();
            let name = pattern.group_of(&entity);
            let any = Pattern::new(&format!("{before}?*{after}*")).unwrap();
            prop_assert_eq!(name.is_some(), any.matches(&entity), "{} {}", text, entity);
            if let Some(name) = name {
                prop_assert!(Pattern::new(&name).unwrap().matches(&entity), "{} {} {}", text, entity, name);
            }
        }

        #[test]
        fn without_a_placeholder_it_matches_as_any_pattern_does(text in "[ab*?]{0,5}[*?]", entity in "[ab]{0,8}") {
            let group = GroupPattern::new(&text).unwrap().group_of(&entity);
            prop_assert_eq!(group.is_some(), Pattern::new(&text).unwrap().matches(&entity));
        }
    }
}
