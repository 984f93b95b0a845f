//! Plots as SVG: from numbers to text that a browser draws, in light and in dark.
//!
//! Each is self-contained, has a title and a description for those who cannot see it, and tells its
//! series apart by more than colour. Numbers that are not finite are left out. Does not know what it
//! draws.

use std::fmt::{self, Write as _};

/// A drawing. Only this module makes one, so it may stand in a page as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Svg(String);

/// A named series of numbers.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// What it is called in the legend.
    pub name: &'a str,
    /// The numbers.
    pub values: &'a [f64],
}

/// A bar with a name.
#[derive(Clone, Copy, Debug)]
pub struct Bar<'a> {
    /// What it is of.
    pub name: &'a str,
    /// How long it is; not negative.
    pub value: f64,
}

/// A curve of precision over recall.
#[derive(Clone, Copy, Debug)]
pub struct Curve<'a> {
    /// What it is called in the legend.
    pub name: &'a str,
    /// Recall and precision, each from 0 to 1, recall ascending.
    pub points: &'a [(f64, f64)],
}

/// Most bars that are drawn; the rest is counted in a line of its own.
pub const BARS_MAX: usize = 40;

/// Most series or curves that are told apart.
const SERIES_MAX: usize = 3;
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 48.0;
const BINS: usize = 40;
const BAR_HEIGHT: f64 = 18.0;
const NAME_WIDTH: f64 = 190.0;
const NAME_CHARS_MAX: usize = 28;

/// Okabe and Ito's colours, which most people tell apart; darker in light and lighter in dark.
const STYLE: &str = "\
.b{fill:#fff}.t{fill:#1b1f24;font:12px system-ui,sans-serif}.h{font-size:14px;font-weight:600}\
.a{stroke:#57606a;fill:none}.g{stroke:#d0d7de;fill:none}\
.s0{fill:#0072b2;stroke:#0072b2}.s1{fill:#d55e00;stroke:#d55e00}.s2{fill:#008a66;stroke:#008a66}\
.l{fill:none;stroke-width:2}.s1.l{stroke-dasharray:7 4}.s2.l{stroke-dasharray:2 3}\
.m{stroke:#8250df;stroke-dasharray:4 3;fill:none}\
@media (prefers-color-scheme:dark){.b{fill:#14181d}.t{fill:#e6edf3}.a{stroke:#9aa4af}\
.g{stroke:#30363d}.s0{fill:#56b4e9;stroke:#56b4e9}.s1{fill:#f0883e;stroke:#f0883e}\
.s2{fill:#2fc99d;stroke:#2fc99d}.l{fill:none}.m{stroke:#c297ff}}";

