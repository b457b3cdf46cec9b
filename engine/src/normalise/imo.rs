//! IMO numbers of ships: seven digits, the last of which is a check digit (DOMAIN.md 3).

/// Whether the last digit fits: the others times 7 to 2, added, end in it.
///
/// ```
/// use weir_engine::normalise::imo_check_digit_fits;
/// assert!(imo_check_digit_fits("9074729"));
/// assert!(!imo_check_digit_fits("9074728"));
/// ```
pub fn imo_check_digit_fits(number: &str) -> bool {
    let digits: Vec<u32> = number.chars().filter_map(|c| c.to_digit(10)).collect();
    let [weighted @ .., check] = &digits[..] else { return false };
    let sum: u32 = weighted.iter().zip([7, 6, 5, 4, 3, 2]).map(|(digit, weight)| digit * weight).sum();
    digits.len() == 7 && number.len() == 7 && sum % 10 == *check
}
