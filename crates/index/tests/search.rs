//! Searching: words, phrases, filters, pages, order.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::collections::HashMap;

use common::{accession, corpus, filing, paged, query, split};
use expect_test::{Expect, expect};
use footnote_filings::{DocType, Filing};
use footnote_index::{Corpus, Filter, SearchBackend, SearchQuery};

fn few() -> Vec<Filing> {
    vec![
        filing(
            "ACME_10K_2022",
            "ACME Corp",
            "10-K",
            "FY2022",
            &[
                "Net sales were $1,234.5 million in 2022, up from $1,100 million.",
                "Our research and development (R&D) spending rose.",
                "We file annual reports on Form 10-K with the SEC.",
            ],
        ),
        filing(
            "ACME_10Q_2023Q2",
            "ACME Corp",
            "10-Q",
            "2023Q2",
            &[
                "Net sales for the second quarter were 400.",
                "Inventories fell; sales of net assets.",
            ],
        ),
        filing(
            "ZETA_8K",
            "ZETA Inc",
            "8-K",
            "2023-03-17",
            &[
                "On March 17 the chief executive resigned.",
                "AT&T is a customer in the U.S. market.",
            ],
        ),
    ]
}

fn ids(corpus: &Corpus, query: &SearchQuery) -> Vec<String> {
    let hits = corpus.search(query).unwrap();
    assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score));
    hits.into_iter().map(|hit| hit.passage.id.0).collect()
}

#[track_caller]
fn check(corpus: &Corpus, text: &str, wanted: Expect) {
    wanted.assert_eq(&ids(corpus, &query(text)).join(" "));
}

#[test]
fn words_numbers_names_and_phrases() {
    let (_folder, corpus) = corpus(few());
    check(&corpus, "1,234.5", expect!["ACME_10K_2022#0-64"]);
    check(&corpus, "$1234.5", expect!["ACME_10K_2022#0-64"]);
    check(&corpus, "inventory", expect!["ACME_10Q_2023Q2#43-81"]);
    check(&corpus, "who is at&t", expect!["ZETA_8K#42-80"]);
    check(&corpus, "R&D", expect!["ACME_10K_2022#65-114"]);
    check(
        &corpus,
        "\"net sales\" 400",
        expect!["ACME_10Q_2023Q2#0-42 ACME_10K_2022#0-64"],
    );
    check(
        &corpus,
        "\"sales of net\"",
        expect!["ACME_10Q_2023Q2#43-81"],
    );
    check(&corpus, "\"resigned executive\"", expect![""]);
    check(
        &corpus,
        "(+field:x AND) ~ [* TO *] \\ \" resigned",
        expect!["ZETA_8K#0-41"],
    );
    // Function words count only where there is nothing else.
    assert_eq!(ids(&corpus, &query("the of and")).len(), 6);
    check(&corpus, "", expect![""]);
    check(&corpus, "zyzzyva", expect![""]);
    // The company's name is in the context, not in the text.
    check(&corpus, "zeta", expect!["ZETA_8K#0-41 ZETA_8K#42-80"]);
}

