//! Footnotes: numbered as cited, located and verified against the filing's own text.

use footnote_filings::{FilingMeta, Span};
use footnote_index::IndexError;

use super::sources::Sources;
use crate::checker::locate;
use crate::sheet::Region;
use crate::{Footnote, Statement};

/// A quote to be cited.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cited {
    meta: FilingMeta,
    section_path: Vec<String>,
    page: Option<u32>,
    span: Span,
    quote: String,
    concept: Option<String>,
}

/// The quotes cited so far.
#[derive(Default)]
pub(super) struct Notes {
    cited: Vec<Cited>,
}

impl Notes {
    /// Cites a quote of a region; the same place keeps its number. Counts from 1.
    pub(super) fn cite(
        &mut self,
        region: &Region,
        span: Span,
        quote: &str,
        concept: Option<&str>,
    ) -> usize {
        let known = self
            .cited
            .iter()
            .position(|c| c.meta.accession == region.meta.accession && c.span == span);
        if let Some(at) = known {
            return at + 1;
        }
        self.cited.push(Cited {
            meta: region.meta.clone(),
            section_path: region.section_path.clone(),
            page: region.page,
            span,
            quote: quote.to_owned(),
            concept: concept.map(str::to_owned),
        });
        self.cited.len()
    }

    /// Verifies every quote against the text of its filing and names its passage.
    pub(super) fn finish(&self, sources: &mut Sources<'_>) -> Result<Vec<Footnote>, IndexError> {
        let mut footnotes = Vec::with_capacity(self.cited.len());
        for (at, cited) in self.cited.iter().enumerate() {
            let accession = &cited.meta.accession;
            let in_filing = sources
                .filing(accession)?
                .and_then(|filing| cited.span.of(&filing.text))
                .map(|text| locate(&cited.quote, text).is_some());
            let passage = sources.passage_at(accession, cited.span)?;
            let in_passage = passage
                .as_ref()
                .is_some_and(|p| locate(&cited.quote, &p.text).is_some());
            let section_path = match &passage {
                Some(passage) if !passage.section_path.is_empty() => passage.section_path.clone(),
                _ => cited.section_path.clone(),
            };
            footnotes.push(Footnote {
                n: at + 1,
                accession: accession.clone(),
                company: cited.meta.company.clone(),
                ticker: cited.meta.ticker.clone(),
                form: cited.meta.form.clone(),
                period: cited.meta.fiscal_period,
                section_path,
                page: cited.page,
                passage: match passage {
                    Some(passage) => passage.id,
                    None => footnote_filings::PassageId::new(accession, cited.span),
                },
                span: cited.span,
                quote: cited.quote.clone(),
                concept: cited.concept.clone(),
                // A corpus that keeps no filings can still vouch for a passage.
                verified: in_filing.unwrap_or(in_passage),
            });
        }
        Ok(footnotes)
    }
}

/// A statement on a footnote that does not hold is not verified, whatever was thought before.
pub(super) fn recheck(mut statements: Vec<Statement>, footnotes: &[Footnote]) -> Vec<Statement> {
    for statement in &mut statements {
        let broken = statement.footnotes.iter().find(|n| {
            n.checked_sub(1)
                .and_then(|at| footnotes.get(at))
                .is_none_or(|footnote| !footnote.verified)
        });
        if let Some(n) = broken {
            statement.verified = false;
            statement.doubt = Some(format!(
                "the quote of footnote {n} does not stand in its filing"
            ));
        }
    }
    statements
}

/// The statements with their marks, unverified ones named as such.
pub(super) fn text_of(statements: &[Statement]) -> String {
    let shown = statements.iter().map(|statement| {
        let marks: String = statement
            .footnotes
            .iter()
            .map(|n| format!("[{n}]"))
            .collect();
        let doubt = if statement.verified {
            ""
        } else {
            " (unverified)"
        };
        format!("{} {marks}{doubt}", statement.text)
            .trim_end()
            .to_owned()
    });
    shown.collect::<Vec<_>>().join(" ")
}
