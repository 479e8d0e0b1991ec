//! Moments as Douyin writes them: milliseconds (trade_basic, callbacks), seconds (ecpay), and dates
//! as text (`yyyy-MM-dd HH:mm:ss`, ecpay's query_platform_order).

use crate::clock::Timestamp;

/// Smaller numbers are seconds. As milliseconds they would lie before 1973; as seconds they reach
/// the year 5138.
const MS_MIN: i64 = 100_000_000_000;
/// Nothing at Douyin is older (2001-09-09), so a smaller number is no moment.
const SECS_MIN: i64 = 1_000_000_000;
/// The last millisecond of the year 9999, the end of what a protobuf Timestamp can express.
const MS_MAX: i64 = 253_402_300_799_999;
/// No page names the time zone of a date in text. Douyin's own is assumed, UTC+8, which is a guess.
const ZONE_SECS: i64 = 8 * 3600;

/// Seconds or milliseconds since the epoch.
pub(super) fn of_number(number: i64) -> Option<Timestamp> {
    match number {
        SECS_MIN..MS_MIN => Some(Timestamp::from_ms(number * 1_000)),
        MS_MIN..=MS_MAX => Some(Timestamp::from_ms(number)),
        _ => None,
    }
}

/// `2023-09-01 11:52:14`, or RFC 3339, which names its zone.
pub(super) fn of_date(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once([' ', 'T', 't'])?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (time, zone_secs) = zoned(time)?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let is_fraction = !fraction.is_empty() && fraction.bytes().all(|digit| digit.is_ascii_digit());
    if hour > 23 || minute > 59 || second > 59 || !is_fraction {
        return None;
    }
    let days = days_since_epoch(year, month, day)?;
    let secs = days * 86_400 + hour * 3600 + minute * 60 + second - zone_secs;
    let millis: String = fraction.chars().chain("00".chars()).take(3).collect();
    let ms = secs * 1_000 + millis.parse::<i64>().ok()?;
    (SECS_MIN * 1_000..=MS_MAX).contains(&ms).then(|| Timestamp::from_ms(ms))
}

/// A time of day without its zone, and the zone.
fn zoned(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else {
        return Some((time, ZONE_SECS));
    };
    let (time, zone) = time.split_at(at);
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let [hours, minutes] = numbers(zone.get(1..)?, ':', [2, 2])?;
    (hours < 24 && minutes < 60).then_some((time, sign * (hours * 3600 + minutes * 60)))
}

/// Numbers of fixed numbers of digits, with a separator between two.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut read = [0; N];
    for (number, digits) in read.iter_mut().zip(digits) {
        let part = parts.next()?;
        let fits = part.len() == digits && part.bytes().all(|digit| digit.is_ascii_digit());
        *number = fits.then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(read)
}

/// Days from 1970-01-01 to a date that exists in the Gregorian calendar.
fn days_since_epoch(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let lengths = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = lengths.get(..usize::try_from(month - 1).ok()?)?;
    let length = *lengths.get(before.len())?;
    if day < 1 || day > length {
        return None;
    }
    let past = year - 1;
    let leap_days = past / 4 - past / 100 + past / 400;
    // 719,162 days lie between 0001-01-01 and the epoch.
    Some(past * 365 + leap_days + before.iter().sum::<i64>() + day - 1 - 719_162)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_693_540_334_000;

    fn ms(text: &str) -> Option<i64> {
        of_date(text).map(Timestamp::as_ms)
    }

    #[test]
    fn seconds_and_milliseconds_are_told_apart() {
        let number = |number| of_number(number).map(Timestamp::as_ms);
        assert_eq!((number(MS), number(MS / 1_000)), (Some(MS), Some(MS)));
        assert_eq!(number(MS_MAX), Some(MS_MAX), "the end of 9999");
        for nonsense in [i64::MIN, -MS, -1, 1, 999_999_999, MS_MAX + 1, MS * 1_000, i64::MAX] {
            assert_eq!(number(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_date_is_read_in_its_zone() {
        for (date, expected) in [
            ("2023-09-01 11:52:14", MS),
            ("2023-09-01T11:52:14+08:00", MS),
            ("2023-09-01T03:52:14Z", MS),
            ("2023-09-01T03:52:14.5Z", MS + 500),
            ("2023-08-31 22:22:14.0009-05:30", MS),
            ("2024-02-29 00:00:00Z", 1_709_164_800_000),
            ("2100-03-01 00:00:00Z", 4_107_542_400_000),
            ("9999-12-31 23:59:59.999Z", MS_MAX),
        ] {
            assert_eq!(ms(date), Some(expected), "{date}");
        }
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for nonsense in [
            "",
            "yesterday",
            "2023-09-01",
            "11:52:14",
            "2023-13-01 00:00:00",
            "2023-00-01 00:00:00",
            "2023-02-29 00:00:00",
            "2023-09-01 24:00:00",
            "2023-09-01 11:52",
            "2023-09-01 11:52:14 CST",
            "2023-09-01 11:52:14.",
            "2023-09-01T11:52:14+8",
            "23-9-1 1:2:3",
            "+023-09-01 11:52:14",
            "0001-01-01 00:00:00",
            "99999-01-01 00:00:00",
            "9999-12-31 23:59:59-01:00",
            "2023-09-01 11:52:14分",
            "分023-09-01 11:52:14",
        ] {
            assert_eq!(ms(nonsense), None, "{nonsense}");
        }
    }
}
