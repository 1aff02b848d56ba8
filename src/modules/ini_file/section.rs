//! The lines of an INI file, edited as `ini_file` does. Pure.

/// What the file should hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted<'a> {
    /// `None` is what stands before the first section.
    pub(super) section: Option<&'a str>,
    /// What the section must hold to be the one.
    pub(super) conditions: Vec<Condition>,
    pub(super) option: Option<&'a str>,
    pub(super) values: Vec<String>,
    pub(super) is_present: bool,
    pub(super) exclusive: bool,
    pub(super) no_extra_spaces: bool,
    pub(super) ignore_spaces: bool,
    pub(super) allow_no_value: bool,
    pub(super) modify_inactive: bool,
}

/// An option that a section must have, with one of these values if there are any.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) option: String,
    pub(super) values: Vec<String>,
}

/// What came of an edit.
#[derive(Debug)]
pub(super) struct Edited {
    pub(super) text: String,
    pub(super) changed: bool,
    pub(super) msg: &'static str,
}

/// Edits a text with newlines for line ends.
pub(super) fn edit(text: &str, wanted: &Wanted<'_>) -> Edited {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    if lines.is_empty() {
        lines.push("\n".into());
    }
    let mut changed = false;
    if let Some(last) = lines.last_mut().filter(|last| !last.ends_with('\n')) {
        last.push('\n');
        changed = true;
    }
    let found = find(&lines, wanted);
    let mut edit = SectionEdit {
        wanted,
        values: wanted.values.clone(),
        lines: Vec::new(),
        settled: Vec::new(),
        changed,
        msg: "OK",
    };
    if let Some(range) = found.clone() {
        edit.lines = lines[range.clone()].to_vec();
        edit.settled = vec![false; edit.lines.len()];
        edit.apply();
        let old: Vec<_> = lines
            .splice(range, std::mem::take(&mut edit.lines))
            .collect();
        drop(old);
    } else if wanted.is_present {
        edit.add_section(&mut lines);
    }
    Edited {
        text: lines.concat(),
        changed: edit.changed,
        msg: edit.msg,
    }
}

/// Finds the lines of the section, its header included where it has one.
fn find(lines: &[String], wanted: &Wanted<'_>) -> Option<std::ops::Range<usize>> {
    let mut start = wanted.section.is_none().then_some(0);
    for (index, line) in lines.iter().enumerate() {
        if !line.starts_with('[') {
            continue;
        }
        if let Some(begun) = start {
            if holds(&lines[begun..index], &wanted.conditions) {
                return Some(begun..index);
            }
            start = None;
        }
        if wanted.section.is_some_and(|name| is_header(line, name)) {
            start = Some(index);
        }
    }
    let begun = start?;
    holds(&lines[begun..], &wanted.conditions).then_some(begun..lines.len())
}

fn holds(lines: &[String], conditions: &[Condition]) -> bool {
    conditions.iter().all(|condition| {
        lines.iter().any(|line| {
            setting(line, &condition.option, true).is_some_and(|found| {
                condition.values.is_empty() || condition.values.iter().any(|v| v == found.value)
            })
        })
    })
}

fn is_header(line: &str, name: &str) -> bool {
    line.strip_prefix('[')
        .and_then(|rest| rest.trim_start().strip_prefix(name.trim()))
        .is_some_and(|rest| rest.trim_start().starts_with(']'))
}

/// A line that sets an option.
struct Setting<'a> {
    value: &'a str,
    is_active: bool,
}

/// Reads a line as a setting of `option`; one that is commented out counts where `inactive` says.
fn setting<'a>(line: &'a str, option: &str, inactive: bool) -> Option<Setting<'a>> {
    const BLANKS: [char; 2] = [' ', '\t'];
    let read = |text: &'a str, is_active| {
        let rest = text.strip_prefix(option)?.trim_start_matches(BLANKS);
        let rest = match rest.strip_prefix('=') {
            Some(value) => value.trim_start_matches(BLANKS),
            None if rest.is_empty() || rest == "\n" => "",
            None => return None,
        };
        let value = rest.strip_suffix('\n').unwrap_or(rest);
        Some(Setting { value, is_active })
    };
    let text = line.trim_start_matches(BLANKS);
    let commented = text
        .strip_prefix(['#', ';'])
        .filter(|_| inactive)
        .map(|rest| rest.trim_start_matches(BLANKS));
    commented
        .and_then(|text| read(text, false))
        .or_else(|| read(text, true))
}

/// The lines of the section while they change.
struct SectionEdit<'a> {
    wanted: &'a Wanted<'a>,
    /// Those that no line has yet.
    values: Vec<String>,
    lines: Vec<String>,
    /// The lines that are as wanted.
    settled: Vec<bool>,
    changed: bool,
    msg: &'static str,
}

