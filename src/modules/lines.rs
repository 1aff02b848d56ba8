//! Line editing as pure functions from old bytes to new bytes: what `lineinfile` and
//! `blockinfile` do to a file.
//!
//! Works on bytes, as Ansible does: a file need not be UTF-8. Knows no file and no machine.

use crate::pyregex::{Pattern, PatternError, Replacement};

/// The lines of a file, each with its line end.
pub(super) type Lines = Vec<Vec<u8>>;

/// Splits after each newline, as Python's `readlines`.
pub(super) fn split_lines(text: &[u8]) -> Lines {
    text.split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

/// Splits after `\n`, `\r\n` and `\r`, as Python's `bytes.splitlines(True)`.
pub(super) fn split_any_lines(text: &[u8]) -> Lines {
    let mut lines = Lines::new();
    let mut start = 0;
    for (index, byte) in text.iter().enumerate() {
        let ends = match byte {
            b'\n' => true,
            b'\r' => text.get(index + 1) != Some(&b'\n'),
            _ => false,
        };
        if ends {
            lines.push(text[start..=index].to_vec());
            start = index + 1;
        }
    }
    if start < text.len() {
        lines.push(text[start..].to_vec());
    }
    lines
}

/// Where a missing line or block goes.
#[derive(Debug)]
pub(super) enum Spot {
    Start,
    End,
    /// After the last line that matches, else at the end.
    After(Pattern),
    /// Before the last line that matches, else at the end.
    Before(Pattern),
}

impl Spot {
    /// Reads `insertafter` and `insertbefore`, of which at most one is given.
    pub(super) fn new(after: Option<&str>, before: Option<&str>) -> Result<Self, PatternError> {
        Ok(match (after, before) {
            (None, None) | (Some("EOF"), _) => Self::End,
            (Some(pattern), _) => Self::After(bytes_pattern(pattern)?),
            (None, Some("BOF")) => Self::Start,
            (None, Some(pattern)) => Self::Before(bytes_pattern(pattern)?),
        })
    }

    fn pattern(&self) -> Option<&Pattern> {
        match self {
            Self::After(pattern) | Self::Before(pattern) => Some(pattern),
            Self::Start | Self::End => None,
        }
    }
}

/// Compiles a pattern that searches in lines of bytes.
pub(super) fn bytes_pattern(pattern: &str) -> Result<Pattern, PatternError> {
    Pattern::bytes(pattern, crate::pyregex::Flags::default())
}

/// How an existing line is recognised.
#[derive(Debug)]
pub(super) enum Sought {
    Pattern(Box<Pattern>),
    Text(Vec<u8>),
    /// Only the line itself.
    Line,
}

/// One line that should be there.
#[derive(Debug)]
pub(super) struct WantedLine<'a> {
    pub(super) line: &'a str,
    pub(super) sought: Sought,
    pub(super) spot: Spot,
    /// Groups of the pattern are expanded in `line`, which is then never inserted.
    pub(super) backrefs: bool,
    /// The first match counts, not the last.
    pub(super) first_match: bool,
}

/// Makes the line be there; returns `line added`, `line replaced` or, when nothing changed, "".
pub(super) fn ensure_line(
    lines: &mut Lines,
    wanted: &WantedLine<'_>,
) -> Result<&'static str, PatternError> {
    let line = wanted.line.as_bytes();
    if let Some(index) = find_sought(lines, wanted)? {
        let new = match &wanted.sought {
            Sought::Pattern(pattern) if wanted.backrefs => {
                expand(wanted.line, pattern, &lines[index])?
            }
            _ => line.to_vec(),
        };
        return Ok(replace(lines, index, new));
    }
    let (exact, spot) = find_exact_or_spot(lines, wanted)?;
    if let Some(index) = exact {
        return Ok(replace(lines, index, line.to_vec()));
    }
    if wanted.backrefs {
        return Ok("");
    }
    Ok(match (&wanted.spot, spot) {
        (Spot::Start, _) => insert(lines, 0, line),
        (Spot::After(_), Some(index)) if index == lines.len() => {
            end_last_line(lines);
            insert(lines, index, line)
        }
        // With `firstmatch` the line may be there already, behind the first match.
        (Spot::After(_), Some(index)) if without_end(&lines[index]) == line => "",
        (_, Some(index)) => insert(lines, index, line),
        (_, None) => {
            end_last_line(lines);
            let end = lines.len();
            insert(lines, end, line)
        }
    })
}

