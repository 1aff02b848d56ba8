//! Colours: Ansible's colour names and settings, applied only where colour is wanted.

use crate::config::Config;

/// The colour of each kind of text, as the settings name them.
#[derive(Clone, Debug)]
pub struct Palette {
    pub ok: String,
    pub changed: String,
    pub skip: String,
    pub error: String,
    pub unreachable: String,
    pub verbose: String,
    pub warn: String,
    pub debug: String,
    pub deprecate: String,
    pub included: String,
    pub diff_add: String,
    pub diff_remove: String,
    pub diff_lines: String,
}

impl Palette {
    /// Reads the `COLOR_*` settings.
    pub fn from_config(config: &Config) -> Self {
        let colour = |name| config.text(name).unwrap_or_else(|| "normal".into());
        Self {
            ok: colour("COLOR_OK"),
            changed: colour("COLOR_CHANGED"),
            skip: colour("COLOR_SKIP"),
            error: colour("COLOR_ERROR"),
            unreachable: colour("COLOR_UNREACHABLE"),
            verbose: colour("COLOR_VERBOSE"),
            warn: colour("COLOR_WARN"),
            debug: colour("COLOR_DEBUG"),
            deprecate: colour("COLOR_DEPRECATE"),
            included: colour("COLOR_INCLUDED"),
            diff_add: colour("COLOR_DIFF_ADD"),
            diff_remove: colour("COLOR_DIFF_REMOVE"),
            diff_lines: colour("COLOR_DIFF_LINES"),
        }
    }
}

/// Paints text, or leaves it plain.
#[derive(Clone, Copy, Debug)]
pub struct Painter {
    colour: bool,
}

impl Painter {
    /// Makes a painter that paints or does not.
    pub fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// Tells whether it paints.
    pub fn is_colourful(self) -> bool {
        self.colour
    }

    /// Returns `text` in the named colour, line by line as Ansible paints.
    pub fn paint(self, text: &str, colour: &str) -> String {
        let Some(code) = Some(colour).filter(|_| self.colour).and_then(code_of) else {
            return text.to_owned();
        };
        text.split('\n')
            .map(|line| format!("\x1b[{code}m{line}\x1b[0m"))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Returns the SGR parameters of one of Ansible's colour names.
fn code_of(name: &str) -> Option<String> {
    let fixed = match name {
        "black" => "0;30",
        "bright gray" => "0;37",
        "blue" => "0;34",
        "white" => "1;37",
        "green" => "0;32",
        "bright blue" => "1;34",
        "cyan" => "0;36",
        "bright green" => "1;32",
        "red" => "0;31",
        "bright cyan" => "1;36",
        "purple" => "0;35",
        "bright red" => "1;31",
        "yellow" => "0;33",
        "bright purple" => "1;35",
        "dark gray" => "1;30",
        "bright yellow" => "1;33",
        "magenta" => "0;35",
        "bright magenta" => "1;35",
        "normal" => "0",
        _ => return extended_code(name),
    };
    Some(fixed.into())
}

fn extended_code(name: &str) -> Option<String> {
    if let Some(number) = name.strip_prefix("color") {
        return number
            .parse::<u8>()
            .ok()
            .map(|number| format!("38;5;{number}"));
    }
    if let Some(number) = name.strip_prefix("gray") {
        return number
            .parse::<u8>()
            .ok()
            .filter(|n| *n < 24)
            .map(|n| format!("38;5;{}", 232 + n));
    }
    let parts: Vec<u8> = name
        .strip_prefix("rgb")?
        .bytes()
        .map(|digit| digit.wrapping_sub(b'0'))
        .collect();
    match parts[..] {
        [red @ 0..=5, green @ 0..=5, blue @ 0..=5] => {
            Some(format!("38;5;{}", 16 + 36 * red + 6 * green + blue))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_painted_on_its_own_and_plain_stays_plain() {
        assert_eq!(
            Painter::new(true).paint("a\nb", "red"),
            "\x1b[0;31ma\x1b[0m\n\x1b[0;31mb\x1b[0m"
        );
        assert_eq!(Painter::new(false).paint("a\nb", "red"), "a\nb");
    }

    #[test]
    fn numbered_colours_are_understood_and_unknown_names_stay_plain() {
        assert_eq!(code_of("rgb501").as_deref(), Some("38;5;197"));
        assert_eq!(code_of("gray3").as_deref(), Some("38;5;235"));
        assert_eq!(Painter::new(true).paint("a", "mauve"), "a");
    }
}
