//! The wanted fields.

/// The wanted fields as a tree: a dotted name leads into nested objects.
#[derive(Debug, Clone)]
pub(crate) struct FieldTree {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    names: Vec<(Box<str>, Target)>,
    /// First of the names with this [`spread`], by position; the next one in `chained`.
    heads: Vec<u16>,
    chained: Vec<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Slot(u16),
    Branch(u16),
}

const UNKNOWN: u16 = u16::MAX;
/// Places of the table of names.
const SPREAD: usize = 256;

/// A cheap hash of a key: its length and three of its bytes.
fn spread(key: &str) -> usize {
    let bytes = key.as_bytes();
    let byte = |at: usize| usize::from(bytes.get(at).copied().unwrap_or(0));
    (bytes.len() * 7 + byte(0) * 3 + byte(bytes.len() / 2) * 5 + byte(bytes.len().wrapping_sub(1))) % SPREAD
}

impl FieldTree {
    /// A tree that puts field `names[i]` into slot `i`.
    pub(crate) fn new(names: &[String]) -> Self {
        let mut nodes = vec![Node::default()];
        for (slot, name) in names.iter().enumerate() {
            let mut node = 0;
            let mut parts = name.split('.').peekable();
            while let Some(part) = parts.next() {
                let known =
                    nodes[node].names.iter().find(|(known, _)| known.as_ref() == part).map(|(_, target)| *target);
                node = match (known, parts.peek().is_none()) {
                    (_, true) => {
                        nodes[node].names.push((part.into(), Target::Slot(slot as u16)));
                        break;
                    }
                    (Some(Target::Branch(next)), false) => usize::from(next),
                    (_, false) => {
                        let next = nodes.len();
                        nodes.push(Node::default());
                        nodes[node].names.push((part.into(), Target::Branch(next as u16)));
                        next
                    }
                };
            }
        }
        for node in &mut nodes {
            node.heads = vec![UNKNOWN; SPREAD];
            node.chained = vec![UNKNOWN; node.names.len()];
            for (position, (name, _)) in node.names.iter().enumerate() {
                let head = &mut node.heads[spread(name)];
                node.chained[position] = std::mem::replace(head, position as u16);
            }
        }
        Self { nodes }
    }

    /// What a key leads to.
    pub(super) fn find(&self, node: usize, key: &str) -> Option<Target> {
        let node = &self.nodes[node];
        let mut at = node.heads[spread(key)];
        while at != UNKNOWN {
            let (name, target) = &node.names[usize::from(at)];
            if name.as_ref() == key {
                return Some(*target);
            }
            at = node.chained[usize::from(at)];
        }
        None
    }
}
