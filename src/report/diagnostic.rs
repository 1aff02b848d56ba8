//! How an error looks: the house style for errors of a run as a whole, and Ansible's `Origin:`
//! form for the failed task inside the default output.

use std::fmt::Write;

use super::Painter;
use crate::error::Error;
use crate::source::Mark;

/// What stands before an error.
pub const HEADING: &str = "error";

/// Returns the error in the house style: message, place with excerpt, causes, one line of help.
/// `heading` stands before the message.
pub fn render(error: &Error, heading: &str, painter: Painter) -> String {
    let mut text = format!("{}: {error}", painter.paint(heading, "bright red"));
    if let Some(mark) = &error.mark {
        push_excerpt(mark, painter, &mut text);
    }
    for cause in &error.causes {
        write!(text, "\ncaused by: {}", cause.message).expect("writing to a string cannot fail");
        if let Some(mark) = cause
            .mark
            .as_ref()
            .filter(|mark| error.mark.as_ref() != Some(*mark))
        {
            push_excerpt(mark, painter, &mut text);
        }
    }
    if let Some(help) = &error.help {
        write!(text, "\n{}: {help}", painter.paint("help", "cyan"))
            .expect("writing to a string cannot fail");
    }
    text
}

/// Returns a warning as ansible-core 2.19 prints it, with its place where there is one.
pub fn render_warning(message: &str, mark: Option<&Mark>) -> String {
    format!("[WARNING]: {}", with_origin(message, mark))
}

/// Renders what will stop working, in the same way.
pub fn render_deprecation(message: &str, mark: Option<&Mark>) -> String {
    format!("[DEPRECATION WARNING]: {}", with_origin(message, mark))
}

fn with_origin(message: &str, mark: Option<&Mark>) -> String {
    match mark {
        Some(mark) => render_origin(&Error::content(message).at(mark)),
        None => message.to_owned(),
    }
}

fn push_excerpt(mark: &Mark, painter: Painter, text: &mut String) {
    let number = mark.line.to_string();
    let gutter = " ".repeat(number.len());
    write!(text, "\n{gutter}{} {mark}", painter.paint("-->", "blue"))
        .expect("writing to a string cannot fail");
    let Some(line) = mark.line_text() else { return };
    let column = usize::try_from(mark.column).unwrap_or(1).max(1);
    let lead: String = line
        .chars()
        .take(column - 1)
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    let carets = "^".repeat(token_width(line, column));
    let bar = painter.paint("|", "blue");
    write!(
        text,
        "\n{gutter} {bar}\n{} {bar} {line}\n{gutter} {bar} {lead}{}",
        painter.paint(&number, "blue"),
        painter.paint(&carets, "bright red"),
    )
    .expect("writing to a string cannot fail");
}

/// Returns how many characters the word at a 1-based column has; at least one.
fn token_width(line: &str, column: usize) -> usize {
    let width = line
        .chars()
        .skip(column - 1)
        .take_while(|c| c.is_alphanumeric() || "_-./".contains(*c))
        .count();
    width.max(1)
}

/// Returns the error as ansible-core 2.19 prints a failed task: the whole chain in one line, then
/// the place; with several places, each step with its own.
pub fn render_origin(error: &Error) -> String {
    let mut steps: Vec<(&str, Option<&Mark>)> = vec![(&error.message, error.mark.as_ref())];
    steps.extend(
        error
            .causes
            .iter()
            .map(|cause| (cause.message.as_str(), cause.mark.as_ref())),
    );
    let head = steps
        .iter()
        .map(|(message, _)| *message)
        .collect::<Vec<_>>()
        .join(": ");
    let mut places: Vec<&Mark> = steps.iter().filter_map(|(_, mark)| *mark).collect();
    places.dedup();
    let mut text = head;
    if let [only] = places[..] {
        text.push_str(&origin(only));
    } else if !places.is_empty() {
        text.push_str("\n\n");
        text.push_str(&chain(&steps).join("\n<<< caused by >>>\n\n"));
    }
    if let Some(help) = &error.help {
        let gap = if text.ends_with('\n') { "\n" } else { "\n\n" };
        writeln!(text, "{gap}{help}").expect("writing to a string cannot fail");
    }
    text
}

