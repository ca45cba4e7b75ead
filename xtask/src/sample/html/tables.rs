//! Tables as filing software lays them out: dollar sign, number and closing bracket or percent sign
//! in cells of their own, spacer cells between columns, heads that cover several columns.

use std::fmt::Write;

use super::{Dialect, Document};

/// A numeric cell of a table.
#[derive(Clone, Debug)]
pub struct Number {
    /// Dollar sign before it.
    pub dollar: bool,
    /// In brackets.
    pub bracketed: bool,
    /// Percent sign behind it.
    pub percent: bool,
    /// The number, tagged or plain (markup).
    pub inner: String,
}

impl Number {
    /// An untagged number.
    pub fn plain(inner: impl Into<String>) -> Number {
        Number {
            dollar: false,
            bracketed: false,
            percent: false,
            inner: inner.into(),
        }
    }
}

/// A row of a table.
#[derive(Clone, Debug)]
pub struct Row {
    /// The line's label (markup).
    pub label: String,
    /// Steps of indent.
    pub indent: u8,
    /// One cell a column; none is blank.
    pub cells: Vec<Option<Number>>,
    /// A total: ruled above, bold in one of the dialects.
    pub total: bool,
}

impl Row {
    /// A label over the rows below it.
    pub fn caption(label: impl Into<String>, columns: usize) -> Row {
        Row {
            label: label.into(),
            indent: 0,
            cells: vec![None; columns],
            total: false,
        }
    }
}

/// A table: scale line, column heads, rows.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// E.g. `(in millions, except per share amounts)`; empty for none.
    pub scale: String,
    /// Rows of heads; each head covers so many columns. Empty text leaves a gap.
    pub heads: Vec<Vec<(String, usize)>>,
    /// The lines.
    pub rows: Vec<Row>,
}

impl Document {
    /// A numeric table in split cells.
    pub fn table(&mut self, table: &Table) {
        if !table.scale.is_empty() {
            let scale = self.text(&table.scale);
            self.paragraph(&scale);
        }
        let columns = table.rows.iter().map(|row| row.cells.len()).max();
        let Some(columns) = columns else { return };
        let body = match self.dialect {
            Dialect::Spans => self.spans_table(table, columns),
            Dialect::Paragraphs => self.paragraphs_table(table),
        };
        self.body.push_str(&body);
    }

    fn spans_table(&self, table: &Table, columns: usize) -> String {
        let mut out = String::from(
            "<div style=\"margin-top:6pt\"><table style=\"border-collapse:collapse;width:100%;\
             font-family:'Arial',sans-serif;font-size:9pt\"><tr><td style=\"width:1.0%\"></td>\
             <td style=\"width:50%\"></td><td style=\"width:0.1%\"></td>",
        );
        for _ in 0..columns {
            out.push_str("<td style=\"width:1.0%\"></td><td></td><td style=\"width:0.1%\"></td>");
        }
        out.push_str("</tr>\n");
        for heads in &table.heads {
            out.push_str("<tr><td colspan=\"3\"></td>");
            for (head, covers) in heads {
                let _ = write!(
                    out,
                    "<td colspan=\"{}\" style=\"border-bottom:1pt solid #000;text-align:center\">\
                     <span style=\"font-weight:700\">{}</span></td>",
                    covers * 3,
                    self.text(head)
                );
            }
            out.push_str("</tr>\n");
        }
        for (at, row) in table.rows.iter().enumerate() {
            let shade = if at % 2 == 0 {
                " style=\"background-color:#cceeff\""
            } else {
                ""
            };
            let _ = write!(
                out,
                "<tr{shade}><td colspan=\"3\" style=\"padding-left:{}pt\">{}</td>",
                2 + 9 * row.indent,
                row.label
            );
            for cell in &row.cells {
                let Some(cell) = cell else {
                    out.push_str("<td colspan=\"3\"></td>");
                    continue;
                };
                let number = if cell.bracketed {
                    format!("({})", cell.inner)
                } else {
                    cell.inner.clone()
                };
                let rule = if row.total {
                    " style=\"border-top:1pt solid #000\""
                } else {
                    ""
                };
                let tail = if cell.percent { "%" } else { "" };
                let _ = if cell.dollar {
                    write!(
                        out,
                        "<td>$</td><td align=\"right\"{rule}>{number}</td><td>{tail}</td>"
                    )
                } else {
                    write!(
                        out,
                        "<td colspan=\"2\" align=\"right\"{rule}>{number}</td><td>{tail}</td>"
                    )
                };
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</table></div>\n");
        out
    }

    fn paragraphs_table(&self, table: &Table) -> String {
        let mut out = String::from(
            "<table border=\"0\" cellpadding=\"0\" cellspacing=\"0\" style=\"font: 10pt Times New Roman, \
             Times, Serif; width: 100%\">\n",
        );
        for heads in &table.heads {
            out.push_str("<tr style=\"vertical-align: bottom\"><td>&#160;</td>");
            for (head, covers) in heads {
                let _ = write!(
                    out,
                    "<td>&#160;</td><td colspan=\"{}\" style=\"border-bottom: Black 1pt solid; \
                     text-align: center\"><b>{}</b></td><td>&#160;</td>",
                    covers * 4 - 2,
                    self.text(head)
                );
            }
            out.push_str("</tr>\n");
        }
        for row in &table.rows {
            let bold = row.total && !row.label.is_empty();
            let _ = write!(
                out,
                "<tr style=\"vertical-align: bottom\"><td style=\"padding-left: {}pt\">{}{}{}</td>",
                10 * row.indent,
                if bold { "<b>" } else { "" },
                row.label,
                if bold { "</b>" } else { "" }
            );
            for cell in &row.cells {
                let Some(cell) = cell else {
                    out.push_str("<td></td><td></td><td></td><td></td>");
                    continue;
                };
                let (open, close) = match (cell.bracketed, cell.percent) {
                    (true, true) => ("(", ")%"),
                    (true, false) => ("(", ")"),
                    (false, true) => ("", "%"),
                    (false, false) => ("", ""),
                };
                let _ = write!(
                    out,
                    "<td></td><td>{}</td><td align=\"right\">{open}{}</td><td>{close}</td>",
                    if cell.dollar { "$" } else { "" },
                    cell.inner
                );
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</table>\n");
        out
    }
}