impl Svg {
    /// The drawing as a file.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Svg {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// How often each score occurs, as shares of each series on a logarithmic scale, with a mark at the
/// threshold.
pub fn score_histogram(title: &str, series: &[Series<'_>], threshold: f64) -> Svg {
    let series = &series[..series.len().min(SERIES_MAX)];
    let finite = |values: &[f64]| -> Vec<f64> {
        values.iter().copied().filter(|value| value.is_finite()).collect()
    };
    let all: Vec<Vec<f64>> = series.iter().map(|series| finite(series.values)).collect();
    let largest = all.iter().flatten().copied().fold(threshold.max(0.0) * 1.2, f64::max);
    let high = if largest > 0.0 { largest } else { 1.0 };
    let low = all.iter().flatten().copied().fold(0.0, f64::min);
    let shares: Vec<Vec<f64>> = all.iter().map(|values| histogram(values, low, high)).collect();
    let least = shares.iter().flatten().copied().filter(|share| *share > 0.0).fold(1.0, f64::min);
    // A decade below the least, so that it is seen.
    let floor = libm::floor(libm::log10(least)).clamp(-9.0, -1.0);
    let mut canvas = Canvas::new(title, HEIGHT, "How often each score occurs, by series.");
    let x = Axis { low, high, from: LEFT, to: WIDTH - RIGHT };
    let y = Axis { low: floor, high: 0.0, from: HEIGHT - BOTTOM, to: TOP };
    canvas.decades(&y);
    canvas.ticks_across(&x, HEIGHT - BOTTOM, "score");
    for (number, shares) in shares.iter().enumerate() {
        canvas.line(number, &steps(shares, &x, &y));
    }
    canvas.mark(x.place(threshold), "threshold");
    canvas.legend(&series.iter().map(|series| series.name).collect::<Vec<_>>());
    canvas.finish()
}

/// A bar for each name, the longest first, with marks at `marks`: PSI of each input, for one.
pub fn bars(title: &str, unit: &str, bars: &[Bar<'_>], marks: &[f64]) -> Svg {
    let mut sorted: Vec<&Bar<'_>> = bars.iter().filter(|bar| bar.value.is_finite()).collect();
    sorted.sort_by(|a, b| b.value.total_cmp(&a.value).then_with(|| a.name.cmp(b.name)));
    let shown = &sorted[..sorted.len().min(BARS_MAX)];
    let rest = sorted.len() - shown.len();
    let lines = shown.len() + usize::from(rest > 0);
    let height = TOP + BOTTOM + lines.max(1) as f64 * BAR_HEIGHT;
    let mut canvas = Canvas::new(title, height, "A bar for each name, the longest first.");
    let high = shown.iter().map(|bar| bar.value).chain(marks.iter().copied()).fold(0.0, f64::max);
    let high = if high > 0.0 { high * 1.05 } else { 1.0 };
    let x = Axis { low: 0.0, high, from: NAME_WIDTH, to: WIDTH - RIGHT - 56.0 };
    canvas.ticks_across(&x, height - BOTTOM, unit);
    for (number, bar) in shown.iter().enumerate() {
        canvas.bar(TOP + number as f64 * BAR_HEIGHT, bar, &x);
    }
    if rest > 0 {
        let y = TOP + shown.len() as f64 * BAR_HEIGHT + 13.0;
        canvas.text(NAME_WIDTH - 8.0, y, "end", &format!("and {rest} shorter"));
    }
    for mark in marks.iter().filter(|mark| mark.is_finite()) {
        canvas.mark(x.place(*mark), &number(*mark));
    }
    canvas.finish()
}

/// A share along a stream, with named moments, in their order.
pub fn timeline(title: &str, unit: &str, points: &[(f64, f64)], moments: &[(f64, &str)]) -> Svg {
    let points: Vec<&(f64, f64)> =
        points.iter().filter(|(x, share)| x.is_finite() && share.is_finite()).collect();
    let mut canvas = Canvas::new(title, HEIGHT, "A share along a stream, with named moments.");
    let most =
        |of: fn(&(f64, f64)) -> f64| points.iter().map(|point| of(point)).fold(0.0, f64::max);
    let (end, high) = (most(|point| point.0), most(|point| point.1));
    let high = if high > 0.0 { high * 1.05 } else { 1.0 };
    let x = Axis { low: 0.0, high: end, from: LEFT, to: WIDTH - RIGHT };
    let y = Axis { low: 0.0, high, from: HEIGHT - BOTTOM, to: TOP };
    for tick in y.ticks() {
        canvas.grid(y.place(tick), &format!("{} %", number(tick * 100.0)));
    }
    canvas.ticks_across(&x, HEIGHT - BOTTOM, unit);
    let line: Vec<(f64, f64)> =
        points.iter().map(|(along, share)| (x.place(*along), y.place(*share))).collect();
    canvas.line(0, &line);
    for (place, (moment, name)) in moments.iter().enumerate() {
        // Neighbours have names in two rows, or they would lie on each other.
        canvas.mark_at(x.place(*moment), name, if place % 2 == 0 { 4.0 } else { 18.0 });
    }
    canvas.finish()
}

/// Precision over recall, a curve a module.
pub fn precision_recall(title: &str, curves: &[Curve<'_>]) -> Svg {
    let curves = &curves[..curves.len().min(SERIES_MAX)];
    let mut canvas = Canvas::new(title, HEIGHT, "Precision over recall; further up is better.");
    let x = Axis { low: 0.0, high: 1.0, from: LEFT, to: WIDTH - RIGHT };
    let y = Axis { low: 0.0, high: 1.0, from: HEIGHT - BOTTOM, to: TOP };
    for step in 0..=4 {
        let value = f64::from(step) / 4.0;
        canvas.grid(y.place(value), &number(value));
    }
    canvas.ticks_across(&x, HEIGHT - BOTTOM, "recall");
    for (number, curve) in curves.iter().enumerate() {
        let points: Vec<(f64, f64)> = curve
            .points
            .iter()
            .filter(|(recall, precision)| recall.is_finite() && precision.is_finite())
            .map(|(recall, precision)| (x.place(*recall), y.place(*precision)))
            .collect();
        canvas.line(number, &points);
    }
    canvas.legend(&curves.iter().map(|curve| curve.name).collect::<Vec<_>>());
    canvas.finish()
}

/// Recall and precision at every threshold, recall ascending, at most `points_max` of them; rows of
/// equal score are taken together. Empty without an anomaly.
pub fn recall_and_precision(scores: &[f64], labels: &[bool], points_max: usize) -> Vec<(f64, f64)> {
    let positives = labels.iter().filter(|label| **label).count();
    if positives == 0 {
        return Vec::new();
    }
    let mut order: Vec<usize> = (0..scores.len().min(labels.len())).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let (mut points, mut hits) = (Vec::new(), 0);
    for (place, row) in order.iter().enumerate() {
        hits += usize::from(labels[*row]);
        let is_tie = order.get(place + 1).is_some_and(|next| scores[*next] == scores[*row]);
        if !is_tie {
            points.push((hits as f64 / positives as f64, hits as f64 / (place + 1) as f64));
        }
    }
    thin(points, points_max.max(2))
}

/// Population stability index between two distributions over the same bins, each of shares that sum
/// to about 1 (Siddiqi, "Credit Risk Scorecards"); nothing where the bins differ. A share of nothing
/// counts as half a row of the smaller sample, `rows`.
pub fn psi(expected: &[f64], found: &[f64], rows: u64) -> Option<f64> {
    if expected.len() != found.len() || expected.is_empty() {
        return None;
    }
    let least = 0.5 / rows.max(1) as f64;
    let terms = expected.iter().zip(found).map(|(expected, found)| {
        let (expected, found) = (expected.max(least), found.max(least));
        (found - expected) * libm::log(found / expected)
    });
    Some(terms.fold(0.0, |sum, term| sum + term)).filter(|psi| psi.is_finite())
}

/// Evenly chosen, first and last kept.
fn thin(points: Vec<(f64, f64)>, most: usize) -> Vec<(f64, f64)> {
    if points.len() <= most {
        return points;
    }
    let last = points.len() - 1;
    (0..most).map(|number| points[number * last / (most - 1)]).collect()
}

/// Shares in equal bins from `low` to `high`.
fn histogram(values: &[f64], low: f64, high: f64) -> Vec<f64> {
    let mut counts = vec![0_u64; BINS];
    let width = (high - low) / BINS as f64;
    for value in values {
        let bin = ((value - low) / width).clamp(0.0, (BINS - 1) as f64) as usize;
        counts[bin] += 1;
    }
    let rows = values.len().max(1) as f64;
    counts.iter().map(|count| *count as f64 / rows).collect()
}

/// The outline of a histogram on a logarithmic scale.
fn steps(shares: &[f64], x: &Axis, y: &Axis) -> Vec<(f64, f64)> {
    let width = (x.high - x.low) / BINS as f64;
    let mut points = Vec::with_capacity(shares.len() * 2);
    for (bin, share) in shares.iter().enumerate() {
        let height = if *share > 0.0 { libm::log10(*share) } else { y.low };
        for edge in [bin, bin + 1] {
            points.push((x.place(x.low + edge as f64 * width), y.place(height)));
        }
    }
    points
}

/// From a number to a place on the canvas.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        let span = self.high - self.low;
        let share = if span > 0.0 { ((value - self.low) / span).clamp(0.0, 1.0) } else { 0.0 };
        self.from + share * (self.to - self.from)
    }

    /// Round numbers along it: 1, 2 or 5 times a power of ten apart, about five of them.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 5.0;
        if !(rough.is_finite() && rough > 0.0) {
            return Vec::new();
        }
        let decade = libm::pow(10.0, libm::floor(libm::log10(rough)));
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade);
        let step = step.into_iter().find(|step| *step >= rough).unwrap_or(10.0 * decade);
        let first = libm::ceil(self.low / step);
        (0..12)
            .map(|number| (first + f64::from(number)) * step)
            .take_while(|tick| *tick <= self.high + step * 1e-9)
            .collect()
    }
}

