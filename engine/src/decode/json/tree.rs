//! The wanted fields.

use crate::record::pack;

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
    /// [`packed`].
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

const UNKNOWN: u16 = u16::MAX;
/// Places of the table of names.
const SPREAD: usize = 256;
/// Stands for a key that does not fit into a word. No other does: the highest byte of one is its length.
const LONG: u128 = u128::MAX;

/// A key as one word, if it is short, as nearly all are: compared at once.
#[inline]
fn packed(key: &[u8]) -> u128 {
    pack(key).unwrap_or(LONG)
}

/// A cheap hash of a key.
#[inline]
fn spread(packed: u128, key: &[u8]) -> usize {
    let bits = if packed == LONG { key.len() as u64 } else { packed as u64 ^ ((packed >> 64) as u64).rotate_left(19) };
    // Fibonacci hashing (Knuth, TAOCP 3, 6.4): the highest bits depend on all others.
    (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % SPREAD
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
                let name = |target| Name { text: part.into(), packed: packed(part.as_bytes()), target, next: UNKNOWN };
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
                let head = &mut node.heads[spread(name.packed, name.text.as_bytes())];
                name.next = std::mem::replace(head, position as u16);
            }
        }
        Self { nodes }
    }

    /// What a key leads to.
    #[inline]
    pub(super) fn find(&self, node: usize, key: &[u8]) -> Option<Target> {
        let node = &self.nodes[node];
        let packed = packed(key);
        let mut at = node.heads[spread(packed, key)];
        while at != UNKNOWN {
            let name = &node.names[usize::from(at)];
            if name.packed == packed && (packed != LONG || name.text.as_bytes() == key) {
                return Some(name.target);
            }
            at = name.next;
        }
        None
    }
}
