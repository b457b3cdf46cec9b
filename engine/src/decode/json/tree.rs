//! The wanted fields.

use std::ops::Range;

use crate::record::{pack, pack_within};

/// The wanted fields as a tree: a dotted name leads into nested objects.
#[derive(Debug, Clone)]
pub(crate) struct FieldTree {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
struct Node {
    names: Vec<Name>,
    /// First of the names with this [`spread`], by position.
    heads: [u16; SPREAD],
}

impl Default for Node {
    fn default() -> Self {
        Self { names: Vec::new(), heads: [UNKNOWN; SPREAD] }
    }
}

#[derive(Debug, Clone)]
struct Name {
    text: Box<str>,
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
            if name.packed == LONG && name.text.as_bytes() == key {
                return Some(name.target);
            }
            at = name.next;
        }
        None
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
                let mut known = nodes[node].names.iter();
                let known = known.find(|known| known.text.as_ref() == part).map(|known| known.target);
                let name = |target| Name {
                    text: part.into(),
                    packed: pack(part.as_bytes()).unwrap_or(LONG),
                    target,
                    next: UNKNOWN,
                };
                node = match (known, parts.peek().is_none()) {
                    (_, true) => {
                        nodes[node].names.push(name(Target::Slot(slot as u16)));
                        break;
                    }
                    (Some(Target::Branch(next)), false) => usize::from(next),
                    (_, false) => {
                        let next = nodes.len();
                        nodes.push(Node::default());
                        nodes[node].names.push(name(Target::Branch(next as u16)));
                        next
                    }
                };
            }
        }
        for node in &mut nodes {
            for (position, name) in node.names.iter_mut().enumerate() {
                let spread = if name.packed == LONG { spread_long(name.text.as_bytes()) } else { spread(name.packed) };
                let head = &mut node.heads[spread];
                name.next = std::mem::replace(head, position as u16);
            }
        }
        Self { nodes }
    }

    /// What a key leads to that is a piece of a text.
    #[inline]
    pub(super) fn find(&self, node: usize, text: &[u8], key: Range<usize>) -> Option<Target> {
        match pack_within(text, key.clone()) {
            Some(packed) => self.nodes[node].find_short(packed),
            None => self.nodes[node].find_long(&text[key]),
        }
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
        let find = |node: usize, key: &str| {
            let line = format!("{{\"{key}\":\"a value behind it\"}}");
            let found = tree.find(node, line.as_bytes(), 2..2 + key.len());
            assert_eq!(tree.find(node, key.as_bytes(), 0..key.len()), found, "{key} with nothing behind it");
            found
        };
        for (slot, name) in names.iter().enumerate().take(names.len() - 2) {
            assert_eq!(find(0, name), Some(Target::Slot(slot as u16)), "{name}");
        }
        let Some(Target::Branch(x)) = find(0, "x") else { panic!("x leads on") };
        assert_eq!(find(x.into(), "y"), Some(Target::Slot(names.len() as u16 - 2)));
        assert_eq!(find(x.into(), stem), Some(Target::Slot(names.len() as u16 - 1)));
        for other in [stem, "y", "n300", "0300_and_0000000000000300", "0000_and_0000000000000001", "x.y"] {
            assert_eq!(find(0, other), None, "{other}");
        }
        assert_eq!(find(x.into(), "n1"), None);
    }
}
