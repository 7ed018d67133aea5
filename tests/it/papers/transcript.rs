//! What is typed in a paper, what it says comes of it, and whether what does come of it is that.

use super::paper::Block;

/// Stands for lines, or for the rest of words, that a paper leaves out.
const LEFT_OUT: &str = "…";

/// A command, and what it shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Exchange {
    pub command: String,
    pub shown: Vec<String>,
}

/// The exchanges of a block: in a `console` the commands are behind a `$`, in a `sh` they are all there is.
pub fn exchanges(block: &Block) -> Vec<Exchange> {
    let mut found: Vec<Exchange> = Vec::new();
    for line in &block.text {
        let command = if block.language == "sh" { Some(&**line) } else { line.strip_prefix("$ ") };
        match (command, found.last_mut()) {
            (Some(command), Some(last)) if last.command.ends_with('\\') => {
                last.command.push('\n');
                last.command.push_str(command);
            }
            (Some(command), _) => found.push(Exchange { command: command.to_owned(), shown: Vec::new() }),
            (None, Some(last)) => last.shown.push(line.clone()),
            (None, None) => panic!("a transcript opens with {line:?} and not with a command"),
        }
    }
    found
}

/// That what is shown is what a paper says, but for what the paper leaves out and what differs from run to run.
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

/// What is shown without what differs from run to run: the address of the authority, which is OpenAI's in a paper; times
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::papers::paper::Paper;

    fn said(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_block_is_read_as_commands_and_what_they_show() {
        let text = "```console\n$ one \\\n$ two\nshown\n\n$ three\n```\n";
        let paper = Paper::parse("p.md", text);
        let found = exchanges(&paper.blocks[0]);
        let commands: Vec<_> = found.iter().map(|exchange| &*exchange.command).collect();
        assert_eq!(commands, ["one \\\ntwo", "three"]);
        assert_eq!(found[0].shown, ["shown", ""]);
    }

    #[test]
    fn what_differs_from_run_to_run_is_told_from_what_must_not() {
        let shown = "2026-11-21T20:10:17Z  logout  at 127.0.0.1:4 · in 59 min · by codex (pid 31)\n0 s ago";
        let shown = plain(shown, "http://127.0.0.1:4");
        let same =
            "2027-01-02T03:04:05Z  logout  at auth.openai.com · in 2 h 3 min · by codex (pid 7)\n2 d ago";
        assert!(agrees(&said(same), &shown), "{shown}");
        for wrong in ["logout", "auth.openai.com", "codex", "pid", "ago"] {
            assert!(!agrees(&said(&same.replace(wrong, "other")), &shown), "{wrong}");
        }
    }

    #[test]
    fn only_what_is_marked_as_left_out_may_be_missing() {
        let shown = "one\ntwo three\nfour";
        let whole = "one\ntwo three\nfour";
        for right in [whole, "one\n…\nfour", "…\nfour", "one\n…", "one\ntwo…\nfour", "one\n…three\n…\nfour"]
        {
            assert!(agrees(&said(right), shown), "{right}");
        }
        for wrong in ["one\nfour", "…\ntwo three", "one\ntwo…x\nfour", "", "one\ntwo three\nfour\nfive"] {
            assert!(!agrees(&said(wrong), shown), "{wrong}");
        }
    }
}
