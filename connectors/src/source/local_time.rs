//! Times as GA/T 1400 and Axis write them: `yyyyMMddHHmmss`, in the zone of the place.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const FORMAT: &str = "%Y%m%d%H%M%S";

/// Such a time as RFC 3339; `None` if it is written otherwise.
pub(crate) fn to_utc(text: &str, zone: &TimeZone) -> Option<String> {
    let is_local = text.len() == 14 && text.bytes().all(|byte| byte.is_ascii_digit());
    let local = is_local.then(|| DateTime::strptime(FORMAT, text).ok()).flatten()?;
    zone.to_timestamp(local).ok().map(|it| it.to_string())
}

/// A moment in the zone of the place.
pub(crate) fn of(now_ms: i64, zone: &TimeZone) -> String {
    let moment = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    moment.to_zoned_datetime(zone.clone()).strftime(FORMAT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_place() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        assert_eq!(to_utc("20231101080001", &zone).as_deref(), Some("2023-11-01T00:00:01Z"));
        assert_eq!(of(1_698_796_801_000, &zone), "20231101080001");
        for text in ["", "2023110108000", "20231301080001", "2023-11-01T08:00:01", "1698796801000"] {
            assert_eq!(to_utc(text, &zone), None, "{text}");
        }
    }
}
