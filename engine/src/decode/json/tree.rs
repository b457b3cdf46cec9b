//! The wanted fields.

use std::ops::Range;

use crate::record::{pack, pack_within};

/// The wanted fields as a tree: a dotted name leads into nested objects.
#[derive(Debug, Clone)]
pub(crate) struct FieldTree {
    nodes: Vec<Node>,
}

/// The names of one object.
#[derive(Debug, Clone)]
pub(super) struct Node {
    names: Vec<Name>,
    /// By position: the names themselves.
    texts: Vec<Box<str>>,
    /// First of the names with this [`spread`], by position.
    heads: [u16; SPREAD],
    written: WrittenKeys,
}

impl Default for Node {
    fn default() -> Self {
        Self { names: Vec::new(), texts: Vec::new(), heads: [UNKNOWN; SPREAD], written: WrittenKeys::default() }
    }
}

#[derive(Debug, Clone)]
struct Name {
    /// The text as one word; [`LONG`] if it is longer.
    packed: u128,
    target: Target,
    /// Another name with the same [`spread`], by position.
    next: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Slot(u16),
    Branch(u16),
}

/// Names as nearly everybody writes them, from quote to colon, so that a key is known before it is clear where it ends.
#[derive(Debug, Clone)]
struct WrittenKeys {
    keys: Vec<WrittenKey>,
    /// First of those that begin alike, by position.
    heads: [u16; SPREAD],
}

#[derive(Debug, Clone)]
struct WrittenKey {
    word: u128,
    /// The bits of the word that count.
    mask: u128,
    length: u16,
    slot: u16,
    /// Another one that begins alike, by position.
    next: u16,
}

/// Bytes in which a key is known.
pub(super) const WRITTEN: usize = 16;

impl Default for WrittenKeys {
    fn default() -> Self {
        Self { keys: Vec::new(), heads: [UNKNOWN; SPREAD] }
    }
}

impl WrittenKeys {
    /// A cheap hash of the first four bytes behind the quote.
    #[inline]
    fn beginning(word: u128) -> usize {
        (((word >> 8) as u32).wrapping_mul(0x9e37_79b9) >> 24) as usize % SPREAD
    }

    /// Of a name without escapes. One that has no room is found the long way.
    fn push(&mut self, name: &str, slot: u16) {
        let text = format!("\"{name}\":");
        // A shorter one is not all there is to its first four bytes.
        if !(5..=WRITTEN).contains(&text.len()) || name.bytes().any(|byte| byte < b' ' || b"\"\\".contains(&byte)) {
            return;
        }
        let mut bytes = [0; WRITTEN];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        let word = u128::from_le_bytes(bytes);
        let head = &mut self.heads[Self::beginning(word)];
        let next = std::mem::replace(head, self.keys.len() as u16);
        let mask = u128::MAX >> (8 * (WRITTEN - text.len()));
        self.keys.push(WrittenKey { word, mask, length: text.len() as u16, slot, next });
    }

    #[inline]
    fn find(&self, text: &[u8; WRITTEN]) -> Option<(u16, usize)> {
        let word = u128::from_le_bytes(*text);
        let mut at = self.heads[Self::beginning(word)];
        while let Some(key) = self.keys.get(usize::from(at)) {
            if (key.word ^ word) & key.mask == 0 {
                return Some((key.slot, usize::from(key.length)));
            }
            at = key.next;
        }
        None
    }
}

/// Nothing is at this position.
const UNKNOWN: u16 = u16::MAX;
/// Places of the table of names.
const SPREAD: usize = 256;
/// Stands for a key that does not fit into a word. No other does: the highest byte of one is its length.
const LONG: u128 = u128::MAX;

