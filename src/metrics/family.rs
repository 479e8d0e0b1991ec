//! The three kinds of metrics: counters, gauges and histograms with fixed buckets. A count is a
//! lookup among the series of one metric and an addition, and it allocates nothing. Between two
//! looks nothing grows.
//!
//! Written by hand: the exporter of the crate `metrics` keeps every measured value until it is
//! asked, and takes any name from any place; `prometheus-client` locks each histogram.
//!
//! What it must not know: which metrics there are.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

/// Series of one metric. Labels have values from the configuration and from tables, so there are
/// fewer; what is beyond counts under [`OTHER`].
const SERIES_MAX: usize = 10_000;
/// The value of a label that is none of those which the code or the configuration names.
pub(crate) const OTHER: &str = "other";

/// What a metric is.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) labels: &'static [&'static str],
    /// Sentences.
    pub(crate) meaning: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    Number,
    Bytes,
    /// Kept as microseconds.
    Seconds,
}

/// Any metric.
pub(crate) trait Metric: Sync {
    fn row(&self) -> &Row;

    /// Its type in the text format.
    fn kind(&self) -> &'static str;

    /// Adds the lines of its series.
    fn write(&self, text: &mut String);
}

/// Grows.
pub(crate) struct Counter<const N: usize>(Family<N, AtomicU64>);

/// Goes up and down.
pub(crate) struct Gauge<const N: usize>(Family<N, AtomicU64>);

/// How many values were at most as large as each bound.
pub(crate) struct Histogram<const N: usize> {
    family: Family<N, Buckets>,
    /// In the kept unit, ascending.
    bounds: &'static [u64],
}

struct Buckets {
    /// One for each bound, and one for what is larger.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// The series of one metric, in the order of their labels' values.
struct Family<const N: usize, C> {
    row: Row,
    series: RwLock<Vec<Series<N, C>>>,
}

struct Series<const N: usize, C> {
    values: [Box<str>; N],
    cell: C,
}

impl<const N: usize> Counter<N> {
    pub(super) const fn new(row: Row) -> Self {
        Self(Family::new(row))
    }

    pub(crate) fn count(&self, values: [&str; N]) {
        self.add(values, 1);
    }

    pub(crate) fn add(&self, values: [&str; N], more: u64) {
        self.0.with(values, AtomicU64::default, |count| count.fetch_add(more, Ordering::Relaxed));
    }

    /// Makes the series, so that a look before its first event finds a 0.
    pub(crate) fn begin(&self, values: [&str; N]) {
        self.add(values, 0);
    }

    /// For what something else counts: the value so far, in the kept unit.
    pub(crate) fn reach(&self, values: [&str; N], so_far: u64) {
        self.0.with(values, AtomicU64::default, |count| count.store(so_far, Ordering::Relaxed));
    }

    #[cfg(test)]
    pub(crate) fn so_far(&self, values: [&str; N]) -> u64 {
        self.0.with(values, AtomicU64::default, |count| count.load(Ordering::Relaxed))
    }
}

impl<const N: usize> Gauge<N> {
    pub(super) const fn new(row: Row) -> Self {
        Self(Family::new(row))
    }

    pub(crate) fn set(&self, values: [&str; N], value: u64) {
        self.0.with(values, AtomicU64::default, |gauge| gauge.store(value, Ordering::Relaxed));
    }

    pub(crate) fn set_len(&self, values: [&str; N], length: usize) {
        self.set(values, u64::try_from(length).unwrap_or(u64::MAX));
    }

    pub(crate) fn set_time(&self, values: [&str; N], time: Duration) {
        self.set(values, micros(time));
    }

    /// Sets it, unless it has a value already.
    pub(crate) fn set_time_if_zero(&self, values: [&str; N], time: Duration) {
        self.0.with(values, AtomicU64::default, |gauge| {
            let order = Ordering::Relaxed;
            let _ = gauge.compare_exchange(0, micros(time), order, order);
        });
    }

