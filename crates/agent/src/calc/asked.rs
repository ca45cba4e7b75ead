//! What a question asks for beside the metric: what is done with it, and how the result is written.

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

pub(super) fn aim(lower: &str, periods: usize, percent: bool, unit: Unit) -> (Aim, Option<Asks>) {
    let yes_no =
        YES_NO.is_match(lower) && !lower.contains(" or declin") && !lower.contains(" or decreas");
    let asks = match () {
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
        () => None,
    };
    let aim = if CAGR.is_match(lower) && periods > 1 {
        Aim::Cagr
    } else if AVERAGE.is_match(lower) && periods > 1 {
        Aim::Average
    } else if GROWTH.is_match(lower) && unit != Unit::Percent {
        Aim::Growth
    } else if COMPARE.is_match(lower) {
        let growth = percent && unit == Unit::Money && asks.is_none();
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
