//! Durations and their spelling: `500ms`, `30s`, `10m`, `24h`, `30d`.

/// Longest duration: sums of a few stay far from the ends of the number range.
const DURATION_MS_MAX: i64 = 3_650 * 86_400_000;

/// Parses a duration into milliseconds.
///
/// # Errors
/// A sentence for the reader, when the text has no unit, an unknown unit, or is beyond ten years.
pub fn parse_duration_ms(text: &str) -> Result<i64, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: i64 = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => {
            return Err(format!("`{text}` is not a duration; write it as 500ms, 30s, 10m, 24h or 30d"));
        }
    };
    let duration_ms = number
        .parse::<i64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| format!("`{text}` is not a duration; write it as 500ms, 30s, 10m, 24h or 30d"))?;
    if duration_ms > DURATION_MS_MAX {
        return Err(format!("`{text}` is longer than 3650d"));
    }
    Ok(duration_ms)
}

/// Spells milliseconds with the largest unit that divides them.
pub fn format_duration_ms(duration_ms: i64) -> String {
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
        .into_iter()
        .find(|(_, factor)| duration_ms != 0 && duration_ms % factor == 0)
        .map_or_else(
            || if duration_ms == 0 { "0s".to_owned() } else { format!("{duration_ms}ms") },
            |(unit, factor)| format!("{}{unit}", duration_ms / factor),
        )
}

/// Parses a size in bytes: `512`, `64KiB`, `8MiB`, `1GiB`.
///
/// # Errors
/// A sentence for the reader.
pub fn parse_bytes(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => {
            return Err(format!("`{text}` is not a size; write it as 64KiB, 8MiB or 1GiB"));
        }
    };
    number
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| format!("`{text}` is not a size; write it as 64KiB, 8MiB or 1GiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_trip() {
        for text in ["500ms", "30s", "10m", "24h", "30d", "90s", "0ms"] {
            let duration_ms = parse_duration_ms(text).unwrap();
            assert_eq!(parse_duration_ms(&format_duration_ms(duration_ms)).unwrap(), duration_ms);
        }
        assert_eq!(format_duration_ms(90_000), "90s");
        assert_eq!(format_duration_ms(86_400_000), "1d");
    }

    #[test]
    fn bad_units_are_refused() {
        for text in ["", "10", "s", "1.5s", "10 parsecs", "99999999999999999999d", "-5s"] {
            assert!(parse_duration_ms(text).is_err(), "{text}");
        }
        assert_eq!(parse_bytes("8MiB").unwrap(), 8 << 20);
        assert!(parse_bytes("8MB").is_err());
    }
}