    pub(crate) fn raise(&self, values: [&str; N]) {
        self.0.with(values, AtomicU64::default, |gauge| gauge.fetch_add(1, Ordering::Relaxed));
    }

    pub(crate) fn lower(&self, values: [&str; N]) {
        self.0.with(values, AtomicU64::default, |gauge| gauge.fetch_sub(1, Ordering::Relaxed));
    }
}

impl<const N: usize> Histogram<N> {
    pub(super) const fn new(row: Row, bounds: &'static [u64]) -> Self {
        Self { family: Family::new(row), bounds }
    }

    pub(crate) fn add(&self, values: [&str; N], value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.family.with(values, || self.empty(), |buckets| buckets.add(at, value));
    }

    pub(crate) fn add_time(&self, values: [&str; N], time: Duration) {
        self.add(values, micros(time));
    }

    /// Makes the series, so that a look before its first event finds a 0.
    pub(crate) fn begin(&self, values: [&str; N]) {
        self.family.with(values, || self.empty(), |_| ());
    }

    fn empty(&self) -> Buckets {
        let counts = (0..=self.bounds.len()).map(|_| AtomicU64::default()).collect();
        Buckets { counts, sum: AtomicU64::default() }
    }
}

impl Buckets {
    fn add(&self, at: usize, value: u64) {
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl<const N: usize, C> Family<N, C> {
    const fn new(row: Row) -> Self {
        Self { row, series: RwLock::new(Vec::new()) }
    }

    /// Makes the series if it is new.
    fn with<T>(&self, values: [&str; N], make: impl FnOnce() -> C, run: impl FnOnce(&C) -> T) -> T {
        // No code can panic while holding this lock.
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = find(&series, &values).ok().and_then(|at| series.get(at)) {
            return run(&known.cell);
        }
        drop(series);
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let values = if series.len() < SERIES_MAX { values } else { [OTHER; N] };
        let at = find(&series, &values).unwrap_or_else(|at| {
            series.insert(at, Series { values: values.map(Box::from), cell: make() });
            at
        });
        run(&series.get(at).expect("it was found or put there").cell)
    }

    fn each(&self, mut write: impl FnMut(&[Box<str>; N], &C)) {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        series.iter().for_each(|series| write(&series.values, &series.cell));
    }

    /// One line. `le`: the bound of a bucket.
    fn line(&self, text: &mut String, name_end: &str, values: &[Box<str>; N], le: Option<&str>) {
        let _ = write!(text, "{}{name_end}", self.row.name);
        let named = self.row.labels.iter().copied().zip(values.iter().map(|value| &**value));
        let mut sign = '{';
        for (label, value) in named.chain(le.map(|bound| ("le", bound))) {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(text, "{sign}{label}=\"{value}\"");
            sign = ',';
        }
        text.push_str(if sign == ',' { "} " } else { " " });
    }
}

/// Where the series is, or where it belongs.
fn find<const N: usize, C>(series: &[Series<N, C>], values: &[&str; N]) -> Result<usize, usize> {
    series.binary_search_by(|known| known.values.iter().map(|value| &**value).cmp(*values))
}

impl Unit {
    pub(super) fn word(self) -> &'static str {
        match self {
            Unit::Number => "–",
            Unit::Bytes => "bytes",
            Unit::Seconds => "s",
        }
    }

    /// A kept value, as it is shown.
    fn shown(self, value: u64) -> String {
        match self {
            Unit::Number | Unit::Bytes => value.to_string(),
            Unit::Seconds => {
                let shown = format!("{}.{:06}", value / 1_000_000, value % 1_000_000);
                shown.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
        }
    }
}

impl<const N: usize> Family<N, AtomicU64> {
    fn write(&self, text: &mut String) {
        self.each(|values, cell| {
            self.line(text, "", values, None);
            text.push_str(&self.row.unit.shown(cell.load(Ordering::Relaxed)));
            text.push('\n');
        });
    }
}

impl<const N: usize> Metric for Counter<N> {
    fn row(&self) -> &Row {
        &self.0.row
    }

    fn kind(&self) -> &'static str {
        "counter"
    }

    fn write(&self, text: &mut String) {
        self.0.write(text);
    }
}

impl<const N: usize> Metric for Gauge<N> {
    fn row(&self) -> &Row {
        &self.0.row
    }

