//! An EDGAR document under construction: paragraphs, headings, split-cell tables, page breaks and
//! inline XBRL, in two of the dialects that filing software writes.
//!
//! Knows markup and XBRL syntax; must not know which company or form it is writing.

mod tables;
mod xbrl;

use std::fmt::Write;

use jiff::civil::Date;

pub use tables::{Number, Row, Table};

/// Which filing software the markup looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `div` and `span` with a style on everything, non-ASCII as character references.
    Spans,
    /// `p`, `b`, `i` and `font`, UTF-8 text, dollar signs and closing brackets in cells of their own.
    Paragraphs,
}

/// The time of an XBRL context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The end of a day.
    At(Date),
    /// From a day to a day, both inside.
    During(Date, Date),
}

/// What an XBRL number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// US dollars.
    Usd,
    /// Shares.
    Shares,
    /// US dollars per share.
    UsdPerShare,
    /// A ratio.
    Pure,
}

impl Unit {
    fn id(self) -> &'static str {
        match self {
            Unit::Usd => "usd",
            Unit::Shares => "shares",
            Unit::UsdPerShare => "usdPerShare",
            Unit::Pure => "number",
        }
    }
}

/// A number to be tagged.
#[derive(Clone, Debug)]
pub struct Tagged<'a> {
    /// Qualified concept.
    pub concept: &'a str,
    /// Its time.
    pub when: When,
    /// Axis and member, where the context has a segment.
    pub dimension: Option<(&'a str, String)>,
    /// What it counts.
    pub unit: Unit,
    /// XBRL `decimals`.
    pub decimals: &'a str,
    /// XBRL `scale`.
    pub scale: i32,
    /// Whether the XBRL value is below zero.
    pub negative: bool,
    /// The magnitude as shown, e.g. `1,234.5`.
    pub shown: String,
}

struct ContextKey {
    when: When,
    dimension: Option<(String, String)>,
}

/// A document under construction.
pub struct Document {
    dialect: Dialect,
    /// Ten-digit filer number.
    cik: String,
    /// Namespace prefix of the company's own concepts, and the date in its taxonomy's name.
    prefix: String,
    taxonomy_day: String,
    running_header: String,
    body: String,
    hidden: String,
    contexts: Vec<ContextKey>,
    units: Vec<Unit>,
    facts: usize,
    page: usize,
    page_start: usize,
    anchors: Vec<(String, usize)>,
}

/// How many bytes of markup fill a page before the next heading breaks it.
const PAGE_BYTES: usize = 9_000;

impl Document {
    /// An empty document. `running_header` stands at the top of every page but the first.
    pub fn new(dialect: Dialect, cik: &str, prefix: &str, day: Date, running_header: &str) -> Self {
        Document {
            dialect,
            cik: cik.to_owned(),
            prefix: prefix.to_owned(),
            taxonomy_day: day.strftime("%Y%m%d").to_string(),
            running_header: running_header.to_owned(),
            body: String::new(),
            hidden: String::new(),
            contexts: Vec::new(),
            units: Vec::new(),
            facts: 0,
            page: 1,
            page_start: 0,
            anchors: Vec::new(),
        }
    }

    /// Markup of plain text.
    pub fn text(&self, plain: &str) -> String {
        escape(self.dialect, plain)
    }

    /// A paragraph of markup.
    pub fn paragraph(&mut self, inner: &str) {
        let _ = match self.dialect {
            Dialect::Spans => writeln!(
                self.body,
                "<div style=\"margin-top:6pt;text-align:justify\"><span style=\"font-family:'Arial',\
                 sans-serif;font-size:10pt;font-weight:400\">{inner}</span></div>"
            ),
            Dialect::Paragraphs => write!(
                self.body,
                "<p style=\"font: 10pt Times New Roman, Serif; margin: 0 0 10pt; \
                 text-align: justify\">{inner}</p>\n\n"
            ),
        };
    }

    /// A centred line; `points` is its size.
    pub fn centred(&mut self, inner: &str, points: u8, bold: bool) {
        let _ = match self.dialect {
            Dialect::Spans => writeln!(
                self.body,
                "<div style=\"text-align:center\"><span style=\"font-family:'Arial',sans-serif;\
                 font-size:{points}pt;font-weight:{}\">{inner}</span></div>",
                if bold { 700 } else { 400 }
            ),
            Dialect::Paragraphs => writeln!(
                self.body,
                "<p style=\"font: {points}pt Times New Roman, Serif; margin: 0; \
                 text-align: center\">{}{inner}{}</p>",
                if bold { "<b>" } else { "" },
                if bold { "</b>" } else { "" }
            ),
        };
    }

    /// A heading: level 1 a Part (centred), 2 an Item, 3 bold, 4 bold italic. Filing software has
    /// no `h1`: headings are styled text. Starts a new page where the last one is full.
    pub fn heading(&mut self, level: u8, plain: &str) {
        if self.body.len() - self.page_start > PAGE_BYTES {
            self.page_break();
        }
        let inner = self.text(plain);
        match (self.dialect, level) {
            (_, 1) => self.centred(&inner, 11, true),
            (Dialect::Spans, _) => {
                let italic = if level == 4 { ";font-style:italic" } else { "" };
                let size = if level == 2 { 11 } else { 10 };
                let _ = writeln!(
                    self.body,
                    "<div style=\"margin-top:12pt\"><span style=\"font-family:'Arial',sans-serif;\
                     font-size:{size}pt;font-weight:700{italic}\">{inner}</span></div>"
                );
            }
            (Dialect::Paragraphs, _) => {
                let (open, close) = match level {
                    2 => ("<b>", "</b>"),
                    3 => ("<b><u>", "</u></b>"),
                    _ => ("<b><i>", "</i></b>"),
                };
                let _ = write!(
                    self.body,
                    "<p style=\"font: 10pt Times New Roman, Serif; margin: 12pt 0 6pt\">\
                     {open}{inner}{close}</p>\n\n"
                );
            }
        }
    }

