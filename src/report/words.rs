//! Text of the page: escaped, and numbers and times in few characters.

use crate::record::timestamp;

/// Text for element content and attributes. Characters that no page may hold become the replacement character.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\t' | '\n' => out.push(' '),
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

/// The text if it has no more than `most` characters, else its beginning.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// A number with three significant digits.
pub(super) fn figure(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e6).contains(&size) {
        let text = format!("{value:.2e}");
        // 1.00e-5 is 1e-5.
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{power}", trimmed(digits));
    }
    if size >= 1000.0 {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}{}", grouped(size.round() as u64));
    }
    let decimals = if size >= 100.0 { 0 } else { (2 - size.max(1e-4).log10().floor() as i32).max(0) as usize };
    trimmed(&format!("{value:.decimals$}")).to_owned()
}

/// Without zeros at the end of a fraction.
fn trimmed(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

/// `1,200`.
pub(super) fn grouped(count: u64) -> String {
    crate::demo::display::grouped(count)
}

/// A time in seconds since the epoch as `2026-01-01 15:00:00`, UTC; what no calendar has is on its first day.
pub(super) fn moment(seconds: f64) -> String {
    let text = timestamp::to_rfc3339((seconds.round() * 1e6) as i64);
    if text.as_bytes().get(10) != Some(&b'T') {
        return "0001-01-01 00:00:00".to_owned();
    }
    text[..19].replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_end_an_element_or_an_attribute() {
        let told = escape("<script>alert(\"1\" + '2')</script> & \u{0}\u{1b}\u{ffff}\t.");
        assert_eq!(
            told,
            "&lt;script&gt;alert(&quot;1&quot; + &#39;2&#39;)&lt;/script&gt; &amp; \u{fffd}\u{fffd}\u{fffd} ."
        );
    }

    #[test]
    fn numbers_have_three_digits() {
        let told = [0.0, 1.0, 0.05, 12.345, 123.45, 9999.6, 1_234_567.0, 1e-5, 0.000_123_4, -2.5, f64::NAN].map(figure);
        assert_eq!(told, ["0", "1", "0.05", "12.3", "123", "10,000", "1.23e6", "1e-5", "0.000123", "-2.5", "-"]);
        assert_eq!((shortened("abcdef", 6), shortened("äbcdef", 4)), ("abcdef".to_owned(), "äbc…".to_owned()));
        assert_eq!(moment(1_767_225_600.4), "2026-01-01 00:00:00");
        assert_eq!(moment(1e300), "0001-01-01 00:00:00");
    }
}
