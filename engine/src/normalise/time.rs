//! Times: RFC 3339, epoch milliseconds, and local times of a declared zone.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::limits::{TS_MS_MAX, TS_MS_MIN};
use crate::record::{Cause, Reason};

/// Reads the times of one source. Local times need the zone the source declares.
#[derive(Debug, Clone)]
pub struct TimeReader {
    zone: Option<TimeZone>,
    /// The last local hour looked up, and its offset: devices report in order.
    last: Option<(i64, i64)>,
    /// The last date read, and its first moment.
    last_date: ([u8; 10], i64),
    /// The last two minutes read, the newer one last: what is out of order goes back and forth between them.
    minutes: [Option<Minute>; 2],
}

/// A minute as it was written, with what says its zone: most times are of the minute of the one before.
#[derive(Debug, Clone)]
struct Minute {
    /// `2026-11-23T08:00:`.
    head: [u8; MINUTE_BYTES],
    /// `Z` or an offset.
    zone: [u8; 6],
    zone_bytes: usize,
    /// Whether that is `Z`.
    is_utc: bool,
    /// Its first moment, UTC.
    ms: i64,
}

const MINUTE_BYTES: usize = 17;
const MINUTE_MS: i64 = 60_000;

impl Minute {
    /// Milliseconds of a time within this minute. `None` says only that it has to be read from its start.
    #[inline]
    fn read_ms(&self, bytes: &[u8]) -> Option<i64> {
        let (head, rest) = bytes.split_first_chunk::<MINUTE_BYTES>()?;
        if *head != self.head {
            return None;
        }
        let (digits, zone) = match rest {
            [s1, s2, b'.', a, b, c, zone @ ..] => ([*s1, *s2, *a, *b, *c], zone),
            [s1, s2, zone @ ..] => ([*s1, *s2, b'0', b'0', b'0'], zone),
            _ => return None,
        };
        let same_zone = match zone {
            [b'Z'] => self.is_utc,
            zone => *zone == self.zone[..self.zone_bytes],
        };
        let digits = digits.map(|digit| digit.wrapping_sub(b'0'));
        if !same_zone || digits.iter().any(|digit| *digit > 9) || digits[0] > 5 {
            return None;
        }
        let [s1, s2, a, b, c] = digits.map(u32::from);
        Some(self.ms + i64::from(s1 * 10_000 + s2 * 1_000 + a * 100 + b * 10 + c))
    }

    /// The minute of a time that has been read and says its zone, if all of it is within the accepted range.
    fn of(bytes: &[u8], zone: &[u8], ms: i64) -> Option<Self> {
        if !(TS_MS_MIN + MINUTE_MS..=TS_MS_MAX - MINUTE_MS).contains(&ms) {
            return None;
        }
        let head = *bytes.first_chunk()?;
        let mut own = [0; 6];
        own.get_mut(..zone.len())?.copy_from_slice(zone);
        Some(Self {
            head,
            zone: own,
            zone_bytes: zone.len(),
            is_utc: zone == b"Z",
            ms: ms.div_euclid(MINUTE_MS) * MINUTE_MS,
        })
    }
}

impl TimeReader {
    /// A reader for a source in this zone, or in none.
    pub fn new(zone: Option<TimeZone>) -> Self {
        Self { zone, last: None, last_date: (*b"1970-01-01", 0), minutes: [None, None] }
    }

