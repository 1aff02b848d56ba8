//! Sizes as people write them: `10K`, `1.5 GB`, `1Mb`.
//!
//! Knows what ansible-core's `human_to_bytes` reads.

/// The letters of units, largest first, and what they stand for.
pub(crate) const UNITS: [(char, f64); 9] = [
    ('Y', 1_208_925_819_614_629_174_706_176.0),
    ('Z', 1_180_591_620_717_411_303_424.0),
    ('E', 1_152_921_504_606_846_976.0),
    ('P', 1_125_899_906_842_624.0),
    ('T', 1_099_511_627_776.0),
    ('G', 1_073_741_824.0),
    ('M', 1_048_576.0),
    ('K', 1024.0),
    ('B', 1.0),
];

/// Reads a size in bytes, or in bits; `None` when it is none. A text without a unit is in
/// `default_unit`.
pub(crate) fn parse(text: &str, default_unit: Option<&str>, is_bits: bool) -> Option<i128> {
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let unit = unit.trim();
    if !unit.chars().all(|c| c.is_ascii_alphabetic()) {
        return None;
    }
    let unit = match (unit, default_unit) {
        ("", Some(default)) => default,
        (unit, _) => unit,
    };
    let Some(first) = unit.chars().next() else {
        return Some(whole(number));
    };
    let range = first.to_ascii_uppercase();
    let (_, limit) = UNITS.iter().find(|(suffix, _)| *suffix == range)?;
    if unit.len() > 1 {
        let long = match range {
            'B' => "",
            'K' => "kilo",
            'M' => "mega",
            'G' => "giga",
            'T' => "tera",
            'P' => "peta",
            'E' => "exa",
            'Z' => "zeta",
            _ => "yotta",
        };
        let (word, letter) = if is_bits { ("bit", 'b') } else { ("byte", 'B') };
        let short = if range == 'B' {
            letter.to_string()
        } else {
            format!("{range}{letter}")
        };
        if unit.to_lowercase() != format!("{long}{word}") && unit != short {
            return None;
        }
    }
    Some(whole(number * limit))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounded before, and beyond an i128 there is no size"
)]
fn whole(number: f64) -> i128 {
    number.round_ties_even() as i128
}
