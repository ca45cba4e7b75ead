//! Two plots as inline SVG: quality against time, and quality by part of the dataset.

use std::fmt::Write as _;

use super::document::escaped;

/// One thing drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mark {
    /// What it is.
    pub label: String,
    /// Seconds a question (only in [`Plot::Scatter`]).
    pub x: f64,
    /// The metric's mean, 0 to 1.
    pub y: f64,
    /// Its interval's ends.
    pub low: f64,
    /// See `low`.
    pub high: f64,
}

/// A plot.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plot {
    /// Quality over seconds a question, the latter by powers of ten.
    Scatter {
        /// What is drawn.
        title: String,
        /// The runs.
        marks: Vec<Mark>,
    },
    /// A bar for each part.
    Bars {
        /// What is drawn.
        title: String,
        /// The parts.
        marks: Vec<Mark>,
    },
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 60.0;
const COLOURS: [&str; 8] = [
    "#1f6fb4", "#d1600a", "#2b8a3e", "#b3263a", "#7b4fa3", "#8a5a44", "#c2458f", "#5f6a72",
];

impl Plot {
    /// The plot as an SVG element.
    pub(super) fn svg(&self) -> String {
        match self {
            Plot::Scatter { title, marks } => scatter(title, marks),
            Plot::Bars { title, marks } => bars(title, marks),
        }
    }
}

fn open(title: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         font-family=\"system-ui,sans-serif\" font-size=\"12\"><title>{0}</title><text x=\"{LEFT}\" y=\"18\" \
         font-weight=\"600\">{0}</text>",
        escaped(title)
    )
}

fn scatter(title: &str, marks: &[Mark]) -> String {
    let (top, bottom, right) = (34.0, 330.0, WIDTH - 20.0);
    let legend = 18.0 * marks.len() as f64;
    let mut svg = open(title, bottom + 52.0 + legend);
    // Shortest time that is drawn: below it nobody waits.
    let seconds = |mark: &Mark| mark.x.max(1e-4).log10();
    let first = marks
        .iter()
        .map(seconds)
        .fold(f64::INFINITY, f64::min)
        .floor();
    let last = marks.iter().map(seconds).fold(f64::NEG_INFINITY, f64::max);
    let (first, last) = if first.is_finite() {
        (first, last.ceil().max(first + 1.0))
    } else {
        (0.0, 1.0)
    };
    let x = |log: f64| LEFT + (log - first) / (last - first) * (right - LEFT);
    let y = |value: f64| bottom - value.clamp(0.0, 1.0) * (bottom - top);
    for step in 0..=5 {
        let value = f64::from(step) / 5.0;
        let at = y(value);
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value:.1}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    let mut power = first;
    while power <= last {
        let at = x(power);
        let _ = write!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{bottom}\" stroke=\"#eee\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>",
            bottom + 16.0,
            10f64.powf(power)
        );
        power += 1.0;
    }
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">seconds a question</text>",
        right,
        bottom + 32.0
    );
    for (number, mark) in marks.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let at = x(seconds(mark));
        let line = bottom + 50.0 + 18.0 * number as f64;
        let _ = write!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <circle cx=\"{at:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"{colour}\"/>\
             <circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{} ({:.3}, {:.3} s)</text>",
            y(mark.low),
            y(mark.high),
            y(mark.y),
            LEFT + 6.0,
            line - 4.0,
            LEFT + 18.0,
            line,
            escaped(&mark.label),
            mark.y,
            mark.x
        );
    }
    svg.push_str("</svg>");
    svg
}

fn bars(title: &str, marks: &[Mark]) -> String {
    let name_width = 240.0;
    let mut svg = open(title, 36.0 + 24.0 * marks.len() as f64);
    let x = |value: f64| name_width + value.clamp(0.0, 1.0) * (WIDTH - name_width - 60.0);
    for (number, mark) in marks.iter().enumerate() {
        let top = 30.0 + 24.0 * number as f64;
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{name_width}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"16\" fill=\"{}\" opacity=\"0.75\"/>\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{2:.1}\" y2=\"{2:.1}\" stroke=\"#222\"/>\
             <text x=\"{:.1}\" y=\"{1:.1}\">{:.3}</text>",
            name_width - 8.0,
            top + 12.0,
            escaped(&mark.label),
            x(mark.y) - name_width,
            COLOURS[0],
            x(mark.low),
            x(mark.high),
            x(mark.high) + 6.0,
            mark.y,
        );
    }
    svg.push_str("</svg>");
    svg
}