    /// What a text must look like, for messages.
    pub fn wanted(&self) -> &'static str {
        if self.zone.is_some() {
            "a time as RFC 3339, yyyyMMddHHmmss or epoch milliseconds"
        } else {
            "a time with its zone, as RFC 3339 or epoch milliseconds; local times need the source's `timezone`"
        }
    }

    /// Milliseconds of a time of one of the last minutes read, which is within the accepted range. `None` says only that
    /// it has to be read.
    #[inline]
    pub(crate) fn read_near(&self, text: &str) -> Option<i64> {
        let near = |minute: &Option<Minute>| minute.as_ref()?.read_ms(text.as_bytes());
        near(&self.minutes[1]).or_else(|| near(&self.minutes[0]))
    }

    /// Milliseconds since 1970-01-01 UTC.
    ///
    /// Takes `2026-11-23T08:00:00.123+08:00`, `...Z`, with a space for the `T`; without a zone, and
    /// as `20261123080000`, in the declared zone; and digits alone as epoch milliseconds.
    pub fn read_ms(&mut self, text: &str) -> Option<i64> {
        if let Some(ms) = self.read_near(text) {
            return Some(ms);
        }
        let is_plain = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
        let bytes = text.as_bytes();
        let bytes = if is_plain(bytes.first()) && is_plain(bytes.last()) { bytes } else { text.trim().as_bytes() };
        if bytes.len() == 14 && bytes.iter().all(u8::is_ascii_digit) && self.zone.is_some() {
            let part = |at: usize| two(bytes[at], bytes[at + 1]);
            let days = days_of(part(0)? * 100 + part(2)?, part(4)? as u32, part(6)? as u32)?;
            return self.local_to_utc(days * DAY_MS + time_ms(part(8)?, part(10)?, part(12)?)?);
        }
        if !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit) {
            return std::str::from_utf8(bytes).ok()?.parse().ok();
        }
        let (date, rest) = bytes.split_first_chunk::<10>()?;
        let ([t, h1, h2, colon, m1, m2, second_colon, s1, s2], rest) = rest.split_first_chunk::<9>()?;
        if [*colon, *second_colon] != *b"::" || !matches!(t, b'T' | b't' | b' ') {
            return None;
        }
        let mut local = self.date_ms(date)? + time_ms(two(*h1, *h2)?, two(*m1, *m2)?, two(*s1, *s2)?)?;
        let rest = match rest {
            [b'.' | b',', fraction @ ..] => {
                let (ms, rest) = fraction_ms(fraction)?;
                local += ms;
                rest
            }
            rest => rest,
        };
        let ms = match rest {
            [] => return self.local_to_utc(local),
            [b'Z' | b'z'] => Some(local),
            [sign @ (b'+' | b'-'), zone @ ..] => {
                let minutes = match zone {
                    [h1, h2, b':', m1, m2] | [h1, h2, m1, m2] => two(*h1, *h2)? * 60 + two(*m1, *m2)?,
                    [h1, h2] => two(*h1, *h2)? * 60,
                    _ => return None,
                };
                let offset_ms = minutes * 60_000;
                (minutes < 24 * 60).then(|| if *sign == b'+' { local - offset_ms } else { local + offset_ms })
            }
            _ => None,
        }?;
        self.minutes = [self.minutes[1].take(), Minute::of(bytes, rest, ms)];
        Some(ms)
    }

    /// First moment of `YYYY-MM-DD` on a clock without zone.
    fn date_ms(&mut self, date: &[u8; 10]) -> Option<i64> {
        if self.last_date.0 != *date {
            let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *date else { return None };
            let days = days_of(two(y1, y2)? * 100 + two(y3, y4)?, two(m1, m2)? as u32, two(d1, d2)? as u32)?;
            self.last_date = (*date, days * DAY_MS);
        }
        Some(self.last_date.1)
    }

    /// Turns a local time of the declared zone into UTC; in a fold the earlier of the two.
    fn local_to_utc(&mut self, local: i64) -> Option<i64> {
        const HOUR_MS: i64 = 3_600_000;
        let zone = self.zone.as_ref()?;
        let quarter = local.div_euclid(HOUR_MS / 4);
        if let Some((known, offset_ms)) = self.last
            && known == quarter
        {
            return Some(local - offset_ms);
        }
        let civil =
            DateTime::from(Date::constant(1970, 1, 1)).checked_add(jiff::SignedDuration::from_millis(local)).ok()?;
        let instant = zone.to_ambiguous_timestamp(civil).compatible().ok()?;
        let offset_ms = local - instant.as_millisecond();
        self.last = Some((quarter, offset_ms));
        Some(local - offset_ms)
    }
}

/// Whether a source may declare this timezone.
pub fn known_timezone(name: &str) -> bool {
    TimeZone::get(name).is_ok()
}

/// Days since 1970-01-01 of `YYYY-MM-DD`.
pub fn date_days(text: &str) -> Option<i64> {
    match text.trim().as_bytes() {
        [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] => {
            days_of(number(&[*y1, *y2, *y3, *y4])?, number(&[*m1, *m2])? as u32, number(&[*d1, *d2])? as u32)
        }
        _ => None,
    }
}