/// What is drawn so far.
struct Canvas {
    svg: String,
    height: f64,
}

impl Canvas {
    fn new(title: &str, height: f64, description: &str) -> Self {
        let title = escape(title);
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" role=\"img\"><title>{title}</title>\
             <desc>{}</desc><style>{STYLE}</style>\
             <rect class=\"b\" width=\"{WIDTH}\" height=\"{height}\"/>\
             <text class=\"t h\" x=\"16\" y=\"22\">{title}</text>",
            escape(description)
        );
        Self { svg, height }
    }

    fn put(&mut self, arguments: fmt::Arguments<'_>) {
        self.svg.write_fmt(arguments).expect("a string takes all");
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = escape(text);
        self.put(format_args!(
            "<text class=\"t\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    /// A level with its name, across the plot.
    fn grid(&mut self, y: f64, name: &str) {
        let right = WIDTH - RIGHT;
        self.put(format_args!("<path class=\"g\" d=\"M{LEFT} {y:.1}H{right}\"/>"));
        self.text(LEFT - 6.0, y + 4.0, "end", name);
    }

    /// Shares from 1 down to the lowest, a power of ten each.
    fn decades(&mut self, y: &Axis) {
        let lowest = -y.low as i32;
        for decade in 0..=lowest {
            let percent = libm::pow(10.0, 2.0 - f64::from(decade));
            self.grid(y.place(f64::from(-decade)), &format!("{} %", number(percent)));
        }
    }

    fn ticks_across(&mut self, x: &Axis, y: f64, unit: &str) {
        self.put(format_args!("<path class=\"a\" d=\"M{:.1} {y:.1}H{:.1}\"/>", x.from, x.to));
        for tick in x.ticks() {
            let at = x.place(tick);
            self.put(format_args!("<path class=\"a\" d=\"M{at:.1} {y:.1}v5\"/>"));
            self.text(at, y + 18.0, "middle", &number(tick));
        }
        self.text(f64::midpoint(x.from, x.to), y + 36.0, "middle", unit);
    }

    fn line(&mut self, series: usize, points: &[(f64, f64)]) {
        if points.is_empty() {
            return;
        }
        self.put(format_args!("<path class=\"s{series} l\" d=\""));
        for (place, (x, y)) in points.iter().enumerate() {
            let command = if place == 0 { 'M' } else { 'L' };
            self.put(format_args!("{command}{x:.1} {y:.1}"));
        }
        self.svg.push_str("\"/>");
        if let [(x, y)] = points {
            self.put(format_args!(
                "<circle class=\"s{series}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"
            ));
        }
    }

    fn bar(&mut self, top: f64, bar: &Bar<'_>, x: &Axis) {
        let name: String = if bar.name.chars().count() > NAME_CHARS_MAX {
            bar.name.chars().take(NAME_CHARS_MAX - 2).chain("..".chars()).collect()
        } else {
            bar.name.to_owned()
        };
        self.text(NAME_WIDTH - 8.0, top + 13.0, "end", &name);
        let width = x.place(bar.value) - x.from;
        let height = BAR_HEIGHT - 6.0;
        self.put(format_args!(
            "<rect class=\"s0\" x=\"{NAME_WIDTH}\" y=\"{:.1}\" width=\"{width:.1}\" \
             height=\"{height}\"/>",
            top + 3.0
        ));
        self.text(NAME_WIDTH + width + 6.0, top + 13.0, "start", &number(bar.value));
    }

    /// A line from top to bottom with a name above it.
    fn mark(&mut self, x: f64, name: &str) {
        self.mark_at(x, name, 4.0);
    }

    /// The same, with the name so far above the line.
    fn mark_at(&mut self, x: f64, name: &str, above: f64) {
        let bottom = self.height - BOTTOM;
        self.put(format_args!("<path class=\"m\" d=\"M{x:.1} {TOP}V{bottom:.1}\"/>"));
        self.text(x, TOP - above, "middle", name);
    }

    fn legend(&mut self, names: &[&str]) {
        let mut x = LEFT;
        for (series, name) in names.iter().enumerate() {
            let y = 36.0;
            self.put(format_args!("<path class=\"s{series} l\" d=\"M{x:.1} {y}h24\"/>"));
            self.text(x + 30.0, y + 4.0, "start", name);
            x += 54.0 + name.chars().count() as f64 * 7.0;
        }
    }

    fn finish(mut self) -> Svg {
        self.svg.push_str("</svg>");
        Svg(self.svg)
    }
}

/// A number with as many places as people need.
fn number(value: f64) -> String {
    let magnitude = value.abs();
    let text = match magnitude {
        _ if magnitude == 0.0 => return "0".to_owned(),
        _ if magnitude >= 100.0 => format!("{value:.0}"),
        _ if magnitude >= 0.1 => format!("{value:.2}"),
        _ if magnitude >= 0.001 => format!("{value:.4}"),
        _ => return format!("{value:.0e}"),
    };
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A text that HTML and XML take for nothing but text; control characters are blanks.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number in a drawing is one, and every tag is closed.
    fn check(svg: &Svg) {
        let text = svg.as_str();
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>"), "{text}");
        for wrong in ["NaN", "inf", "<script"] {
            assert!(!text.contains(wrong), "{wrong} in {text}");
        }
        let opened = text.matches('<').count();
        let (closing, alone) = (text.matches("</").count(), text.matches("/>").count());
        assert_eq!(opened, 2 * closing + alone, "{text}");
    }

    #[test]
    fn a_timeline_marks_its_moments() {
        let points = [(0.0, 0.01), (1000.0, 0.04), (2000.0, f64::NAN), (3000.0, 0.01)];
        let svg = timeline("alarms", "events", &points, &[(900.0, "drift"), (1000.0, "<seen>")]);
        check(&svg);
        assert!(svg.as_str().contains(">drift<") && svg.as_str().contains("&lt;seen&gt;"));
        check(&timeline("nothing", "events", &[], &[]));
    }

    #[test]
    fn a_histogram_survives_any_numbers() {
        let cases: [&[f64]; 6] = [
            &[],
            &[0.0],
            &[0.1, 0.2, 0.9, 1.4],
            &[f64::NAN, f64::INFINITY, -1.0],
            &[1e300, 0.0],
            &[5.0; 100],
        ];
        for values in cases {
            let series = [Series { name: "a", values }, Series { name: "b", values: &[0.5, 1.2] }];
            check(&score_histogram("scores", &series, 1.0));
        }
        check(&score_histogram("nothing", &[], 1.0));
    }

    #[test]
    fn shares_lie_where_they_belong() {
        let shares = histogram(&[0.0, 0.5, 0.5, 1.0], 0.0, 1.0);
        assert_eq!((shares[0], shares[20], shares[39]), (0.25, 0.5, 0.25));
        let axis = Axis { low: 0.0, high: 2.4, from: 0.0, to: 240.0 };
        assert_eq!(axis.ticks(), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(axis.place(1.2), 120.0);
    }

    #[test]
    fn bars_are_sorted_named_and_bounded() {
        let names: Vec<String> = (0..60).map(|n| format!("<field> {n}")).collect();
        let many: Vec<Bar<'_>> = names
            .iter()
            .enumerate()
            .map(|(n, name)| Bar { name, value: n as f64 / 100.0 })
            .collect();
        let svg = bars("PSI", "PSI", &many, &[0.1, 0.25]);
        check(&svg);
        let text = svg.as_str();
        assert!(text.contains("&lt;field&gt; 59") && text.contains("and 20 shorter"), "{text}");
        assert!(!text.contains("&gt; 19<"));
        let place = |name: &str| text.find(name).unwrap();
        assert!(place("&gt; 59<") < place("&gt; 58<"));
        check(&bars("none", "PSI", &[Bar { name: "a", value: f64::NAN }], &[]));
    }

    #[test]
    fn a_curve_equals_that_counted_by_hand() {
        let scores = [0.9, 0.8, 0.8, 0.1];
        let labels = [true, false, true, false];
        let points = recall_and_precision(&scores, &labels, 100);
        assert_eq!(points, [(0.5, 1.0), (1.0, 2.0 / 3.0), (1.0, 0.5)]);
        assert!(recall_and_precision(&scores, &[false; 4], 100).is_empty());
        let many: Vec<f64> = (0..5000).map(f64::from).collect();
        let labels: Vec<bool> = (0..5000).map(|row| row % 7 == 0).collect();
        let thinned = recall_and_precision(&many, &labels, 50);
        assert_eq!(thinned.len(), 50);
        assert_eq!(thinned[49].0, 1.0);
        let curves = [Curve { name: "a & b", points: &thinned }, Curve { name: "c", points: &[] }];
        check(&precision_recall("curve", &curves));
    }

    #[test]
    fn psi_equals_that_counted_by_hand() {
        assert_eq!(psi(&[0.5, 0.5], &[0.5, 0.5], 100), Some(0.0));
        // (0.8 - 0.5) ln(0.8 / 0.5) + (0.2 - 0.5) ln(0.2 / 0.5)
        let found = psi(&[0.5, 0.5], &[0.8, 0.2], 100).unwrap();
        assert!((found - 0.415_888_308).abs() < 1e-8, "{found}");
        assert!(psi(&[1.0, 0.0], &[0.0, 1.0], 100).unwrap() > 5.0);
        assert_eq!(psi(&[1.0], &[0.5, 0.5], 100), None);
    }

    #[test]
    fn no_text_becomes_markup() {
        let name = "</text><script>alert('1')</script>\u{0}";
        check(&bars(name, name, &[Bar { name, value: 1.0 }], &[]));
        check(&score_histogram(name, &[Series { name, values: &[0.1] }], 1.0));
    }
}
