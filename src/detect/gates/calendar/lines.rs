//! The content lines of an iCalendar file (RFC 5545, section 3.1): unfolded, each with its place in the file, which is
//! what readers of the format don't keep and what somebody who mends a file needs.

use super::CalendarError;

/// One line: `NAME;PARAMETER=VALUE:VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Number of its first line in the file, from 1.
    pub(super) number: usize,
    /// In capitals.
    pub(super) name: String,
    /// Names in capitals, values without quotes.
    parameters: Vec<(String, String)>,
    pub(super) value: String,
}

impl Line {
    /// The value of a parameter, whose name is given in capitals.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Whether name and value are these.
    pub(super) fn is(&self, name: &str, value: &str) -> bool {
        self.name == name && self.value.eq_ignore_ascii_case(value)
    }
}

/// Reads all lines; those that begin with a blank go on with the one before.
pub(super) fn read(text: &str) -> Result<Vec<Line>, CalendarError> {
    let mut folded: Vec<(usize, String)> = Vec::new();
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        match (line.strip_prefix([' ', '\t']), folded.last_mut()) {
            (Some(rest), Some((_, before))) => before.push_str(rest),
            _ if line.trim().is_empty() => {}
            _ => folded.push((number, line.to_owned())),
        }
    }
    folded.into_iter().map(|(number, line)| split(number, &line)).collect()
}

fn split(number: usize, line: &str) -> Result<Line, CalendarError> {
    let no_line = || CalendarError::NoContentLine { line: number, found: line.to_owned() };
    let (head, value) = split_outside_quotes(line, ':').ok_or_else(no_line)?;
    let mut parts = Vec::new();
    let mut rest = head;
    while let Some((part, behind)) = split_outside_quotes(rest, ';') {
        parts.push(part);
        rest = behind;
    }
    parts.push(rest);
    let name = parts[0].trim().to_ascii_uppercase();
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Err(no_line());
    }
    let parameter = |part: &&str| -> Result<(String, String), CalendarError> {
        let (name, value) = part.split_once('=').ok_or_else(no_line)?;
        Ok((name.trim().to_ascii_uppercase(), value.trim_matches('"').to_owned()))
    };
    let parameters = parts[1..].iter().map(parameter).collect::<Result<_, _>>()?;
    Ok(Line { number, name, parameters, value: value.trim().to_owned() })
}

fn split_outside_quotes(text: &str, at: char) -> Option<(&str, &str)> {
    let mut quoted = false;
    let place = text.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == at && !quoted
    });
    place.map(|(place, _)| (&text[..place], &text[place + at.len_utf8()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_lines_are_one_and_keep_the_number_of_their_first() {
        let lines = read("\u{feff}BEGIN:VEVENT\r\nSUMMARY:one\r\n  two\r\n\tthree\r\n\r\nEND:VEVENT\r\n").unwrap();
        let told: Vec<(usize, &str, &str)> =
            lines.iter().map(|l| (l.number, l.name.as_str(), l.value.as_str())).collect();
        assert_eq!(told, [(1, "BEGIN", "VEVENT"), (2, "SUMMARY", "one twothree"), (6, "END", "VEVENT")]);
    }

    #[test]
    fn parameters_may_be_quoted_and_hold_colons_and_semicolons_then() {
        let lines = read("dtstart;x=\"a:b;c\";Tzid=Europe/Berlin:20260101T000000").unwrap();
        assert_eq!((lines[0].name.as_str(), lines[0].value.as_str()), ("DTSTART", "20260101T000000"));
        assert_eq!((lines[0].parameter("X"), lines[0].parameter("TZID")), (Some("a:b;c"), Some("Europe/Berlin")));
        assert_eq!(lines[0].parameter("VALUE"), None);
    }

    #[test]
    fn what_is_no_content_line_is_told_with_its_number() {
        for bad in ["nothing", "NA ME:x", ":x", "DTSTART;TZID:x"] {
            let told = read(&format!("BEGIN:VCALENDAR\n{bad}\n")).unwrap_err().to_string();
            assert_eq!(told, format!("line 2: `{bad}` is no content line, expected NAME:VALUE"));
        }
    }
}
