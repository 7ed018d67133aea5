//! Finds the tokens in a document that does not parse, so that they can be revoked.

use zeroize::Zeroizing;

use super::auth_document::TOKENS;
use super::tokens::TokenOwner;
use crate::secret::Secret;

/// The largest document that is searched, in bytes.
const MAX_DOCUMENT: usize = 16 << 20;
/// The longest text that is taken for a token, in bytes.
const MAX_TOKEN: usize = 64 << 10;
/// The longest escape of one character, as in `\u0041`, in bytes.
const MAX_ESCAPE: usize = 6;

const REFRESH_TOKEN: &str = "refresh_token";
const ACCESS_TOKEN: &str = "access_token";

/// The tokens of a document that does not parse. `Debug` shows fingerprints.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvagedTokens {
    /// The refresh token.
    pub refresh_token: Option<Secret>,
    /// The access token.
    pub access_token: Option<Secret>,
}

/// Returns the tokens in `bytes`, which [`AuthDocument::parse`](super::AuthDocument::parse) refuses; `None` if there
/// are no tokens, if they belong to another document, or if there are more than 16 MiB.
///
/// A token is the value of the key `refresh_token` or `access_token`: 1 byte to 64 KiB of visible ASCII. It is taken
/// from the object `tokens` or else from the outermost object, never from other objects, which may belong to other
/// services. The last of several tokens is taken; text after the end of the document is used only if the document has
/// no token. UTF-16 is read if it starts with a byte order mark. The running time is linear. Buffers are wiped.
#[must_use]
pub fn salvage(bytes: &[u8]) -> Option<SalvagedTokens> {
    if bytes.len() > MAX_DOCUMENT {
        return None;
    }
    let mut scanner = Scanner::default();
    match bytes {
        [0xff, 0xfe, text @ ..] => scanner.scan(&utf16_to_ascii(text, u16::from_le_bytes)),
        [0xfe, 0xff, text @ ..] => scanner.scan(&utf16_to_ascii(text, u16::from_be_bytes)),
        text => scanner.scan(text),
    }
    let [refresh_token, access_token] =
        [scanner.refresh_token, scanner.access_token].map(|best| best.map(|(_, token)| token));
    let owner = TokenOwner::of(refresh_token.as_ref().map(Secret::expose));
    let is_own = owner == TokenOwner::ThisDocument;
    (is_own && (refresh_token.is_some() || access_token.is_some()))
        .then_some(SalvagedTokens { refresh_token, access_token })
}

/// Converts UTF-16 to ASCII, with 0xff for every unit that is not ASCII.
fn utf16_to_ascii(text: &[u8], unit: fn([u8; 2]) -> u16) -> Zeroizing<Vec<u8>> {
    let units = text.as_chunks::<2>().0.iter().map(|pair| unit(*pair));
    Zeroizing::new(units.map(|unit| u8::try_from(unit).ok().filter(u8::is_ascii).unwrap_or(0xff)).collect())
}

/// The object or array that an open bracket belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OpenBracket {
    Document,
    Tokens,
    Other,
}

/// How likely a place is to hold a token of this document; the greatest is preferred.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Confidence {
    AfterDocument,
    TokensAfterDocument,
    Document,
    Tokens,
}

/// A key whose value comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TokenKey {
    RefreshToken,
    AccessToken,
    Tokens,
    Other,
}

/// One pass over text that is nearly JSON.
#[derive(Default)]
struct Scanner {
    open: Vec<OpenBracket>,
    key: Option<TokenKey>,
    document_ended: bool,
    refresh_token: Option<(Confidence, Secret)>,
    access_token: Option<(Confidence, Secret)>,
}

