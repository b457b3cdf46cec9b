//! Parts of a `multipart/mixed` answer that never ends (RFC 2046, 5.1).
//!
//! A part ends with its `Content-Length`, where it has one, and not only with the boundary that follows it: the next part may be
//! a long time in coming, and an event is not to wait for it.

use bytes::Bytes;

/// Longest head of a part.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// What has come in and has not been looked at.
pub(super) struct Parts<More> {
    /// The next piece of the answer; `None` at its end.
    more: More,
    /// `--` and the boundary.
    divider: Vec<u8>,
    held: Vec<u8>,
}

/// A part, if it is XML and not too long; others are passed over as they come in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Event(Vec<u8>),
    Other,
}

impl<More: AsyncFnMut() -> Result<Option<Bytes>, String>> Parts<More> {
    pub(super) fn new(boundary: &str, more: More) -> Self {
        Self { more, divider: format!("--{boundary}").into_bytes(), held: Vec::new() }
    }

    /// The next part; `None` at the end.
    pub(super) async fn next(&mut self, bytes_max: usize) -> Result<Option<Part>, String> {
        let Some(head) = self.head().await? else { return Ok(None) };
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.find_map(|(key, value)| key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_lowercase()))
        };
        let kind = header("content-type").unwrap_or_default();
        let is_xml = kind.split(';').next().is_some_and(|kind| kind.trim().ends_with("/xml"));
        let bytes_max = if is_xml { bytes_max } else { 0 };
        let whole = match header("content-length").map(|length| length.parse()) {
            Some(Ok(length)) => self.take(length, bytes_max).await?,
            Some(Err(_)) => return Err("a part has a length that is no number".to_owned()),
            None => self.up_to_divider(bytes_max).await?,
        };
        Ok(Some(whole.filter(|_| is_xml).map_or(Part::Other, Part::Event)))
    }

    /// The lines between the divider and what it divides. `None` where nothing follows.
    async fn head(&mut self) -> Result<Option<String>, String> {
        loop {
            if let Some(at) = find(&self.held, &self.divider) {
                let after = at + self.divider.len();
                if self.held[after..].starts_with(b"--") {
                    return Ok(None);
                }
                // With the end of the divider's own line, for a head that is empty.
                if let Some(end) = find(&self.held[after..], b"\r\n\r\n") {
                    let head = String::from_utf8_lossy(&self.held[after..after + end]).into_owned();
                    self.held.drain(..after + end + 4);
                    return Ok(Some(head));
                }
            }
            if self.held.len() > HEAD_BYTES_MAX {
                return Err(format!("a part has no head within {HEAD_BYTES_MAX} bytes"));
            }
            let Some(piece) = (self.more)().await? else { return Ok(None) };
            self.held.extend_from_slice(&piece);
        }
    }

    /// So many bytes, if that is not too many; they go in any case.
    async fn take(&mut self, length: usize, bytes_max: usize) -> Result<Option<Vec<u8>>, String> {
        if length <= bytes_max {
            while self.held.len() < length {
                self.hold_more().await?;
            }
            return Ok(Some(self.held.drain(..length).collect()));
        }
        let mut left = length;
        loop {
            let gone = left.min(self.held.len());
            self.held.drain(..gone);
            left -= gone;
            if left == 0 {
                return Ok(None);
            }
            self.hold_more().await?;
        }
    }

    /// What comes before the next divider, if that is not too much; it goes in any case.
    async fn up_to_divider(&mut self, bytes_max: usize) -> Result<Option<Vec<u8>>, String> {
        let end = [b"\r\n", &self.divider[..]].concat();
        let mut is_too_long = false;
        // No divider begins before.
        let mut looked = 0;
        loop {
            if let Some(at) = find(&self.held[looked..], &end) {
                let whole: Vec<u8> = self.held.drain(..looked + at).collect();
                return Ok((!is_too_long && whole.len() <= bytes_max).then_some(whole));
            }
            looked = self.held.len().saturating_sub(end.len());
            if is_too_long || looked > bytes_max {
                is_too_long = true;
                self.held.drain(..looked);
                looked = 0;
            }
            self.hold_more().await?;
        }
    }

    async fn hold_more(&mut self) -> Result<(), String> {
        let piece = (self.more)().await?.ok_or("the stream broke off within a part")?;
        self.held.extend_from_slice(&piece);
        Ok(())
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|some| some == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of an answer that comes in pieces of this many bytes.
    async fn parts(answer: &[u8], piece: usize) -> Result<Vec<Part>, String> {
        let mut pieces = answer.chunks(piece).map(Bytes::copy_from_slice);
        let mut parts = Parts::new("b", async || Ok(pieces.next()));
        let mut all = Vec::new();
        while let Some(part) = parts.next(10).await? {
            all.push(part);
        }
        Ok(all)
    }

    fn event(text: &str) -> Part {
        Part::Event(text.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn parts_are_the_same_however_they_come() {
        let answer = b"\r\n--b\r\nContent-Type: application/xml; charset=\"UTF-8\"\r\nContent-Length: 3\r\n\r\n<a>\r\n\
            --b\r\ncontent-type: image/jpeg\r\ncontent-length: 40\r\n\r\n0123456789--b\r\n\r\n0123456789012345678901234\r\n\
            --b\r\nContent-Type: text/xml\r\n\r\n<b/>\r\n--b\r\nContent-Type: text/xml\r\n\r\nlonger than ten bytes\r\n\
            --b\r\nContent-Type: text/xml\r\nContent-Length: 20\r\n\r\n01234567890123456789\r\n\
            --b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\nContent-Type: text/xml\r\nContent-Length: 2\r\n\r\nok\r\n--b--\r\nwhat follows";
        let expected = [event("<a>"), Part::Other, event("<b/>"), Part::Other, Part::Other, Part::Other, event("ok")];
        for piece in 1..answer.len() {
            assert_eq!(parts(answer, piece).await.unwrap(), expected, "{piece} at once");
        }
    }

    #[tokio::test]
    async fn an_event_does_not_wait_for_the_next() {
        let mut pieces = [&b"--b\r\nContent-Type: text/xml\r\nContent-Length: 2\r\n\r\nok"[..]].into_iter();
        let mut parts = Parts::new("b", async || match pieces.next() {
            Some(piece) => Ok(Some(Bytes::from_static(piece))),
            None => Err("nothing comes".to_owned()),
        });
        assert_eq!(parts.next(10).await.unwrap(), Some(event("ok")));
    }

    #[tokio::test]
    async fn what_is_no_part_is_told() {
        for answer in [
            &[b'x'; HEAD_BYTES_MAX + 1][..],
            b"--b\r\nContent-Length: many\r\n\r\n",
            b"--b\r\nContent-Length: 7\r\n\r\nshort",
            b"--b\r\nContent-Type: text/xml\r\n\r\nshort",
        ] {
            assert!(parts(answer, 1_000).await.is_err(), "{}", String::from_utf8_lossy(answer));
        }
    }
}
