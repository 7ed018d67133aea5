//! The tables in the README that programs have made: whole, dated, and without a broken promise.

use super::markdown::Document;
use crate::soak::publish::{COUNTED, PROMISES};

/// The lines between `<!-- made by COMMAND -->` and `<!-- end -->`.
struct Section(Vec<String>);

impl Section {
    fn made_by(command: &str) -> Self {
        let readme = Document::read("README.md");
        let lines = readme.prose.into_iter().map(|paragraph| paragraph.text);
        let first = format!("<!-- made by {command} -->");
        let lines = lines.skip_while(|line| *line != first).skip(1);
        let section: Vec<_> = lines.take_while(|line| line != "<!-- end -->").collect();
        assert!(section.len() > 3, "README.md has no section of {command}: run it");
        Self(section)
    }

    /// Checks that it begins with `On DATE at commit COMMIT`, and returns the rest of this sentence.
    fn origin(&self) -> &str {
        let words: Vec<_> = self.0[0].splitn(6, ' ').collect();
        let [_, date, _, _, commit, rest] = words[..] else { panic!("{}", self.0[0]) };
        assert_eq!((words[0], words[2], words[3]), ("On", "at", "commit"), "{}", self.0[0]);
        date.parse::<jiff::civil::Date>().unwrap();
        let commit = commit.trim_end_matches(',');
        assert!(commit.len() == 8 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{commit}");
        rest
    }

    /// The cells of its tables, without headings.
    fn rows(&self) -> Vec<Vec<&str>> {
        let rows = self.0.iter().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        let rows = rows.map(|row| row.split(" | ").collect());
        rows.filter(|row: &Vec<&str>| !["time", "times"].contains(&row[1])).collect()
    }
}

#[test]
fn the_long_run_in_the_readme_has_every_row_and_no_broken_promise() {
    let section = Section::made_by("tests/soak publish --write");
    assert!(section.origin().starts_with("`tests/soak publish --minutes "), "{}", section.0[0]);
    let rows = section.rows();
    let names: Vec<_> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(names, [&COUNTED[..], &PROMISES[..]].concat(), "run: tests/soak publish --write");
    for row in rows {
        let times: u64 = row[1].parse().unwrap();
        assert!(times == 0 || !PROMISES.contains(&row[0]), "{row:?}");
    }
}

#[test]
fn the_peers_in_the_readme_are_all_there_and_their_ratios_are_right() {
    let section = Section::made_by("tests/bench/peers --write");
    assert!(section.origin().contains("`tests/bench/peers`"), "{}", section.0[0]);
    let rows = section.rows();
    for peer in
        ["OpenAI's Codex 0.169", "OpenAI's Codex 0.171", "`gh ", "`uv ", "`secret-tool ", "does nothing"]
    {
        assert!(rows.iter().any(|row| row[0].contains(peer)), "{peer}: run tests/bench/peers --write");
    }
    let mut ours = 0.0;
    for row in rows {
        let (time, ratio) =
            (row[1].trim_end_matches(" ms").parse::<f64>().unwrap(), row[2].parse::<f64>().unwrap());
        if row[0] == "`codex token`" {
            ours = time;
        }
        // Both are rounded to a hundredth.
        assert!((time / ours - ratio).abs() < 0.02 + ratio * 0.02, "{row:?}");
    }
}
