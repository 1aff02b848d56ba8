//! What a text may be written as in YAML, as libyaml analyses it. Knows nothing of styles.

/// What libyaml's analysis allows a text to be written as.
#[derive(Clone, Copy)]
pub(super) struct Allowed {
    pub(super) multi_line: bool,
    pub(super) plain_in_flow: bool,
    pub(super) plain_in_block: bool,
    pub(super) single_quoted: bool,
    pub(super) block: bool,
}

pub(super) fn analyze(text: &str, allow_unicode: bool) -> Allowed {
    if text.is_empty() {
        return Allowed {
            multi_line: false,
            plain_in_flow: false,
            plain_in_block: true,
            single_quoted: true,
            block: false,
        };
    }
    let characters: Vec<char> = text.chars().collect();
    let last = characters.len() - 1;
    let is_blank = |at: usize| {
        characters
            .get(at)
            .is_none_or(|next| matches!(next, ' ' | '\t' | '\0') || is_break(*next))
    };
    let is_marker = text.starts_with("---") || text.starts_with("...");
    let (mut flow_indicator, mut block_indicator) = (is_marker, is_marker);
    let (mut special, mut line_breaks) = (false, false);
    let (mut break_space, mut space_break) = (false, false);
    for (at, &character) in characters.iter().enumerate() {
        let before_blank = is_blank(at + 1);
        let (in_flow, in_block) = match character {
            '#' if at == 0 || is_blank(at - 1) => (true, true),
            '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' if at == 0 => (true, true),
            ',' | '[' | ']' | '{' | '}' => (true, at == 0),
            ':' => (true, before_blank),
            '?' => (true, at == 0 && before_blank),
            '-' if at == 0 && before_blank => (true, true),
            _ => (false, false),
        };
        flow_indicator |= in_flow;
        block_indicator |= in_block;
        special |= !is_printable(character) || (!allow_unicode && !character.is_ascii());
        line_breaks |= is_break(character);
        if at > 0 {
            break_space |= character == ' ' && is_break(characters[at - 1]);
            space_break |= is_break(character) && characters[at - 1] == ' ';
        }
    }
    let blank_end = |character: char| character == ' ' || is_break(character);
    let is_framed = blank_end(characters[0]) || blank_end(characters[last]);
    let plain = !is_framed && !break_space && !space_break && !special && !line_breaks;
    Allowed {
        multi_line: line_breaks,
        plain_in_flow: plain && !flow_indicator,
        plain_in_block: plain && !block_indicator,
        single_quoted: !break_space && !space_break && !special,
        block: characters[last] != ' ' && !space_break && !special,
    }
}

pub(super) fn is_break(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Tells what libyaml calls printable: no tab, and nothing beyond the basic plane.
pub(super) fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}
