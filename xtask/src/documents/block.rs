//! The fenced blocks of a Markdown document.

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Commands.
    Shell,
    /// Commands that a reader does not see.
    Before,
    Toml,
    Json,
    Other,
}

/// A block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) kind: Kind,
    /// What is not here and keeps it from being run.
    pub(super) needs: Option<String>,
    /// The file that a reader saves it as.
    pub(super) file: Option<String>,
    /// Line of its first line, from 1.
    pub(super) line: usize,
    pub(super) text: String,
}

/// Takes the blocks out of a document.
pub(super) fn blocks(document: &str) -> Vec<Block> {
    let (mut blocks, mut prose) = (Vec::new(), "");
    let mut lines = (1..).zip(document.lines());
    while let Some((line, text)) = lines.next() {
        let opened = text.trim_start();
        let (kind, needs, end) = if let Some(info) = opened.strip_prefix("```") {
            let (kind, needs) = named(info);
            (kind, needs, "```")
        } else if opened == "<!-- before:" {
            (Kind::Before, None, "-->")
        } else {
            prose = if opened.is_empty() { prose } else { opened };
            continue;
        };
        let indent = text.len() - opened.len();
        let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != end);
        let inside: Vec<&str> = inside.map(|line| line.get(indent..).unwrap_or("")).collect();
        let text = inside.join("\n");
        blocks.push(Block { kind, needs, file: saved_as(prose, &text), line: line + 1, text });
        prose = "";
    }
    blocks
}

fn named(info: &str) -> (Kind, Option<String>) {
    let mut words = info.split_whitespace();
    let kind = match words.next() {
        Some("sh") => Kind::Shell,
        Some("toml") => Kind::Toml,
        Some("json") => Kind::Json,
        _ => Kind::Other,
    };
    (kind, words.find_map(|word| word.strip_prefix("needs=")).map(str::to_owned))
}

/// The name that the prose before a block gives it, or its first line.
fn saved_as(prose: &str, text: &str) -> Option<String> {
    let named = prose.rsplit_once("ave this as `").and_then(|(_, name)| name.strip_suffix("`:"));
    let is_name = |name: &&str| name.contains('.') && !name.contains(' ');
    let headed = || text.lines().next()?.strip_prefix("# ").filter(is_name);
    named.or_else(headed).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_their_kinds_needs_and_files() {
        let text = "\
            Save this as `a.toml`:\n\n```toml\nx = 1\n```\n\n1. In a list:\n\n   ```sh needs=azure\n   az login\n\
            \x20    --more\n   ```\n\n<!-- before:\ntouch y\n-->\n```json\n{}\n```\n```toml\n# b.toml\ny = 2\n```\n";
        let found = blocks(text);
        let kinds: Vec<_> = found.iter().map(|block| block.kind).collect();
        assert_eq!(kinds, [Kind::Toml, Kind::Shell, Kind::Before, Kind::Json, Kind::Toml]);
        assert_eq!(found[0].file.as_deref(), Some("a.toml"));
        assert_eq!((found[0].line, found[0].text.as_str()), (4, "x = 1"));
        assert_eq!(found[1].needs.as_deref(), Some("azure"));
        assert_eq!(found[1].text, "az login\n  --more");
        assert_eq!((found[3].file.as_deref(), found[4].file.as_deref()), (None, Some("b.toml")));
    }
}