/// Removes every line that is sought; returns how many.
pub(super) fn remove_lines(
    lines: &mut Lines,
    sought: &Sought,
    line: Option<&str>,
) -> Result<usize, PatternError> {
    let before = lines.len();
    let mut kept = Lines::new();
    for current in std::mem::take(lines) {
        let found = match sought {
            Sought::Line => line.is_some_and(|line| without_end(&current) == line.as_bytes()),
            sought => matches(sought, &current)?,
        };
        if !found {
            kept.push(current);
        }
    }
    *lines = kept;
    Ok(before - lines.len())
}

fn find_sought(lines: &Lines, wanted: &WantedLine<'_>) -> Result<Option<usize>, PatternError> {
    let mut found = None;
    for (index, current) in lines.iter().enumerate() {
        if matches(&wanted.sought, current)? {
            found = Some(index);
            if wanted.first_match {
                break;
            }
        }
    }
    Ok(found)
}

fn matches(sought: &Sought, line: &[u8]) -> Result<bool, PatternError> {
    match sought {
        Sought::Pattern(pattern) => Ok(pattern.search(line)?.is_some()),
        Sought::Text(text) => {
            Ok(text.is_empty() || line.windows(text.len()).any(|window| window == text))
        }
        Sought::Line => Ok(false),
    }
}

/// Finds the line itself, and the index at which `spot` wants it.
fn find_exact_or_spot(
    lines: &Lines,
    wanted: &WantedLine<'_>,
) -> Result<(Option<usize>, Option<usize>), PatternError> {
    let (mut exact, mut spot) = (None, None);
    for (index, current) in lines.iter().enumerate() {
        if without_end(current) == wanted.line.as_bytes() {
            exact = Some(index);
        } else if let Some(pattern) = wanted.spot.pattern()
            && pattern.search(&**current)?.is_some()
        {
            spot = Some(match wanted.spot {
                Spot::After(_) => index + 1,
                _ => index,
            });
            if wanted.first_match {
                break;
            }
        }
    }
    Ok((exact, spot))
}

fn expand(line: &str, pattern: &Pattern, current: &[u8]) -> Result<Vec<u8>, PatternError> {
    let template = Replacement::new(line, pattern)?;
    let mut expanded = Vec::new();
    if let Some(found) = pattern.search(current)? {
        template.expand(current, &found, &mut expanded);
    }
    Ok(expanded)
}

fn replace(lines: &mut Lines, index: usize, mut new: Vec<u8>) -> &'static str {
    if !new.ends_with(b"\n") {
        new.push(b'\n');
    }
    if lines[index] == new {
        return "";
    }
    lines[index] = new;
    "line replaced"
}

fn insert(lines: &mut Lines, index: usize, line: &[u8]) -> &'static str {
    lines.insert(index, [line, b"\n"].concat());
    "line added"
}

fn end_last_line(lines: &mut Lines) {
    if let Some(last) = lines.last_mut()
        && !last.ends_with(b"\n")
        && !last.ends_with(b"\r")
    {
        last.push(b'\n');
    }
}

/// Returns a line without the newlines and carriage returns at its end.
fn without_end(line: &[u8]) -> &[u8] {
    let end = line
        .iter()
        .rposition(|byte| !matches!(byte, b'\r' | b'\n'))
        .map_or(0, |last| last + 1);
    &line[..end]
}

/// One block between marker lines.
#[derive(Debug)]
pub(super) struct WantedBlock<'a> {
    /// The marker lines, without line ends.
    pub(super) markers: [String; 2],
    /// The text between them; empty where the block should not be.
    pub(super) block: &'a str,
    pub(super) spot: Spot,
    /// Keeps an empty line before the block.
    pub(super) blank_before: bool,
    /// Keeps an empty line after the block.
    pub(super) blank_after: bool,
}

