//! The fast way through a payload of the usual shape.
//!
//! It reads JSON strictly and gives up (`None`) on everything that it doesn't know how to read, whether wrong or merely
//! rare (escapes in keys and in wanted strings, deep nesting): `serde_json` decides then. Beyond JSON it takes `NaN`,
//! `Infinity` and `-Infinity` as values, and numbers that are too large for a double, which are both unusable rather
//! than wrong.

use super::fields::{Fields, Number, Value};
use crate::record::grid::Shape;

/// Nesting beyond this is left to `serde_json`.
const MAX_DEPTH: u32 = 64;

/// Reads the whole payload. After `None`, `fields` holds leftovers and must be begun anew.
pub(super) fn scan(payload: &str, fields: &mut Fields<'_>) -> Option<()> {
    let mut scanner = Scanner { text: payload, bytes: payload.as_bytes(), at: 0, fields };
    scanner.skip_whitespace();
    scanner.expect(b'{')?;
    scanner.object(0, 0)?;
    scanner.skip_whitespace();
    (scanner.at == payload.len()).then_some(())
}

struct Scanner<'p, 'f, 'a> {
    text: &'p str,
    bytes: &'p [u8],
    at: usize,
    fields: &'f mut Fields<'a>,
}

impl<'p> Scanner<'p, '_, '_> {
    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline(always)]
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    #[inline(always)]
    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn literal(&mut self, word: &[u8]) -> Option<()> {
        self.bytes[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    /// After an element: `Some(true)` if another one follows, `Some(false)` after the closing bracket.
    #[inline(always)]
    fn another(&mut self, close: u8) -> Option<bool> {
        self.skip_whitespace();
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b',' => {
                self.skip_whitespace();
                Some(true)
            }
            byte if byte == close => Some(false),
            _ => None,
        }
    }

    /// Whether the object or array that was just opened closes at once.
    fn closes(&mut self, close: u8) -> bool {
        self.skip_whitespace();
        self.expect(close).is_some()
    }

    /// From behind the opening brace to behind the closing one.
    fn object(&mut self, node: u32, depth: u32) -> Option<()> {
        if self.closes(b'}') {
            return Some(());
        }
        let mut cursor = self.fields.cursor(node);
        loop {
            self.expect(b'"')?;
            let (guess, quoted) = self.fields.expected(&cursor);
            let guessed = !quoted.is_empty() && self.bytes[self.at..].starts_with(quoted);
            let mut child = None;
            if guessed {
                child = self.fields.take_expected(node, &mut cursor, guess);
            }
            if child.is_some() {
                self.at += quoted.len();
            } else {
                let key = self.plain_string()?;
                child = self.fields.child(node, &mut cursor, key);
            }
            self.colon()?;
            match child {
                Some(child) => self.value(child, depth)?,
                None => self.skip_value(depth)?,
            }
            if !self.another(b'}')? {
                return Some(());
            }
        }
    }

    #[inline(always)]
    fn colon(&mut self) -> Option<()> {
        self.skip_whitespace();
        self.expect(b':')?;
        self.skip_whitespace();
        Some(())
    }

    /// From behind the opening bracket to behind the closing one.
    fn array(&mut self, node: u32, depth: u32) -> Option<()> {
        if self.closes(b']') {
            return Some(());
        }
        let schema = self.fields.schema;
        let mut wanted = schema.node(node).elements.iter();
        let mut next = wanted.next();
        for index in 0.. {
            match next {
                Some(&(element, child)) if element == index => {
                    self.value(child, depth)?;
                    next = wanted.next();
                }
                _ => self.skip_value(depth)?,
            }
            if !self.another(b']')? {
                break;
            }
        }
        Some(())
    }

    /// A value that somebody wants; nearly always a number for one slot.
    #[inline(always)]
    fn value(&mut self, node: u32, depth: u32) -> Option<()> {
        if let Some(b'0'..=b'9' | b'-') = self.peek()
            && let Some(slot) = self.fields.schema.node(node).number_slot
            && self.bytes.get(self.at + 1) != Some(&b'I')
        {
            let number = self.number()?;
            self.fields.write_number(slot, number);
            return Some(());
        }
        self.any_value(node, depth)
    }

    fn any_value(&mut self, node: u32, depth: u32) -> Option<()> {
        let value = match self.peek()? {
            b'{' if !self.fields.schema.is_leaf(node) => {
                self.at += 1;
                self.fields.enter(node);
                return self.object(node, depth + 1);
            }
            b'[' if !self.fields.schema.is_leaf(node) => {
                self.at += 1;
                self.fields.enter(node);
                return self.array(node, depth + 1);
            }
            b'[' if let Some(grid) = self.fields.grid(node) => return self.grid(node, grid.slot, grid.shape),
            b'{' | b'[' => {
                self.skip_value(depth)?;
                Value::Container
            }
            b'"' => {
                self.at += 1;
                Value::Text(self.plain_string()?)
            }
            _ => self.scalar()?,
        };
        self.fields.write(node, value);
        Some(())
    }

    /// A grid of just its shape, cells numbers or literals; whatever else there may be is left to `serde_json`.
    fn grid(&mut self, node: u32, first_slot: u32, shape: Shape) -> Option<()> {
        self.at += 1;
        self.fields.enter_grid(node);
        self.skip_whitespace();
        let mut slot = first_slot;
        for row in 1..=shape.height {
            self.expect(b'[')?;
            self.skip_whitespace();
            for column in 1..=shape.width {
                self.cell(slot)?;
                slot += 1;
                if self.another(b']')? == (column == shape.width) {
                    return None;
                }
            }
            if self.another(b']')? == (row == shape.height) {
                return None;
            }
        }
        Some(())
    }

    #[inline(always)]
    fn cell(&mut self, slot: u32) -> Option<()> {
        if let Some(b'0'..=b'9') = self.peek() {
            let number = self.number()?;
            self.fields.write_number(slot, number);
            return Some(());
        }
        match self.scalar()? {
            Value::Number(number) => self.fields.write_number(slot, number),
            other => self.fields.write_no_number(slot, matches!(other, Value::Null)),
        }
        Some(())
    }

    /// A number or a literal.
    fn scalar(&mut self) -> Option<Value<'p>> {
        match self.peek()? {
            b'0'..=b'9' => self.number().map(Value::Number),
            b'-' if self.bytes.get(self.at + 1) == Some(&b'I') => {
                self.literal(b"-Infinity").map(|()| Value::NotANumber)
            }
            b'-' => self.number().map(Value::Number),
            b'n' => self.literal(b"null").map(|()| Value::Null),
            b't' => self.literal(b"true").map(|()| Value::Boolean(true)),
            b'f' => self.literal(b"false").map(|()| Value::Boolean(false)),
            b'N' => self.literal(b"NaN").map(|()| Value::NotANumber),
            b'I' => self.literal(b"Infinity").map(|()| Value::NotANumber),
            _ => None,
        }
    }

    /// Any value; nothing of it is wanted.
    fn skip_value(&mut self, depth: u32) -> Option<()> {
        let (open, close) = match self.peek()? {
            b'"' => {
                self.at += 1;
                return self.skip_string();
            }
            b'{' => (b'{', b'}'),
            b'[' => (b'[', b']'),
            _ => return self.scalar().map(|_| ()),
        };
        if depth >= MAX_DEPTH {
            return None;
        }
        self.at += 1;
        if self.closes(close) {
            return Some(());
        }
        loop {
            if open == b'{' {
                self.expect(b'"')?;
                self.skip_string()?;
                self.colon()?;
            }
            self.skip_value(depth + 1)?;
            if !self.another(close)? {
                return Some(());
            }
        }
    }

    /// From behind the opening quote to behind the closing one; gives up on escapes.
    fn plain_string(&mut self) -> Option<&'p str> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
        if rest[length] != b'"' {
            return None;
        }
        let text = self.text.get(self.at..self.at + length)?;
        self.at += length + 1;
        Some(text)
    }

    /// The same for a string that nobody wants; its escapes are checked for their form only, as `serde_json` does.
    fn skip_string(&mut self) -> Option<()> {
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(()),
                b'\\' => {
                    let digits = match self.peek()? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 0,
                        b'u' => 4,
                        _ => return None,
                    };
                    let hex = self.bytes.get(self.at + 1..self.at + 1 + digits)?;
                    if !hex.iter().all(u8::is_ascii_hexdigit) {
                        return None;
                    }
                    self.at += 1 + digits;
                }
                0..=0x1f => return None,
                _ => {}
            }
        }
    }

    /// A number in JSON's grammar. Most are read at once: the digits as an integer below 2^53, times or divided by a
    /// power of ten that a double holds exactly, is the nearest double (Clinger 1990); `fast_float2` reads the others.
    #[inline(always)]
    fn number(&mut self) -> Option<Number> {
        let (bytes, start) = (self.bytes, self.at);
        let negative = bytes.get(start) == Some(&b'-');
        let whole = start + usize::from(negative);
        let (mut at, mut significand) = digits(bytes, whole, 0);
        let mut count = at - whole;
        if count == 0 || (bytes[whole] == b'0' && count > 1) {
            return None;
        }
        let (mut exponent, mut integer) = (0i64, true);
        if bytes.get(at) == Some(&b'.') {
            let point = at;
            (at, significand) = digits(bytes, point + 1, significand);
            let fraction = at - point - 1;
            if fraction == 0 {
                return None;
            }
            count += fraction;
            (exponent, integer) = (-(fraction as i64), false);
        }
        self.at = at;
        if let Some(b'e' | b'E') = bytes.get(at) {
            exponent += self.exponent()?;
            integer = false;
        }
        let exact = count <= 19; // so the significand can't have overflowed
        if exact
            && integer
            && let Some(number) = integer_of(significand, negative)
        {
            return Some(number);
        }
        if exact && significand < 1 << 53 && (-22..=22).contains(&exponent) {
            let power = POWERS_OF_TEN[exponent.unsigned_abs() as usize];
            let size = if exponent < 0 { significand as f64 / power } else { significand as f64 * power };
            return Some(Number::Float(if negative { -size } else { size }));
        }
        self.rare_number(start, integer)
    }

    #[cold]
    fn rare_number(&self, start: usize, integer: bool) -> Option<Number> {
        let text = self.text.get(start..self.at)?;
        if integer && let Ok(number) = text.parse::<u64>() {
            return Some(Number::Unsigned(number));
        }
        fast_float2::parse(text).ok().map(Number::Float)
    }

    /// From the `e` to behind the last digit; exponents without end are cut where every number is zero or infinite.
    #[cold]
    fn exponent(&mut self) -> Option<i64> {
        self.at += 1;
        let sign = self.peek()?;
        self.at += usize::from(matches!(sign, b'-' | b'+'));
        let start = self.at;
        let mut exponent = 0i64;
        while let Some(byte @ b'0'..=b'9') = self.peek() {
            exponent = (exponent * 10 + i64::from(byte - b'0')).min(1_000_000);
            self.at += 1;
        }
        (self.at > start).then_some(if sign == b'-' { -exponent } else { exponent })
    }
}

/// Reads digits from `at` on, after those of `significand` (wrapping), and returns where they end.
#[inline(always)]
fn digits(bytes: &[u8], mut at: usize, mut significand: u64) -> (usize, u64) {
    while let Some(byte @ b'0'..=b'9') = bytes.get(at) {
        significand = significand.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
        at += 1;
    }
    (at, significand)
}

/// `None` for minus zero, which only a double can hold, and for what 64 bits can't.
fn integer_of(significand: u64, negative: bool) -> Option<Number> {
    match negative {
        false => Some(Number::Unsigned(significand)),
        true if significand == 0 => None,
        true => 0i64.checked_sub_unsigned(significand).map(Number::Signed),
    }
}

const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
