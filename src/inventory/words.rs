//! Splits a line into words as Python's `shlex` does, with the column each word begins at.

/// One word of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    /// 0-based, in characters.
    pub(super) column: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Between,
    Word,
    Quoted(char),
    /// Behind a backslash; holds where to go on.
    Escaped(Option<char>),
}

/// Returns the words before a `#`, quotes and backslashes resolved, or what is wrong.
pub(super) fn split(line: &str) -> Result<Vec<Word>, &'static str> {
    let mut words = Vec::new();
    let mut word = Word {
        text: String::new(),
        column: 0,
    };
    let mut was_quoted = false;
    let mut state = State::Between;
    for (column, character) in line.chars().enumerate() {
        state = match (state, character) {
            (State::Escaped(quote), _) => {
                if quote.is_some_and(|quote| character != quote && character != '\\') {
                    word.text.push('\\');
                }
                word.text.push(character);
                quote.map_or(State::Word, State::Quoted)
            }
            (State::Quoted(quote), _) if character == quote => State::Word,
            (State::Quoted('"'), '\\') => State::Escaped(Some('"')),
            (State::Quoted(_), _) => {
                word.text.push(character);
                state
            }
            (_, '#') => break,
            (_, ' ' | '\t' | '\r' | '\n') => {
                if state == State::Word {
                    finish(&mut word, &mut was_quoted, &mut words);
                }
                State::Between
            }
            (State::Between | State::Word, _) => {
                if state == State::Between {
                    word.column = column;
                }
                match character {
                    '"' | '\'' => {
                        was_quoted = true;
                        State::Quoted(character)
                    }
                    '\\' => State::Escaped(None),
                    _ => {
                        word.text.push(character);
                        State::Word
                    }
                }
            }
        };
    }
    match state {
        State::Quoted(_) => return Err("No closing quotation"),
        State::Escaped(_) => return Err("No escaped character"),
        State::Between | State::Word => {}
    }
    finish(&mut word, &mut was_quoted, &mut words);
    Ok(words)
}

fn finish(word: &mut Word, was_quoted: &mut bool, words: &mut Vec<Word>) {
    if !word.text.is_empty() || *was_quoted {
        words.push(Word {
            text: std::mem::take(&mut word.text),
            column: word.column,
        });
    }
    *was_quoted = false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does() {
        let words = |line| {
            split(line).map(|words| {
                words
                    .into_iter()
                    .map(|word| format!("{}@{}", word.text, word.column))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(
            words(r#"h a="b c" d='e "f"' g=\"x i="\"y\z" '' # no"#),
            Ok([
                r"h@0",
                "a=b c@2",
                r#"d=e "f"@10"#,
                r#"g="x@20"#,
                r#"i="y\z@26"#,
                "@36"
            ]
            .map(String::from)
            .to_vec())
        );
        assert_eq!(words("a#b c"), Ok(vec!["a@0".into()]));
        assert_eq!(words("a='b"), Err("No closing quotation"));
        assert_eq!(words("a\\"), Err("No escaped character"));
    }
}
