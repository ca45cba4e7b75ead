//! The texts an answer may rest on: retrieved passages widened to their page or table, and filings
//! read whole for the rows of their statements. Every piece knows its place in its filing.

use std::collections::HashMap;

use footnote_filings::{Accession, BlockKind, Filing, Passage, PassageId, Span};
use footnote_index::{IndexError, SearchBackend};

use crate::retrieve::RankedPassage;
use crate::sheet::Region;

/// Lines above a table that may state its title, scale and period.
const LEAD_LINES: usize = 5;

/// Tables and pages of one filing.
pub(super) struct Sources<'a> {
    backend: &'a dyn SearchBackend,
    filings: HashMap<Accession, Option<Filing>>,
    passages: HashMap<Accession, Vec<Passage>>,
    /// The retrieved passages, widened, best first.
    pub(super) retrieved: Vec<Region>,
}

impl<'a> Sources<'a> {
    /// Widens the passages; pages and tables met twice are kept once.
    pub(super) fn new(
        backend: &'a dyn SearchBackend,
        passages: &[RankedPassage],
    ) -> Result<Sources<'a>, IndexError> {
        let mut sources = Sources {
            backend,
            filings: HashMap::new(),
            passages: HashMap::new(),
            retrieved: Vec::new(),
        };
        for ranked in passages {
            let accession = &ranked.hit.meta.accession;
            let region = match sources.filing(accession)? {
                Some(filing) => widened(filing, &ranked.hit.passage),
                None => own(ranked),
            };
            let seen = sources.retrieved.iter().any(|known| {
                known.meta.accession == region.meta.accession
                    && span_of(known).contains(span_of(&region))
            });
            if !seen {
                sources.retrieved.push(region);
            }
        }
        Ok(sources)
    }

    /// A whole filing, read once.
    pub(super) fn filing(&mut self, accession: &Accession) -> Result<Option<&Filing>, IndexError> {
        if !self.filings.contains_key(accession) {
            let filing = self.backend.filing(accession)?;
            self.filings.insert(accession.clone(), filing);
        }
        Ok(self.filings.get(accession).and_then(Option::as_ref))
    }

    /// The passage of a filing that holds a place.
    pub(super) fn passage_at(
        &mut self,
        accession: &Accession,
        place: Span,
    ) -> Result<Option<Passage>, IndexError> {
        if !self.passages.contains_key(accession) {
            let passages = self.backend.passages(accession)?;
            self.passages.insert(accession.clone(), passages);
        }
        let passages = self.passages.get(accession).map_or(&[][..], Vec::as_slice);
        let holds = passages.iter().find(|p| p.span.contains(place));
        let meets = || {
            passages
                .iter()
                .find(|p| p.span.start <= place.start && place.start < p.span.end)
        };
        Ok(holds.or_else(meets).cloned())
    }
}

/// Where a region stands in its filing.
pub(super) fn span_of(region: &Region) -> Span {
    Span::new(region.start, region.start + region.text.len())
}

/// Every page, or every table with the lines above it, of a filing.
pub(super) fn all_regions(filing: &Filing) -> Vec<Region> {
    if !filing.pages.is_empty() {
        return filing
            .pages
            .iter()
            .filter_map(|page| region(filing, page.span, Some(page.number), Vec::new()))
            .collect();
    }
    let mut regions = Vec::new();
    for (at, block) in filing.blocks.iter().enumerate() {
        if block.kind == BlockKind::Table {
            let path = section_path(filing, block.span);
            if let Some(mut region) = region(filing, block.span, None, path) {
                region.lead = lead_of(filing, at);
                regions.push(region);
            }
        }
    }
    regions
}

/// The page or table around a passage, or the passage itself.
fn widened(filing: &Filing, passage: &Passage) -> Region {
    if let Some(page) = passage
        .page
        .and_then(|number| filing.pages.iter().find(|page| page.number == number))
        && let Some(region) = region(
            filing,
            page.span,
            passage.page,
            passage.section_path.clone(),
        )
    {
        return region;
    }
    let table = filing.blocks.iter().position(|block| {
        block.kind == BlockKind::Table
            && (block.span.contains(passage.span) || passage.span.contains(block.span))
    });
    let around = table.and_then(|at| {
        // A passage of a few paragraphs and a small table stays as it is.
        let block = &filing.blocks[at];
        let whole = block.span.contains(passage.span);
        let mut region = region(filing, block.span, None, passage.section_path.clone())?;
        region.lead = lead_of(filing, at);
        whole.then_some(region)
    });
    around.unwrap_or_else(|| Region {
        meta: filing.meta.clone(),
        section_path: passage.section_path.clone(),
        page: passage.page,
        passage: Some(passage.id.clone()),
        lead: passage.lead.clone(),
        text: passage.text.clone(),
        start: passage.span.start,
    })
}

fn own(ranked: &RankedPassage) -> Region {
    let passage = &ranked.hit.passage;
    Region {
        meta: ranked.hit.meta.clone(),
        section_path: passage.section_path.clone(),
        page: passage.page,
        passage: Some(passage.id.clone()),
        lead: passage.lead.clone(),
        text: passage.text.clone(),
        start: passage.span.start,
    }
}

fn region(filing: &Filing, span: Span, page: Option<u32>, path: Vec<String>) -> Option<Region> {
    Some(Region {
        meta: filing.meta.clone(),
        section_path: path,
        page,
        passage: None::<PassageId>,
        lead: String::new(),
        text: span.of(&filing.text)?.to_owned(),
        start: span.start,
    })
}

/// The short lines straight above a table.
fn lead_of(filing: &Filing, table: usize) -> String {
    let mut lines: Vec<&str> = filing.blocks[..table]
        .iter()
        .rev()
        .take(LEAD_LINES)
        .take_while(|block| block.kind != BlockKind::Table)
        .filter(|block| block.kind != BlockKind::PageBreak)
        .filter_map(|block| block.span.of(&filing.text))
        .filter(|text| text.len() <= 200)
        .collect();
    lines.reverse();
    lines.join("\n")
}

fn section_path(filing: &Filing, span: Span) -> Vec<String> {
    filing
        .sections
        .iter()
        .filter(|section| section.span.contains(span))
        .max_by_key(|section| section.level)
        .map(|section| section.path.clone())
        .unwrap_or_default()
}
