//! Arrays and objects that nobody wants, which are validated and of which nothing is kept.

use super::{Marks, Scanner, TOO_DEEP, behind_space};
use crate::limits::JSON_DEPTH_MAX;
use crate::record::Cause;

// What encloses a value is known by a bit for each depth.
const _: () = assert!(JSON_DEPTH_MAX <= u64::BITS as usize);

impl<M: Marks> Scanner<'_, M> {
    /// The array or object that begins here. Without recursion: how deep it is, is up to its sender.
    pub(super) fn nested(&mut self) -> Result<(), Cause> {
        let (bytes, floor) = (self.bytes, self.depth);
        let (mut at, mut depth) = (self.at, floor);
        // Bit d says whether the container at depth d + 1 is an object.
        let mut objects = 0_u64;
        loop {
            // A value starts here.
            match bytes.get(at) {
                Some(open @ (b'{' | b'[')) => {
                    if depth == JSON_DEPTH_MAX {
                        return Err(TOO_DEEP.into());
                    }
                    let (bit, is_object) = (1 << depth, *open == b'{');
                    objects = if is_object { objects | bit } else { objects & !bit };
                    depth += 1;
                    at = behind_space(bytes, at + 1);
                    let close = if is_object { b'}' } else { b']' };
                    if bytes.get(at) != Some(&close) {
                        at = if is_object { self.behind_key(at)? } else { at };
                        continue;
                    }
                    (at, depth) = (at + 1, depth - 1);
                }
                _ => at = self.behind_scalar(at)?,
            }
            // A value ended here.
            loop {
                if depth == floor {
                    self.at = at;
                    return Ok(());
                }
                at = behind_space(bytes, at);
                let in_object = objects & (1 << (depth - 1)) != 0;
                match (bytes.get(at), in_object) {
                    (Some(b','), _) => {
                        at = behind_space(bytes, at + 1);
                        at = if in_object { self.behind_key(at)? } else { at };
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => (at, depth) = (at + 1, depth - 1),
                    _ => {
                        self.at = at;
                        return Err(self.error("`,` or a closing bracket expected"));
                    }
                }
            }
        }
    }

    /// The position behind the key, of no interest, that begins at one, and behind its colon.
    #[inline]
    fn behind_key(&mut self, at: usize) -> Result<usize, Cause> {
        if self.bytes.get(at) == Some(&b'"') {
            let end = self.marks.next(self.bytes, at + 1);
            if let Some(b"\":") = self.bytes.get(end..end + 2) {
                return Ok(behind_space(self.bytes, end + 2));
            }
        }
        self.at = at;
        self.string()?;
        self.colon()?;
        Ok(self.at)
    }

    /// The position behind the value without brackets that begins at one.
    #[inline]
    fn behind_scalar(&mut self, at: usize) -> Result<usize, Cause> {
        if let Some((_, behind)) = self.plain_value(at) {
            return Ok(behind);
        }
        self.at = at;
        self.scalar()?;
        Ok(self.at)
    }
}
