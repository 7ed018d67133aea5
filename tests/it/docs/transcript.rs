//! The commands of a block, each with the output that the document shows.

use super::markdown::Block;

/// A command and its documented output.
#[derive(Debug, PartialEq, Eq)]
pub struct Exchange {
    pub command: String,
    pub shown: Vec<String>,
}

/// The exchanges of a block. In a `console` block commands follow a `$`; a `sh` block contains only commands.
pub fn exchanges(block: &Block) -> Vec<Exchange> {
    let mut found: Vec<Exchange> = Vec::new();
    for line in &block.text {
        let command = if block.language() == "sh" { Some(&**line) } else { line.strip_prefix("$ ") };
        match (command, found.last_mut()) {
            (Some(command), Some(last)) if last.command.ends_with('\\') => {
                last.command.push('\n');
                last.command.push_str(command);
            }
            (Some(command), _) => found.push(Exchange { command: command.to_owned(), shown: Vec::new() }),
            (None, Some(last)) => last.shown.push(line.clone()),
            (None, None) => panic!("a transcript begins with {line:?} and not with a command"),
        }
    }
    found
}