    /// A place that the table of contents links to.
    pub fn anchor(&mut self, id: &str) {
        if self.body.len() - self.page_start > PAGE_BYTES {
            self.page_break();
        }
        self.anchors.push((id.to_owned(), self.page));
        let _ = match self.dialect {
            Dialect::Spans => write!(self.body, "<div id=\"{id}\"></div>"),
            Dialect::Paragraphs => write!(self.body, "<a name=\"{id}\" id=\"{id}\"></a>"),
        };
    }

    /// One item of a bulleted list, as filings write them: a two-cell table or a hanging indent.
    pub fn bullet(&mut self, inner: &str) {
        let _ = match self.dialect {
            Dialect::Spans => writeln!(
                self.body,
                "<div style=\"margin-top:4pt;padding-left:36pt;text-indent:-18pt\"><span style=\"\
                 font-family:'Arial',sans-serif;font-size:10pt\">&#8226;</span><span style=\"\
                 font-family:'Arial',sans-serif;font-size:10pt;padding-left:14pt\">{inner}</span></div>"
            ),
            Dialect::Paragraphs => writeln!(
                self.body,
                "<table cellpadding=\"0\" cellspacing=\"0\" style=\"font: 10pt Times New Roman, Times, \
                 Serif; margin: 0 0 6pt; width: 100%\"><tr style=\"vertical-align: top\"><td style=\"width: \
                 0.25in\"></td><td style=\"width: 0.25in\">●</td><td style=\"text-align: justify\">{inner}\
                 </td></tr></table>"
            ),
        };
    }

    /// The linked table of contents; page numbers are filled in at the end.
    pub fn contents(&mut self, lines: &[(String, String, String)]) {
        self.anchor("toc");
        self.heading(1, "TABLE OF CONTENTS");
        self.body.push_str("<table style=\"width:100%\">");
        for (anchor, item, title) in lines {
            let (item, title) = (self.text(item), self.text(title));
            let link = |inner: &str| format!("<a href=\"#{anchor}\">{inner}</a>");
            let _ = writeln!(
                self.body,
                "<tr><td style=\"width:12%\">{}</td><td>{}</td>\
                 <td align=\"right\">{}</td></tr>",
                if item.is_empty() {
                    String::new()
                } else {
                    link(&item)
                },
                link(&title),
                if item.is_empty() {
                    String::new()
                } else {
                    link(&format!("@@{anchor}@@"))
                },
            );
        }
        self.body.push_str("</table>\n");
    }

    /// The printed page number, the break, and the running header of the next page.
    pub fn page_break(&mut self) {
        let number = self.page;
        let header = self.text(&self.running_header.clone());
        let _ = match self.dialect {
            Dialect::Spans => writeln!(
                self.body,
                "<div style=\"height:27pt;width:100%\"><div style=\"text-align:center\"><span style=\"\
                 font-size:8pt\">{number}</span></div></div><hr style=\"page-break-after:always\"/><div \
                 style=\"min-height:27pt;width:100%\"><div><span style=\"font-size:8pt\"><a href=\"#toc\">\
                 Table of Contents</a></span></div><div><span style=\"font-size:8pt\">{header}</span></div></div>"
            ),
            Dialect::Paragraphs => write!(
                self.body,
                "<!-- Field: Page; Sequence: {number} -->\n<div style=\"border-bottom: Black 1pt solid; \
                 margin-bottom: 6pt\"><p style=\"margin: 0pt; text-align: center\">- {number} -</p></div>\n\
                 <div style=\"break-before: page; margin-top: 6pt\"><p style=\"margin: 0pt\"><i>{header}</i></p>\
                 </div>\n<!-- Field: /Page -->\n"
            ),
        };
        self.page += 1;
        self.page_start = self.body.len();
    }

    /// Markup put in as it is.
    pub fn raw(&mut self, markup: &str) {
        self.body.push_str(markup);
    }

    /// The finished document.
    pub fn finish(self, title: &str) -> String {
        let mut body = self.body.clone();
        for (anchor, page) in &self.anchors {
            body = body.replace(&format!("@@{anchor}@@"), &page.to_string());
        }
        // Facts make an inline-XBRL document; an exhibit or an old form is plain HTML.
        let (opening, header) = if self.facts == 0 {
            ("<html>".to_owned(), String::new())
        } else {
            (self.namespaces(), self.header())
        };
        let meta = match self.dialect {
            Dialect::Spans => "<meta http-equiv=\"Content-Type\" content=\"text/html\"/>",
            Dialect::Paragraphs => {
                "<meta http-equiv=\"Content-Type\" content=\"text/html; charset=UTF-8\"/>"
            }
        };
        let declaration = match (self.facts, self.dialect) {
            (0, _) => "",
            (_, Dialect::Spans) => "<?xml version=\"1.0\" encoding=\"ASCII\"?>\n",
            (_, Dialect::Paragraphs) => "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
        };
        format!(
            "{declaration}{opening}<head>{meta}\n<title>{}</title></head>\n<body>{header}{body}</body></html>\n",
            self.text(title)
        )
    }
}

fn escape(dialect: Dialect, plain: &str) -> String {
    let mut out = String::with_capacity(plain.len() + 16);
    for c in plain.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\u{a0}' if dialect == Dialect::Paragraphs => out.push_str("&#160;"),
            _ if c.is_ascii() || dialect == Dialect::Paragraphs => out.push(c),
            _ => {
                let _ = write!(out, "&#{};", c as u32);
            }
        }
    }
    out
}
