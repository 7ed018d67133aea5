//! Compares real output with that of a document, ignoring times, process ids and parts that the document leaves out.

/// Marks lines, or the rest of a line, that a document leaves out.
const ELLIPSIS: &str = "…";

/// Whether the output `shown` matches the documented lines.
pub fn agrees(documented: &[String], shown: &str) -> bool {
    assert!(
        documented.is_empty() || documented.iter().any(|line| line != ELLIPSIS),
        "a transcript that says nothing"
    );
    let documented: Vec<_> = documented.iter().map(|line| plain(line, "")).collect();
    let shown: Vec<_> = shown.lines().collect();
    lines_agree(&documented.iter().map(String::as_str).collect::<Vec<_>>(), &shown)
}

fn lines_agree(documented: &[&str], shown: &[&str]) -> bool {
    match documented {
        [] => shown.is_empty(),
        [ELLIPSIS, rest @ ..] => (0..=shown.len()).any(|at| lines_agree(rest, &shown[at..])),
        [line, rest @ ..] => shown
            .split_first()
            .is_some_and(|(first, others)| words_agree(line, first) && lines_agree(rest, others)),
    }
}

fn words_agree(documented: &str, shown: &str) -> bool {
    let Some((begin, rest)) = documented.split_once(ELLIPSIS) else { return documented == shown };
    let Some(shown) = shown.strip_prefix(begin) else { return false };
    let ends = shown.char_indices().map(|(at, _)| at).chain([shown.len()]);
    ends.into_iter().any(|at| words_agree(rest, &shown[at..]))
}

/// Replaces what differs between runs: the address of the authority, which is OpenAI's in a document; times, durations,
/// and process ids.
pub fn plain(shown: &str, authority: &str) -> String {
    let address = authority.trim_start_matches("http://");
    let shown = if address.is_empty() { shown.to_owned() } else { shown.replace(address, "auth.openai.com") };
    let lines: Vec<_> = shown.lines().map(plain_line).collect();
    lines.join("\n")
}

fn plain_line(line: &str) -> String {
    let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
    for at in 0..words.len() {
        let number = words[at].parse::<u64>().is_ok();
        let bare = words[at].trim_end_matches(['Z', ')', ',']);
        let after = |offset: usize, one_of: &[&str]| {
            words.get(at + offset).is_some_and(|word| one_of.contains(&word.trim_end_matches([')', ','])))
        };
        if number && after(1, &["s", "min", "h", "d"]) {
            words[at] = "[number]".to_owned();
            words[at + 1] = words[at + 1].replace("min", "s").replace(['h', 'd'], "s");
        } else if is_moment(bare) {
            words[at] = words[at].replace(bare, "[moment]");
        } else if at > 0 && words[at - 1].trim_start_matches('(') == "pid" {
            let digits: String = words[at].chars().filter(char::is_ascii_digit).collect();
            words[at] = words[at].replace(&digits, "[pid]");
        }
    }
    words.join(" ").replace("[number] s [number] s", "[number] s")
}

/// Whether this is a date and time such as `2026-11-21T20:10:17`.
fn is_moment(word: &str) -> bool {
    let shape: String =
        word.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    shape.starts_with("0000-00-00T00:00:00")
}
