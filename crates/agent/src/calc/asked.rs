//! What a question asks for beside the metric: what is done with it, and how the result is written.

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;

use super::plan::{Aim, Asks};
use crate::{Scale, Unit};

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

pub(super) static PERCENT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\bin (?:units of )?percent|\bunits of percents?\b|\bpercentage\b|%|\bgrowth rate\b|\bin percents?\b",
    )
});
static CAGR: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\bcagr\b|\bcompound(?:ed)? annual growth"));
static AVERAGE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\b(?:\d|two|three|four|five)[- ]year average\b|\baverage over\b"));
static GROWTH: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\bgrowth\b|\byear[- ]over[- ]year\b|\byoy\b|\bpercent(?:age)? change\b|% change|\bgrow by\b|\bgrown by\b",
    )
});
static COMPARE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\bimprov|\bdeclin|\bincreas|\bdecreas|\bcompare|\bchanged?\b|\btrend|\bhigher\b|\blower\b|\bgrow(?:n|ing)?\b|\bdrop|\breduc|\brise[ns]?\b|\brose\b|\bfell\b|\bfallen\b|\bversus\b|\bvs\b|\bdifference\b",
    )
});

/// Which way a yes-or-no question in lower case points; nothing for other questions.
pub(crate) fn asks(lower: &str) -> Option<Asks> {
    let yes_no =
        YES_NO.is_match(lower) && !lower.contains(" or declin") && !lower.contains(" or decreas");
    match () {
        () if !yes_no => None,
        () if lower.contains("improv") => Some(Asks::Improved),
        () if lower.contains("positive") => Some(Asks::Positive),
        () if pattern_in(lower, &["increas", "grow", "rise", "rose", "higher"]) => Some(Asks::Rose),
        () if pattern_in(
            lower,
            &[
                "declin", "decreas", "reduc", "drop", "fell", "fall", "lower",
            ],
        ) =>
        {
            Some(Asks::Fell)
        }
        () => Some(Asks::Any),
    }
}

pub(super) fn aim(lower: &str, periods: usize, percent: bool, unit: Unit) -> (Aim, Option<Asks>) {
    let asks = asks(lower);
    let aim = if CAGR.is_match(lower) && periods > 1 {
        Aim::Cagr
    } else if AVERAGE.is_match(lower) && periods > 1 {
        Aim::Average
    } else if GROWTH.is_match(lower) && unit != Unit::Percent {
        Aim::Growth
    } else if COMPARE.is_match(lower) {
        let growth = percent && unit == Unit::Money && matches!(asks, None | Some(Asks::Any));
        if growth { Aim::Growth } else { Aim::Compare }
    } else if periods > 1 && unit == Unit::Percent {
        Aim::Compare
    } else {
        Aim::Value
    };
    (aim, asks)
}

static YES_NO: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?:^|[.?!:,]\s*)(?:does|do|did|has|have|had|is|are|was|were|will|can)\b")
});

fn pattern_in(text: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| text.contains(part))
}

/// Questions whose answer is a figure or follows from some.
static FIGURE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\bhow (?:much|many|large|big|high|low|far)\b|\bby how\b|\bpercent|%|\bratio\b|\bmargin\b|\b(?:high|low|larg|small|bigg|great|strong|weak)est\b|\b(?:most|least|worst|best)\b|\bincreas|\bdecreas|\bdeclin|\bcompare|\bgr[oe]w|\bchanged?\b|\bshare of\b|\bwhat (?:is|was|were|are|amount|number|portion)\b.*\b(?:amounts?|totals?|numbers?|values?|quantity|balance|costs?|expenses?|revenues?|sales|income|earnings|profits?|loss(?:es)?|eps|ebitd?a?r?|cash|debt|dividends?|rate|assets?|liabilit(?:y|ies)|shares?|price|employees|backlog|capex|spending|expenditures?)\b",
    )
});

/// Questions that a figure does not answer, whatever else they name.
static NO_FIGURE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\bwhy\b|\bdescribe\b|\bexplain\b|\bsummar|\blist\b|\bwhat (?:drove|caused|are the (?:main |key |major |primary )?(?:risks|factors|drivers|reasons))|\bnature\b|\bpurpose\b|\bagenda\b|\boutcome\b|\bhow (?:does|do|did|will|is|are) .*\b(?:plan|manage|expect|view|intend|address)\b",
    )
});

