//! Pages of HTML that stand alone: no scripts, nothing to fetch. Whatever is not ours on them is [`escaped`].

/// The text with the characters replaced that mean something in HTML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A page with this title, which is also its heading, and this body. The style and the body are HTML already.
pub fn page(title: &str, style: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, \
         initial-scale=1\"><title>{title}</title><style>{style}</style></head>\n<body><h1>{title}</h1>\n{body}</body></html>\n"
    )
}

/// A table with these columns. `rows` have a cell for each of them, in HTML. On a narrow screen a cell may stand behind its column's name,
/// which it has as an attribute.
pub(super) fn table(columns: &[&str], rows: &[Vec<String>]) -> String {
    let heads: String = columns.iter().map(|column| format!("<th scope=\"col\">{}</th>", escaped(column))).collect();
    let cell = |(column, cell): (&&str, &String)| format!("<td data-column=\"{}\">{cell}</td>", escaped(column));
    let row = |row: &Vec<String>| format!("<tr>{}</tr>\n", columns.iter().zip(row).map(cell).collect::<String>());
    let rows: String = rows.iter().map(row).collect();
    format!("<table><thead><tr>{heads}</tr></thead>\n<tbody>{rows}</tbody></table>\n")
}

/// Figures that a reader may open behind a picture.
pub(super) fn details(summary: &str, inner: &str) -> String {
    format!("<details><summary>{}</summary>{inner}</details>\n", escaped(summary))
}

/// A list of names and values; the values are HTML.
pub(super) fn facts(facts: &[(&str, String)]) -> String {
    let fact = |(name, value): &(&str, String)| format!("<dt>{}</dt><dd>{value}</dd>\n", escaped(name));
    format!("<dl>{}</dl>\n", facts.iter().map(fact).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_others_is_taken_for_html() {
        assert_eq!(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
        let page = page("<script>", "", "<p>ours</p>");
        assert!(!page.contains("<script>") && page.contains("<h1>&lt;script&gt;</h1>\n<p>ours</p>"));
        assert!(table(&["a\"b"], &[vec!["1".to_owned()]]).contains("<td data-column=\"a&quot;b\">1</td>"));
    }
}
