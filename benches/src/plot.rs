//! Makes a picture from points: one SVG with lines for each plot.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::Failure;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 45.0;
const TOP: f64 = 30.0;
const RIGHT: f64 = 30.0;
const COLOURS: [&str; 4] = ["#0b6e99", "#c2410c", "#3f7d20", "#6b21a8"];

/// Each plot, the label of its x axis, and whether that axis is logarithmic.
const AXES: [(&str, &str, bool); 9] = [
    ("callers", "callers in a closed loop", true),
    ("cpu", "callers in a closed loop", true),
    ("rate", "creates per second, at a fixed rate", false),
    ("rate-cpu", "creates per second, at a fixed rate", false),
    ("ready", "settles stored", false),
    ("stored", "settles stored", false),
    ("stored-cpu", "settles stored", false),
    ("stored-memory", "settles stored", false),
    ("watches", "watches open", false),
];

type Series<'a> = BTreeMap<&'a str, Vec<(f64, f64)>>;

/// Reads lines of `plot,series,x,y`, where a series may contain commas, and writes a `PLOT.svg` for
/// each plot.
pub fn run(points: &Path, directory: &Path) -> Result<(), Failure> {
    let text = fs::read_to_string(points)?;
    let mut plots: BTreeMap<&str, Series<'_>> = BTreeMap::new();
    for line in text.lines() {
        let (plot, rest) = line.split_once(',').ok_or("a line without a plot")?;
        let (rest, y) = rest.rsplit_once(',').ok_or("a line without y")?;
        let (series, x) = rest.rsplit_once(',').ok_or("a line without x")?;
        let point = (x.parse()?, y.parse()?);
        plots.entry(plot).or_default().entry(series).or_default().push(point);
    }
    fs::create_dir_all(directory)?;
    for (plot, series) in plots {
        let axis = AXES.iter().find(|(name, ..)| *name == plot);
        let (_, label, by_factors) = *axis.ok_or_else(|| format!("{plot} has no axis"))?;
        fs::write(directory.join(format!("{plot}.svg")), svg(&series, label, by_factors))?;
    }
    Ok(())
}

/// Maps the values of an axis to 0 to 1.
struct Scale {
    max: f64,
    by_factors: bool,
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        // The axis begins at 1, so that a single caller is at the left.
        if self.by_factors { value.max(1.0).ln() / self.max.ln() } else { value / self.max }
    }

    fn ticks(&self) -> Vec<f64> {
        if self.by_factors {
            std::iter::successors(Some(1.0), |tick| Some(tick * 4.0))
                .take_while(|tick| *tick <= self.max)
                .collect()
        } else {
            (0..=5).map(|tick| self.max * f64::from(tick) / 5.0).collect()
        }
    }
}

/// The next round value: 1, 2 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    steps.map(|step| step * power).into_iter().find(|step| *step >= value).unwrap_or(value)
}

fn shown(value: f64) -> String {
    if value >= 1e6 {
        format!("{}M", (value / 1e5).round() / 10.0)
    } else if value >= 1e4 {
        format!("{}k", (value / 1e2).round() / 10.0)
    } else {
        format!("{}", (value * 100.0).round() / 100.0)
    }
}

fn svg(series: &Series<'_>, label: &str, by_factors: bool) -> String {
    let all = || series.values().flatten();
    let largest = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(0.0, f64::max);
    let x_max = largest(|point| point.0);
    let x_scale = Scale { max: if by_factors { x_max } else { round_up(x_max) }, by_factors };
    let y_scale = Scale { max: round_up(largest(|point| point.1)), by_factors: false };
    let x_of = |x: f64| LEFT + x_scale.at(x) * (WIDTH - LEFT - RIGHT);
    let y_of = |y: f64| HEIGHT - BOTTOM - y_scale.at(y) * (HEIGHT - BOTTOM - TOP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    let mut put = |line: String| {
        out += &line;
        out.push('\n');
    };
    for tick in y_scale.ticks() {
        let (y, text) = (y_of(tick), shown(tick));
        let right = WIDTH - RIGHT;
        put(format!("<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>"));
        put(format!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            LEFT - 6.0,
            y + 4.0
        ));
    }
    for tick in x_scale.ticks() {
        let (x, y, text) = (x_of(tick), HEIGHT - BOTTOM + 16.0, shown(tick));
        put(format!("<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{text}</text>"));
    }
    let (middle, low) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0);
    put(format!("<text x=\"{middle}\" y=\"{low}\" text-anchor=\"middle\">{label}</text>"));
    let mut left = LEFT;
    for ((name, points), colour) in series.iter().zip(COLOURS) {
        let path: Vec<String> =
            points.iter().map(|(x, y)| format!("{:.1} {:.1}", x_of(*x), y_of(*y))).collect();
        let path = path.join("L");
        put(format!("<path d=\"M{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"));
        for (x, y) in points {
            let (x, y) = (x_of(*x), y_of(*y));
            put(format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"));
        }
        put(format!("<text x=\"{left}\" y=\"18\" fill=\"{colour}\">{name}</text>"));
        left += 12.0 + 7.0 * name.chars().count() as f64;
    }
    out + "</svg>\n"
}