/// Whether a question seems to ask for a figure, or for something that figures decide.
pub(crate) fn wants_figure(question: &str) -> bool {
    let lower = question.to_lowercase();
    FIGURE.is_match(&lower) && !NO_FIGURE.is_match(&lower)
}

static PLACES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\b(?P<n>one|two|three|four|\d) (?:decimal|digits after)|\bnearest (?P<w>integer|whole|dollar|percent|million)",
    )
});

pub(super) fn places_asked(lower: &str) -> Option<u32> {
    let found = PLACES.captures(lower)?;
    match found.name("n").map(|m| m.as_str()) {
        Some("one") => Some(1),
        Some("two") => Some(2),
        Some("three") => Some(3),
        Some("four") => Some(4),
        Some(digit) => digit.parse().ok(),
        None => Some(0),
    }
}

static SCALE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\b(?:in|of)\s+(?:units of\s+)?(?:(?:usd|us|u\.s\.|dollars?|\$|us\$)\s*)*\s*(thousands?|millions?|billions?|mn|bn)\b",
    )
});

pub(super) fn scale_asked(lower: &str) -> Option<Scale> {
    Scale::from_word(SCALE.captures(lower)?.get(1)?.as_str())
}

/// Words of questions for a figure that say nothing more about which figure is meant.
const PLAIN: &str = "a about access accounts according amount an analyst and announce announced annual annually answer any approach approximation are as asking assume assuming at balance banker banking base based basing be been best between business but by calculate calculated calculation can carry carried change changed changes changing cash closing company company's compare compared comparison compute computed consider considering consolidated corporation current currently data day days decimal decimals decline declined declining decrease decreased decreasing define defined derive derived details determine did directly does do dollars during each earn earned end ended ending evaluate exact extract fall fell figure filing financial find firm fiscal following for formerly from full fully fy generate generated generates give given go grew grow growing grown growth had has have healthy held here here's higher hold how if improve improved improving in inc income increase increased increasing information integer into investment investor invest is it its judgement judgements judgment judgments kindly known last latest level levels limit liquidity loss lower made make making many me metric millions million billions billion thousands thousand mn bn most much nearest need net number of off on one only or our out outlined over own p&l paid pay percent percentage percents per period perspective place places plainly please positive negative possible possibly presented primarily profile profit provide provided purely quarter question rate ratio reasonable reasonably recent recently recorded record rely relying report reported reporting reports resource resources respond response result results rise rose round rounded rounding say see sheet sheets show showed shown sole solely solution spend spending spent standpoint state stated statement statements successive than that the their them there these they this three to total two trend unadjusted unit units until us usd use used using utilize utilizing value values versus view vs was we were what what's whole with within year year-end year-over-year years yearly yoy year's your abilities taking account average";

/// Whether a question asks for the named figure and nothing besides: every other word of the sentence
/// is plain, part of a name (capitalised), or of the catalogue's vocabulary. A question with a word
/// more (`backlog`, `segment`, `under first-in first-out`) means another figure.
pub(super) fn asks_only_for_figures(
    main: &str,
    sentence_with: &str,
    known: &dyn Fn(&str) -> bool,
) -> bool {
    let without_periods = super::period::without_periods(main);
    let sentence = without_periods
        .split(['?', '.', ';', ':'])
        .find(|sentence| sentence.to_lowercase().contains(sentence_with))
        .unwrap_or(&without_periods);
    let plain: HashSet<&str> = PLAIN.split(' ').collect();
    sentence
        .split(|c: char| {
            c.is_whitespace()
                || matches!(
                    c,
                    ',' | '(' | ')' | ':' | '/' | '"' | '[' | ']' | '+' | '*' | '%'
                )
        })
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
        .filter(|word| !word.is_empty())
        .all(|word| {
            let lower = word.to_lowercase();
            let bare = lower
                .strip_suffix("'s")
                .or(lower.strip_suffix("’s"))
                .unwrap_or(&lower);
            word.chars()
                .next()
                .is_some_and(|c| c.is_uppercase() || c.is_ascii_digit())
                || plain.contains(bare)
                || known(bare)
        })
}
