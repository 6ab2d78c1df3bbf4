//! The commands of a page of the documentation.

use std::{fs, path::Path};

/// A page, as its fenced blocks.
pub(crate) struct Page {
    name: String,
    blocks: Vec<Block>,
}

/// A fenced block, with the heading that it stands under.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) heading: String,
    pub(crate) line: usize,
    pub(crate) language: String,
    pub(crate) text: String,
}

impl Page {
    /// Reads a page of `docs/content`.
    pub(crate) fn read(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = fs::read_to_string(root.join("docs/content").join(name)).unwrap();
        Self { name: name.to_owned(), blocks: blocks(&text) }
    }

    /// The blocks of one language under a heading, in their order.
    pub(crate) fn blocks(&self, heading: &str, language: &str) -> Vec<Block> {
        let is_wanted = |block: &&Block| block.heading == heading && block.language == language;
        let found: Vec<_> = self.blocks.iter().filter(is_wanted).cloned().collect();
        assert!(!found.is_empty(), "{} has no block of {language} under {heading:?}", self.name);
        found
    }

    /// The headings under which there are commands, in their order.
    pub(crate) fn headings_with_commands(&self) -> Vec<&str> {
        let mut headings: Vec<_> =
            self.blocks.iter().filter(|block| block.language == "sh").map(|block| block.heading.as_str()).collect();
        headings.dedup();
        headings
    }
}

impl Block {
    /// The commands one by one; a line that ends with a backslash goes on in the next.
    pub(crate) fn commands(&self) -> Vec<String> {
        let mut commands = Vec::new();
        let mut open = String::new();
        for line in self.text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
            open.push_str(line);
            open.push('\n');
            if !line.ends_with('\\') {
                commands.push(std::mem::take(&mut open));
            }
        }
        assert!(open.is_empty(), "line {}: the last command goes on nowhere", self.line);
        commands
    }
}

fn blocks(text: &str) -> Vec<Block> {
    let (mut heading, mut found, mut open) = (String::new(), Vec::new(), None::<(String, Block)>);
    for (number, line) in text.lines().enumerate() {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        match &mut open {
            Some((fence, block)) if rest == "```" && indent == fence.as_str() => {
                found.push(block.clone());
                open = None;
            }
            Some((fence, block)) => {
                block.text.push_str(line.strip_prefix(fence.as_str()).unwrap_or(line));
                block.text.push('\n');
            }
            None => match rest.strip_prefix("```") {
                Some(language) => {
                    let language = language.to_owned();
                    let block = Block { heading: heading.clone(), line: number + 2, language, text: String::new() };
                    open = Some((indent.to_owned(), block));
                }
                None if rest.starts_with('#') => heading = rest.trim_start_matches('#').trim().to_owned(),
                None => {}
            },
        }
    }
    found
}

#[test]
fn commands_are_cut_from_a_page_as_they_stand_there() {
    let text = "# Page\n\n## One\n\n```sh\na \\\n  | b\n\n# why\nc\n```\n\n1. point\n\n   ```sh\n   d\n   ```\n## Two\n```yaml\nk: v\n```\n";
    let found = blocks(text);
    let commands: Vec<_> = found.iter().map(Block::commands).collect();
    assert_eq!(commands, [vec!["a \\\n  | b\n", "c\n"], vec!["d\n"], vec!["k: v\n"]]);
    let places: Vec<_> = found.iter().map(|block| (block.heading.as_str(), block.line, block.language.as_str())).collect();
    assert_eq!(places, [("One", 6, "sh"), ("One", 16, "sh"), ("Two", 20, "yaml")]);
}
