//! A Markdown document: its fenced blocks, and its prose with code and links in it.

use std::fs;

use crate::structure::root;

/// A document of this repository.
pub struct Document {
    /// Its path in the repository.
    pub name: String,
    pub blocks: Vec<Block>,
    pub prose: Vec<Paragraph>,
}

/// A fenced block.
pub struct Block {
    /// The text behind its fence.
    pub info: String,
    /// The heading that it stands under.
    pub heading: String,
    /// The line of its fence.
    pub line: usize,
    pub text: Vec<String>,
}

/// A heading, a row of a table, or lines up to an empty one.
pub struct Paragraph {
    pub line: usize,
    pub text: String,
}

impl Document {
    pub fn read(name: &str) -> Self {
        let text = fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self::parse(name, &text)
    }

    pub fn parse(name: &str, text: &str) -> Self {
        let mut document = Self { name: name.to_owned(), blocks: Vec::new(), prose: Vec::new() };
        let mut heading = String::new();
        let mut open: Option<Block> = None;
        let mut goes_on = false;
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(info) = line.strip_prefix("```") {
                document.blocks.extend(open.take());
                if !info.is_empty() {
                    open = Some(Block {
                        info: info.to_owned(),
                        heading: heading.clone(),
                        line: number,
                        text: Vec::new(),
                    });
                }
                goes_on = false;
            } else if let Some(block) = &mut open {
                block.text.push(line.to_owned());
            } else if line.is_empty() {
                goes_on = false;
            } else {
                let stands_alone = line.starts_with(['#', '|']);
                if let Some(words) = line.strip_prefix('#') {
                    words.trim_start_matches('#').trim().clone_into(&mut heading);
                }
                match document.prose.last_mut() {
                    Some(last) if goes_on && !stands_alone => {
                        last.text.push(' ');
                        last.text.push_str(line.trim());
                    }
                    _ => document.prose.push(Paragraph { line: number, text: line.to_owned() }),
                }
                goes_on = !stands_alone;
            }
        }
        assert!(open.is_none(), "{name}: a block is not closed");
        document
    }

    /// Its blocks of commands.
    pub fn commands(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(|block| ["console", "sh"].contains(&block.language()))
    }

    /// A line of it, for a message.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.name)
    }

    /// The names by which links reach its headings.
    pub fn anchors(&self) -> Vec<String> {
        let headings = self.prose.iter().filter_map(|paragraph| paragraph.text.strip_prefix('#'));
        headings.map(|heading| anchor(heading.trim_start_matches('#').trim())).collect()
    }
}

impl Block {
    /// The language of its text: the first word behind its fence.
    pub fn language(&self) -> &str {
        self.info.split(' ').next().unwrap_or_default()
    }
}

impl Paragraph {
    /// What is set as code in it.
    pub fn code(&self) -> Vec<String> {
        let text = self.text.replace("\\|", "|");
        text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// Where its links and pictures lead.
    pub fn links(&self) -> Vec<String> {
        let ends = self.text.split("](").skip(1);
        ends.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect()
    }
}

/// The name of a heading, as the hosts of repositories make it.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|letter| match letter {
            ' ' => Some('-'),
            letter if letter.is_alphanumeric() || matches!(letter, '-' | '_') => Some(letter),
            _ => None,
        })
        .collect()
}