#[test]
fn a_hundred_thousand_characters_are_a_query_like_any_other() {
    let (_folder, corpus) = corpus(few());
    let noise: String = (0..15_000).map(|i| format!("w{i} ")).collect();
    assert!(noise.len() > 80_000);
    let found = ids(&corpus, &query(&format!("resigned {noise}")));
    assert!(found.contains(&"ZETA_8K#0-41".to_owned()), "{found:?}");
    assert!(
        corpus
            .search(&query(&"\"".repeat(100_001)))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn every_filter_restricts_and_none_scores() {
    let (_folder, corpus) = corpus(few());
    let plain = corpus.search(&query("sales")).unwrap();
    assert_eq!(plain.len(), 3);
    let check = |filter: Filter, wanted: usize| {
        let hits = corpus
            .search(&SearchQuery {
                filter: filter.clone(),
                ..query("sales")
            })
            .unwrap();
        assert_eq!(hits.len(), wanted, "{filter:?}");
        for hit in hits {
            let before = plain
                .iter()
                .find(|other| other.passage.id == hit.passage.id);
            assert_eq!(
                before.map(|other| other.score),
                Some(hit.score),
                "{filter:?}"
            );
        }
    };
    let none = Filter::default;
    check(
        Filter {
            tickers: vec!["ACME".parse().unwrap()],
            ..none()
        },
        3,
    );
    check(
        Filter {
            tickers: vec!["ZETA".parse().unwrap()],
            ..none()
        },
        0,
    );
    check(
        Filter {
            forms: vec![footnote_filings::Form::new("10-Q")],
            ..none()
        },
        2,
    );
    check(
        Filter {
            doc_types: vec![DocType::TenK, DocType::EightK],
            ..none()
        },
        1,
    );
    check(
        Filter {
            years: vec![2022],
            ..none()
        },
        1,
    );
    check(
        Filter {
            years: vec![2022, 2023],
            ..none()
        },
        3,
    );
    check(
        Filter {
            periods: vec!["2023Q2".parse().unwrap()],
            ..none()
        },
        2,
    );
    check(
        Filter {
            periods: vec!["2023".parse().unwrap()],
            ..none()
        },
        0,
    );
    check(
        Filter {
            companies: vec!["ACME Corp".to_owned()],
            ..none()
        },
        3,
    );
    check(
        Filter {
            ciks: vec![footnote_filings::Cik(9)],
            ..none()
        },
        3,
    );
    check(
        Filter {
            accessions: vec![accession("ACME_10K_2022")],
            ..none()
        },
        1,
    );
    let many = (0..40).map(|i| accession(&format!("NO_{i}")));
    let many = many.chain([accession("ACME_10K_2022")]).collect();
    check(
        Filter {
            accessions: many,
            ..none()
        },
        1,
    );
    check(
        Filter {
            years: vec![2023],
            doc_types: vec![DocType::TenK],
            ..none()
        },
        0,
    );
}

#[test]
fn filters_choose_filings_too() {
    let (_folder, corpus) = corpus(few());
    let names = |filter: Filter| -> Vec<String> {
        let filings = corpus.filings(&filter).unwrap();
        filings
            .into_iter()
            .map(|meta| meta.accession.to_string())
            .collect()
    };
    assert_eq!(
        names(Filter::default()),
        ["ACME_10K_2022", "ACME_10Q_2023Q2", "ZETA_8K"]
    );
    // An 8-K has no fiscal year; the day of its event gives one.
    assert_eq!(
        names(Filter {
            years: vec![2023],
            ..Filter::default()
        }),
        ["ACME_10Q_2023Q2", "ZETA_8K"]
    );
    let day = |text: &str| Some(text.parse().unwrap());
    assert_eq!(
        names(Filter {
            since: day("2023-03-17"),
            ..Filter::default()
        }),
        ["ZETA_8K"]
    );
    assert!(
        names(Filter {
            since: day("2023-03-18"),
            ..Filter::default()
        })
        .is_empty()
    );
    assert_eq!(
        names(Filter {
            until: day("2023-03-17"),
            ..Filter::default()
        }),
        ["ZETA_8K"]
    );
}

#[test]
fn equal_scores_are_in_order_of_id_and_pages_of_results_join() {
    let same: Vec<Filing> = (0..60)
        .map(|i| {
            filing(
                &format!("F{i:02}"),
                "SAME Co",
                "10-K",
                "FY2020",
                &["the same words here"],
            )
        })
        .collect();
    let (_folder, corpus) = corpus(same);
    let all = ids(
        &corpus,
        &SearchQuery {
            limit: 100,
            ..query("same words")
        },
    );
    assert_eq!(all.len(), 60);
    assert!(all.is_sorted());
    let mut joined = Vec::new();
    for offset in (0..60).step_by(7) {
        joined.extend(ids(
            &corpus,
            &SearchQuery {
                limit: 7,
                offset,
                ..query("same words")
            },
        ));
    }
    assert_eq!(joined, all);
    assert!(
        ids(
            &corpus,
            &SearchQuery {
                limit: 7,
                offset: 60,
                ..query("same words")
            }
        )
        .is_empty()
    );
    assert!(
        ids(
            &corpus,
            &SearchQuery {
                limit: 0,
                ..query("same words")
            }
        )
        .is_empty()
    );
    let huge = SearchQuery {
        limit: usize::MAX,
        offset: usize::MAX,
        ..query("same words")
    };
    assert!(ids(&corpus, &huge).is_empty());
}

#[test]
fn expansions_help_and_are_not_needed() {
    let (_folder, corpus) = corpus(few());
    let found = ids(
        &corpus,
        &SearchQuery {
            expansions: vec![
                ("resigned departure".to_owned(), 0.5),
                ("customer".to_owned(), f32::NAN),
            ],
            ..query("zyzzyva")
        },
    );
    assert_eq!(found, ["ZETA_8K#0-41"]);
}

#[test]
fn whole_pages_are_ranked_as_one_text() {
    let pages = paged(filing(
        "BOOK",
        "BOOK Co",
        "10-K",
        "FY2021",
        &[
            "Cash was high. Debt was low. Nothing else matters here.",
            "Cash and debt. Other things of no importance.",
            "Weather. Football. Cash.",
        ],
    ));
    let other = filing("PLAIN", "PLAIN Co", "10-K", "FY2021", &["cash debt"]);
    let (_folder, corpus) = corpus(vec![pages, other]);
    let hits = corpus.search_pages(&query("cash debt")).unwrap();
    let found: Vec<(u32, String)> = hits
        .iter()
        .map(|h| (h.page, h.first.text.clone()))
        .collect();
    assert_eq!(found[0], (1, "Cash and debt. ".to_owned()));
    assert_eq!(found[1], (0, "Cash was high. ".to_owned()));
    assert_eq!(found.len(), 3, "{found:?}");
    let phrase = corpus.search_pages(&query("\"high debt\"")).unwrap();
    assert_eq!(phrase.iter().map(|hit| hit.page).collect::<Vec<_>>(), [0]);
    let page = corpus.page_passages(&accession("BOOK"), 0).unwrap();
    assert_eq!(page.len(), 3);
    assert!(page.is_sorted_by_key(|passage| passage.span.start));
}

#[test]
fn lookups_give_back_what_was_imported() {
    let filings = few();
    let (_folder, corpus) = corpus(filings.clone());
    for filing in &filings {
        let name = &filing.meta.accession;
        assert_eq!(corpus.filing(name).unwrap().as_ref(), Some(filing));
        assert_eq!(corpus.passages(name).unwrap(), split(filing));
        assert_eq!(corpus.warnings(name).unwrap().len(), 1);
        assert_eq!(
            corpus.entry(name).unwrap().unwrap().passages,
            split(filing).len()
        );
        for passage in split(filing) {
            let hit = corpus.passage(&passage.id).unwrap().unwrap();
            assert_eq!((hit.passage, hit.meta), (passage, filing.meta.clone()));
        }
    }
    assert!(corpus.filing(&accession("NONE")).unwrap().is_none());
    assert!(corpus.facts(&accession("NONE")).unwrap().is_empty());
    let companies = corpus.companies().unwrap();
    let names: Vec<_> = companies
        .iter()
        .map(|entry| (entry.company.as_deref().unwrap(), entry.filings))
        .collect();
    assert_eq!(names, [("ACME Corp", 2), ("ZETA Inc", 1)]);
    let stats = corpus.stats().unwrap();
    assert_eq!((stats.filings, stats.passages, stats.warnings), (3, 7, 3));
    assert_eq!(
        stats.by_year.into_iter().collect::<Vec<_>>(),
        [(2022, 1), (2023, 2)]
    );
}

/// BM25 by its definition over passages of fewer than 40 words, where the index keeps lengths
/// exactly. Context is left out by words that no name or form has.
#[test]
fn the_order_is_that_of_bm25_by_its_definition() {
    let words = [
        "margin", "revenue", "segment", "goodwill", "lease", "tax", "cash", "audit",
    ];
    let mut state = 7u64;
    let mut random = |n: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let filings: Vec<Filing> = (0..120)
        .map(|i| {
            let length = 3 + random(30);
            let text: Vec<&str> = (0..length)
                .map(|_| words[(random(8) * random(8) / 8) as usize])
                .collect();
            filing(
                &format!("D{i:03}"),
                "X Co",
                "10-K",
                "FY2020",
                &[&text.join(" ")],
            )
        })
        .collect();
    let (_folder, corpus) = corpus(filings.clone());

    let documents: Vec<Vec<&str>> = filings
        .iter()
        .map(|f| f.text.split(' ').collect())
        .collect();
    let n = documents.len() as f64;
    let average = documents.iter().map(Vec::len).sum::<usize>() as f64 / n;
    for text in [
        "goodwill",
        "tax audit",
        "cash lease segment",
        "audit audit revenue",
    ] {
        let mut scores: HashMap<String, f64> = HashMap::new();
        for (filing, document) in filings.iter().zip(&documents) {
            let mut score = 0.0;
            for word in text.split(' ') {
                let frequency = document.iter().filter(|w| **w == word).count() as f64;
                let holders = documents.iter().filter(|d| d.contains(&word)).count() as f64;
                let idf = (1.0 + (n - holders + 0.5) / (holders + 0.5)).ln();
                let length = document.len() as f64 / average;
                score += idf * frequency * 2.2 / (frequency + 1.2 * (0.25 + 0.75 * length));
            }
            if score > 0.0 {
                scores.insert(filing.meta.accession.to_string(), score);
            }
        }
        let hits = corpus
            .search(&SearchQuery {
                limit: 200,
                ..query(text)
            })
            .unwrap();
        assert_eq!(hits.len(), scores.len(), "{text}");
        for hit in hits {
            let wanted = scores[hit.passage.accession.as_str()];
            let close = (f64::from(hit.score) - wanted).abs() < 1e-3 * wanted;
            assert!(
                close,
                "{text}: {} has {} not {wanted}",
                hit.passage.id, hit.score
            );
        }
    }
}
