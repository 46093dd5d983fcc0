//! Draws plots as SVG within a page. Colours come from the page's style.

use super::figure::signed;
use super::html::text;
use crate::experiments::metric::Metric;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
/// Room for the numbers to the left, and for names of classes.
const LEFT: f64 = 110.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 15.0;
const BOTTOM: f64 = 30.0;
/// Lines of a course besides that of 0.
const GRID_LINES: u32 = 4;
/// Height of a bar, and of the room that it has.
const BAR: f64 = 16.0;
const BAR_ROOM: f64 = 26.0;
/// Characters of a class beside its bar.
const NAME_CHARS_MAX: usize = 16;

/// A picture. Texts are plain.
pub(in crate::experiments) enum Plot {
    /// An interval over time.
    Course { title: String, description: String, points: Vec<Point>, metric: Metric },
    /// Wins to the right, losses to the left.
    Bars { title: String, description: String, bars: Vec<Bar> },
}

pub(in crate::experiments) struct Point {
    pub at: String,
    pub middle: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

pub(in crate::experiments) struct Bar {
    pub name: String,
    pub wins: u64,
    pub losses: u64,
}

/// The picture, with a title and a description for those who don't see it.
pub(super) fn svg(plot: &Plot) -> String {
    let (title, description, height, drawn) = match plot {
        Plot::Course { title, description, points, metric } => (title, description, HEIGHT, course(points, *metric)),
        Plot::Bars { title, description, bars } => (title, description, TOP + BOTTOM + BAR_ROOM * bars.len() as f64, self::bars(bars)),
    };
    format!(
        "<svg role=\"img\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" width=\"{WIDTH:.0}\" height=\"{height:.0}\">\n\
         <title>{0}</title>\n<desc>{1}</desc>\n{drawn}</svg>\n<figcaption>{0}</figcaption>\n",
        text(title),
        text(description)
    )
}

fn course(points: &[Point], metric: Metric) -> String {
    // What lies outside of all intervals is early noise, which would press them flat.
    let bounded = points.iter().any(|point| point.low.is_some());
    let figures = points.iter().flat_map(|point| if bounded { [point.low, point.high] } else { [point.middle; 2] }).flatten();
    // 0 is always in the picture.
    let (least, most) = figures.fold((0.0_f64, 0.0_f64), |(least, most), figure| (least.min(figure), most.max(figure)));
    let range = if most > least { most - least } else { 1.0 };
    let (floor, range) = (least - range * 0.05, range * 1.1);
    let x = |place: usize| LEFT + (WIDTH - LEFT - RIGHT) * place as f64 / (points.len().max(2) - 1) as f64;
    let y = |figure: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (figure - floor) / range;
    let mut out = String::new();
    let right = WIDTH - RIGHT;
    for line in 0..=GRID_LINES {
        let figure = floor + range * f64::from(line) / f64::from(GRID_LINES);
        let (at, label) = (y(figure), signed(metric, figure));
        out += &format!("<line class=\"axis\" x1=\"{LEFT:.1}\" y1=\"{at:.1}\" x2=\"{right:.1}\" y2=\"{at:.1}\"/>\n");
        out += &format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n", LEFT - 6.0, at + 4.0);
    }
    let zero = y(0.0);
    out += &format!("<line class=\"zero\" x1=\"{LEFT:.1}\" y1=\"{zero:.1}\" x2=\"{right:.1}\" y2=\"{zero:.1}\"/>\n");
    let bounded: Vec<(f64, f64, f64)> =
        points.iter().enumerate().filter_map(|(place, point)| Some((x(place), y(point.low?), y(point.high?)))).collect();
    if let [(at, low, high)] = bounded[..] {
        out += &format!("<line class=\"end\" x1=\"{at:.1}\" y1=\"{low:.1}\" x2=\"{at:.1}\" y2=\"{high:.1}\"/>\n");
    } else if !bounded.is_empty() {
        let upper = bounded.iter().map(|(at, _, high)| format!("{at:.1},{high:.1}"));
        let lower = bounded.iter().rev().map(|(at, low, _)| format!("{at:.1},{low:.1}"));
        out += &format!("<polygon class=\"band\" points=\"{}\"/>\n", upper.chain(lower).collect::<Vec<_>>().join(" "));
    }
    let middle: Vec<(f64, f64)> = points
        .iter()
        .enumerate()
        .filter_map(|(place, point)| Some((x(place), y(point.middle.filter(|middle| (least..=most).contains(middle))?))))
        .collect();
    let line: Vec<String> = middle.iter().map(|(at, figure)| format!("{at:.1},{figure:.1}")).collect();
    out += &format!("<polyline class=\"middle\" points=\"{}\"/>\n", line.join(" "));
    if let Some((at, figure)) = middle.last() {
        out += &format!("<circle class=\"dot\" cx=\"{at:.1}\" cy=\"{figure:.1}\" r=\"3\"/>\n");
    }
    let day = |point: Option<&Point>| point.map_or(String::new(), |point| text(point.at.get(..10).unwrap_or(&point.at)));
    let below = HEIGHT - 8.0;
    out += &format!("<text x=\"{LEFT:.1}\" y=\"{below:.1}\">{}</text>\n", day(points.first()));
    out += &format!("<text x=\"{right:.1}\" y=\"{below:.1}\" text-anchor=\"end\">{}</text>\n", day(points.last()));
    out
}

fn bars(bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.wins.max(bar.losses)).max().unwrap_or(0).max(1) as f64;
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    // Room for the numbers at the ends of bars.
    let half = (WIDTH - LEFT - RIGHT) / 2.0 - 50.0;
    let bottom = TOP + BAR_ROOM * bars.len() as f64;
    let mut out = String::new();
    for (place, bar) in bars.iter().enumerate() {
        let top = TOP + BAR_ROOM * place as f64;
        let (label, won, lost) = (top + 13.0, half * bar.wins as f64 / most, half * bar.losses as f64 / most);
        let name = text(&crate::reports::escape::cut(&bar.name, NAME_CHARS_MAX));
        out += &format!("<text x=\"0\" y=\"{label:.1}\">{name}</text>\n");
        out += &format!("<rect class=\"loss\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{lost:.1}\" height=\"{BAR}\"/>\n", middle - lost);
        out += &format!("<text x=\"{:.1}\" y=\"{label:.1}\" text-anchor=\"end\">{}</text>\n", middle - lost - 6.0, bar.losses);
        out += &format!("<rect class=\"win\" x=\"{middle:.1}\" y=\"{top:.1}\" width=\"{won:.1}\" height=\"{BAR}\"/>\n");
        out += &format!("<text x=\"{:.1}\" y=\"{label:.1}\">{}</text>\n", middle + won + 6.0, bar.wins);
    }
    out += &format!("<line class=\"zero\" x1=\"{middle:.1}\" y1=\"{:.1}\" x2=\"{middle:.1}\" y2=\"{bottom:.1}\"/>\n", TOP - 5.0);
    out += &format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">losses</text>\n", middle - 6.0, bottom + 20.0);
    out += &format!("<text x=\"{:.1}\" y=\"{:.1}\">wins</text>\n", middle + 6.0, bottom + 20.0);
    out
}
