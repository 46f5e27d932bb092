//! The audit as one page that stands alone: no scripts, nothing to fetch.

use std::fmt::Write;

use super::Audit;
use super::attack::Advantage;
use super::verdict::{Row, Verdict};

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 78em; padding: 0 1em; color: #222; background: #fff; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; font-weight: bold; padding: 1em 0 .3em; }
th, td { text-align: left; padding: .3em .8em .3em 0; border-bottom: 1px solid #ddd; vertical-align: top; }
dl { display: grid; grid-template-columns: max-content auto; gap: 0 1em; } dd { margin: 0; }
.scale { position: relative; display: block; height: .5em; width: 10em; background: #eee; }
.scale span { position: absolute; top: 0; bottom: 0; background: #9bb7d4; } .scale b { position: absolute; top: -.1em; bottom: -.1em; width: 2px; background: #134; }
.wins { color: #a00; font-weight: bold; } .doubt { color: #850; } .none { color: #060; }
";

/// An advantage with its interval drawn from 0 to 1.
fn bar(advantage: &Advantage) -> String {
    let part = |value: f64| value.clamp(0.0, 1.0) * 100.0;
    let (low, high, mean) = (part(advantage.low), part(advantage.high), part(advantage.mean));
    format!(
        "{advantage}<span class=\"scale\"><span style=\"left:{low:.1}%;width:{:.1}%\"></span><b style=\"left:{mean:.1}%\"></b></span>",
        high - low
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn class(row: &Row) -> &'static str {
    match row.verdict() {
        Verdict::Wins => "wins",
        Verdict::Unclear | Verdict::Failed => "doubt",
        Verdict::None => "none",
        Verdict::Expected | Verdict::Harmless | Verdict::Nothing => "",
    }
}

impl Audit {
    /// The same as a page.
    pub fn html(&self) -> String {
        let name = escaped(&self.job);
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>mixnn audit: {name}</title><style>{STYLE}</style></head>\n\
             <body><h1>mixnn audit: {name}</h1>\n<dl>"
        );
        // Writing to a string does not fail.
        for (name, value) in self.facts() {
            let _ = writeln!(page, "<dt>{name}</dt><dd>{}</dd>", escaped(&value));
        }
        page.push_str("</dl>\n");
        for rows in self.rows.chunk_by(|a, b| a.ask.2 == b.ask.2) {
            let caption = rows.first().map_or("", |row| row.ask.2.name());
            let _ = writeln!(
                page,
                "<table><caption>{caption}</caption><tr><th>question<th>who looks<th>statistics<th>classifier<th>control<th>what it comes to</tr>"
            );
            for row in rows {
                let (question, who, _) = row.ask;
                let [statistics, classifier] = match &row.found {
                    None => [String::from("-"), String::from("-")],
                    Some(found) => [bar(&found.statistics), bar(&found.classifier)],
                };
                let _ = writeln!(
                    page,
                    "<tr><td>{}<td>{}<td>{statistics}<td>{classifier}<td>{}<td class=\"{}\">{}</tr>",
                    question.name(),
                    who.name(),
                    escaped(&row.control_cell()),
                    class(row),
                    escaped(&row.words())
                );
            }
            page.push_str("</table>\n");
        }
        let _ = writeln!(page, "<p>{}</p></body></html>", escaped(Audit::LEGEND));
        page
    }
}