/// Returns the text with the block put in, replaced or taken out.
pub(super) fn ensure_block(text: &[u8], wanted: &WantedBlock<'_>) -> Result<Vec<u8>, PatternError> {
    let mut lines = split_any_lines(text);
    let [begin, end] = wanted
        .markers
        .each_ref()
        .map(|marker| [marker.as_bytes(), b"\n"].concat());
    let begins = lines.iter().rposition(|line| *line == begin);
    let ends = lines.iter().rposition(|line| *line == end);
    let mut at = match (begins, ends) {
        (Some(begins), Some(ends)) => {
            let first = begins.min(ends);
            lines.drain(first..=begins.max(ends));
            first
        }
        _ => block_spot(text, &lines, &wanted.spot)?,
    };
    if let Some(before) = at.checked_sub(1)
        && !lines[before].ends_with(b"\n")
    {
        lines[before].push(b'\n');
    }
    if wanted.blank_before && at != 0 && lines[at - 1] != b"\n" {
        lines.insert(at, b"\n".to_vec());
        at += 1;
    }
    let block = block_lines(wanted.block, begin, end);
    let after = at + block.len();
    lines.splice(at..at, block);
    if wanted.blank_after && lines.get(after).is_some_and(|line| line != b"\n") {
        lines.insert(after, b"\n".to_vec());
    }
    Ok(lines.concat())
}

fn block_lines(block: &str, begin: Vec<u8>, end: Vec<u8>) -> Lines {
    if block.is_empty() {
        return Lines::new();
    }
    let mut text = block.as_bytes().to_vec();
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    let mut lines = vec![begin];
    lines.extend(split_any_lines(&text));
    lines.push(end);
    lines
}

