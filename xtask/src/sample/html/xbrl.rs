//! The inline-XBRL side of a document: facts, contexts, units, continuations and the hidden header.

use std::fmt::Write;

use super::{ContextKey, Document, Tagged, Unit, When};

impl Document {
    fn context(&mut self, when: When, dimension: Option<(&str, &str)>) -> String {
        let same = |key: &ContextKey| {
            key.when == when
                && key
                    .dimension
                    .as_ref()
                    .map(|(a, m)| (a.as_str(), m.as_str()))
                    == dimension
        };
        let at = match self.contexts.iter().position(same) {
            Some(at) => at,
            None => {
                self.contexts.push(ContextKey {
                    when,
                    dimension: dimension.map(|(a, m)| (a.to_owned(), m.to_owned())),
                });
                self.contexts.len() - 1
            }
        };
        format!("c-{}", at + 1)
    }

    fn next_fact(&mut self) -> String {
        self.facts += 1;
        format!("f-{}", self.facts)
    }

    /// The markup of a tagged number.
    pub fn number(&mut self, tagged: &Tagged<'_>) -> String {
        let dimension = tagged.dimension.as_ref().map(|(a, m)| (*a, m.as_str()));
        let context = self.context(tagged.when, dimension);
        if !self.units.contains(&tagged.unit) {
            self.units.push(tagged.unit);
        }
        let id = self.next_fact();
        let zero = tagged.shown.bytes().all(|b| matches!(b, b'0' | b'.'));
        // A number without separators needs no transformation, and filing software gives it none.
        let (format, shown) = if zero {
            (" format=\"ixt:fixed-zero\"", "&#8212;")
        } else if tagged.shown.contains(',') {
            (" format=\"ixt:num-dot-decimal\"", tagged.shown.as_str())
        } else {
            ("", tagged.shown.as_str())
        };
        let sign = if tagged.negative && !zero {
            " sign=\"-\""
        } else {
            ""
        };
        format!(
            "<ix:nonFraction unitRef=\"{}\" contextRef=\"{context}\" decimals=\"{}\"{sign} \
             name=\"{}\"{format} scale=\"{}\" id=\"{id}\">{shown}</ix:nonFraction>",
            tagged.unit.id(),
            tagged.decimals,
            tagged.concept,
            tagged.scale,
        )
    }

    /// The markup of a tagged text; `inner` is markup.
    pub fn tag(&mut self, concept: &str, when: When, format: Option<&str>, inner: &str) -> String {
        let context = self.context(when, None);
        let id = self.next_fact();
        let format = match format {
            Some(format) => format!(" format=\"{format}\""),
            None => String::new(),
        };
        format!(
            "<ix:nonNumeric contextRef=\"{context}\" name=\"{concept}\"{format} id=\"{id}\">\
             {inner}</ix:nonNumeric>"
        )
    }

    /// A fact that shows nowhere.
    pub fn hide(&mut self, concept: &str, when: When, value: &str) {
        let inner = self.text(value);
        let fact = self.tag(concept, when, None, &inner);
        self.hidden.push_str(&fact);
    }

    /// Opens a text block fact that goes on beyond a page break; close it with
    /// [`Document::continue_block`] and [`Document::end_continued`].
    pub fn begin_block(&mut self, concept: &str, when: When) -> String {
        let context = self.context(when, None);
        let id = self.next_fact();
        let _ = write!(
            self.body,
            "<ix:nonNumeric contextRef=\"{context}\" name=\"{concept}\" id=\"{id}\" \
             continuedAt=\"{id}-1\" escape=\"true\">"
        );
        format!("{id}-1")
    }

    /// Ends the first part of a block, breaks the page and opens the second part.
    pub fn continue_block(&mut self, id: &str) {
        self.body.push_str("</ix:nonNumeric>");
        self.page_break();
        let _ = write!(self.body, "<ix:continuation id=\"{id}\">");
    }

