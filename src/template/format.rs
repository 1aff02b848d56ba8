//! Python's two ways to format: `'%s' % x` and `'{}'.format(x)`.

use super::call::Given;
use super::finish::Finish;
use super::frame::Frame;
use super::python::Number;
use super::runtime::{Evaluated, Val};
use crate::value::{Value, float_repr, repr};

/// Formats `template % arguments`.
pub(super) fn percent(frame: &Frame<'_>, template: &str, arguments: &Val) -> Evaluated {
    let positional: Vec<Val> = match arguments {
        Val::Tuple(items) => items.to_vec(),
        other => vec![other.clone()],
    };
    let mapping = arguments.is_mapping();
    let mut next = positional.iter();
    let mut used = 0;
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let (directive, after) =
            Directive::read(rest).ok_or_else(|| frame.run.raised("incomplete format"))?;
        rest = after;
        let val = if let Some(key) = directive.key {
            let pairs = frame
                .run
                .pairs(arguments)?
                .ok_or_else(|| frame.run.raised("format requires a mapping"))?;
            pairs
                .into_iter()
                .find(|(name, _)| name.as_str() == Some(key))
                .map(|(_, val)| val)
                .ok_or_else(|| frame.run.raised(repr(&key.into())))?
        } else {
            used += 1;
            next.next()
                .cloned()
                .ok_or_else(|| frame.run.raised("not enough arguments for format string"))?
        };
        out.push_str(&directive.write(frame, &val)?);
    }
    out.push_str(rest);
    if !mapping && used < positional.len() {
        return Err(frame
            .run
            .raised("not all arguments converted during string formatting"));
    }
    Ok(out.into())
}

struct Directive<'a> {
    key: Option<&'a str>,
    flags: &'a str,
    width: usize,
    precision: Option<usize>,
    conversion: char,
}

impl<'a> Directive<'a> {
    fn read(text: &'a str) -> Option<(Self, &'a str)> {
        let (key, text) = match text.strip_prefix('(') {
            Some(inner) => {
                let end = inner.find(')')?;
                (Some(&inner[..end]), &inner[end + 1..])
            }
            None => (None, text),
        };
        let (flags, text) = split_while(text, |c| "-+ #0".contains(c));
        let (width, text) = split_while(text, |c| c.is_ascii_digit());
        let (precision, text) = match text.strip_prefix('.') {
            Some(after) => {
                let (digits, after) = split_while(after, |c| c.is_ascii_digit());
                (Some(size_of(digits)?), after)
            }
            None => (None, text),
        };
        let conversion = text.chars().next()?;
        let directive = Self {
            key,
            flags,
            width: size_of(width)?,
            precision,
            conversion,
        };
        Some((directive, &text[conversion.len_utf8()..]))
    }

    fn write(&self, frame: &Frame<'_>, val: &Val) -> Evaluated<String> {
        let spec = Spec {
            fill: if self.flags.contains('0') && !self.flags.contains('-') {
                '0'
            } else {
                ' '
            },
            align: if self.flags.contains('-') { '<' } else { '>' },
            sign: self.flags.chars().find(|c| "+ ".contains(*c)),
            alternate: self.flags.contains('#'),
            width: self.width,
            grouping: None,
            precision: self.precision,
            kind: self.conversion,
        };
        match self.conversion {
            'r' | 'a' => Ok(spec.text(&repr(&frame.run.data(val)?))),
            's' | 'c' => Ok(spec.text(&frame.run.text_of(val)?)),
            'd' | 'i' | 'u' | 'x' | 'X' | 'o' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
                let value = frame.run.data(val)?;
                let number = Number::of(&value).ok_or_else(|| {
                    let wanted = if "xXo".contains(self.conversion) {
                        "an integer is required"
                    } else {
                        "a real number is required"
                    };
                    frame.run.raised(if "eEfFgG".contains(self.conversion) {
                        format!("must be real number, not {}", value.python_type())
                    } else {
                        format!(
                            "%{} format: {wanted}, not {}",
                            self.conversion,
                            value.python_type()
                        )
                    })
                })?;
                let number = match (self.conversion, number) {
                    ('d' | 'i' | 'u', Number::Float(float)) => Number::Int(truncate(float)),
                    (_, number) => number,
                };
                let kind = if matches!(self.conversion, 'i' | 'u') {
                    'd'
                } else {
                    self.conversion
                };
                Spec { kind, ..spec }
                    .number(number)
                    .map_err(|text| frame.run.raised(text))
            }
            other => Err(frame.run.raised(format!(
                "unsupported format character '{other}' (0x{:x})",
                other as u32
            ))),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "Python's int() truncates too"
)]
pub(super) fn truncate(float: f64) -> i128 {
    float as i128
}

