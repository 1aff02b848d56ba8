//! A unified diff with the very hunks that Ansible shows: those of Python's `difflib`.
//!
//! It is Ratcliff and Obershelp's matching: the longest common run of lines first, then the same
//! on either side of it. Minimal diffs are others. Knows lines, and nothing of results.

use std::collections::HashMap;
use std::ops::Range;

/// From this many lines on, a line that fills over 1 % of the text begins no match.
const MANY_LINES: usize = 200;

/// Returns the lines of the diff, its headers first; none when the sides are equal.
pub(super) fn unified(
    before: &[String],
    after: &[String],
    from: &str,
    to: &str,
    context: usize,
) -> Vec<String> {
    let mut lines = Vec::new();
    for hunk in hunks(steps(before, after), context) {
        if lines.is_empty() {
            lines.push(format!("--- {from}\n"));
            lines.push(format!("+++ {to}\n"));
        }
        lines.push(range_line(&hunk));
        for step in hunk {
            if step.equal {
                lines.extend(before[step.before].iter().map(|line| format!(" {line}")));
                continue;
            }
            lines.extend(before[step.before].iter().map(|line| format!("-{line}")));
            lines.extend(after[step.after].iter().map(|line| format!("+{line}")));
        }
    }
    lines
}

/// A stretch that both sides share, or one that replaces the other.
#[derive(Clone, Debug)]
struct Step {
    equal: bool,
    before: Range<usize>,
    after: Range<usize>,
}

fn steps(before: &[String], after: &[String]) -> Vec<Step> {
    let (mut i, mut j) = (0, 0);
    let mut steps = Vec::new();
    let mut step = |equal, before: Range<usize>, after: Range<usize>| {
        if !before.is_empty() || !after.is_empty() {
            steps.push(Step {
                equal,
                before,
                after,
            });
        }
    };
    for run in Matcher::new(before, after).runs() {
        step(false, i..run.before, j..run.after);
        (i, j) = (run.before + run.size, run.after + run.size);
        step(true, run.before..i, run.after..j);
    }
    step(false, i..before.len(), j..after.len());
    steps
}

/// Cuts the steps where more than twice the context is equal; drops what shows no change.
fn hunks(mut steps: Vec<Step>, context: usize) -> Vec<Vec<Step>> {
    if let Some(first) = steps.first_mut().filter(|step| step.equal) {
        *first = tail(first, context);
    }
    if let Some(last) = steps.last_mut().filter(|step| step.equal) {
        *last = head(last, context);
    }
    let mut hunks = Vec::new();
    let mut hunk = Vec::new();
    for mut step in steps {
        if step.equal && step.before.len() > 2 * context {
            hunk.push(head(&step, context));
            hunks.push(std::mem::take(&mut hunk));
            step = tail(&step, context);
        }
        hunk.push(step);
    }
    hunks.push(hunk);
    hunks.retain(|hunk| hunk.iter().any(|step| !step.equal));
    hunks
}

fn head(step: &Step, lines: usize) -> Step {
    let cut = |range: &Range<usize>| range.start..range.end.min(range.start + lines);
    Step {
        equal: step.equal,
        before: cut(&step.before),
        after: cut(&step.after),
    }
}

fn tail(step: &Step, lines: usize) -> Step {
    let cut = |range: &Range<usize>| range.start.max(range.end.saturating_sub(lines))..range.end;
    Step {
        equal: step.equal,
        before: cut(&step.before),
        after: cut(&step.after),
    }
}

fn range_line(hunk: &[Step]) -> String {
    let side = |of: fn(&Step) -> &Range<usize>| {
        let start = hunk.first().map_or(0, |step| of(step).start);
        let end = hunk.last().map_or(0, |step| of(step).end);
        match end - start {
            0 => format!("{start},0"),
            1 => format!("{}", start + 1),
            length => format!("{},{length}", start + 1),
        }
    };
    format!(
        "@@ -{} +{} @@\n",
        side(|step| &step.before),
        side(|step| &step.after)
    )
}

/// Lines in a row that both sides have: where they begin, and how many.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    before: usize,
    after: usize,
    size: usize,
}