    /// Ends the second part of a block.
    pub fn end_continued(&mut self) {
        self.body.push_str("</ix:continuation>");
    }

    pub(super) fn namespaces(&self) -> String {
        format!(
            "<html xmlns=\"http://www.w3.org/1999/xhtml\" xmlns:ix=\"http://www.xbrl.org/2013/inlineXBRL\" \
             xmlns:ixt=\"http://www.xbrl.org/inlineXBRL/transformation/2020-02-12\" \
             xmlns:ixt-sec=\"http://www.sec.gov/inlineXBRL/transformation/2015-08-31\" \
             xmlns:xbrli=\"http://www.xbrl.org/2003/instance\" xmlns:xbrldi=\"http://xbrl.org/2006/xbrldi\" \
             xmlns:link=\"http://www.xbrl.org/2003/linkbase\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" \
             xmlns:iso4217=\"http://www.xbrl.org/2003/iso4217\" xmlns:dei=\"http://xbrl.sec.gov/dei/2024\" \
             xmlns:us-gaap=\"http://fasb.org/us-gaap/2024\" xmlns:srt=\"http://fasb.org/srt/2024\" \
             xmlns:ecd=\"http://xbrl.sec.gov/ecd/2024\" \
             xmlns:{0}=\"http://www.{0}.example/{1}\" xml:lang=\"en-US\">",
            self.prefix, self.taxonomy_day
        )
    }

    pub(super) fn header(&self) -> String {
        let mut out = format!(
            "<div style=\"display:none\"><ix:header><ix:hidden>{}</ix:hidden><ix:references><link:schemaRef \
             xlink:type=\"simple\" xlink:href=\"{}-{}.xsd\"/></ix:references><ix:resources>\n",
            self.hidden, self.prefix, self.taxonomy_day
        );
        for (at, context) in self.contexts.iter().enumerate() {
            let _ = write!(
                out,
                "<xbrli:context id=\"c-{}\"><xbrli:entity><xbrli:identifier \
                 scheme=\"http://www.sec.gov/CIK\">{}</xbrli:identifier>",
                at + 1,
                self.cik
            );
            if let Some((axis, member)) = &context.dimension {
                let _ = write!(
                    out,
                    "<xbrli:segment><xbrldi:explicitMember dimension=\"{axis}\">{member}\
                     </xbrldi:explicitMember></xbrli:segment>"
                );
            }
            let _ = match context.when {
                When::At(day) => write!(
                    out,
                    "</xbrli:entity><xbrli:period><xbrli:instant>{day}</xbrli:instant>"
                ),
                When::During(start, end) => write!(
                    out,
                    "</xbrli:entity><xbrli:period><xbrli:startDate>{start}</xbrli:startDate>\
                     <xbrli:endDate>{end}</xbrli:endDate>"
                ),
            };
            out.push_str("</xbrli:period></xbrli:context>\n");
        }
        for unit in &self.units {
            out.push_str(match unit {
                Unit::Usd => "<xbrli:unit id=\"usd\"><xbrli:measure>iso4217:USD</xbrli:measure></xbrli:unit>",
                Unit::Shares => "<xbrli:unit id=\"shares\"><xbrli:measure>xbrli:shares</xbrli:measure></xbrli:unit>",
                Unit::UsdPerShare => {
                    "<xbrli:unit id=\"usdPerShare\"><xbrli:divide><xbrli:unitNumerator><xbrli:measure>\
                     iso4217:USD</xbrli:measure></xbrli:unitNumerator><xbrli:unitDenominator><xbrli:measure>\
                     xbrli:shares</xbrli:measure></xbrli:unitDenominator></xbrli:divide></xbrli:unit>"
                }
                Unit::Pure => "<xbrli:unit id=\"number\"><xbrli:measure>xbrli:pure</xbrli:measure></xbrli:unit>",
            });
        }
        out.push_str("</ix:resources></ix:header></div>\n");
        out
    }
}