/// Tells each step that has a place; a step without one, or with the place of the step before it,
/// is told with that step. The last one stands alone where it has a place: in Ansible it was raised
/// over an error of Python's, and such a step is never folded into another.
fn chain(steps: &[(&str, Option<&Mark>)]) -> Vec<String> {
    let mut told: Vec<(Vec<&str>, Option<&Mark>)> = Vec::new();
    for (index, (message, mark)) in steps.iter().enumerate() {
        let inner = index + 1 < steps.len();
        match (told.last_mut(), mark) {
            (Some((messages, _)), None) => messages.push(message),
            (Some((messages, place)), Some(_)) if inner && place == mark => messages.push(message),
            _ => told.push((vec![message], *mark)),
        }
    }
    let last = told.len().saturating_sub(1);
    told.into_iter()
        .enumerate()
        .map(|(index, (messages, mark))| {
            let stop = if index == last { "" } else { "." };
            format!(
                "{}{stop}{}",
                messages.join(": "),
                mark.map(origin).unwrap_or_default()
            )
        })
        .collect()
}

/// The longest line of an excerpt, with its number.
const WIDEST: usize = 120;

fn origin(mark: &Mark) -> String {
    let mut text = format!("\nOrigin: {mark}\n");
    let first = mark.line.saturating_sub(2).max(1);
    let width = mark.line.to_string().len();
    let room = WIDEST.saturating_sub(width + 1);
    let mut usable = room;
    for number in first..=mark.line {
        let line = mark.file.line(number).unwrap_or_default();
        let mut line = line.replace('\t', " ");
        if let Some((cut, _)) = line.char_indices().nth(room) {
            usable = room - 3;
            let cut = line.char_indices().nth(usable).map_or(cut, |(at, _)| at);
            line.replace_range(cut.., "...");
        }
        let gap = if line.is_empty() { "" } else { " " };
        write!(text, "\n{number:>width$}{gap}{line}").expect("writing to a string cannot fail");
    }
    let column = usize::try_from(mark.column).unwrap_or(1).max(1);
    if column <= usable {
        let pointer = pointer(column, room);
        let lead = " ".repeat(width + 1);
        write!(text, "\n{lead}{pointer}").expect("writing to a string cannot fail");
    }
    text.push('\n');
    text
}

/// Points at a column, with its number to the right of the caret or, where that is too wide, to
/// the left.
fn pointer(column: usize, room: usize) -> String {
    let label = format!("column {column}");
    if column + 1 + label.len() > room {
        format!("{label:>width$} ^", width = column.saturating_sub(2))
    } else {
        format!("{}^ {label}", " ".repeat(column - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceFile;

    #[test]
    fn an_error_shows_its_place_with_a_caret_under_the_word_and_one_line_of_help() {
        let file = SourceFile::new("playbooks/site.yml", "- copy:\n    dst: /etc/motd\n");
        let error = Error::content("module `copy` has no option `dst`")
            .at(&Mark::new(&file, 2, 5))
            .help("did you mean `dest`?");
        assert_eq!(
            render(&error, HEADING, Painter::new(false)),
            "error: module `copy` has no option `dst`\n --> playbooks/site.yml:2:5\n  |\n2 |     \
             dst: /etc/motd\n  |     ^^^\nhelp: did you mean `dest`?"
        );
    }

    #[test]
    fn a_failed_module_is_told_as_ansible_tells_it() {
        let file = SourceFile::new("/p/a.yml", "a\nb\n- name: fails\n  command: x\n");
        let error = Error::content("Task failed")
            .at(&Mark::new(&file, 3, 3))
            .caused_by("Module failed: non-zero return code");
        assert_eq!(
            render_origin(&error),
            "Task failed: Module failed: non-zero return code\nOrigin: /p/a.yml:3:3\n\n1 a\n2 b\n\
             3 - name: fails\n    ^ column 3\n"
        );
    }

    #[test]
    fn a_chain_of_places_is_told_step_by_step() {
        let file = SourceFile::new("/p/a.yml", "- name: u\n  debug: msg=\"{{ nope }}\"\n");
        let error = Error::content("Task failed")
            .at(&Mark::new(&file, 1, 3))
            .caused_by_at("Finalization failed", &Mark::new(&file, 2, 3))
            .caused_by_at("'nope' is undefined", &Mark::new(&file, 2, 10));
        assert_eq!(
            render_origin(&error),
            "Task failed: Finalization failed: 'nope' is undefined\n\n\
             Task failed.\nOrigin: /p/a.yml:1:3\n\n1 - name: u\n    ^ column 3\n\n\
             <<< caused by >>>\n\n\
             Finalization failed.\nOrigin: /p/a.yml:2:3\n\n1 - name: u\n2   debug: msg=\"{{ nope }}\"\n    ^ column 3\n\n\
             <<< caused by >>>\n\n\
             'nope' is undefined\nOrigin: /p/a.yml:2:10\n\n1 - name: u\n2   debug: msg=\"{{ nope }}\"\n           ^ column 10\n"
        );
    }
}
