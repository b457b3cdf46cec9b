//! What cameras confuse, and what a plate can have been that was read badly (DOMAIN.md 4).
//!
//! Characters of one class fold to the same one. A read that folds like an entry is spelled out in all
//! ways it may have been meant, and each is looked up: the evidence then names the one that is listed,
//! and no second table of the list is needed.

/// Classes of characters that optical readers take for one another. The first is what the others fold to.
const CLASSES: [&str; 6] = ["0ODQ", "1IL", "2Z", "5S", "8B", "6G"];
/// Spellings of one read that are tried at most: eight characters of the largest class.
pub(super) const SPELLINGS_MAX: usize = 65_536;
/// Unread characters of one read that are filled in at most.
pub(super) const UNREAD_MAX: usize = 2;
/// What an unread character may have been.
const ALPHABET: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ挂学警领港澳";

fn class_of(c: char) -> Option<&'static str> {
    CLASSES.into_iter().find(|class| class.contains(c))
}

/// Appends the folded form.
pub(super) fn fold(key: &str, out: &mut Vec<u8>) {
    for byte in key.bytes() {
        out.push(match byte {
            b'O' | b'D' | b'Q' => b'0',
            b'I' | b'L' => b'1',
            b'Z' => b'2',
            b'S' => b'5',
            b'B' => b'8',
            b'G' => b'6',
            byte => byte,
        });
    }
}

/// Calls `look` with every spelling that folds like `key`, `key` itself left out. `false` when there are too
/// many, and none was tried.
pub(super) fn spellings(key: &str, look: impl FnMut(&str)) -> bool {
    let choices: Vec<&str> = char_slices(key).map(|c| class_of(first(c)).unwrap_or(c)).collect();
    let skip = key.to_owned();
    let mut look = look;
    each(&choices, SPELLINGS_MAX, |spelling| {
        if spelling != skip {
            look(spelling);
        }
    })
}

/// Calls `look` with every key that `read` may stand for, `-` being an unread character. `false` when too much was
/// not read.
pub(super) fn fillings(read: &str, look: impl FnMut(&str)) -> bool {
    if read.chars().filter(|c| *c == '-').count() > UNREAD_MAX {
        return false;
    }
    let choices: Vec<&str> = char_slices(read).map(|c| if c == "-" { ALPHABET } else { c }).collect();
    each(&choices, usize::MAX, look)
}

fn char_slices(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices().map(move |(at, c)| &text[at..at + c.len_utf8()])
}

fn first(text: &str) -> char {
    text.chars().next().unwrap_or_default()
}

/// Every text with one character out of each choice, in order.
fn each(choices: &[&str], max: usize, mut look: impl FnMut(&str)) -> bool {
    let mut total = 1usize;
    for choice in choices {
        total = total.saturating_mul(choice.chars().count());
    }
    if total > max {
        return false;
    }
    let mut text = String::with_capacity(choices.len() * 3);
    walk(choices, &mut text, &mut look);
    true
}

fn walk(choices: &[&str], text: &mut String, look: &mut impl FnMut(&str)) {
    let Some((choice, rest)) = choices.split_first() else {
        look(text);
        return;
    };
    let len = text.len();
    for c in choice.chars() {
        text.push(c);
        walk(rest, text, look);
        text.truncate(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_fold_alike_and_are_all_there() {
        let mut seen = Vec::new();
        assert!(spellings("陕A1Z", |spelling| seen.push(spelling.to_owned())));
        seen.sort();
        assert_eq!(seen, ["陕A12", "陕AI2", "陕AIZ", "陕AL2", "陕ALZ"]);
        let folded = |key: &str| {
            let mut out = Vec::new();
            fold(key, &mut out);
            out
        };
        assert!(seen.iter().all(|spelling| folded(spelling) == folded("陕A1Z")));
        assert!(spellings("00000000", |_| {}));
        assert!(!spellings("000000000", |_| panic!("none is tried")));
    }

    #[test]
    fn what_was_not_read_is_filled_in() {
        let mut seen = Vec::new();
        assert!(fillings("A-", |key| seen.push(key.to_owned())));
        assert_eq!(seen.len(), ALPHABET.chars().count());
        assert!(seen.contains(&"A警".to_owned()));
        assert!(!fillings("---", |_| panic!("none is tried")));
    }
}
