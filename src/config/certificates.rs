//! The certificates in the files of a configuration: when they are good, and what an operator must
//! know of that.
//!
//! What it must not know: what a certificate is shown to, or believed for.

use std::fmt;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::clock::Timestamp;

/// The certificates in the file of one key. Two are equal if the same stand in the same file's key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificates {
    key: &'static str,
    role: Role,
    all: Vec<CertificateDer<'static>>,
    /// Of each; `None`: it does not tell.
    spans: Vec<Option<Span>>,
}

/// What the certificates of one file are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// The gateway shows them. The first is its own.
    Presented,
    /// The gateway believes what any of them has signed.
    Authorities,
}

/// When a certificate is good.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Span {
    begin: Moment,
    end: Moment,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Moment {
    time: Timestamp,
    shown: String,
}

/// Certificates that cannot be used now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unfit {
    pub why: String,
    /// When they can be used; `None`: they have ended.
    pub from: Option<Timestamp>,
}

/// How long before its end a certificate is warned of.
const WARNED_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

impl Certificates {
    /// What a listener shows, its own certificate first.
    pub(super) fn presented(key: &'static str, chain: Vec<CertificateDer<'static>>) -> Self {
        Self::new(key, Role::Presented, chain)
    }

    pub(super) fn authorities(key: &'static str, all: Vec<CertificateDer<'static>>) -> Self {
        Self::new(key, Role::Authorities, all)
    }

    fn new(key: &'static str, role: Role, all: Vec<CertificateDer<'static>>) -> Self {
        let spans = all.iter().map(Span::of).collect();
        Self { key, role, all, spans }
    }

    /// Whether they are of no use at this moment: the gateway's own certificate, or every one of
    /// the authorities, has ended or has not begun. A certificate that does not tell is not judged.
    pub fn unfit(&self, now: Timestamp) -> Option<Unfit> {
        let judged = match self.role {
            Role::Presented => self.spans.get(..1)?,
            Role::Authorities => &self.spans,
        };
        let judged = judged.iter().map(Option::as_ref).collect::<Option<Vec<_>>>()?;
        if judged.iter().any(|span| span.begin.time <= now && now < span.end.time) {
            return None;
        }
        let key = self.key;
        let later = judged.iter().map(|span| &span.begin).filter(|begin| begin.time > now).min();
        if let Some(Moment { time, shown }) = later {
            let why = format!(
                "{key} names a file with a certificate that is not good yet: it begins on {shown}"
            );
            return Some(Unfit { why, from: Some(*time) });
        }
        let Moment { shown, .. } = judged.iter().map(|span| &span.end).max()?;
        let why = format!("{key} names a file with a certificate that has ended, on {shown}");
        Some(Unfit { why, from: None })
    }

    /// The key of their file, and when the first of them ends, if all tell that.
    pub fn end(&self) -> Option<(&'static str, Timestamp)> {
        self.first_end().map(|end| (self.key, end.time))
    }

    /// What an operator must know of them at this moment.
    pub fn warning(&self, now: Timestamp) -> Option<String> {
        let key = self.key;
        if let Some(Unfit { why, .. }) = self.unfit(now) {
            return Some(why);
        }
        let Some(Moment { time, shown }) = self.first_end() else {
            return Some(format!(
                "{key} names a file whose certificates do not tell when they end"
            ));
        };
        let left = time.since(now);
        let days = left.as_secs() / (24 * 60 * 60);
        if left.is_zero() {
            Some(format!("{key} names a file with a certificate that has ended, on {shown}"))
        } else if left < WARNED_BEFORE {
            Some(format!("{key} names a file with a certificate that ends in {days} days, {shown}"))
        } else {
            None
        }
    }

    /// `None`: one of them does not tell.
    fn first_end(&self) -> Option<&Moment> {
        let ends = self.spans.iter().map(|span| span.as_ref().map(|span| &span.end));
        ends.collect::<Option<Vec<_>>>()?.into_iter().min()
    }
}

impl fmt::Display for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.first_end().map_or("not known", |end| &end.shown);
        write!(f, "{}: {shown}", self.key)?;
        match self.all.len() {
            1 => Ok(()),
            count => write!(f, ", the first of {count}"),
        }
    }
}

impl Span {
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(certificate).ok()?;
        let moment = |time: x509_cert::time::Time| {
            let time_of_day = Timestamp::from_ms(0).plus(time.to_unix_duration());
            Moment { time: time_of_day, shown: time.to_date_time().to_string() }
        };
        let span = certificate.tbs_certificate.validity;
        Some(Self { begin: moment(span.not_before), end: moment(span.not_after) })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// Good from the first year to the second one.
    fn of(years: [i32; 2]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        [params.not_before, params.not_after] = years.map(|year| date_time_ymd(year, 1, 1));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().into()
    }

    fn in_year(year: i32) -> Timestamp {
        Timestamp::from_ms(date_time_ymd(year, 7, 1).unix_timestamp() * 1_000)
    }

    const ENDED: [i32; 2] = [2010, 2020];
    const GOOD: [i32; 2] = [2010, 2200];
    const LATER: [i32; 2] = [2100, 2200];

    #[test]
    fn the_gateways_own_certificate_decides_and_of_authorities_one_is_enough() {
        let now = in_year(2026);
        for (certificates, own, any) in [
            (&[GOOD][..], true, true),
            (&[ENDED], false, false),
            (&[LATER], false, false),
            (&[GOOD, ENDED], true, true),
            (&[ENDED, GOOD], false, true),
            (&[ENDED, LATER], false, false),
        ] {
            let all = || certificates.iter().copied().map(of).collect();
            let is_fit = |some: Certificates| some.unfit(now).is_none();
            assert_eq!(is_fit(Certificates::presented("key", all())), own, "{certificates:?}");
            assert_eq!(is_fit(Certificates::authorities("key", all())), any, "{certificates:?}");
        }
        let unreadable = vec![CertificateDer::from(vec![0x30, 0])];
        let unreadable = Certificates::presented("key", unreadable);
        assert_eq!(unreadable.unfit(now), None);
        assert!(unreadable.warning(now).unwrap().contains("do not tell when they end"));
    }

    #[test]
    fn what_is_unfit_says_why_and_from_when_on_it_is_not() {
        let unfit = |years: &[[i32; 2]], now| {
            let all = years.iter().copied().map(of).collect();
            Certificates::authorities("key", all).unfit(in_year(now)).unwrap()
        };
        let ended = unfit(&[ENDED], 2026);
        assert_eq!(ended.from, None);
        assert!(ended.why.contains("has ended, on 2020-01-01"), "{ended:?}");
        let later = unfit(&[ENDED, LATER], 2026);
        assert!(later.why.contains("not good yet: it begins on 2100-01-01"), "{later:?}");
        let from = later.from.unwrap();
        assert!(in_year(2099) < from && from < in_year(2100));
        assert_eq!(unfit(&[LATER], 2200).from, None);
    }

    #[test]
    fn a_file_is_shown_with_its_first_end() {
        let shown = |years: &[[i32; 2]]| {
            let all = years.iter().copied().map(of).collect();
            Certificates::authorities("key", all).to_string()
        };
        assert!(shown(&[GOOD]).starts_with("key: 2200-01-01"), "{}", shown(&[GOOD]));
        assert!(!shown(&[GOOD]).contains("first"));
        let several = shown(&[GOOD, ENDED]);
        assert!(several.starts_with("key: 2020-01-01"), "{several}");
        assert!(several.ends_with(", the first of 2"), "{several}");
    }
}
