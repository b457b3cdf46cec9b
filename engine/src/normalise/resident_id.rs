//! Resident identity numbers of GB 11643: 17 digits and an ISO 7064 MOD 11-2 check character.

/// What can be said of a number without asking anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResidentId {
    /// 18 characters of the right kind and the check character fits.
    pub valid_check: bool,
    /// The eight digits behind the region are a day of the calendar.
    pub birth_date_valid: bool,
}

const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const CHECKS: &[u8; 11] = b"10X98765432";

/// Checks a number. The date is used for the check only and goes nowhere.
///
/// ```
/// use weir_engine::normalise::check_resident_id;
/// assert!(check_resident_id("11010519491231002X").valid_check);
/// assert!(!check_resident_id("110105194912310021").valid_check);
/// ```
pub fn check_resident_id(text: &str) -> ResidentId {
    let bytes = text.as_bytes();
    if bytes.len() != 18 || !bytes[..17].iter().all(u8::is_ascii_digit) {
        return ResidentId { valid_check: false, birth_date_valid: false };
    }
    let sum: u32 = bytes[..17].iter().zip(WEIGHTS).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    let number =
        |range: std::ops::Range<usize>| bytes[range].iter().fold(0_u32, |n, digit| n * 10 + u32::from(digit - b'0'));
    ResidentId {
        valid_check: bytes[17].to_ascii_uppercase() == CHECKS[(sum % 11) as usize],
        birth_date_valid: super::time::days_of(i64::from(number(6..10)), number(10..12), number(12..14)).is_some(),
    }
}