struct Matcher<'a> {
    before: &'a [String],
    after: &'a [String],
    /// Where a line stands in `after`, ascending.
    places: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Matcher<'a> {
    fn new(before: &'a [String], after: &'a [String]) -> Self {
        let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, line) in after.iter().enumerate() {
            places.entry(line).or_default().push(at);
        }
        if after.len() >= MANY_LINES {
            places.retain(|_, places| places.len() <= after.len() / 100 + 1);
        }
        Self {
            before,
            after,
            places,
        }
    }

    /// Lists the runs in order; runs that touch are one.
    fn runs(&self) -> Vec<Run> {
        let mut found = Vec::new();
        let mut regions = vec![(0..self.before.len(), 0..self.after.len())];
        while let Some((before, after)) = regions.pop() {
            let run = self.longest(&before, &after);
            if run.size == 0 {
                continue;
            }
            found.push(run);
            regions.push((before.start..run.before, after.start..run.after));
            regions.push((
                run.before + run.size..before.end,
                run.after + run.size..after.end,
            ));
        }
        found.sort_unstable();
        let mut runs: Vec<Run> = Vec::new();
        for run in found {
            match runs.last_mut() {
                Some(last)
                    if last.before + last.size == run.before
                        && last.after + last.size == run.after =>
                {
                    last.size += run.size;
                }
                _ => runs.push(run),
            }
        }
        runs
    }

    /// Finds the longest run of a region, the first of them when there are several.
    fn longest(&self, before: &Range<usize>, after: &Range<usize>) -> Run {
        let mut best = Run {
            before: before.start,
            after: after.start,
            size: 0,
        };
        // How long the run is that ends at a line of `after` and the line before this one.
        let mut ending: HashMap<usize, usize> = HashMap::new();
        for i in before.clone() {
            let places = self.places.get(self.before[i].as_str());
            let places = places.into_iter().flatten().copied();
            let mut longer = HashMap::new();
            for j in places.filter(|place| after.contains(place)) {
                let shorter = j.checked_sub(1).and_then(|last| ending.get(&last));
                let size = shorter.copied().unwrap_or_default() + 1;
                longer.insert(j, size);
                if size > best.size {
                    best = Run {
                        before: i + 1 - size,
                        after: j + 1 - size,
                        size,
                    };
                }
            }
            ending = longer;
        }
        self.extended(best, before, after)
    }

    /// Lengthens a run by the lines that are too frequent to begin one.
    fn extended(&self, mut run: Run, before: &Range<usize>, after: &Range<usize>) -> Run {
        while run.before > before.start
            && run.after > after.start
            && self.before[run.before - 1] == self.after[run.after - 1]
        {
            run.before -= 1;
            run.after -= 1;
            run.size += 1;
        }
        while run.before + run.size < before.end
            && run.after + run.size < after.end
            && self.before[run.before + run.size] == self.after[run.after + run.size]
        {
            run.size += 1;
        }
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split_inclusive('\n').map(str::to_owned).collect()
    }

    fn diff(before: &str, after: &str, context: usize) -> String {
        unified(&lines(before), &lines(after), "a", "b", context).concat()
    }

    #[test]
    fn the_longest_common_run_is_kept_and_not_the_smallest_change() {
        assert_eq!(
            diff("a\nb\n", "a\nc\na\nb\n", 3),
            "--- a\n+++ b\n@@ -1,2 +1,4 @@\n+a\n+c\n a\n b\n"
        );
    }

    #[test]
    fn changes_far_apart_are_hunks_of_their_own() {
        let before = (1..=12)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join("\n")
            + "\n";
        let after = before.replace("2\n3", "two\n3").replace("10\n", "");
        assert_eq!(
            diff(&before, &after, 1),
            "--- a\n+++ b\n@@ -1,3 +1,3 @@\n 1\n-2\n+two\n 3\n\
             @@ -9,3 +9,2 @@\n 9\n-10\n 11\n"
        );
        assert_eq!(
            diff(&before, &after, 0),
            "--- a\n+++ b\n@@ -2 +2 @@\n-2\n+two\n@@ -10 +9,0 @@\n-10\n"
        );
    }

    #[test]
    fn a_frequent_line_of_a_long_text_begins_no_match_but_lengthens_one() {
        let before = (0..120)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join("\n\n")
            + "\n\n";
        let after = before.replacen("7\n\n", "\nseven\n", 1);
        assert_eq!(
            diff(&before, &after, 1),
            "--- a\n+++ b\n@@ -14,4 +14,4 @@\n \n-7\n-\n+\n+seven\n 8\n"
        );
    }

    #[test]
    fn equal_sides_have_no_diff() {
        assert_eq!(diff("a\n", "a\n", 3), "");
        assert_eq!(diff("", "", 3), "");
    }
}
