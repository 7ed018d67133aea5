//! A parser of Markdown documents: fenced blocks, and paragraphs with their code and links.

use std::fs;

use crate::structure::root;

/// A document of this repository.
pub struct Document {
    /// Path in the repository.
    pub name: String,
    pub blocks: Vec<Block>,
    pub prose: Vec<Paragraph>,
}

/// A fenced block.
pub struct Block {
    /// The text after the opening fence.
    pub info: String,
    /// The heading above it.
    pub heading: String,
    /// The line number of the opening fence.
    pub line: usize,
    pub text: Vec<String>,
}

/// A heading, a table row, or lines up to an empty one.
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

    /// The blocks that contain commands.
    pub fn commands(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(|block| ["console", "sh"].contains(&block.language()))
    }

    /// The position of a line, for a message.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.name)
    }

    /// The link anchors of the headings.
    pub fn anchors(&self) -> Vec<String> {
        let headings = self.prose.iter().filter_map(|paragraph| paragraph.text.strip_prefix('#'));
        headings.map(|heading| anchor(heading.trim_start_matches('#').trim())).collect()
    }
}

impl Block {
    /// The language: the first word after the opening fence.
    pub fn language(&self) -> &str {
        self.info.split(' ').next().unwrap_or_default()
    }
}

impl Paragraph {
    /// The inline code.
    pub fn code(&self) -> Vec<String> {
        let text = self.text.replace("\\|", "|");
        text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// The targets of links and images.
    pub fn links(&self) -> Vec<String> {
        let ends = self.text.split("](").skip(1);
        ends.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect()
    }
}

/// The anchor of a heading, as GitHub generates it.
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
