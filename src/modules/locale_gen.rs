//! `locale_gen`: which locales the target has.

use std::path::Path;

use crate::machine::{Content, Effect, Machine, NewFile, Output};
use crate::transaction::journal::UndoStep;
use crate::value::Value;

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Creates or removes locales.
    pub(crate) struct LocaleGenArgs for "community.general.locale_gen" {
        /// The locales, with their encodings.
        name: Vec<String> { required },
        state: String { default: "present", choices: ["absent", "present"] },
    }
}

const LIST: &str = "/etc/locale.gen";
const OLD_LISTS: &str = "/var/lib/locales/supported.d";
const SUPPORTED: &str = "/usr/share/i18n/SUPPORTED";

/// Makes the locales, or forgets them.
pub(crate) fn run(machine: &mut Machine, args: LocaleGenArgs) -> ModuleResult {
    let is_old = !machine.exists(Path::new(LIST))?;
    if is_old && !machine.exists(Path::new(OLD_LISTS))? {
        return Err(Failure::new(format!(
            "{OLD_LISTS} and {LIST} are missing. Is the package \"locales\" installed?"
        )));
    }
    let made = made(machine)?;
    let supported = read(machine, SUPPORTED)?;
    let unknown: Vec<_> = args
        .name
        .iter()
        .filter(|name| !is_supported(&supported, name) && !has(&made, name))
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        return Err(Failure::new(format!(
            "The following locales you have entered are not available on your system: {}",
            unknown.join(", ")
        )));
    }
    let outcome = Outcome::unchanged()
        .with("name", Value::list(args.name.iter().map(String::as_str)))
        .with("state", args.state.as_str())
        .with("mechanism", if is_old { "ubuntu_legacy" } else { "glibc" })
        .with("ubuntu_mode", is_old);
    let is_present = args.name.iter().all(|name| has(&made, name));
    if is_present == (args.state == "present") {
        return Ok(outcome);
    }
    if is_old {
        change_old(machine, &args)?;
    } else {
        let old = read(machine, LIST)?;
        let new = relisted(&old, &args.name, args.state == "present");
        if new != old {
            write(machine, LIST, new)?;
        }
        generate(machine, &[])?;
    }
    Ok(outcome.with_changed(true))
}

/// Returns what `locale -a` lists.
fn made(machine: &mut Machine) -> Result<Vec<String>, Failure> {
    let locale = tool::required(machine, "locale")?;
    let output = tool::ask(machine, &[locale.as_str(), "-a"])?;
    tool::check(Some(&output), Output::stderr_text)?;
    Ok(output.stdout_text().lines().map(normal).collect())
}

fn has(made: &[String], name: &str) -> bool {
    made.contains(&normal(name))
}

/// Writes an encoding as it is usually written, not as `locale -a` does.
fn normal(name: &str) -> String {
    const ENCODINGS: [(&str, &str); 10] = [
        (".utf8", ".UTF-8"),
        (".eucjp", ".EUC-JP"),
        (".iso885915", ".ISO-8859-15"),
        (".cp1251", ".CP1251"),
        (".koi8r", ".KOI8-R"),
        (".armscii8", ".ARMSCII-8"),
        (".euckr", ".EUC-KR"),
        (".gbk", ".GBK"),
        (".gb18030", ".GB18030"),
        (".euctw", ".EUC-TW"),
    ];
    let mut name = name.to_owned();
    for (short, long) in ENCODINGS {
        name = name.replace(short, long);
    }
    name
}

fn is_supported(supported: &str, name: &str) -> bool {
    supported.lines().any(|line| {
        let line = line.trim().trim_start_matches('#').trim_start();
        let mut words = line.split_whitespace();
        words.next() == Some(name) && words.next().is_some()
    })
}

/// Returns the list with the locales' lines switched on or off.
fn relisted(text: &str, names: &[String], on: bool) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let plain = line.strip_prefix('#').unwrap_or(line).trim_start();
        let named = plain
            .split_once(' ')
            .filter(|(name, _)| names.iter().any(|wanted| wanted == name));
        lines.push(match named {
            Some(_) if on => plain.to_owned(),
            Some(_) => format!("# {plain}"),
            None => line.to_owned(),
        });
    }
    lines.join("\n") + "\n"
}

fn change_old(machine: &mut Machine, args: &LocaleGenArgs) -> Result<(), Failure> {
    if args.state == "present" {
        let names: Vec<_> = args.name.iter().map(String::as_str).collect();
        return generate(machine, &names);
    }
    let list = format!("{OLD_LISTS}/local");
    let old = read(machine, &list)?;
    let kept = old.split_inclusive('\n').filter(|line| {
        let name = line.split(' ').next().unwrap_or_default();
        !args.name.iter().any(|wanted| wanted == name)
    });
    write(machine, &list, kept.collect())?;
    generate(machine, &["--purge"])
}

/// Runs `locale-gen`; once more when the list is as it was is what undoes it.
fn generate(machine: &mut Machine, words: &[&str]) -> Result<(), Failure> {
    let program = tool::required(machine, "locale-gen")?;
    let mut argv = vec![program.clone()];
    argv.extend(words.iter().map(|word| (*word).to_owned()));
    let effect = Effect::Again {
        what: argv.join(" "),
        again: vec![UndoStep::new([program])],
    };
    let output = machine.execute(&tool::command(&argv), effect)?.output();
    tool::check(output.as_ref(), Output::stderr_text)
}

fn read(machine: &mut Machine, path: &str) -> Result<String, Failure> {
    let path = Path::new(path);
    if !machine.exists(path)? {
        return Ok(String::new());
    }
    Ok(String::from_utf8_lossy(&machine.read(path)?).into_owned())
}

fn write(machine: &mut Machine, path: &str, text: String) -> Result<(), Failure> {
    let path = machine.real_path(Path::new(path))?;
    let content = Content::Bytes(text.into_bytes());
    Ok(machine.write(&path, content, &NewFile::default())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_list_are_switched_on_and_off() {
        let text = "# This\n# de_CH.UTF-8 UTF-8\nen_US.UTF-8 UTF-8\n#en_GB ISO-8859-1\n";
        let names = ["de_CH.UTF-8".to_owned()];
        let on = relisted(text, &names, true);
        assert_eq!(
            on,
            "# This\nde_CH.UTF-8 UTF-8\nen_US.UTF-8 UTF-8\n#en_GB ISO-8859-1\n"
        );
        assert_eq!(relisted(&on, &names, true), on);
        assert_eq!(relisted(&on, &names, false), text);
    }

    #[test]
    fn encodings_are_the_same_however_they_are_written() {
        let made = ["en_US.utf8", "C"].map(normal).to_vec();
        assert!(has(&made, "en_US.UTF-8"));
        assert!(has(&made, "en_US.utf8"));
        assert!(!has(&made, "de_CH.UTF-8"));
        assert!(is_supported("# de_CH.UTF-8 UTF-8\n", "de_CH.UTF-8"));
        assert!(!is_supported("de_CH UTF-8\n", "de_CH.UTF-8"));
    }
}