/// Refuses times that no device of this century can mean.
pub(crate) fn check_epoch_ms(ms: i64) -> Result<i64, Cause> {
    if (TS_MS_MIN..=TS_MS_MAX).contains(&ms) {
        Ok(ms)
    } else if (TS_MS_MIN / 1000..=TS_MS_MAX / 1000).contains(&ms) {
        Err(Reason::TimeInSeconds.into())
    } else {
        Err(Reason::TimeOutOfRange.into())
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

const DAY_MS: i64 = 86_400_000;

/// A number of two digits.
fn two(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
}

/// The first three digits of up to nine as milliseconds, cut and not rounded: a time must not move into the next
/// window. Also what stands behind the digits.
fn fraction_ms(fraction: &[u8]) -> Option<(i64, &[u8])> {
    if let [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] = fraction
        && !rest.first().is_some_and(u8::is_ascii_digit)
    {
        let digit = |byte: &u8| i64::from(byte - b'0');
        return Some((digit(a) * 100 + digit(b) * 10 + digit(c), rest));
    }
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let digit = |at: usize| if at < digits { i64::from(fraction[at] - b'0') } else { 0 };
    (1..=9).contains(&digits).then(|| (digit(0) * 100 + digit(1) * 10 + digit(2), &fraction[digits..]))
}

/// A time of day in milliseconds. A leap second counts as the second before it.
fn time_ms(hour: i64, minute: i64, second: i64) -> Option<i64> {
    (hour < 24 && minute < 60 && second <= 60).then(|| ((hour * 60 + minute) * 60 + second.min(59)) * 1000)
}

/// Days since 1970-01-01 of a day of the proleptic Gregorian calendar (H. Hinnant, `days_from_civil`).
pub(super) fn days_of(year: i64, month: u32, day: u32) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if day == 0 || day > length || year == 0 {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (i64::from(month) + if month > 2 { -3 } else { 9 }) + 2) / 5 + i64::from(day) - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shanghai() -> TimeReader {
        TimeReader::new(Some(TimeZone::get("Asia/Shanghai").unwrap()))
    }

    #[test]
    fn times_with_zone() {
        let mut reader = TimeReader::new(None);
        let ms = 1_763_856_000_000;
        for text in [
            "2025-11-23T00:00:00Z",
            "2025-11-23T08:00:00+08:00",
            "2025-11-22 16:00:00-0800",
            "1763856000000",
            "2025-11-23T08:00:00+08",
        ] {
            assert_eq!(reader.read_ms(text), Some(ms), "{text}");
        }
        assert_eq!(reader.read_ms("2025-11-23T00:00:00.1239Z"), Some(ms + 123));
        for text in [
            "2025-11-23T00:00:00",
            "20251123080000x",
            "2025-13-23T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "",
            "yesterday",
            "2025-11-23T25:00:00Z",
        ] {
            assert_eq!(reader.read_ms(text), None, "{text}");
        }
    }

    #[test]
    fn what_was_read_before_changes_nothing() {
        let heads =
            ["2025-11-23T08:00:", "2025-11-23 08:00:", "2025-11-23T23:59:", "2025-11-23t08:01:", "2025-11-23T08:00"];
        let seconds = ["00", "07", "59", "60", "61", "6x", ""];
        let fractions = ["", ".1", ".123", ",123", ".1234", ".12x", ".", ".123456789"];
        let zones = ["Z", "z", "+08:00", "+0800", "-08:00", "+08", "+08:60", "+24:00", "", "Z ", "+08:001"];
        let texts: Vec<String> = heads
            .iter()
            .flat_map(|head| seconds.iter().map(move |second| format!("{head}{second}")))
            .flat_map(|text| fractions.iter().map(move |fraction| format!("{text}{fraction}")))
            .flat_map(|text| zones.iter().map(move |zone| format!("{text}{zone}")))
            .collect();
        for zone in [TimeReader::new(None), shanghai()] {
            let mut reader = zone.clone();
            let mut rng = crate::rng::SeededRng::new(1);
            for _ in 0..100_000 {
                // One that is near the last one half of the time.
                let among = if rng.unit() < 0.5 { 200 } else { texts.len() };
                let text = &texts[rng.next_u64() as usize % among];
                assert_eq!(reader.read_ms(text), zone.clone().read_ms(text), "{text}");
            }
        }
    }

    #[test]
    fn times_without_zone_use_the_declared_one() {
        let mut reader = shanghai();
        assert_eq!(reader.read_ms("2025-11-23T08:00:00"), Some(1_763_856_000_000));
        assert_eq!(reader.read_ms("20251123080000"), Some(1_763_856_000_000));
        assert_eq!(reader.read_ms("20251123080001"), Some(1_763_856_001_000));
        // Berlin has two 02:30 on this day; the earlier one is meant.
        let mut berlin = TimeReader::new(Some(TimeZone::get("Europe/Berlin").unwrap()));
        assert_eq!(berlin.read_ms("2025-10-26T02:30:00"), Some(1_761_438_600_000));
    }

    #[test]
    fn days_agree_with_jiff() {
        for offset in (-20_000..40_000).step_by(37) {
            let date = Date::constant(1970, 1, 1).checked_add(jiff::ToSpan::days(offset)).unwrap();
            assert_eq!(days_of(i64::from(date.year()), date.month() as u32, date.day() as u32), Some(offset));
        }
    }
}
