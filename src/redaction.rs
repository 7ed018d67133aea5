//! Words of strangers, made fit to be shown: one line, no controls, and nothing that looks like a token.

/// From this length on a word may be a secret.
const SUSPICIOUS: usize = 8;
/// No word of a language is this long.
const WORD: usize = 40;

/// `text` on one line, of at most `longest` characters, without anything that looks like a token.
pub(crate) fn shown(text: &str, longest: usize) -> String {
    let line: String = text.chars().map(|letter| if is_printable(letter) { letter } else { ' ' }).collect();
    let mut clean = String::new();
    for word in line.split_ascii_whitespace() {
        if !clean.is_empty() {
            clean.push(' ');
        }
        for piece in word.split_inclusive(|letter| !is_token_letter(letter)) {
            let token = piece.trim_end_matches(|letter| !is_token_letter(letter));
            clean.push_str(if looks_like_token(token) { "…" } else { token });
            clean.push_str(&piece[token.len()..]);
        }
    }
    if clean.chars().count() > longest {
        clean = clean.chars().take(longest).chain(['…']).collect();
    }
    clean
}

/// Controls would steer a terminal, and marks of direction would turn a line around.
fn is_printable(letter: char) -> bool {
    let turns = matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    !letter.is_control() && !turns && letter != '\u{feff}'
}

/// The letters of base64, base64url, hexadecimal digits and the dots of a JWT.
fn is_token_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-_.+/=~".contains(letter)
}

/// Long words with digits in them or of mixed case: rather a request id too many than a token too few.
fn looks_like_token(word: &str) -> bool {
    let has = |test: fn(&u8) -> bool| word.bytes().skip(1).any(|byte| test(&byte));
    word.len() > WORD
        || word.len() >= SUSPICIOUS
            && (has(u8::is_ascii_digit) || has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_looks_like_a_token_is_kept() {
        for (message, kept) in [
            ("Your refresh token has already been used.", "Your refresh token has already been used."),
            ("token rt-00ff00ff is spent", "token … is spent"),
            ("token=eyJhbGciOi.eyJzdWIi.c2ln!", "…!"),
            ("see https://auth.openai.com/oauth", "see https://auth.openai.com/oauth"),
            ("(AbCdEfGhIj)", "(…)"),
            ("line\none\u{1b}[31mred\u{202e}", "line one [31mred"),
        ] {
            assert_eq!(shown(message, 200), kept);
        }
        let long = "a".repeat(41);
        assert_eq!(shown(&format!("{long} b"), 200), "… b");
        assert_eq!(shown(&"word ".repeat(100), 20), "word word word word …");
    }
}
