//! Platforms as users write them, `linux/arm64/v8`, and as the daemon tells them.

use crate::modules::Failure;

const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];

const PROCESSORS: &[&str] = &[
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

/// A platform, of which a user may name less than all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Platform {
    system: Option<String>,
    processor: Option<String>,
    variant: Option<String>,
}

impl Platform {
    /// Reads what a user wrote; what is left out is the daemon's.
    pub(super) fn read(text: &str, system: &str, processor: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::new(format!("Invalid platform string \"{text}\": {why}"));
        if text.is_empty() {
            return Err(Failure::new("Platform string must be non-empty"));
        }
        let parts: Vec<&str> = text.splitn(3, '/').collect();
        let names: &[&str] = match parts.len() {
            1 => &["OS/architecture"],
            _ => &["OS", "architecture", "variant"],
        };
        for (part, name) in parts.iter().zip(names) {
            if part.is_empty() {
                return Err(wrong(&format!("{name} is empty")));
            }
            if !part
                .chars()
                .all(|it| it.is_ascii_alphanumeric() || "_-".contains(it))
            {
                return Err(wrong(&format!("{name} has invalid characters")));
            }
        }
        if let [one] = parts[..] {
            let one = system_name(one);
            if SYSTEMS.contains(&one.as_str()) {
                return Ok(Self::told(&one, processor, ""));
            }
            let found = Self::told(system, &one, "");
            let known = found.processor.as_deref().unwrap_or_default();
            return if PROCESSORS.contains(&known) {
                Ok(found)
            } else {
                Err(wrong("unknown OS or architecture"))
            };
        }
        let variant = parts.get(2).copied().unwrap_or_default();
        let mut read = Self::told(parts[0], parts[1], variant);
        let processor = read.processor.as_deref();
        if variant.is_empty() && processor == Some("arm") && read.variant.as_deref() == Some("v7") {
            read.variant = None;
        }
        if !variant.is_empty() && processor == Some("arm64") && read.variant.is_none() {
            read.variant = Some("v8".into());
        }
        Ok(read)
    }

    /// Takes what the daemon tells.
    pub(super) fn told(system: &str, processor: &str, variant: &str) -> Self {
        let (processor, variant) = processor_name(processor, variant);
        let some = |text: String| (!text.is_empty()).then_some(text);
        Self {
            system: some(system_name(system)),
            processor: some(processor),
            variant: some(variant),
        }
    }
}

fn system_name(text: &str) -> String {
    match text.to_lowercase().as_str() {
        "macos" => "darwin".into(),
        name => name.into(),
    }
}

fn processor_name(processor: &str, variant: &str) -> (String, String) {
    let (processor, variant) = (processor.to_lowercase(), variant.to_lowercase());
    let (name, of_it) = match (processor.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        (processor, variant) => (processor, variant),
    };
    (name.to_owned(), of_it.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Platform {
        Platform::read(text, "linux", "x86_64").unwrap()
    }

    #[test]
    fn what_is_left_out_is_the_daemons() {
        assert_eq!(read("linux"), Platform::told("linux", "amd64", ""));
        assert_eq!(read("amd64"), Platform::told("linux", "x86_64", ""));
        assert_eq!(read("linux/amd64/v1"), read("linux/amd64"));
        assert_eq!(
            read("linux/aarch64"),
            Platform::told("linux", "arm64", "v8")
        );
        assert_ne!(read("linux/arm64"), read("linux/amd64"));
        assert_ne!(read("linux/arm/v6"), read("linux/arm/v7"));
    }

    #[test]
    fn what_is_no_platform_is_refused() {
        for (text, why) in [
            ("", "Platform string must be non-empty"),
            (
                "linux/",
                "Invalid platform string \"linux/\": architecture is empty",
            ),
            (
                "a b",
                "Invalid platform string \"a b\": OS/architecture has invalid characters",
            ),
            (
                "foo",
                "Invalid platform string \"foo\": unknown OS or architecture",
            ),
        ] {
            let refused = Platform::read(text, "linux", "amd64").unwrap_err();
            assert_eq!(refused.msg, why);
        }
    }
}
