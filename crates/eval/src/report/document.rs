//! A report as blocks, and the two ways to write it down: Markdown, and one HTML page that needs
//! nothing else. All text that comes in is data, and is escaped here and nowhere else.

use std::fmt::Write as _;

use super::plot::Plot;

/// A piece of a report.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Block {
    /// A heading of level 1 to 3.
    Heading(usize, String),
    /// Running text.
    Text(String),
    /// A table; the first column is left-aligned, the others as they come.
    Table(Vec<&'static str>, Vec<Vec<String>>),
    /// A picture, in HTML only; Markdown readers have the table it is drawn from.
    Plot(Plot),
    /// Something long, folded away.
    Details(String, Vec<Block>),
    /// Text exactly as it is.
    Verbatim(String),
}

/// The report as Markdown.
pub(super) fn markdown(blocks: &[Block]) -> String {
    let mut out = String::new();
    for block in blocks {
        match block {
            Block::Heading(level, text) => {
                let _ = writeln!(out, "{} {}\n", "#".repeat(*level), inline(text));
            }
            Block::Text(text) => {
                let _ = writeln!(out, "{}\n", inline(text));
            }
            Block::Table(head, rows) => {
                let _ = writeln!(out, "| {} |", head.join(" | "));
                let _ = writeln!(out, "|{}", " --- |".repeat(head.len()));
                for row in rows {
                    let cells: Vec<String> = row.iter().map(|cell| inline(cell)).collect();
                    let _ = writeln!(out, "| {} |", cells.join(" | "));
                }
                out.push('\n');
            }
            Block::Plot(_) => {}
            Block::Details(summary, inner) => {
                let _ = writeln!(out, "**{}**\n", inline(summary));
                out.push_str(&markdown(inner));
            }
            Block::Verbatim(text) => {
                // A fence longer than any run of backticks inside cannot be closed by the text.
                let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
                let fence = "`".repeat(longest.max(2) + 1);
                let _ = writeln!(out, "{fence}text\n{text}\n{fence}\n");
            }
        }
    }
    out
}

/// Text on one line of Markdown, meaning nothing but itself.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '&' | '!' | '~' | '$' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;\
    color:#222;background:#fff}table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}\
    th,td{border:1px solid #ccc;padding:.25rem .6rem;text-align:right;vertical-align:top}\
    th:first-child,td:first-child{text-align:left}th{background:#f3f3f3}pre{background:#f7f7f7;padding:.7rem;\
    white-space:pre-wrap;overflow-wrap:anywhere}svg{max-width:100%;height:auto}summary{cursor:pointer}";

/// The report as one HTML page: no script, no font, no picture from elsewhere.
pub(super) fn html(title: &str, blocks: &[Block]) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n",
        escaped(title)
    );
    body(&mut out, blocks);
    out.push_str("</body>\n</html>\n");
    out
}

fn body(out: &mut String, blocks: &[Block]) {
    for block in blocks {
        match block {
            Block::Heading(level, text) => {
                let _ = writeln!(out, "<h{level}>{}</h{level}>", escaped(text));
            }
            Block::Text(text) => {
                let _ = writeln!(out, "<p>{}</p>", escaped(text));
            }
            Block::Table(head, rows) => {
                out.push_str("<table>\n<tr>");
                for cell in head {
                    let _ = write!(out, "<th>{}</th>", escaped(cell));
                }
                out.push_str("</tr>\n");
                for row in rows {
                    out.push_str("<tr>");
                    for cell in row {
                        let _ = write!(out, "<td>{}</td>", escaped(cell));
                    }
                    out.push_str("</tr>\n");
                }
                out.push_str("</table>\n");
            }
            Block::Plot(plot) => {
                out.push_str(&plot.svg());
                out.push('\n');
            }
            Block::Details(summary, inner) => {
                let _ = writeln!(out, "<details><summary>{}</summary>", escaped(summary));
                body(out, inner);
                out.push_str("</details>\n");
            }
            Block::Verbatim(text) => {
                let _ = writeln!(out, "<pre>{}</pre>", escaped(text));
            }
        }
    }
}

/// Text as HTML and SVG take it, in elements and in quoted attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::plot::{Mark, Plot};
    use super::*;

    #[test]
    fn nothing_in_a_text_means_anything() {
        let bad = "</pre><script>alert(1)</script>|`x`\n# head\n````\n[a](javascript:b) <img onerror='x' src=\"y\">";
        let blocks = [
            Block::Heading(1, bad.to_owned()),
            Block::Text(bad.to_owned()),
            Block::Table(vec!["a"], vec![vec![bad.to_owned()]]),
            Block::Details(bad.to_owned(), vec![Block::Verbatim(bad.to_owned())]),
            Block::Plot(Plot::Bars {
                title: bad.to_owned(),
                marks: vec![Mark {
                    label: bad.to_owned(),
                    x: 1.0,
                    y: 0.5,
                    low: 0.4,
                    high: 0.6,
                }],
            }),
        ];
        let page = html(bad, &blocks);
        for tag in ["<script", "<img", "onerror='", "</pre><s"] {
            assert!(!page.contains(tag), "{tag} in {page}");
        }
        assert_eq!(
            page.matches("<pre>").count(),
            page.matches("</pre>").count()
        );
        let text = markdown(&blocks);
        assert!(!text.contains("<script>alert") || text.contains("`````text"));
        let row = text.lines().find(|line| line.starts_with("| \\<")).unwrap();
        assert_eq!(row.replace("\\|", "").matches('|').count(), 2, "{row}");
    }
}
