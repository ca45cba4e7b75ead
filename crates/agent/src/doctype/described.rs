//! Kinds of document by BM25 of the question's words over a description of each: what can be had without a model and
//! without labels.

use super::{DocTypeRanker, DocTypeRanking};
use crate::AgentError;
use crate::rank::passage::{Bm25, PassageRanker};

/// What each kind holds, in the words that SEC's forms and their instructions use, in the order of `DocType::ALL`.
const DESCRIPTIONS: [&str; 5] = [
    "Definitive proxy statement for the annual meeting of shareholders. Election and nomination of directors, board of \
     directors, committees, independence, governance. Executive compensation, salary, bonus, equity awards, incentive \
     plans, pay ratio, say on pay. Beneficial ownership. Shareholder proposals and votes. Auditor ratification, fees. \
     Related party transactions.",
    "Annual report. Business, strategy, products, customers, competition, employees, regulation, intellectual property, \
     risk factors, cybersecurity, properties, legal proceedings. Management's discussion and analysis of the fiscal year, \
     liquidity, capital resources, debt. Audited consolidated financial statements, notes, segments, revenue, income, \
     assets, liabilities, cash flow, tax, leases, goodwill, accounting policies, internal control. Dividends, share \
     repurchases.",
    "Quarterly report. Unaudited condensed financial statements for the three, six or nine months ended, compared with the \
     same quarter of the prior year. Management's discussion of the quarter, recent changes, updates of risk factors and \
     legal proceedings, liquidity.",
    "Current report of a material event: entry into an agreement, acquisition, merger or disposition, departure or \
     appointment of an officer or director, results of operations announced, press release, restructuring, impairment, \
     bankruptcy, amendment of bylaws, change of auditor, regulation FD disclosure.",
    "Earnings call transcript. Prepared remarks of the chief executive and the chief financial officer, questions and \
     answers with analysts. Guidance, outlook, expectations for the next quarter and year, demand, pricing, margins, \
     trends, growth drivers, capital allocation, commentary, tone.",
];

/// Orders kinds by BM25 over their descriptions.
#[derive(Clone, Copy, Debug, Default)]
pub struct DescribedOrder;

impl DocTypeRanker for DescribedOrder {
    fn name(&self) -> &str {
        "bm25"
    }

    fn rank(&self, question: &str) -> Result<DocTypeRanking, AgentError> {
        let found = Bm25::Plain.scores(question, &DESCRIPTIONS)?;
        let mut scores = [0.0; 5];
        for (score, found) in scores.iter_mut().zip(found) {
            *score = f64::from(found);
        }
        Ok(DocTypeRanking::from_scores(self.name(), scores))
    }
}

#[cfg(test)]
mod tests {
    use footnote_filings::DocType;

    use super::*;

    #[test]
    fn the_words_of_a_form_find_it() {
        for (question, kind) in [
            (
                "How is executive compensation tied to performance?",
                DocType::Def14a,
            ),
            (
                "What did analysts ask about guidance on the call?",
                DocType::Earnings,
            ),
            (
                "Which cybersecurity risk factors and properties are named?",
                DocType::TenK,
            ),
        ] {
            let ranking = DescribedOrder.rank(question).unwrap();
            assert_eq!(ranking.order[0], kind, "{question}: {ranking:?}");
        }
        // Words that no description has leave the constant order.
        let none = DescribedOrder.rank("Xylophone zebra?").unwrap();
        assert_eq!(none.order[0], DocType::TenK);
    }
}