impl SectionEdit<'_> {
    fn apply(&mut self) {
        match (self.wanted.is_present, self.wanted.option) {
            (true, Some(option)) => {
                let has_bare_option = self.keep_matching(option);
                if self.wanted.exclusive && !self.wanted.allow_no_value {
                    self.replace_others(option);
                }
                self.insert(option, has_bare_option);
            }
            (true, None) => {}
            (false, Some(option)) => self.remove(option),
            (false, None) => self.remove_all(),
        }
    }

    fn reads(&self, index: usize, option: &str) -> Option<String> {
        setting(&self.lines[index], option, self.wanted.modify_inactive)
            .map(|found| found.value.to_owned())
    }

    fn line(&self, option: &str, value: &str) -> String {
        if self.wanted.no_extra_spaces {
            format!("{option}={value}\n")
        } else {
            format!("{option} = {value}\n")
        }
    }

    /// Brings lines whose value is wanted into shape; tells whether one stands for no value.
    fn keep_matching(&mut self, option: &str) -> bool {
        let bare = format!("{option}\n");
        let mut has_bare_option = false;
        for index in 0..self.lines.len() {
            let Some(value) = self.reads(index, option) else {
                continue;
            };
            if let Some(place) = self.values.iter().position(|wanted| *wanted == value) {
                if value.is_empty() && self.wanted.allow_no_value {
                    self.put(index, option, bare.clone());
                    has_bare_option = true;
                } else {
                    self.put(index, option, self.line(option, &value));
                }
                self.values.remove(place);
            } else if self.values.is_empty() && self.wanted.allow_no_value {
                self.put(index, option, bare);
                return true;
            }
        }
        has_bare_option
    }

    /// Gives the remaining values to the other lines of the option, and removes those left over.
    fn replace_others(&mut self, option: &str) {
        for index in 0..self.lines.len() {
            if self.values.is_empty() {
                break;
            }
            if !self.settled[index] && self.reads(index, option).is_some() {
                let value = self.values.remove(0);
                self.put(index, option, self.line(option, &value));
            }
        }
        let first = usize::from(self.wanted.section.is_some());
        for index in (first..self.lines.len()).rev() {
            if !self.settled[index] && self.reads(index, option).is_some() {
                self.lines.remove(index);
                self.settled.remove(index);
                self.note("option changed");
            }
        }
    }

    /// Adds what is missing after the last line that is neither blank nor a comment.
    fn insert(&mut self, option: &str, has_bare_option: bool) {
        let is_filler = |line: &String| {
            let text = line.trim_start_matches([' ', '\t']);
            matches!(text, "" | "\n") || text.starts_with(['#', ';'])
        };
        let index = self
            .lines
            .iter()
            .rposition(|line| !is_filler(line))
            .map_or(0, |last| last + 1);
        let mut new: Vec<_> = std::mem::take(&mut self.values)
            .iter()
            .map(|value| self.line(option, value))
            .collect();
        if new.is_empty()
            && self.wanted.allow_no_value
            && !has_bare_option
            && self.wanted.values.is_empty()
        {
            new.push(format!("{option}\n"));
        }
        for _ in &new {
            self.note("option added");
        }
        self.lines.splice(index..index, new);
    }

    fn remove(&mut self, option: &str) {
        let wanted = self.wanted;
        let n_before = self.lines.len();
        self.lines.retain(|line| {
            let goes = setting(line, option, false).is_some_and(|found| {
                found.is_active
                    && (wanted.exclusive || wanted.values.iter().any(|v| v == found.value))
            });
            !goes
        });
        if self.lines.len() != n_before {
            self.note("option changed");
        }
    }

    fn remove_all(&mut self) {
        if !self.lines.is_empty() {
            self.lines.clear();
            self.note("section removed");
        }
    }

    fn put(&mut self, index: usize, option: &str, new: String) {
        let old = &self.lines[index];
        let differs = match setting(old, option, true) {
            Some(found) if self.wanted.ignore_spaces && found.is_active => {
                setting(&new, option, true).is_none_or(|new| new.value != found.value)
            }
            _ => *old != new,
        };
        if differs {
            self.lines[index] = new;
            self.note("option changed");
        }
        self.settled[index] = true;
    }

    fn note(&mut self, msg: &'static str) {
        self.changed = true;
        self.msg = msg;
    }

    /// Adds the section at the end, with what its conditions ask for.
    fn add_section(&mut self, lines: &mut Vec<String>) {
        let Some(section) = self.wanted.section else {
            return;
        };
        lines.push(format!("[{section}]\n"));
        self.note("section and option added");
        for condition in &self.wanted.conditions {
            if Some(condition.option.as_str()) != self.wanted.option {
                lines.extend(
                    condition
                        .values
                        .iter()
                        .map(|v| self.line(&condition.option, v)),
                );
                if condition.values.is_empty() && self.wanted.allow_no_value {
                    lines.push(format!("{}\n", condition.option));
                }
            } else if !self.wanted.exclusive {
                for value in &condition.values {
                    if !self.values.contains(value) {
                        self.values.push(value.clone());
                    }
                }
            }
        }
        match self.wanted.option {
            Some(option) if !self.values.is_empty() => {
                lines.extend(self.values.iter().map(|value| self.line(option, value)));
            }
            Some(option) if self.wanted.allow_no_value => lines.push(format!("{option}\n")),
            _ => self.msg = "only section added",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted<'a>(section: Option<&'a str>, option: &'a str, values: &[&str]) -> Wanted<'a> {
        Wanted {
            section,
            option: Some(option),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
            is_present: true,
            exclusive: true,
            modify_inactive: true,
            ..Wanted::default()
        }
    }

    fn check(before: &str, wanted: &Wanted<'_>, after: &str, msg: &str) {
        let edited = edit(before, wanted);
        assert_eq!((edited.text.as_str(), edited.msg), (after, msg));
        let again = edit(after, wanted);
        assert_eq!((again.text.as_str(), again.changed), (after, false));
    }

    #[test]
    fn an_option_is_changed_uncommented_or_added_after_the_last_one() {
        let set = wanted(Some("a"), "x", &["2"]);
        check("[a]\nx=1\n", &set, "[a]\nx = 2\n", "option changed");
        check(
            "[ a ]\n; x = 1\ny=1\n",
            &set,
            "[ a ]\nx = 2\ny=1\n",
            "option changed",
        );
        check(
            "[a]\ny=1\n\n# c\n[b]\nx=1\n",
            &set,
            "[a]\ny=1\nx = 2\n\n# c\n[b]\nx=1\n",
            "option added",
        );
        check(
            "[b]\n",
            &set,
            "[b]\n[a]\nx = 2\n",
            "section and option added",
        );
        check(
            "[a]\nx=1\nx=3\n",
            &wanted(Some("a"), "x", &["3"]),
            "[a]\nx = 3\n",
            "option changed",
        );
    }

    #[test]
    fn what_stands_before_the_first_section_is_a_section() {
        let set = wanted(None, "x", &["2"]);
        check(
            "y=1\n[a]\nx=1\n",
            &set,
            "y=1\nx = 2\n[a]\nx=1\n",
            "option added",
        );
        check("x=1\n", &set, "x = 2\n", "option changed");
    }

    #[test]
    fn values_are_added_beside_others_unless_they_are_exclusive() {
        let mut set = wanted(Some("a"), "x", &["2", "3"]);
        check("[a]\nx=1\n", &set, "[a]\nx = 2\nx = 3\n", "option added");
        set.exclusive = false;
        check(
            "[a]\nx=1\n",
            &set,
            "[a]\nx=1\nx = 2\nx = 3\n",
            "option added",
        );
        set.is_present = false;
        check("[a]\nx=1\nx=3\n", &set, "[a]\nx=1\n", "option changed");
    }

    #[test]
    fn an_option_may_have_no_value_and_no_blanks() {
        let mut set = wanted(Some("a"), "skip", &[]);
        set.allow_no_value = true;
        check("[a]\n", &set, "[a]\nskip\n", "option added");
        check("[a]\nskip = 1\n", &set, "[a]\nskip\n", "option changed");
        let mut set = wanted(Some("a"), "x", &["1"]);
        set.no_extra_spaces = true;
        check("[a]\nx = 1\n", &set, "[a]\nx=1\n", "option changed");
        set.ignore_spaces = true;
        check("[a]\nx = 1\n", &set, "[a]\nx = 1\n", "OK");
    }

    #[test]
    fn of_two_sections_the_one_that_has_the_values_is_meant() {
        let mut set = wanted(Some("p"), "k", &["new"]);
        set.conditions = vec![Condition {
            option: "ip".into(),
            values: vec!["2".into()],
        }];
        check(
            "[p]\nip=1\nk=a\n[p]\nip=2\nk=b\n",
            &set,
            "[p]\nip=1\nk=a\n[p]\nip=2\nk = new\n",
            "option changed",
        );
        check(
            "[p]\nip=1\n",
            &set,
            "[p]\nip=1\n[p]\nip = 2\nk = new\n",
            "section and option added",
        );
    }
}
