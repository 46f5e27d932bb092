//! The audit as one page that stands alone: no scripts, nothing to fetch.

use std::fmt::Write;

use super::Audit;
use super::attack::Advantage;
use super::verdict::{Row, Verdict};
use crate::report::html::{escaped, page};

/// The style of the page. On a narrow screen the cells of a row stand one below the other, each behind its column's
/// name.
const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 78em; padding: 0 1em; color: #222; background: #fff; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3em .8em .3em 0; border-bottom: 1px solid #ddd; vertical-align: top; }
th[scope=rowgroup] { padding-top: 1.4em; font-size: 1.1em; }
dl { display: grid; grid-template-columns: max-content auto; gap: 0 1em; } dd { margin: 0; }
.scale { position: relative; display: block; height: .5em; width: 10em; background: #eee; }
.scale span { position: absolute; top: 0; bottom: 0; background: #9bb7d4; } .scale b { position: absolute; top: -.1em; bottom: -.1em; width: 2px; background: #134; }
.wins { color: #a00; font-weight: bold; } .doubt { color: #850; } .none { color: #060; }
@media (max-width: 60em) {
  table, tbody, tr, th, td { display: block; }
  thead { display: none; }
  tr { padding: .5em 0; border-bottom: 1px solid #ddd; }
  th, td { border: 0; padding: .1em 0; }
  td { display: grid; grid-template-columns: 8em auto; }
  td::before { content: attr(data-column); color: #666; font-weight: normal; }
}
";

/// The names of the table's columns.
const COLUMNS: [&str; 6] = ["question", "who looks", "statistics", "classifier", "control", "what it comes to"];

/// An advantage in words, with its interval drawn on a scale from 0 to 1.
fn bar(advantage: &Advantage) -> String {
    let part = |value: f64| value.clamp(0.0, 1.0) * 100.0;
    let (low, high, mean) = (part(advantage.low), part(advantage.high), part(advantage.mean));
    format!(
        "<div>{advantage}<span class=\"scale\"><span style=\"left:{low:.1}%;width:{:.1}%\"></span><b style=\"left:{mean:.1}%\"></b></span></div>",
        high - low
    )
}

/// The style's class for a row's verdict; none where it needs no colour.
fn class(row: &Row) -> &'static str {
    match row.verdict() {
        Verdict::Wins => "wins",
        Verdict::Unclear | Verdict::Failed => "doubt",
        Verdict::None => "none",
        Verdict::Expected | Verdict::Harmless | Verdict::Nothing => "",
    }
}

/// A row of the table, in HTML.
fn line(row: &Row) -> String {
    let (question, who, _) = row.ask;
    let [statistics, classifier] = match &row.found {
        None => [String::from("-"), String::from("-")],
        Some(found) => [bar(&found.statistics), bar(&found.classifier)],
    };
    let control = escaped(&row.control_cell());
    let verdict = format!("<div class=\"{}\">{}</div>", class(row), escaped(&row.words()));
    let cells = [question.name().to_owned(), who.name().to_owned(), statistics, classifier, control, verdict];
    let cell = |(column, cell): (&str, String)| format!("<td data-column=\"{column}\">{cell}</td>");
    format!("<tr>{}</tr>\n", COLUMNS.into_iter().zip(cells).map(cell).collect::<String>())
}

impl Audit {
    /// This audit as a page of HTML.
    pub fn html(&self) -> String {
        let mut body = String::from("<dl>");
        // Writing to a string does not fail.
        for (name, value) in self.facts() {
            let _ = writeln!(body, "<dt>{name}</dt><dd>{}</dd>", escaped(&value));
        }
        // All groups stand in one table, so that their columns stand under each other.
        let heads: String = COLUMNS.iter().map(|column| format!("<th scope=\"col\">{column}")).collect();
        let _ = writeln!(body, "</dl>\n<table><thead><tr>{heads}</tr></thead>");
        for rows in self.rows.chunk_by(|a, b| a.ask.2 == b.ask.2) {
            let group = rows.first().map_or("", |row| row.ask.2.name());
            let _ = writeln!(body, "<tbody><tr><th scope=\"rowgroup\" colspan=\"{}\">{group}</tr>", COLUMNS.len());
            for row in rows {
                body.push_str(&line(row));
            }
            body.push_str("</tbody>\n");
        }
        body.push_str("</table>\n");
        let _ = writeln!(body, "<p>{}</p>", escaped(Audit::LEGEND));
        page(&format!("mixnn audit: {}", self.job), STYLE, &body)
    }
}
