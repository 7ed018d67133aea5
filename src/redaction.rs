//! Makes foreign text safe to print: one line, no control characters, nothing that looks like a token.

pub use codex_auth_platform::text::{Styles, escape, is_printable, printable};

/// The shortest word that may be a token, in bytes.
const MIN_TOKEN: usize = 8;
/// The longest word that is not taken for a token whatever its letters, in bytes.
const MAX_WORD: usize = 40;

/// Returns `text` on one line of at most `longest` characters, with everything that looks like a token replaced by `…`.
#[must_use]
pub fn redact(text: &str, longest: usize) -> String {
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

/// Returns whether `token` can be the value of an HTTP header as it is: visible ASCII letters only.
#[must_use]
pub fn is_header_safe(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns whether `word` is a lower-case word such as a command or an option, and not a secret that was typed instead.
#[must_use]
pub fn is_plain_word(word: &str) -> bool {
    let is_secret = ["sk-", "at-", "rt-"].iter().any(|prefix| word.starts_with(prefix));
    let letters = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-' || byte == b'_');
    (1..=24).contains(&word.len()) && letters && !is_secret
}

/// Returns whether `letter` occurs in tokens: base64, base64url, hexadecimal digits, and the dots of a JWT.
fn is_token_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-_.+/=~".contains(letter)
}

/// Returns whether `word` is long and has digits or mixed case. It prefers hiding a request id to showing a token.
fn looks_like_token(word: &str) -> bool {
    let has = |test: fn(&u8) -> bool| word.bytes().skip(1).any(|byte| test(&byte));
    word.len() > MAX_WORD
        || word.len() >= MIN_TOKEN
            && (has(u8::is_ascii_digit) || has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_holds_visible_ascii_letters_only() {
        assert!(is_header_safe("sk-abc.DEF_~+/="));
        for token in ["", "a b", "a\nb", "a\u{1b}b", "\u{202e}", "é", "a\u{7f}"] {
            assert!(!is_header_safe(token), "{token:?}");
        }
    }

    #[test]
    fn words_that_look_like_tokens_are_replaced() {
        for (message, kept) in [
            ("Your refresh token has already been used.", "Your refresh token has already been used."),
            ("token rt-00ff00ff is spent", "token … is spent"),
            ("token=eyJhbGciOi.eyJzdWIi.c2ln!", "…!"),
            ("see https://auth.openai.com/oauth", "see https://auth.openai.com/oauth"),
            ("(AbCdEfGhIj)", "(…)"),
            ("line\none\u{1b}[31mred\u{202e}", "line one [31mred"),
        ] {
            assert_eq!(redact(message, 200), kept);
        }
        let long = "a".repeat(41);
        assert_eq!(redact(&format!("{long} b"), 200), "… b");
        assert_eq!(redact(&"word ".repeat(100), 20), "word word word word …");
    }
}
