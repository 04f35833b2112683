//! The day as a picture: need, pods and refused joins, as an SVG.

use std::fmt::Write;

use crate::day::DAY;

/// A line of the picture.
pub struct Line<'a> {
    /// What it is.
    pub name: &'a str,
    /// Its colour.
    pub colour: &'a str,
    /// A value for each second.
    pub values: &'a [u32],
}

const WIDTH: f64 = 960.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;

/// A part of the picture, with its own axes.
pub struct Panel<'a> {
    /// What is seen.
    pub title: &'a str,
    /// From which second to which.
    pub span: (u32, u32),
    /// What a second's values are gathered by: a point for each so many seconds.
    pub step: u32,
    /// Whether a point is the sum of its seconds, rather than the most.
    pub is_sum: bool,
    /// Seconds between marks of the time.
    pub marks: u32,
    /// Its height.
    pub height: f64,
    /// Its lines.
    pub lines: Vec<Line<'a>>,
}

/// Draws panels, one below the other.
#[must_use]
pub fn draw(title: &str, panels: &[Panel<'_>]) -> String {
    let height: f64 = 50.0 + panels.iter().map(|panel| panel.height + 75.0).sum::<f64>();
    let mut svg = String::new();
    // Writing to a String can't fail.
    let _ = write!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12" role="img" aria-label="{title}">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="{LEFT}" y="28" font-size="17" font-weight="bold" fill="#222222">{title}</text>
"##
    );
    let mut top = 70.0;
    for panel in panels {
        panel.draw(&mut svg, top);
        top += panel.height + 75.0;
    }
    svg.push_str("</svg>\n");
    svg
}

impl Panel<'_> {
    fn points(&self, line: &Line<'_>) -> Vec<(u32, u32)> {
        let (from, to) = self.span;
        let to = to
            .min(DAY)
            .min(u32::try_from(line.values.len()).unwrap_or(DAY));
        let steps = (from..to).step_by(self.step.max(1) as usize);
        steps
            .map(|at| {
                let values = &line.values[at as usize..(at + self.step).min(to) as usize];
                let value = if self.is_sum {
                    values.iter().sum()
                } else {
                    values.iter().copied().max().unwrap_or(0)
                };
                (at, value)
            })
            .collect()
    }

    fn draw(&self, svg: &mut String, top: f64) {
        let lines: Vec<_> = self
            .lines
            .iter()
            .map(|line| (line, self.points(line)))
            .collect();
        let values = lines.iter().flat_map(|(_, points)| points);
        let most = values.map(|(_, value)| *value).max().unwrap_or(0).max(1);
        let unit = round_up(f64::from(most) / 4.0);
        let full = unit * (f64::from(most) / unit).ceil();
        let (from, to) = self.span;
        let x = |at: u32| {
            LEFT + (WIDTH - LEFT - RIGHT) * f64::from(at - from) / f64::from((to - from).max(1))
        };
        let bottom = top + self.height;
        let y = |value: f64| bottom - self.height * value / full;
        let _ = writeln!(
            svg,
            r##"<text x="{LEFT}" y="{}" font-size="13" fill="#222222">{}</text>"##,
            top - 10.0,
            self.title
        );
        let mut mark = 0.0;
        while mark <= full {
            let _ = writeln!(
                svg,
                r##"<path d="M{LEFT} {y:.1}H{}" stroke="#dddddd"/><text x="{}" y="{:.1}" text-anchor="end" fill="#555555">{mark}</text>"##,
                WIDTH - RIGHT,
                LEFT - 8.0,
                y(mark) + 4.0,
                y = y(mark)
            );
            mark += unit;
        }
        let first = from.next_multiple_of(self.marks.max(1));
        for at in (first..=to).step_by(self.marks.max(1) as usize) {
            let _ = writeln!(
                svg,
                r##"<text x="{:.1}" y="{}" text-anchor="middle" fill="#555555">{:02}:{:02}</text>"##,
                x(at),
                bottom + 18.0,
                at / 3600,
                at / 60 % 60
            );
        }
        for (number, (line, points)) in lines.iter().enumerate() {
            let mut path = String::new();
            for (at, value) in points {
                let join = if path.is_empty() { 'M' } else { 'L' };
                let _ = write!(path, "{join}{:.1} {:.1}", x(*at), y(f64::from(*value)));
            }
            let _ = writeln!(
                svg,
                r##"<path d="{path}" fill="none" stroke="{}" stroke-width="1.5" stroke-linejoin="round"/>"##,
                line.colour
            );
            let place = LEFT + 225.0 * number as f64;
            let _ = writeln!(
                svg,
                r##"<path d="M{place} {:.1}h18" stroke="{}" stroke-width="3"/><text x="{}" y="{:.1}" fill="#222222">{}</text>"##,
                bottom + 36.0,
                line.colour,
                place + 24.0,
                bottom + 40.0,
                line.name
            );
        }
    }
}

/// The next larger number of one digit's worth: 1, 2 or 5 and zeros.
fn round_up(value: f64) -> f64 {
    let scale = 10_f64.powf(value.max(1.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let step = steps.into_iter().find(|step| step * scale >= value);
    step.unwrap_or(10.0) * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round() {
        for (value, mark) in [
            (0.2, 1.0),
            (3.0, 5.0),
            (12.0, 20.0),
            (50.0, 50.0),
            (51.0, 100.0),
        ] {
            assert_eq!(round_up(value), mark);
        }
    }

    #[test]
    fn a_point_is_the_most_or_the_sum_of_its_seconds() {
        let values = [1, 5, 2, 2, 0];
        let line = Line {
            name: "a",
            colour: "#000000",
            values: &values,
        };
        let mut panel = Panel {
            title: "",
            span: (0, 5),
            step: 2,
            is_sum: false,
            marks: 1,
            height: 10.0,
            lines: Vec::new(),
        };
        assert_eq!(panel.points(&line), [(0, 5), (2, 2), (4, 0)]);
        panel.is_sum = true;
        assert_eq!(panel.points(&line), [(0, 6), (2, 4), (4, 0)]);
    }
}
