//! Pictures within a page, and how their numbers are written. All of them are as wide as a phone, so that their words can be read there;
//! on a wide screen they stand side by side.

use std::fmt::Write;

use super::html::escaped;

/// How wide pictures are, in their own units: about pixels.
pub(super) const WIDTH: f64 = 360.0;
/// How many colours there are to tell series apart.
pub(super) const COLOURS: usize = 6;

/// A picture that is being drawn. Colours are classes of the page's style, so that they follow light and dark.
pub(super) struct Svg {
    height: f64,
    /// What the picture shows, for those who do not see it.
    label: String,
    body: String,
}

/// Which end of a text stands at its place.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    /// The text begins at its place.
    Start,
    /// The middle of the text stands at its place.
    Middle,
    /// The text ends at its place.
    End,
}

/// A coordinate, short.
fn at(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

impl Svg {
    /// An empty picture of this height. `label` says what it shows.
    pub(super) fn new(height: f64, label: &str) -> Self {
        Self { height, label: label.to_owned(), body: String::new() }
    }

    /// Draws a rectangle, unless it has no size. `title` is what a pointer over it shows.
    pub(super) fn rect(&mut self, [x, y, width, height]: [f64; 4], class: &str, title: Option<&str>) {
        if width <= 0.0 || height <= 0.0 {
            return;
        }
        let [x, y, width, height] = [x, y, width, height].map(at);
        // Writing to a string does not fail.
        let _ =
            write!(self.body, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" class=\"{class}\"");
        match title {
            Some(title) => drop(write!(self.body, "><title>{}</title></rect>", escaped(title))),
            None => self.body.push_str("/>"),
        }
    }

    /// Writes a text.
    pub(super) fn text(&mut self, x: f64, y: f64, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y, text) = (at(x), at(y), escaped(text));
        let _ = write!(self.body, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{text}</text>");
    }

    /// Draws a straight line.
    pub(super) fn line(&mut self, [x1, y1, x2, y2]: [f64; 4], class: &str) {
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(at);
        let _ = write!(self.body, "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" class=\"{class}\"/>");
    }

    /// Draws a line through all of these points.
    pub(super) fn curve(&mut self, points: &[(f64, f64)], class: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{},{}", at(*x), at(*y))).collect();
        let _ = write!(self.body, "<polyline points=\"{}\" class=\"{class}\"/>", points.join(" "));
    }

    /// Draws a mark at a point. Marks of other numbers have other shapes, for those who do not tell colours apart.
    pub(super) fn mark(&mut self, point: (f64, f64), number: usize, class: &str, title: &str) {
        let _ = write!(self.body, "{}<title>{}</title></polygon>", polygon(point, number, class), escaped(title));
    }

    /// The picture as HTML.
    pub(super) fn finish(self) -> String {
        let Self { height, label, body } = self;
        let (label, width, height) = (escaped(&label), at(WIDTH), at(height));
        format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">{body}</svg>\n")
    }
}

/// The beginning of a mark at a point, by its number a disc, a square, a triangle or a diamond.
fn polygon((x, y): (f64, f64), number: usize, class: &str) -> String {
    const SIZE: f64 = 3.2;
    let corners: &[(f64, f64)] = match number % 4 {
        0 => &[(1.0, 0.0), (0.7, 0.7), (0.0, 1.0), (-0.7, 0.7), (-1.0, 0.0), (-0.7, -0.7), (0.0, -1.0), (0.7, -0.7)],
        1 => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        2 => &[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)],
        _ => &[(0.0, -1.3), (1.1, 0.0), (0.0, 1.3), (-1.1, 0.0)],
    };
    let corner = |(dx, dy): &(f64, f64)| format!("{},{}", at(x + dx * SIZE), at(y + dy * SIZE));
    let points: Vec<String> = corners.iter().map(corner).collect();
    format!("<polygon points=\"{}\" class=\"{class}\">", points.join(" "))
}

/// What a curve looks like: its line, if it has one, and its mark.
pub(super) fn stroke(line: Option<&str>, number: usize, mark: &str) -> String {
    let line = line.map(|class| format!("<line x1=\"0\" y1=\"6\" x2=\"26\" y2=\"6\" class=\"{class}\"/>"));
    let (line, mark) = (line.unwrap_or_default(), polygon((13.0, 6.0), number, mark));
    format!("<svg viewBox=\"0 0 26 12\" class=\"stroke\">{line}{mark}</polygon></svg>")
}

/// A picture with its heading, and what stands below it. `key` and `below` are HTML.
pub(super) fn figure(heading: &str, key: &str, picture: &str, below: &str) -> String {
    format!("<figure><figcaption>{}</figcaption>\n{key}{picture}{below}</figure>\n", escaped(heading))
}

/// What the colours of a picture mean: the class of each, and its name.
pub(super) fn key(entries: &[(&str, &str)]) -> String {
    let entry = |(class, name): &(&str, &str)| {
        format!(
            "<li><svg viewBox=\"0 0 12 12\" class=\"swatch\"><rect width=\"12\" height=\"12\" class=\"{class}\"/></svg>{}</li>",
            escaped(name)
        )
    };
    format!("<ul class=\"key\">{}</ul>\n", entries.iter().map(entry).collect::<String>())
}
