//! The plan of a transaction: what each task would change on each host, how far that can be
//! undone, and what an undo would do.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::event::{Reversibility, Step, TaskResult};

/// The steps that were told so far, by host.
#[derive(Debug, Default)]
pub(super) struct Plan {
    hosts: IndexMap<Arc<str>, Vec<(String, Step)>>,
}

impl Plan {
    /// Takes in what a task would change.
    pub(super) fn add(&mut self, result: &TaskResult) {
        let host = result.delegate.as_ref().unwrap_or(&result.host);
        let steps = self.hosts.entry(Arc::clone(host)).or_default();
        let title = result.task.title();
        steps.extend(
            result
                .steps
                .iter()
                .map(|step| (title.clone(), step.clone())),
        );
    }

    /// Returns the lines of the plan, and forgets it.
    pub(super) fn take_lines(&mut self) -> Vec<String> {
        let hosts = std::mem::take(&mut self.hosts);
        let mut lines = Vec::new();
        let mut counts = [0_usize; 4];
        for (host, steps) in hosts.iter().filter(|(_, steps)| !steps.is_empty()) {
            lines.push(host.to_string());
            let mut last: Option<&str> = None;
            for (title, step) in steps {
                if last != Some(title) {
                    lines.push(format!("  {title}"));
                    last = Some(title);
                }
                counts[place(step.class)] += 1;
                let undo = match step.undo.as_str() {
                    "" => "nobody knows",
                    undo => undo,
                };
                let class = step.class.name();
                lines.push(format!("    {class:<11} {}; undo: {undo}", step.what));
            }
        }
        lines.push(summary(counts));
        lines
    }
}

fn place(class: Reversibility) -> usize {
    CLASSES
        .iter()
        .position(|known| *known == class)
        .expect("every class is listed")
}

const CLASSES: [Reversibility; 4] = [
    Reversibility::Exact,
    Reversibility::Compensated,
    Reversibility::Declared,
    Reversibility::Opaque,
];

fn summary(counts: [usize; 4]) -> String {
    let told: Vec<String> = CLASSES
        .iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .map(|(class, count)| format!("{count} {}", class.name()))
        .collect();
    if told.is_empty() {
        return "nothing would change".to_owned();
    }
    let mut line = format!("steps: {}", told.join(", "));
    if counts[place(Reversibility::Opaque)] > 0 {
        line += "; a rollback could not undo the opaque ones";
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::default::tests;
    use super::*;
    use crate::event::Status;

    #[test]
    fn steps_stand_under_their_host_and_task_with_class_and_undo() {
        let mut plan = Plan::default();
        let task = tests::task("render", "template", false);
        let mut result = tests::result(&task, Status::Changed, "{}");
        let step = |class, what: &str, undo: &str| Step {
            class,
            what: what.into(),
            undo: undo.into(),
        };
        result.steps = vec![
            step(
                Reversibility::Exact,
                "replace /etc/a",
                "put the old file back",
            ),
            step(Reversibility::Opaque, "command: ./x", ""),
        ];
        plan.add(&result);
        assert_eq!(
            plan.take_lines(),
            [
                "web1",
                "  render",
                "    exact       replace /etc/a; undo: put the old file back",
                "    opaque      command: ./x; undo: nobody knows",
                "steps: 1 exact, 1 opaque; a rollback could not undo the opaque ones",
            ]
        );
        assert_eq!(plan.take_lines(), ["nothing would change"]);
    }
}