    fn kind(&self) -> &'static str {
        "gauge"
    }

    fn write(&self, text: &mut String) {
        self.0.write(text);
    }
}

impl<const N: usize> Metric for Histogram<N> {
    fn row(&self) -> &Row {
        &self.family.row
    }

    fn kind(&self) -> &'static str {
        "histogram"
    }

    fn write(&self, text: &mut String) {
        let Self { family, bounds } = self;
        let unit = family.row.unit;
        family.each(|values, buckets| {
            let mut so_far = 0;
            let shown = bounds.iter().map(|bound| unit.shown(*bound));
            for (le, count) in shown.chain(["+Inf".to_owned()]).zip(&buckets.counts) {
                so_far += count.load(Ordering::Relaxed);
                family.line(text, "_bucket", values, Some(&le));
                let _ = writeln!(text, "{so_far}");
            }
            family.line(text, "_sum", values, None);
            let _ = writeln!(text, "{}", unit.shown(buckets.sum.load(Ordering::Relaxed)));
            family.line(text, "_count", values, None);
            let _ = writeln!(text, "{so_far}");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn row(unit: Unit, labels: &'static [&'static str]) -> Row {
        Row { name: "x", unit, labels, meaning: "For a test." }
    }

    fn written(metric: &dyn Metric) -> String {
        let mut text = String::new();
        metric.write(&mut text);
        text
    }

    #[test]
    fn series_are_shown_in_the_order_of_their_labels_and_escaped() {
        let counter = Counter::<2>::new(row(Unit::Number, &["a", "b"]));
        counter.begin(["b", "1"]);
        counter.add(["a", "2"], 3);
        counter.count(["a", "2"]);
        counter.count(["a", "\"\\\n"]);
        let lines = "x{a=\"a\",b=\"\\\"\\\\\\n\"} 1\nx{a=\"a\",b=\"2\"} 4\nx{a=\"b\",b=\"1\"} 0\n";
        assert_eq!(written(&counter), lines);
    }

    #[test]
    fn seconds_are_shown_exactly() {
        let gauge = Gauge::<0>::new(row(Unit::Seconds, &[]));
        for (time, shown) in [
            (Duration::ZERO, "0"),
            (Duration::from_millis(1_250), "1.25"),
            (Duration::from_micros(1), "0.000001"),
            (Duration::from_secs(1_700_000_000), "1700000000"),
        ] {
            gauge.set_time([], time);
            assert_eq!(written(&gauge), format!("x {shown}\n"));
        }
    }

    #[test]
    fn a_value_is_in_the_bucket_of_the_first_bound_that_is_not_smaller() {
        let times = Histogram::<1>::new(row(Unit::Seconds, &["a"]), &[1_000, 5_000]);
        for ms in [1, 2, 5, 6, 7] {
            times.add_time(["v"], Duration::from_millis(ms));
        }
        let lines = "x_bucket{a=\"v\",le=\"0.001\"} 1\nx_bucket{a=\"v\",le=\"0.005\"} 3\n\
                     x_bucket{a=\"v\",le=\"+Inf\"} 5\nx_sum{a=\"v\"} 0.021\nx_count{a=\"v\"} 5\n";
        assert_eq!(written(&times), lines);
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let counter = Counter::<1>::new(row(Unit::Number, &["a"]));
        let values = (0..SERIES_MAX + 7).map(|value| value.to_string());
        values.for_each(|value| counter.count([&value]));
        assert_eq!(written(&counter).lines().count(), SERIES_MAX + 1);
        assert_eq!(counter.so_far([OTHER]), 7);
    }
}