/// Reads a width or a precision; `None` when it is beyond all use.
fn size_of(digits: &str) -> Option<usize> {
    if digits.is_empty() {
        return Some(0);
    }
    digits.parse().ok().filter(|size| *size < 1 << 16)
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text
        .char_indices()
        .find(|(_, c)| !keep(*c))
        .map_or(text.len(), |(at, _)| at);
    text.split_at(end)
}

/// One format specification: `[[fill]align][sign][#][0][width][,][.precision][kind]`.
struct Spec {
    fill: char,
    align: char,
    sign: Option<char>,
    alternate: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    /// `\0` when none was written.
    kind: char,
}

impl Spec {
    fn read(text: &str) -> Option<Self> {
        let mut spec = Self {
            fill: ' ',
            align: '\0',
            sign: None,
            alternate: false,
            width: 0,
            grouping: None,
            precision: None,
            kind: '\0',
        };
        let mut rest: Vec<char> = text.chars().collect();
        if rest.len() > 1 && "<>=^".contains(rest[1]) {
            (spec.fill, spec.align) = (rest[0], rest[1]);
            rest.drain(..2);
        } else if rest.first().is_some_and(|c| "<>=^".contains(*c)) {
            spec.align = rest.remove(0);
        }
        if rest.first().is_some_and(|c| "+- ".contains(*c)) {
            spec.sign = Some(rest.remove(0)).filter(|c| *c != '-');
        }
        if rest.first() == Some(&'#') {
            spec.alternate = true;
            rest.remove(0);
        }
        if rest.first() == Some(&'0') && spec.align == '\0' {
            (spec.fill, spec.align) = ('0', '=');
        }
        let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
        let width: String = rest.drain(..digits).collect();
        spec.width = size_of(&width)?;
        if rest.first().is_some_and(|c| ",_".contains(*c)) {
            spec.grouping = Some(rest.remove(0));
        }
        if rest.first() == Some(&'.') {
            rest.remove(0);
            let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
            let precision: String = rest.drain(..digits).collect();
            spec.precision = Some(size_of(&precision)?);
        }
        if let Some(kind) = rest.first() {
            spec.kind = *kind;
            rest.remove(0);
        }
        rest.is_empty().then_some(spec)
    }

    fn text(&self, text: &str) -> String {
        let shown: String = match self.precision {
            Some(most) => text.chars().take(most).collect(),
            None => text.to_owned(),
        };
        let fill = if self.fill == '0' && self.align == '>' {
            ' '
        } else {
            self.fill
        };
        pad(&shown, self.width, fill, self.align)
    }

    fn number(&self, number: Number) -> Result<String, String> {
        let (negative, digits) = match (self.kind, number) {
            ('x' | 'X' | 'o' | 'b' | 'c' | 'd' | '\0', Number::Int(int)) => {
                (int < 0, self.integer(int)?)
            }
            ('x' | 'X' | 'o' | 'b' | 'c' | 'd', Number::Float(_)) => {
                return Err(format!(
                    "Unknown format code '{}' for object of type 'float'",
                    self.kind
                ));
            }
            (_, number) => {
                let float = number.to_f64();
                (float.is_sign_negative(), self.float(float.abs())?)
            }
        };
        let sign = match self.sign {
            _ if negative => "-".to_owned(),
            Some(sign) => sign.to_string(),
            None => String::new(),
        };
        if self.fill == '0' && matches!(self.align, '=' | '>') {
            let width = self.width.saturating_sub(sign.len());
            return Ok(sign + &pad(&digits, width, '0', '>'));
        }
        let align = if self.align == '\0' { '>' } else { self.align };
        Ok(pad(&(sign + &digits), self.width, self.fill, align))
    }