/// Returns the index of the line before which a new block goes.
fn block_spot(text: &[u8], lines: &Lines, spot: &Spot) -> Result<usize, PatternError> {
    let pattern = match spot {
        Spot::Start => return Ok(0),
        Spot::End => return Ok(lines.len()),
        Spot::After(pattern) | Spot::Before(pattern) => pattern,
    };
    let is_after = matches!(spot, Spot::After(_));
    let found = if pattern.is_multi_line() {
        pattern.search(text)?.map(|found| {
            let end = if is_after { found.end() } else { found.start() };
            split_lines(&text[..end])
                .iter()
                .filter(|line| line.ends_with(b"\n"))
                .count()
        })
    } else {
        let mut last = None;
        for (index, line) in lines.iter().enumerate() {
            if pattern.search(&**line)?.is_some() {
                last = Some(index);
            }
        }
        last
    };
    Ok(match found {
        Some(index) => (index + usize::from(is_after)).min(lines.len()),
        None => lines.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Line(WantedLine<'static>);

    fn line(line: &'static str) -> Line {
        Line(WantedLine {
            line,
            sought: Sought::Line,
            spot: Spot::End,
            backrefs: false,
            first_match: false,
        })
    }

    impl Line {
        fn regexp(mut self, pattern: &str) -> Self {
            self.0.sought = Sought::Pattern(Box::new(bytes_pattern(pattern).unwrap()));
            self
        }

        fn after(mut self, pattern: &str) -> Self {
            self.0.spot = Spot::new(Some(pattern), None).unwrap();
            self
        }

        fn before(mut self, pattern: &str) -> Self {
            self.0.spot = Spot::new(None, Some(pattern)).unwrap();
            self
        }

        fn in_text(&self, text: &str) -> (String, &'static str) {
            let mut lines = split_lines(text.as_bytes());
            let message = ensure_line(&mut lines, &self.0).unwrap();
            (String::from_utf8(lines.concat()).unwrap(), message)
        }
    }

    #[test]
    fn a_missing_line_is_added_where_it_is_wanted() {
        for (wanted, before, after) in [
            (line("x"), "a\nb", "a\nb\nx\n"),
            (line("x"), "", "x\n"),
            (line("x").after("^a"), "a1\na2\nb\n", "a1\na2\nx\nb\n"),
            (line("x").after("b"), "a\nb", "a\nb\nx\n"),
            (line("x").after("none"), "a\n", "a\nx\n"),
            (line("x").before("BOF"), "a\n", "x\na\n"),
            (line("x").before("^b"), "a\nb\n", "a\nx\nb\n"),
        ] {
            assert_eq!(
                wanted.in_text(before),
                (after.into(), "line added"),
                "{wanted:?}",
                wanted = wanted.0
            );
        }
    }

    #[test]
    fn a_line_that_is_there_stays_and_its_line_end_is_made_a_newline() {
        assert_eq!(
            line("x").after("a").in_text("x\na\n"),
            ("x\na\n".into(), "")
        );
        assert_eq!(
            line("x").in_text("a\nx"),
            ("a\nx\n".into(), "line replaced")
        );
        assert_eq!(line("x").in_text("x\r\n"), ("x\n".into(), "line replaced"));
    }

    #[test]
    fn the_last_match_is_replaced_and_the_first_on_request() {
        let mut wanted = line("k=2").regexp("^k=");
        assert_eq!(
            wanted.in_text("k=0\nk=1\n"),
            ("k=0\nk=2\n".into(), "line replaced")
        );
        wanted.0.first_match = true;
        assert_eq!(
            wanted.in_text("k=0\nk=1\n"),
            ("k=2\nk=1\n".into(), "line replaced")
        );
    }

    #[test]
    fn back_references_are_expanded_and_never_added() {
        let mut wanted = line(r"k=\1!").regexp("^k=(.*)$");
        wanted.0.backrefs = true;
        assert_eq!(wanted.in_text("k=v\n"), ("k=v!\n".into(), "line replaced"));
        assert_eq!(wanted.in_text("a\n"), ("a\n".into(), ""));
    }

    #[test]
    fn removed_lines_are_counted() {
        let mut lines = split_lines(b"a1\nb\na2");
        let sought = Sought::Pattern(Box::new(bytes_pattern("^a").unwrap()));
        assert_eq!(remove_lines(&mut lines, &sought, None).unwrap(), 2);
        assert_eq!(lines.concat(), b"b\n");
        assert_eq!(
            remove_lines(&mut lines, &Sought::Line, Some("b")).unwrap(),
            1
        );
        assert_eq!(lines.concat(), b"");
    }

    fn block(text: &str, block: &str, spot: Spot, blanks: bool) -> String {
        let wanted = WantedBlock {
            markers: ["# B".into(), "# E".into()],
            block,
            spot,
            blank_before: blanks,
            blank_after: blanks,
        };
        String::from_utf8(ensure_block(text.as_bytes(), &wanted).unwrap()).unwrap()
    }

    #[test]
    fn a_block_is_put_in_replaced_and_taken_out() {
        let put_in = block("a\nb", "x", Spot::End, false);
        assert_eq!(put_in, "a\nb\n# B\nx\n# E\n");
        assert_eq!(
            block(&put_in, "y\nz\n", Spot::End, false),
            "a\nb\n# B\ny\nz\n# E\n"
        );
        assert_eq!(block(&put_in, "", Spot::End, false), "a\nb\n");
    }

    #[test]
    fn a_block_goes_beside_the_last_match() {
        let after = Spot::new(Some("^a"), None).unwrap();
        assert_eq!(
            block("a\na\nb\n", "x", after, false),
            "a\na\n# B\nx\n# E\nb\n"
        );
        let before = Spot::new(None, Some("(?m)^a\nb")).unwrap();
        assert_eq!(
            block("a\na\nb\n", "x", before, false),
            "a\n# B\nx\n# E\na\nb\n"
        );
    }

    #[test]
    fn blank_lines_keep_a_block_apart_from_its_neighbours() {
        let after = || Spot::new(Some("^a"), None).unwrap();
        let text = block("a\nb\n", "x", after(), true);
        assert_eq!(text, "a\n\n# B\nx\n# E\n\nb\n");
        assert_eq!(block(&text, "x", after(), true), text);
    }
}
