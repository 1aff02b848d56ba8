//! The lines of a crontab, with Ansible's comments above its jobs. Pure.

use crate::modules::Failure;

/// What stands above a job, before its name.
const MARK: &str = "#Ansible: ";

/// A crontab.
#[derive(Debug)]
pub(super) struct Table {
    lines: Vec<String>,
}

impl Table {
    pub(super) fn parse(text: &str) -> Self {
        Self {
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    pub(super) fn render(&self) -> String {
        let text = self.lines.join("\n");
        if text.is_empty() {
            return text;
        }
        format!("{}\n", text.trim_end_matches(['\r', '\n']))
    }

    /// Tells whether there is nothing but blank lines.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.trim().is_empty())
    }

    pub(super) fn job_names(&self) -> Vec<String> {
        let marked = self.lines.iter().filter(|line| line.starts_with(MARK));
        marked.map(|line| line.replace(MARK, "")).collect()
    }

    pub(super) fn variable_names(&self) -> Vec<String> {
        let named = |line: &String| {
            let (name, _) = line.split_once('=')?;
            let is_word = !name.is_empty() && !name.contains(char::is_whitespace);
            is_word.then(|| name.to_owned())
        };
        self.lines.iter().filter_map(named).collect()
    }

    /// Makes the job be `line`; tells whether that changed anything.
    ///
    /// A job that stands there without its comment gets one.
    pub(super) fn set_job(&mut self, name: &str, line: &str) -> bool {
        if let Some(old) = self.job(name) {
            if self.lines[old] == line {
                return false;
            }
            self.replace_job(name, Some(line));
            return true;
        }
        let comment = format!("{MARK}{name}");
        match self.lines.iter().position(|found| found == line) {
            Some(index) if !self.is_marked(index) => {
                self.lines.insert(index, comment);
                self.replace_job(name, Some(line));
            }
            Some(index) if !name.is_empty() && self.has_no_name(index) => {
                self.lines[index - 1] = comment;
                self.replace_job(name, Some(line));
            }
            _ => self.lines.extend([comment, line.to_owned()]),
        }
        true
    }

    /// Removes the job; tells whether there was one.
    pub(super) fn remove_job(&mut self, name: &str) -> bool {
        let is_there = self.job(name).is_some();
        if is_there {
            self.replace_job(name, None);
        }
        is_there
    }

    /// Finds the line of a job by the comment above it.
    fn job(&self, name: &str) -> Option<usize> {
        let comment = |line: &String| line.starts_with(MARK) && line.replace(MARK, "") == name;
        let index = self.lines.iter().position(comment)? + 1;
        (index < self.lines.len()).then_some(index)
    }

    fn is_marked(&self, index: usize) -> bool {
        index > 0 && self.lines[index - 1].starts_with(MARK)
    }

    fn has_no_name(&self, index: usize) -> bool {
        index > 0 && self.lines[index - 1] == format!("{MARK}None")
    }

    /// Replaces or removes every job of that name, with its comment.
    fn replace_job(&mut self, name: &str, line: Option<&str>) {
        let comment = format!("{MARK}{name}");
        let mut lines = Vec::new();
        let mut old = std::mem::take(&mut self.lines).into_iter();
        while let Some(found) = old.next() {
            if found != comment {
                lines.push(found);
                continue;
            }
            let job = old.next();
            if let (Some(line), Some(_)) = (line, job) {
                lines.extend([comment.clone(), line.to_owned()]);
            }
        }
        self.lines = lines;
    }

    /// Makes the variable be `line`; tells whether that changed anything.
    pub(super) fn set_variable(
        &mut self,
        name: &str,
        line: &str,
        after: Option<&str>,
        before: Option<&str>,
    ) -> Result<bool, Failure> {
        if let Some(index) = self.variable(name) {
            let is_changed = self.lines[index] != line;
            if is_changed {
                let start = format!("{name}=");
                for found in self.lines.iter_mut().filter(|l| l.starts_with(&start)) {
                    line.clone_into(found);
                }
            }
            return Ok(is_changed);
        }
        let index = match after.or(before) {
            None => 0,
            Some(other) => {
                let index = self
                    .variable(other)
                    .ok_or_else(|| Failure::new(format!("Variable named '{other}' not found.")))?;
                index + usize::from(after.is_some())
            }
        };
        self.lines.insert(index, line.to_owned());
        Ok(true)
    }

    /// Removes the variable; tells whether there was one.
    pub(super) fn remove_variable(&mut self, name: &str) -> bool {
        let is_there = self.variable(name).is_some();
        let start = format!("{name}=");
        self.lines.retain(|line| !line.starts_with(&start));
        is_there
    }

    fn variable(&self, name: &str) -> Option<usize> {
        let start = format!("{name}=");
        self.lines.iter().position(|line| line.starts_with(&start))
    }
}

/// Drops the lines that some `crontab -l` print above the table.
pub(super) fn without_header(text: &str) -> String {
    let is_header = |line: &str| {
        let is_note = |end: &str| line.starts_with("# (") && line.contains(end);
        line.starts_with("# DO NOT EDIT THIS FILE - edit the master and reinstall.")
            || (line.starts_with("# (/tmp/") && line.contains("installed on") && line.contains(')'))
            || is_note("version")
    };
    text.split_inclusive('\n')
        .enumerate()
        .filter(|(index, line)| *index > 2 || !is_header(line))
        .map(|(_, line)| line)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_without_comment_gets_one_and_others_stay() {
        let mut table = Table::parse("A=1\n* * * * * x\n\n#Ansible: y\n1 * * * * y\n");
        assert!(table.set_job("x", "* * * * * x"));
        assert!(table.set_job("y", "2 * * * * y"));
        assert!(!table.set_job("y", "2 * * * * y"));
        assert_eq!(
            table.render(),
            "A=1\n#Ansible: x\n* * * * * x\n\n#Ansible: y\n2 * * * * y\n"
        );
        assert_eq!(table.job_names(), ["x", "y"]);
        assert_eq!(table.variable_names(), ["A"]);
    }

    #[test]
    fn variables_are_put_first_or_beside_another() {
        let mut table = Table::parse("A=\"1\"\n");
        let mut set = |name: &str, after, before| {
            table.set_variable(name, &format!("{name}=\"2\""), after, before)
        };
        assert_eq!(set("B", None, None), Ok(true));
        assert_eq!(set("C", Some("B"), None), Ok(true));
        assert_eq!(set("D", None, Some("A")), Ok(true));
        assert_eq!(set("A", None, None), Ok(true));
        assert_eq!(set("A", None, None), Ok(false));
        assert_eq!(
            set("E", Some("Z"), None),
            Err(Failure::new("Variable named 'Z' not found."))
        );
        assert!(table.remove_variable("C"));
        assert_eq!(table.render(), "B=\"2\"\nD=\"2\"\nA=\"2\"\n");
    }

    #[test]
    fn what_crontab_says_above_the_table_is_dropped() {
        let text = "# DO NOT EDIT THIS FILE - edit the master and reinstall.\n\
                    # (/tmp/crontab.x installed on Mon)\n# (Cron version V5)\nx\n";
        assert_eq!(without_header(text), "x\n");
        assert_eq!(without_header("# mine\n"), "# mine\n");
    }
}
