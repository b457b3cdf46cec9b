//! Panels of values over time as SVG, one below the other.

use std::collections::BTreeMap;
use std::fmt::Write;

use weir_engine::alert::format_time;

use super::{Lines, Mark, Point, Series};

const WIDTH: f64 = 960.0;
const PANEL: f64 = 240.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 30.0;
/// Lines of the scales.
const TICKS: usize = 5;
/// Of levels from low to high; told apart with any colour vision (Okabe and Ito 2008).
const COLOURS: [&str; 4] = ["#e69f00", "#d55e00", "#cc79a7", "#000000"];

/// The picture.
pub(super) fn svg(
    series: &BTreeMap<(String, String), Series>,
    levels: &BTreeMap<String, Vec<Lines>>,
    left_out: usize,
) -> String {
    let height = PANEL * series.len().max(1) as f64 + 24.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n<title>weir: values, levels and transitions</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let none = Vec::new();
    for (row, ((rule, key), series)) in series.iter().enumerate() {
        let lines = levels.get(rule).unwrap_or(&none);
        let _ = writeln!(out, "<g transform=\"translate(0 {})\">", row as f64 * PANEL);
        panel(&mut out, &format!("{rule} · {key}"), series, lines);
        out.push_str("</g>\n");
    }
    let foot = match (series.is_empty(), left_out) {
        (true, _) => "No rule tells its values: write `emit: windows` into a window rule.".to_owned(),
        (false, 0) => {
            "▲ level entered   ▼ level left   ◆ expected   ○ silent or heard again   times are UTC".to_owned()
        }
        (false, more) => format!("{more} values of further zones are left out"),
    };
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{}\" fill=\"#555\">{}</text>\n</svg>", height - 8.0, escape(&foot));
    out
}

struct Scale {
    from_ms: i64,
    to_ms: i64,
    top: f64,
}

impl Scale {
    fn x(&self, at_ms: i64) -> f64 {
        let share = (at_ms - self.from_ms) as f64 / (self.to_ms - self.from_ms).max(1) as f64;
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value / self.top).clamp(0.0, 1.0);
        PANEL - BOTTOM - share * (PANEL - TOP - BOTTOM)
    }
}

fn panel(out: &mut String, title: &str, series: &Series, lines: &[Lines]) {
    let points = &series.points;
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
    let highest = points.iter().map(|point| point.value + point.margin).chain(lines.iter().map(|line| line.enter));
    let scale = Scale { from_ms: first.at_ms, to_ms: last.at_ms, top: nice(highest.fold(0.0, f64::max) * 1.05) };
    let days = format!("{} to {}", &format_time(first.at_ms)[..10], &format_time(last.at_ms)[..10]);
    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"20\"><tspan font-weight=\"bold\">{}</tspan> <tspan fill=\"#555\">{days}</tspan></text>",
        escape(title)
    );
    axes(out, &scale);
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        level(out, &scale, line, colour);
    }
    values(out, &scale, points);
    for mark in &series.marks {
        let colour =
            lines.iter().position(|line| line.name == mark.level).map_or("#0072b2", |at| COLOURS[at % COLOURS.len()]);
        transition(out, &scale, points, mark, colour);
    }
}

/// The next number that fifths of are round.
fn nice(number: f64) -> f64 {
    if number <= 0.0 || !number.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(number.log10().floor());
    [1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= number)
        .unwrap_or(number)
}

fn axes(out: &mut String, scale: &Scale) {
    for tick in 0..=TICKS {
        let share = tick as f64 / TICKS as f64;
        let value = scale.top * share;
        let y = scale.y(value);
        let right = WIDTH - RIGHT;
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{}</text>",
            LEFT - 6.0,
            y + 4.0,
            short(value)
        );
        let at_ms = scale.from_ms + ((scale.to_ms - scale.from_ms) as f64 * share) as i64;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
            scale.x(at_ms),
            PANEL - BOTTOM + 16.0,
            &format_time(at_ms)[11..19]
        );
    }
}

fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn level(out: &mut String, scale: &Scale, line: &Lines, colour: &str) {
    let right = WIDTH - RIGHT;
    for (value, dash, label) in [
        (line.enter, "6 3", format!("{} {}", line.name, short(line.enter))),
        (line.exit, "2 4", format!("left below {}", short(line.exit))),
    ] {
        let y = scale.y(value);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" stroke-dasharray=\"{dash}\"/><text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\" font-size=\"10\">{}</text>",
            right + 6.0,
            y + 3.0,
            escape(&label)
        );
    }
}

fn values(out: &mut String, scale: &Scale, points: &[Point]) {
    if points.iter().any(|point| point.margin > 0.0) {
        let upper = points.iter().map(|point| (point.at_ms, point.value + point.margin));
        let lower = points.iter().rev().map(|point| (point.at_ms, point.value - point.margin));
        out.push_str("<polygon fill=\"#0072b2\" fill-opacity=\"0.18\" points=\"");
        for (at_ms, value) in upper.chain(lower) {
            let _ = write!(out, "{:.1},{:.1} ", scale.x(at_ms), scale.y(value));
        }
        out.push_str("\"/>\n");
    }
    out.push_str("<polyline fill=\"none\" stroke=\"#0072b2\" stroke-width=\"1.5\" points=\"");
    for point in points {
        let _ = write!(out, "{:.1},{:.1} ", scale.x(point.at_ms), scale.y(point.value));
    }
    out.push_str("\"/>\n");
}

fn transition(out: &mut String, scale: &Scale, points: &[Point], mark: &Mark, colour: &str) {
    let x = scale.x(mark.at_ms);
    let at = points.partition_point(|point| point.at_ms < mark.at_ms).min(points.len() - 1);
    let y = scale.y(points[at].value);
    let shape = match mark.change {
        "enter" => format!("<path d=\"M{x:.1} {:.1}l6 11h-12z\" fill=\"{colour}\"/>", y - 14.0),
        "exit" => format!("<path d=\"M{x:.1} {:.1}l6 -11h-12z\" fill=\"{colour}\"/>", y + 14.0),
        "expected" => format!("<path d=\"M{x:.1} {:.1}l5 6l-5 6l-5 -6z\" fill=\"{colour}\"/>", y - 14.0),
        _ => format!("<circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"none\" stroke=\"{colour}\"/>", y - 10.0),
    };
    let _ = writeln!(
        out,
        "<g><title>{} {} {}</title>{shape}</g>",
        &format_time(mark.at_ms)[11..19],
        escape(&mark.level),
        mark.change
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers() {
        assert_eq!([0.0, 0.83, 3.1, 21.0, 99.0].map(|number| short(nice(number))), ["1", "1", "4", "25", "100"]);
    }

    #[test]
    fn names_cannot_break_the_picture() {
        let mut series = Series::default();
        series.push(Point { at_ms: 0, value: 1.0, margin: 0.5 });
        series.push(Point { at_ms: 1_000, value: 2.0, margin: 0.0 });
        series.marks.push(Mark { at_ms: 1_000, change: "enter", level: "a<b".into() });
        let all = BTreeMap::from([(("r".to_owned(), "<script>&\"".to_owned()), series)]);
        let picture = svg(&all, &BTreeMap::new(), 0);
        assert!(
            picture.contains("&lt;script&gt;&amp;&quot;")
                && !picture.contains("<script>")
                && picture.contains("a&lt;b")
        );
    }
}