    fn integer(&self, int: i128) -> Result<String, String> {
        let magnitude = int.unsigned_abs();
        let prefix = |text: &str| {
            if self.alternate {
                text.to_owned()
            } else {
                String::new()
            }
        };
        Ok(match self.kind {
            'x' => prefix("0x") + &format!("{magnitude:x}"),
            'X' => prefix("0X") + &format!("{magnitude:X}"),
            'o' => prefix("0o") + &format!("{magnitude:o}"),
            'b' => prefix("0b") + &format!("{magnitude:b}"),
            'c' => u32::try_from(magnitude)
                .ok()
                .and_then(char::from_u32)
                .ok_or("%c arg not in range(0x110000)")?
                .to_string(),
            _ => {
                let digits = magnitude.to_string();
                let digits = match self.precision {
                    Some(least) => pad(&digits, least, '0', '>'),
                    None => digits,
                };
                self.grouped(&digits)
            }
        })
    }

    fn grouped(&self, digits: &str) -> String {
        let Some(separator) = self.grouping else {
            return digits.to_owned();
        };
        let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
        let mut grouped = String::new();
        for (index, digit) in whole.chars().enumerate() {
            if index > 0 && (whole.len() - index).is_multiple_of(3) {
                grouped.push(separator);
            }
            grouped.push(digit);
        }
        grouped + fraction
    }

    fn float(&self, float: f64) -> Result<String, String> {
        let precision = self.precision.unwrap_or(6);
        Ok(match self.kind {
            'f' | 'F' => self.grouped(&format!("{float:.precision$}")),
            '%' => self.grouped(&format!("{:.precision$}", float * 100.0)) + "%",
            'e' | 'E' => {
                let text = exponent(float, precision);
                if self.kind == 'E' {
                    text.to_uppercase()
                } else {
                    text
                }
            }
            'g' | 'G' => general(float, precision),
            '\0' if self.precision.is_some() => general(float, precision),
            '\0' => self.grouped(&float_repr(float)),
            other => {
                return Err(format!(
                    "Unknown format code '{other}' for object of type 'float'"
                ));
            }
        })
    }
}

fn exponent(float: f64, precision: usize) -> String {
    let text = format!("{float:.precision$e}");
    match text.split_once('e') {
        Some((digits, power)) => match power.strip_prefix('-') {
            Some(power) => format!("{digits}e-{power:0>2}"),
            None => format!("{digits}e+{power:0>2}"),
        },
        None => text,
    }
}

fn general(float: f64, precision: usize) -> String {
    let precision = precision.max(1);
    let scientific = format!("{float:.*e}", precision - 1);
    let power: i32 = scientific
        .split_once('e')
        .and_then(|(_, power)| power.parse().ok())
        .unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    let most = i32::try_from(precision).unwrap_or(i32::MAX);
    if power < -4 || power >= most {
        let text = exponent(float, precision - 1);
        return match text.split_once('e') {
            Some((digits, power)) => format!("{}e{power}", trim(digits)),
            None => text,
        };
    }
    let decimals = usize::try_from(most - 1 - power).unwrap_or(0);
    trim(&format!("{float:.decimals$}"))
}

fn pad(text: &str, width: usize, fill: char, align: char) -> String {
    let missing = width.saturating_sub(text.chars().count());
    let before = match align {
        '>' | '=' => missing,
        '^' => missing / 2,
        _ => 0,
    };
    let mut out = String::with_capacity(text.len() + missing);
    out.extend(std::iter::repeat_n(fill, before));
    out.push_str(text);
    out.extend(std::iter::repeat_n(fill, missing - before));
    out
}

/// Formats `template.format(...)`.
pub(super) fn braces(frame: &mut Frame<'_>, template: &str, given: &Given<Val>) -> Evaluated {
    let mut automatic = 0;
    braces_at(frame, template, given, &mut automatic, 0).map(Val::from)
}

