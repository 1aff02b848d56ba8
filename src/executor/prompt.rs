//! What a run asks the person in front of it, as a trait: `pause`, `vars_prompt`, `--step`.
//!
//! The executor never touches a terminal; whoever runs it answers.

use std::time::Duration;

/// One question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    pub text: String,
    /// Show what is typed.
    pub echo: bool,
    /// Go on without an answer after this long.
    pub timeout: Option<Duration>,
    /// What ends the input beside an interrupt.
    pub until: Until,
}

/// What ends the input of a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// The end of the line.
    #[default]
    Line,
    /// The time only.
    Timeout,
    /// The key `C` in either case; `A` counts as an interrupt.
    ContinueOrAbort,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Text(String),
    /// The time was over.
    TimedOut,
    /// Nobody can answer: there is no terminal.
    NoTerminal,
    /// The user pressed Ctrl+C, or the terminal is gone.
    Aborted,
}

/// Answers questions. Called from a thread that may block.
pub trait Prompter: Send + Sync {
    /// Asks, and waits for the answer.
    fn ask(&self, prompt: &Prompt) -> Answer;

    /// Tells whether somebody could answer: stdin is a terminal.
    fn is_interactive(&self) -> bool;

    /// Reads the next line of standard input where it is no terminal; `None` at its end.
    fn read_line(&self) -> Option<String>;
}

/// A prompter for runs that nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unattended;

impl Prompter for Unattended {
    fn ask(&self, _prompt: &Prompt) -> Answer {
        Answer::NoTerminal
    }

    fn is_interactive(&self) -> bool {
        false
    }

    fn read_line(&self) -> Option<String> {
        None
    }
}