impl Scanner {
    fn scan(&mut self, text: &[u8]) {
        let mut at = 0;
        while let Some(byte) = text.get(at) {
            at += 1;
            match byte {
                b'"' => match string(text, at) {
                    StringEnd::Closed(end) => at = self.string_end(text, at, end),
                    StringEnd::Unclosed(end) => {
                        self.key = None;
                        at = end;
                    }
                },
                b'{' | b'[' => {
                    let open = match (self.open.last(), self.key.take()) {
                        (None, None) => OpenBracket::Document,
                        (None | Some(OpenBracket::Document), Some(TokenKey::Tokens)) => OpenBracket::Tokens,
                        _ => OpenBracket::Other,
                    };
                    self.open.push(if *byte == b'{' { open } else { OpenBracket::Other });
                }
                b'}' | b']' => {
                    self.key = None;
                    self.open.pop();
                    self.document_ended |= self.open.is_empty();
                }
                byte if is_blank(*byte) => {}
                _ => self.key = None,
            }
        }
    }

    /// Handles the string between `start` and the quote at `end`, and returns where to continue.
    fn string_end(&mut self, text: &[u8], start: usize, end: usize) -> usize {
        let content = &text[start..end];
        let after = end + 1;
        let blanks = text[after..].iter().take_while(|byte| is_blank(**byte)).count();
        let key = self.key.take();
        match text.get(after + blanks) {
            Some(b':') => {
                self.key = Some(TokenKey::of(content));
                after + blanks + 1
            }
            None | Some(b',' | b'}' | b']') => {
                if let Some(key) = key {
                    self.value(key, content);
                }
                after + blanks
            }
            // A quote is missing: this quote starts the next string.
            Some(_) => end,
        }
    }

    fn value(&mut self, key: TokenKey, content: &[u8]) {
        let Some(confidence) = self.confidence() else { return };
        let best = match key {
            TokenKey::RefreshToken => &mut self.refresh_token,
            TokenKey::AccessToken => &mut self.access_token,
            TokenKey::Tokens | TokenKey::Other => return,
        };
        if best.as_ref().is_some_and(|(best, _)| *best > confidence) {
            return;
        }
        let Some(token) = visible_ascii(content, MAX_TOKEN) else { return };
        *best = Some((confidence, Secret::from(token.as_str())));
    }

    /// Returns the confidence in a token at this place; `None` in objects that may belong to other programs.
    fn confidence(&self) -> Option<Confidence> {
        Some(match (self.open.last(), self.document_ended) {
            (Some(OpenBracket::Other), _) => return None,
            (Some(OpenBracket::Tokens), false) => Confidence::Tokens,
            (Some(OpenBracket::Tokens), true) => Confidence::TokensAfterDocument,
            (Some(OpenBracket::Document) | None, false) => Confidence::Document,
            (Some(OpenBracket::Document) | None, true) => Confidence::AfterDocument,
        })
    }
}

impl TokenKey {
    fn of(content: &[u8]) -> Self {
        match visible_ascii(content, REFRESH_TOKEN.len()).as_deref().map(String::as_str) {
            Some(REFRESH_TOKEN) => Self::RefreshToken,
            Some(ACCESS_TOKEN) => Self::AccessToken,
            Some(TOKENS) => Self::Tokens,
            _ => Self::Other,
        }
    }
}

/// The position at which a string ends.
enum StringEnd {
    /// A closing quote.
    Closed(usize),
    /// The end of the text or a control character, before a closing quote.
    Unclosed(usize),
}

/// Finds the end of the string that begins at `start`.
fn string(text: &[u8], start: usize) -> StringEnd {
    let mut at = start;
    loop {
        match text.get(at) {
            Some(b'"') => return StringEnd::Closed(at),
            Some(b'\\') => at += 2,
            Some(0x20..) => at += 1,
            Some(_) => return StringEnd::Unclosed(at),
            None => return StringEnd::Unclosed(text.len()),
        }
    }
}

/// Returns whether `byte` is white space or a zero, which a file system can leave where a write was cut off.
fn is_blank(byte: u8) -> bool {
    byte <= b' '
}