fn braces_at(
    frame: &mut Frame<'_>,
    template: &str,
    given: &Given<Val>,
    automatic: &mut usize,
    depth: usize,
) -> Evaluated<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let opens = rest.as_bytes()[at] == b'{';
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(if opens { '{' } else { '}' }) {
            out.push(if opens { '{' } else { '}' });
            rest = after;
            continue;
        }
        if !opens {
            return Err(frame.run.raised("Single '}' encountered in format string"));
        }
        let end =
            closing(rest).ok_or_else(|| frame.run.raised("expected '}' before end of string"))?;
        let field = &rest[..end];
        rest = &rest[end + 1..];
        let (name, spec) = match field.find(':') {
            Some(colon) => (&field[..colon], &field[colon + 1..]),
            None => (field, ""),
        };
        let (name, conversion) = name.split_once('!').unwrap_or((name, ""));
        let val = resolve(frame, name, given, automatic)?;
        let spec = if spec.contains('{') && depth < 2 {
            braces_at(frame, spec, given, automatic, depth + 1)?
        } else {
            spec.to_owned()
        };
        out.push_str(&formatted(frame, &val, conversion, &spec)?);
    }
    out.push_str(rest);
    Ok(out)
}

fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn resolve(
    frame: &mut Frame<'_>,
    name: &str,
    given: &Given<Val>,
    automatic: &mut usize,
) -> Evaluated {
    let end = name.find(['.', '[']).unwrap_or(name.len());
    let (head, mut path) = name.split_at(end);
    let index = if head.is_empty() {
        *automatic += 1;
        Some(*automatic - 1)
    } else {
        head.parse::<usize>().ok()
    };
    let found = match index {
        Some(index) => given.positional.get(index).cloned(),
        None => given
            .named
            .iter()
            .find(|(known, _)| &**known == head)
            .map(|(_, val)| val.clone()),
    };
    let mut val = found.ok_or_else(|| match index {
        Some(index) => frame.run.raised(format!(
            "Replacement index {index} out of range for positional args tuple"
        )),
        None => frame.run.raised(repr(&head.into())),
    })?;
    let place = super::syntax::Place { line: 1, column: 1 };
    while !path.is_empty() {
        if let Some(rest) = path.strip_prefix('.') {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            val = frame.attribute(&val, &rest[..end].into(), place)?;
            path = &rest[end..];
        } else {
            let rest = path.strip_prefix('[').ok_or_else(|| {
                frame
                    .run
                    .raised("Only '.' or '[' may follow ']' in format field specifier")
            })?;
            let end = rest
                .find(']')
                .ok_or_else(|| frame.run.raised("Missing ']' in format string"))?;
            let key = match rest[..end].parse::<i128>() {
                Ok(index) => Val::from(index),
                Err(_) => Val::from(&rest[..end]),
            };
            val = frame.item(&val, &key, place)?;
            path = &rest[end + 1..];
        }
    }
    Ok(val)
}

fn formatted(frame: &Frame<'_>, val: &Val, conversion: &str, spec: &str) -> Evaluated<String> {
    let val = frame.run.force(val)?;
    if conversion == "r" {
        let text = repr(&frame.run.data(&val)?);
        return text_spec(frame, &text, spec);
    }
    if let (Val::Data(value), "") = (&val, conversion)
        && !matches!(value, Value::Bool(_) if spec.is_empty())
        && let Some(number) = Number::of(value)
        && !spec.is_empty()
    {
        let spec = Spec::read(spec).ok_or_else(|| frame.run.raised("Invalid format specifier"))?;
        return spec.number(number).map_err(|text| frame.run.raised(text));
    }
    text_spec(frame, &frame.run.text_of(&val)?, spec)
}

fn text_spec(frame: &Frame<'_>, text: &str, spec: &str) -> Evaluated<String> {
    let spec = Spec::read(spec).ok_or_else(|| frame.run.raised("Invalid format specifier"))?;
    if !matches!(spec.kind, 's' | '\0') {
        return Err(frame.run.raised(format!(
            "Unknown format code '{}' for object of type 'str'",
            spec.kind
        )));
    }
    Ok(spec.text(text))
}
