//! Numbers of JSON (RFC 8259, 6).

/// Where and why a number is none.
pub(super) struct NoNumber {
    pub(super) at: usize,
    pub(super) what: &'static str,
}

/// The end of the number that begins at a position.
#[inline]
pub(super) fn number_end(bytes: &[u8], at: usize) -> Result<usize, NoNumber> {
    let whole = at + usize::from(bytes.get(at) == Some(&b'-'));
    let mut end = digits(bytes, whole);
    if end == whole || (end > whole + 1 && bytes[whole] == b'0') {
        return Err(NoNumber { at: end, what: "not a number" });
    }
    if bytes.get(end) == Some(&b'.') {
        let fraction = end + 1;
        end = digits(bytes, fraction);
        if end == fraction {
            return Err(NoNumber { at: end, what: "digits expected behind the point" });
        }
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let exponent = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        end = digits(bytes, exponent);
        if end == exponent {
            return Err(NoNumber { at: end, what: "digits expected in the exponent" });
        }
    }
    Ok(end)
}

/// Behind the digits that begin at a position.
#[inline]
fn digits(bytes: &[u8], mut at: usize) -> usize {
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let digits = leading_digits(*eight);
        at += digits;
        if digits < eight.len() {
            return at;
        }
    }
    while let Some(b'0'..=b'9') = bytes.get(at) {
        at += 1;
    }
    at
}

/// How many of the first bytes are digits.
#[inline]
fn leading_digits(bytes: [u8; 8]) -> usize {
    // Digits come to lie at 0 to 9, and what is above that reaches the highest bit of its byte. What is carried on from
    // there spoils only bytes behind it.
    let values = u64::from_le_bytes(bytes) ^ 0x3030_3030_3030_3030;
    let others = (values | values.wrapping_add(0x7676_7676_7676_7676)) & 0x8080_8080_8080_8080;
    (others.trailing_zeros() / 8) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_counted_in_one_go() {
        for count in 0..=8 {
            for other in 0..=u8::MAX {
                let mut bytes = *b"90817263";
                bytes[count..].fill(other);
                let expected = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
                assert_eq!(leading_digits(bytes), expected, "{bytes:?}");
            }
        }
    }
}