/// A cheap hash of a key that is one word.
#[inline]
fn spread(packed: u128) -> usize {
    let bits = packed as u64 ^ ((packed >> 64) as u64).rotate_left(19);
    // Fibonacci hashing (Knuth, TAOCP 3, 6.4): the highest bits depend on all others.
    (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % SPREAD
}

/// The same of one that is longer. Few have such names, and fewer of one length.
fn spread_long(key: &[u8]) -> usize {
    spread(key.len() as u128)
}

impl Node {
    /// A name that is one word, as nearly all are, and is compared as one.
    #[inline]
    fn find_short(&self, packed: u128) -> Option<Target> {
        let mut at = self.heads[spread(packed)];
        while let Some(name) = self.names.get(usize::from(at)) {
            if name.packed == packed {
                return Some(name.target);
            }
            at = name.next;
        }
        None
    }

    #[cold]
    fn find_long(&self, key: &[u8]) -> Option<Target> {
        let mut at = self.heads[spread_long(key)];
        while let Some(name) = self.names.get(usize::from(at)) {
            if name.packed == LONG && self.texts[usize::from(at)].as_bytes() == key {
                return Some(name.target);
            }
            at = name.next;
        }
        None
    }

    /// What a key leads to that is a piece of a text.
    #[inline]
    pub(super) fn find(&self, text: &[u8], key: Range<usize>) -> Option<Target> {
        match pack_within(text, key.clone()) {
            Some(packed) => self.find_short(packed),
            None => self.find_long(&text[key]),
        }
    }

    /// The slot of the key that begins with this quote, and its length with quotes and colon; `None` says only that the key
    /// has to be read.
    #[inline]
    pub(super) fn written(&self, text: &[u8; WRITTEN]) -> Option<(u16, usize)> {
        self.written.find(text)
    }

    fn push(&mut self, text: &str, target: Target) {
        if let Target::Slot(slot) = target {
            self.written.push(text, slot);
        }
        let packed = pack(text.as_bytes()).unwrap_or(LONG);
        let spread = if packed == LONG { spread_long(text.as_bytes()) } else { spread(packed) };
        let next = std::mem::replace(&mut self.heads[spread], self.names.len() as u16);
        self.names.push(Name { packed, target, next });
        self.texts.push(text.into());
    }
}

impl FieldTree {
    /// A tree that puts field `names[i]` into slot `i`.
    pub(crate) fn new(names: &[String]) -> Self {
        let mut nodes = vec![Node::default()];
        for (slot, name) in names.iter().enumerate() {
            let mut node = 0;
            let mut parts = name.split('.').peekable();
            while let Some(part) = parts.next() {
                let known = nodes[node].texts.iter().position(|known| known.as_ref() == part);
                let known = known.map(|known| nodes[node].names[known].target);
                node = match (known, parts.peek().is_none()) {
                    (_, true) => {
                        nodes[node].push(part, Target::Slot(slot as u16));
                        break;
                    }
                    (Some(Target::Branch(next)), false) => usize::from(next),
                    (_, false) => {
                        let next = nodes.len();
                        nodes.push(Node::default());
                        nodes[node].push(part, Target::Branch(next as u16));
                        next
                    }
                };
            }
        }
        Self { nodes }
    }

    /// The names of a record.
    pub(super) fn root(&self) -> &Node {
        &self.nodes[0]
    }

    /// The names that a branch leads to.
    pub(super) fn node(&self, branch: u16) -> &Node {
        &self.nodes[usize::from(branch)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        // Of all lengths about that of a word, many of one length, some of which begin or end alike.
        let stem = "a_name_that_is_longer_than_a_word";
        let names: Vec<String> = (0..stem.len())
            .map(|length| stem[..length].to_owned())
            .chain((0..300).map(|number| format!("{number:04}_and_{number:016}")))
            .chain((0..300).map(|number| format!("n{number}")))
            .chain(["x.y".to_owned(), "x.a_name_that_is_longer_than_a_word".to_owned()])
            .collect();
        let tree = FieldTree::new(&names);
        let find = |node: u16, key: &str| {
            let line = format!("{{\"{key}\":\"a value behind it\"}}");
            let found = tree.node(node).find(line.as_bytes(), 2..2 + key.len());
            assert_eq!(tree.node(node).find(key.as_bytes(), 0..key.len()), found, "{key} with nothing behind it");
            if let Some((slot, length)) = tree.node(node).written(line.as_bytes()[1..].first_chunk().unwrap()) {
                assert_eq!((found, length), (Some(Target::Slot(slot)), key.len() + 3), "{key} as it is written");
            } else {
                let is_known = (2..=13).contains(&key.len()) && matches!(found, Some(Target::Slot(_)));
                assert!(!is_known, "{key} as it is written");
            }
            found
        };
        for (slot, name) in names.iter().enumerate().take(names.len() - 2) {
            assert_eq!(find(0, name), Some(Target::Slot(slot as u16)), "{name}");
        }
        let Some(Target::Branch(x)) = find(0, "x") else { panic!("x leads on") };
        assert_eq!(find(x, "y"), Some(Target::Slot(names.len() as u16 - 2)));
        assert_eq!(find(x, stem), Some(Target::Slot(names.len() as u16 - 1)));
        for other in [stem, "y", "n300", "0300_and_0000000000000300", "0000_and_0000000000000001", "x.y"] {
            assert_eq!(find(0, other), None, "{other}");
        }
        assert_eq!(find(x, "n1"), None);
    }
}
