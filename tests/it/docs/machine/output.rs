//! Whether real output is what a document shows, but for times, numbers of processes and what the document leaves out.

/// Stands for lines, or for the rest of words, that a document leaves out.
const LEFT_OUT: &str = "…";

/// That what is shown is what a document says, but for what the document leaves out and what differs from run to run.
pub fn agrees(said: &[String], shown: &str) -> bool {
    assert!(said.is_empty() || said.iter().any(|line| line != LEFT_OUT), "a transcript that says nothing");
    let said: Vec<_> = said.iter().map(|line| plain(line, "")).collect();
    let shown: Vec<_> = shown.lines().collect();
    lines_agree(&said.iter().map(String::as_str).collect::<Vec<_>>(), &shown)
}

fn lines_agree(said: &[&str], shown: &[&str]) -> bool {
    match said {
        [] => shown.is_empty(),
        [LEFT_OUT, rest @ ..] => (0..=shown.len()).any(|at| lines_agree(rest, &shown[at..])),
        [line, rest @ ..] => shown
            .split_first()
            .is_some_and(|(first, others)| words_agree(line, first) && lines_agree(rest, others)),
    }
}

fn words_agree(said: &str, shown: &str) -> bool {
    let Some((begin, rest)) = said.split_once(LEFT_OUT) else { return said == shown };
    let Some(shown) = shown.strip_prefix(begin) else { return false };
    let ends = shown.char_indices().map(|(at, _)| at).chain([shown.len()]);
    ends.into_iter().any(|at| words_agree(rest, &shown[at..]))
}

/// What is shown without what differs from run to run: the address of the authority, which is OpenAI's in a document; times
/// of day, spans from and to now, and the numbers of processes.
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

/// Whether this is a day and a time, as `2026-11-21T20:10:17`.
fn is_moment(word: &str) -> bool {
    let shape: String =
        word.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    shape.starts_with("0000-00-00T00:00:00")
}
