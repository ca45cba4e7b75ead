//! The items that SEC's forms prescribe: order, part, wording, plausible size.
//!
//! Facts about forms only; must not know how a heading is recognised in a text.

/// An item of a form.
#[derive(Debug)]
pub(super) struct Item {
    /// The part it stands in: 1 to 4, or 0 where the form has no parts.
    pub(super) part: u8,
    /// `7A`; empty for the heading of the part itself and for named sections.
    pub(super) number: &'static str,
    /// Lower-case words that a heading of this item holds; any one of the alternatives.
    pub(super) words: &'static [&'static str],
    /// Whether every filing of the form has it.
    pub(super) required: bool,
    /// The least and the most characters it plausibly holds.
    pub(super) size: (usize, usize),
}

const fn item(
    part: u8,
    number: &'static str,
    words: &'static [&'static str],
    required: bool,
    size: (usize, usize),
) -> Item {
    Item {
        part,
        number,
        words,
        required,
        size,
    }
}

const fn part(part: u8, words: &'static [&'static str]) -> Item {
    item(part, "", words, false, (0, usize::MAX))
}

const ANY: usize = usize::MAX;

/// Form 10-K, in order. Wordings that were replaced over the years are alternatives.
pub(super) const ANNUAL: &[Item] = &[
    part(1, &[]),
    item(1, "1", &["business"], true, (1_500, 450_000)),
    item(1, "1A", &["risk factors"], false, (200, 450_000)),
    item(1, "1B", &["unresolved staff"], false, (0, 12_000)),
    item(1, "1C", &["cybersecurity"], false, (100, 40_000)),
    item(1, "2", &["propert"], true, (60, 200_000)),
    item(1, "3", &["legal proceedings"], true, (30, 120_000)),
    item(
        1,
        "4",
        &[
            "mine safety",
            "submission of matters",
            "reserved",
            "executive officers",
        ],
        false,
        (0, 40_000),
    ),
    part(2, &[]),
    item(
        2,
        "5",
        &["market for", "common equity", "common stock"],
        true,
        (100, 80_000),
    ),
    item(2, "6", &["selected", "reserved"], false, (0, 80_000)),
    item(
        2,
        "7",
        &[
            "management’s discussion",
            "discussion and analysis",
            "plan of operation",
        ],
        true,
        (2_000, 700_000),
    ),
    item(2, "7A", &["quantitative"], false, (40, 120_000)),
    item(
        2,
        "8",
        &["financial statements", "supplementary data"],
        true,
        (2_000, ANY),
    ),
    item(
        2,
        "9",
        &["changes in and disagreement", "disagreements with"],
        false,
        (0, 15_000),
    ),
    item(2, "9A", &["controls and procedures"], false, (100, 60_000)),
    item(2, "9B", &["other information"], false, (0, 30_000)),
    item(
        2,
        "9C",
        &["foreign jurisdiction", "prevent inspection"],
        false,
        (0, 10_000),
    ),
    part(3, &[]),
    item(
        3,
        "10",
        &["directors", "executive officers"],
        true,
        (60, 120_000),
    ),
    item(3, "11", &["executive compensation"], true, (40, 300_000)),
    item(
        3,
        "12",
        &["security ownership", "beneficial own"],
        true,
        (40, 80_000),
    ),
    item(
        3,
        "13",
        &["certain relationships", "related transactions"],
        true,
        (40, 80_000),
    ),
    item(
        3,
        "14",
        &["principal account", "exhibits", "controls and procedures"],
        false,
        (40, 800_000),
    ),
    part(4, &[]),
    item(
        4,
        "15",
        &["exhibit", "principal account"],
        false,
        (100, ANY),
    ),
    item(4, "16", &["summary", "exhibit"], false, (0, ANY)),
];

/// Form 10-Q, in order.
pub(super) const QUARTERLY: &[Item] = &[
    part(1, &[]),
    item(1, "1", &["financial statements"], true, (3_000, ANY)),
    item(
        1,
        "2",
        &["management’s discussion", "discussion and analysis"],
        true,
        (2_000, 900_000),
    ),
    item(1, "3", &["quantitative"], false, (20, 120_000)),
    item(1, "4", &["controls and procedures"], false, (100, 60_000)),
    part(2, &[]),
    item(2, "1", &["legal proceedings"], false, (10, 120_000)),
    item(2, "1A", &["risk factors"], false, (40, 400_000)),
    item(
        2,
        "2",
        &[
            "unregistered",
            "changes in securities",
            "issuer purchases",
            "use of proceeds",
            "purchases of equity",
        ],
        false,
        (10, 40_000),
    ),
    item(2, "3", &["defaults"], false, (0, 8_000)),
    item(
        2,
        "4",
        &[
            "mine safety",
            "submission of matters",
            "reserved",
            "removed",
        ],
        false,
        (0, 20_000),
    ),
    item(2, "5", &["other information"], false, (0, 60_000)),
    item(2, "6", &["exhibits"], false, (20, ANY)),
];

/// Form 8-K before August 2004.
pub(super) const CURRENT_OLD: &[(&str, &[&str])] = &[
    ("1", &["change in control", "changes in control"]),
    ("2", &["acquisition or disposition"]),
    ("3", &["bankruptcy"]),
    ("4", &["certifying accountant"]),
    ("5", &["other events", "other items", "other information"]),
    ("6", &["resignation"]),
    ("7", &["financial statements", "exhibits"]),
    ("8", &["fiscal year"]),
    ("9", &["regulation fd", "fd disclosure"]),
    ("10", &["code of ethics"]),
    ("11", &["blackout", "temporary suspension"]),
    ("12", &["results of operations"]),
];

/// Numbers that Form 8-K has had since August 2004.
pub(super) const CURRENT: &[&str] = &[
    "1.01", "1.02", "1.03", "1.04", "1.05", "2.01", "2.02", "2.03", "2.04", "2.05", "2.06", "3.01",
    "3.02", "3.03", "4.01", "4.02", "5.01", "5.02", "5.03", "5.04", "5.05", "5.06", "5.07", "5.08",
    "6.01", "6.02", "6.03", "6.04", "6.05", "6.06", "7.01", "8.01", "9.01",
];

/// `I` to `IV`.
pub(super) fn roman(part: u8) -> &'static str {
    ["", "I", "II", "III", "IV"]
        .get(usize::from(part))
        .copied()
        .unwrap_or_default()
}