/// Decodes a JSON string of 1 to `longest` visible ASCII characters; `None` for any other.
fn visible_ascii(content: &[u8], longest: usize) -> Option<Zeroizing<String>> {
    if content.is_empty() || content.len() > longest * MAX_ESCAPE {
        return None;
    }
    // With its largest capacity: a string that grew would leave unwiped copies behind.
    let mut text = Zeroizing::new(String::with_capacity(content.len()));
    let mut rest = content;
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'\\', [b'u', a, b, c, d, after @ ..]) => (escaped([*a, *b, *c, *d])?, after),
            (b'\\', [byte @ (b'"' | b'\\' | b'/'), after @ ..]) => (*byte, after),
            (b'\\', _) => return None,
            (byte, after) => (*byte, after),
        };
        if !byte.is_ascii_graphic() {
            return None;
        }
        text.push(char::from(byte));
        rest = after;
    }
    (text.len() <= longest).then_some(text)
}

/// Returns the byte that four hexadecimal digits encode.
fn escaped(digits: [u8; 4]) -> Option<u8> {
    let digits = std::str::from_utf8(&digits).ok().filter(|digits| !digits.starts_with('+'))?;
    u8::try_from(u16::from_str_radix(digits, 16).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::auth_document::AuthDocument;
    use super::*;

    const WHOLE: &str = r#"{"auth_mode":"chatgpt","tokens":{"id_token":"e30.e30.e30","access_token":"at","refresh_token":"rt","account_id":"a"},"last_refresh":null}"#;

    fn found(bytes: &[u8]) -> Option<(Option<String>, Option<String>)> {
        let plain = |token: Option<Secret>| token.map(|token| token.expose().to_owned());
        salvage(bytes).map(|found| (plain(found.refresh_token), plain(found.access_token)))
    }

    fn pair(refresh: &str, access: &str) -> Option<(Option<String>, Option<String>)> {
        let some = |token: &str| (!token.is_empty()).then(|| token.to_owned());
        Some((some(refresh), some(access)))
    }

    #[track_caller]
    fn assert_found(text: &str, refresh: &str, access: &str) {
        assert_eq!(found(text.as_bytes()), pair(refresh, access), "{text}");
    }

    #[track_caller]
    fn assert_nothing(text: &str) {
        assert_eq!(found(text.as_bytes()), None, "{text}");
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(bytes).collect()
    }

    #[test]
    fn the_tokens_of_a_broken_document_are_found() {
        let pretty = serde_json::to_string_pretty(&serde_json::from_str::<Value>(WHOLE).unwrap()).unwrap();
        let broken = |from: &str, to: &str| WHOLE.replacen(from, to, 1).into_bytes();
        let cases: Vec<Vec<u8>> = vec![
            [b"\xef\xbb\xbf", WHOLE.as_bytes()].concat(),
            [WHOLE.as_bytes(), b"}}] and \"more\""].concat(),
            [WHOLE.as_bytes(), &[0; 500]].concat(),
            broken("{\"auth_mode\"", "{\"future\":nul,\"auth_mode\""),
            broken("{\"auth_mode\"", "{\"auth_mode\":1,\"auth_mode\""),
            broken("\"last_refresh\":null", "\"last_refresh\":"),
            broken("\"auth_mode\":\"chatgpt\"", "\"auth_mode\":\"chatgpt"),
            broken("\"last_refresh\"", "last_refresh"),
            pretty.replacen("\"chatgpt\"", "\"chatgpt", 1).into_bytes(),
            pretty.replacen(": \"a\"", ": \"a", 1).into_bytes(),
            broken(
                "{\"auth_mode\"",
                &format!("{{\"future\":{}{},\"auth_mode\"", "[".repeat(300), "]".repeat(300)),
            ),
        ];
        for bytes in cases {
            let shown = String::from_utf8_lossy(&bytes);
            assert!(AuthDocument::parse(&bytes).is_err(), "{shown}");
            assert_eq!(found(&bytes), pair("rt", "at"), "{shown}");
        }
    }

    #[test]
    fn invalid_utf_8_outside_the_tokens_is_skipped() {
        let at = WHOLE.find("chatgpt").unwrap();
        for byte in [0x80, 0xc3, 0xff] {
            let mut bytes = WHOLE.as_bytes().to_vec();
            bytes[at] = byte;
            assert_eq!(found(&bytes), pair("rt", "at"));
            bytes.push(byte);
            assert_eq!(found(&bytes), pair("rt", "at"));
        }
    }

    #[test]
    fn utf_16_is_read_in_either_byte_order() {
        assert_eq!(found(&utf16(WHOLE, u16::to_le_bytes)), pair("rt", "at"));
        assert_eq!(found(&utf16(WHOLE, u16::to_be_bytes)), pair("rt", "at"));
        let mut odd = utf16(WHOLE, u16::to_le_bytes);
        odd.push(b'"');
        assert_eq!(found(&odd), pair("rt", "at"));
        assert_eq!(found(&utf16(r#"{"refresh_token":"r\u0100t"}"#, u16::to_le_bytes)), None);
        assert_eq!(found(&utf16("{\"refresh_token\":\"r\u{174}t\"}", u16::to_be_bytes)), None);
    }

    #[test]
    fn the_last_nonempty_value_of_a_duplicate_key_is_taken() {
        assert_found(r#"{"tokens":{"refresh_token":"a","refresh_token":"b","refresh_token":""}}"#, "b", "");
        assert_found(r#"{"tokens":{"access_token":"a"},"tokens":{"access_token":"b"}}"#, "", "b");
        assert_found(r#"{"tokens":{"refresh_token":"a","refresh_token":null}}"#, "a", "");
    }

    #[test]
    fn the_tokens_object_is_preferred_to_other_places() {
        assert_found(r#"{"tokens":{"refresh_token":"a"},"refresh_token":"b"}"#, "a", "");
        assert_found(r#"{"refresh_token":"b","x":nul}"#, "b", "");
        // The end of a longer document that was overwritten in place.
        assert_found(&format!(r#"{WHOLE}sh_token":"old"}},"refresh_token":"old"}}"#), "rt", "at");
        assert_found(&format!(r#"{WHOLE}{{"tokens":{{"refresh_token":"old"}}}}"#), "rt", "at");
        assert_found(
            r#"oken":"x","refresh_token":"rt","access_token":"at"},"last_refresh":null}"#,
            "rt",
            "at",
        );
    }

    #[test]
    fn tokens_of_other_objects_are_not_taken() {
        assert_nothing(r#"{"other":{"refresh_token":"a"},"x":nul}"#);
        assert_nothing(r#"{"other":{"tokens":{"refresh_token":"a"}},"x":nul}"#);
        assert_nothing(r#"{"list":[{"refresh_token":"a"}],"tokens":[{"access_token":"b"}],"x":nul}"#);
        assert_found(r#"{"tokens":{"refresh_token":"a","more":{"refresh_token":"b"}},"x":nul}"#, "a", "");
    }

    #[test]
    fn only_string_values_of_the_two_keys_are_tokens() {
        for text in [
            "",
            "\"",
            "{",
            "null",
            r#"{"note":"refresh_token"}"#,
            r#"{"note":"\"refresh_token\":\"a\"","x":nul}"#,
            r#"{"note":["refresh_token","a"]}"#,
            r#"{"refresh_token":7,"access_token":["a"]}"#,
            r#"{"refresh_token":{"value":"a"}}"#,
            r#"{"refresh_token""a"}"#,
            r#"{"refresh_token":x"a"}"#,
            r#"{"Refresh_Token":"a","refresh_tokens":"b","xrefresh_token":"c"}"#,
            r#"{refresh_token:"a"}"#,
        ] {
            assert_nothing(text);
        }
    }

    #[test]
    fn implausible_tokens_are_not_taken() {
        for text in [
            r#"{"refresh_token":""}"#,
            r#"{"refresh_token":"placeholder","access_token":"a"}"#,
            r#"{"refresh_token":"codex-auth.dummy.x","access_token":"a"}"#,
            r#"{"refresh_token":"a b"}"#,
            r#"{"refresh_token":"a\nb"}"#,
            r#"{"refresh_token":"a\u0000b"}"#,
            r#"{"refresh_token":"a\u+041b"}"#,
            r#"{"refresh_token":"a\u00"}"#,
            r#"{"refresh_token":"ä"}"#,
            // Truncated at several places.
            r#"{"refresh_token":"a"#,
            r#"{"refresh_token":"a\"#,
            r#"{"refresh_token":"a\"}"#,
            "{\"refresh_token\":\"a\n\"}",
            "{\"refresh_token\":\"a\0\0\0\"}",
            // Without its closing quote the token runs into the next key.
            r#"{"refresh_token":"a,"id_token":"b"}"#,
        ] {
            assert_nothing(text);
        }
    }

    #[test]
    fn escapes_are_decoded_in_keys_and_tokens() {
        assert_found(r#"{"t\u006fkens":{"refresh\u005ftoken":"\u0061\/\\\"b"}"#, "a/\\\"b", "");
        let escaped: String = "refresh_token".bytes().map(|byte| format!("\\u{byte:04X}")).collect();
        assert_found(&format!("{{\"{escaped}\":\"a\""), "a", "");
    }

    #[test]
    fn a_token_has_at_most_64_kib() {
        let document = |token: &str| format!(r#"{{"tokens":{{"refresh_token":"{token}"}}"#);
        let longest = "a".repeat(MAX_TOKEN);
        assert_found(&document(&longest), &longest, "");
        assert_found(&document(&"\\u0061".repeat(MAX_TOKEN)), &longest, "");
        assert_nothing(&document(&format!("{longest}a")));
    }

    #[test]
    fn a_large_document_is_searched_in_linear_time_and_a_huge_one_is_not_searched() {
        let start = std::time::Instant::now();
        for filler in
            ["\"", "{", "[", "\\", "\"\":", "\"refresh_token\":", "\"a\" ", " ", "\"\n", "\"tokens\":{"]
        {
            let text = filler.repeat((1 << 20) / filler.len());
            let _any_outcome = salvage(text.as_bytes());
            assert_eq!(found([WHOLE, &text].concat().as_bytes()), pair("rt", "at"), "{filler}");
        }
        assert!(start.elapsed() < std::time::Duration::from_secs(60), "{:?}", start.elapsed());
        let large = [WHOLE, &" ".repeat(MAX_DOCUMENT - WHOLE.len())].concat();
        assert_eq!(found(large.as_bytes()), pair("rt", "at"));
        assert_eq!(found([&large, " "].concat().as_bytes()), None);
    }

    #[test]
    fn debug_shows_no_token() {
        let found = salvage(br#"{"tokens":{"refresh_token":"rt-marked","access_token":"at-marked""#).unwrap();
        let shown = format!("{found:?} {found:#?}");
        assert!(!shown.contains("marked"), "{shown}");
        assert!(shown.contains(&Secret::from("rt-marked").fingerprint().to_string()), "{shown}");
    }

    /// Generates JSON values that have the names of tokens among their keys.
    fn value() -> impl Strategy<Value = Value> {
        let key = prop_oneof![Just("refresh_token".to_owned()), Just("tokens".to_owned()), any::<String>()];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[\"\\\\{}:,]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    /// Generates bytes that resemble parts of a document.
    fn fragments() -> impl Strategy<Value = Vec<u8>> {
        let fragment = prop_oneof![
            Just(b"\"".to_vec()),
            Just(b"\"refresh_token\"".to_vec()),
            Just(b"\"access_token\":\"a\"".to_vec()),
            Just(b"\"tokens\":{".to_vec()),
            Just(b"\\u00".to_vec()),
            Just(b"\xff\xfe".to_vec()),
            Just(b"\xfe\xff".to_vec()),
            prop::sample::select(b"{}[]:,\\ \n\0".to_vec()).prop_map(|byte| vec![byte]),
            prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(fragment, 0..40).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn any_bytes_yield_visible_tokens_or_nothing(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            parts in fragments(),
        ) {
            for bytes in [bytes, parts] {
                let Some(found) = salvage(&bytes) else { continue };
                let tokens: Vec<_> = [found.refresh_token, found.access_token].into_iter().flatten().collect();
                prop_assert!(!tokens.is_empty());
                for token in tokens {
                    let text = token.expose();
                    prop_assert!(!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()));
                }
            }
        }

        #[test]
        fn a_document_truncated_behind_its_tokens_still_has_them(
            refresh in "[!-~]{1,40}",
            access in "[!-~]{1,40}",
            before in prop::collection::vec(("[a-z]{1,5}", value()), 0..3),
            within in prop::collection::vec(("[a-z]{1,5}", value()), 0..3),
            behind in prop::collection::vec(("[a-z]{1,5}", value()), 0..3),
            pretty in any::<bool>(),
            cut in any::<prop::sample::Index>(),
            rubbish in prop::sample::select(vec!["", "\0\0\0", "\n", "\n{\"tokens\":{\"refresh_token\":\"old\"}}"]),
        ) {
            prop_assume!(TokenOwner::of(Some(&refresh)) == TokenOwner::ThisDocument);
            let mut tokens = json!({});
            for (key, value) in within {
                tokens[format!("x{key}")] = value;
            }
            tokens["access_token"] = json!(access);
            tokens["refresh_token"] = json!(refresh);
            let mut document = json!({});
            for (key, value) in before {
                document[format!("x{key}")] = value;
            }
            document["tokens"] = tokens;
            let head = document.clone();
            for (key, value) in behind {
                document[format!("y{key}")] = value;
            }
            let write = |value: &Value| {
                if pretty { serde_json::to_string_pretty(value).unwrap() } else { value.to_string() }
            };
            let whole = write(&document);
            prop_assert!(AuthDocument::parse(whole.as_bytes()).is_ok());
            let expected = pair(&refresh, &access);
            prop_assert_eq!(found(whole.as_bytes()), expected.clone());
            // The text before the brackets that close the tokens and the document.
            let head = write(&head);
            let tokens_end = head.trim_end_matches(|letter: char| letter == '}' || letter.is_whitespace()).len();
            let mut bytes = whole.as_bytes()[..tokens_end + cut.index(whole.len() - tokens_end + 1)].to_vec();
            prop_assert_eq!(found(&bytes), expected.clone(), "{}", String::from_utf8_lossy(&bytes));
            if bytes.len() == whole.len() {
                bytes.extend_from_slice(rubbish.as_bytes());
                prop_assert_eq!(found(&bytes), expected);
            }
        }

        #[test]
        fn the_tokens_of_a_valid_document_are_found(
            tokens in prop::collection::vec(("(access|refresh)_token|[a-z]{1,5}", "[ -~]{0,12}"), 0..5),
            others in prop::collection::vec(("x[a-z]{1,5}", value()), 0..3),
        ) {
            let tokens: serde_json::Map<_, _> =
                tokens.into_iter().map(|(key, text)| (key, Value::from(text))).collect();
            let plausible = |key: &str| {
                let text = tokens.get(key)?.as_str()?;
                (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| text.to_owned())
            };
            let expected = (plausible("refresh_token"), plausible("access_token"));
            let expected = (expected != (None, None)).then_some(expected);
            let mut document = json!({ "tokens": tokens });
            for (key, value) in others {
                document[key] = value;
            }
            prop_assert_eq!(found(document.to_string().as_bytes()), expected);
        }
    }
}
