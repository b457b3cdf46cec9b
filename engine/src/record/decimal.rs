//! Numbers as nearly all are written: a sign, some digits, perhaps a point. What is written otherwise is left to the standard
//! library, whose results these are, bit by bit.

/// Most digits that are read here: as a whole number they are exact in a double.
const DIGITS_MAX: usize = 15;
/// Powers of ten, exact.
const TENS: [f64; DIGITS_MAX + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// As `text.parse::<f64>().ok()`.
#[inline]
pub(super) fn number(text: &str) -> Option<f64> {
    usual_number(text.as_bytes()).or_else(|| text.parse().ok())
}

/// As `text.parse::<i64>().ok()`.
#[inline]
pub(super) fn whole(text: &str) -> Option<i64> {
    let (negative, digits) = signed(text.as_bytes());
    let usual = if digits.len() > DIGITS_MAX || digits.is_empty() { None } else { value_of(digits) };
    match usual {
        Some(value) if negative => Some(-(value as i64)),
        Some(value) => Some(value as i64),
        None => text.parse().ok(),
    }
}

#[inline]
fn signed(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    }
}

/// A quotient of two doubles that are exact is the nearest to what is written (IEEE 754, 4.3; W. D. Clinger, How to Read
/// Floating Point Numbers Accurately, 1990).
#[inline]
fn usual_number(text: &[u8]) -> Option<f64> {
    let (negative, digits) = signed(text);
    if digits.len() > DIGITS_MAX {
        return None;
    }
    let mut value = 0;
    let mut point = None;
    for (at, byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            value = value * 10 + u64::from(digit);
        } else if *byte == b'.' && point.is_none() {
            point = Some(at);
        } else {
            return None;
        }
    }
    let behind = match point {
        None if digits.is_empty() => return None,
        None => 0,
        Some(at) if at == 0 || at + 1 == digits.len() => return None,
        Some(at) => digits.len() - at - 1,
    };
    let value = value as f64 / TENS[behind];
    Some(if negative { -value } else { value })
}

/// What digits say, up to [`DIGITS_MAX`] of them; `None` if one is none.
#[inline]
fn value_of(digits: &[u8]) -> Option<u64> {
    let (first, rest) = match digits.split_first_chunk() {
        Some((eight, rest)) => (eight_digits(u64::from_le_bytes(*eight))?, rest),
        None => (0, digits),
    };
    rest.iter().try_fold(first, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| value * 10 + u64::from(digit))
    })
}

/// Eight digits at once: neighbours are joined to pairs, pairs to fours, fours to eight.
#[inline]
fn eight_digits(text: u64) -> Option<u64> {
    let digits = text ^ 0x3030_3030_3030_3030;
    if (digits | digits.wrapping_add(0x7676_7676_7676_7676)) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agree(text: &str) {
        assert_eq!(whole(text), text.parse().ok(), "{text:?}");
        let (read, expected) = (number(text), text.parse::<f64>().ok());
        assert_eq!(read.map(f64::to_bits), expected.map(f64::to_bits), "{text:?}");
    }

    #[test]
    fn what_is_written_in_any_way_is_read_as_the_standard_library_does() {
        let written = [
            "",
            "-",
            "+",
            ".",
            "-.",
            "0",
            "-0",
            "-0.0",
            "1.",
            ".5",
            "-.5",
            "+7",
            "1e5",
            "1.2.3",
            "inf",
            "NaN",
            "0x1",
            "１",
            "00012",
            "0.1",
            "0.30000000000000004",
            "123456789012345",
            "1234567890123456",
            "12345678901234.5",
            "1795000000000",
            "-1795000000000",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "1234567/",
            "12345678:",
            "1234567\u{0}",
            "0.000000000000001",
            "999999999999999",
            "179500000000a",
        ];
        written.into_iter().for_each(agree);
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_the_standard_library_does(
            usual in "-?[0-9]{1,12}(\\.[0-9]{1,6})?",
            whole in "-?[0-9]{0,20}",
            any in "[-+]?[0-9.eE:/ -]{0,20}",
            value in any::<f64>(),
        ) {
            agree(&usual);
            agree(&whole);
            agree(&any);
            agree(&value.to_string());
        }
    }
}
