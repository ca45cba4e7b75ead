//! Shown words to values: the text transformations of the inline-XBRL registries and of the SEC.
//! Dates become `2023-07-01`, durations `P5Y`, ballot boxes `true` and `false`.

use super::number::number;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// The value of `shown` under transformation `format` (without its prefix): nothing where it does
/// not have that form, `shown` itself where the transformation is not one that changes words.
pub(crate) fn text(shown: &str, format: &str) -> Option<String> {
    let format = format.to_ascii_lowercase();
    let shown = shown.trim();
    let name = format.as_str();
    let fixed = |value: &str| Some(value.to_owned());
    match name {
        "fixed-true" | "booleantrue" => fixed("true"),
        "fixed-false" | "booleanfalse" => fixed("false"),
        "fixed-empty" | "nocontent" => fixed(""),
        "boolballotbox" => ballot_box(shown),
        "yesnoballotbox" => {
            ballot_box(shown).map(|value| if value == "true" { "Yes" } else { "No" }.to_owned())
        }
        "durwordsen" => words_duration(shown),
        "exchnameen" => exchange(shown),
        "stateprovnameen" | "edgarprovcountryen" => Some(state(shown)),
        "datequarterend" => fixed(shown),
        _ if name.starts_with("dur") => duration(shown, name),
        _ if name.starts_with("date") => date(shown, name),
        _ => fixed(shown),
    }
}

fn ballot_box(shown: &str) -> Option<String> {
    let value = match shown.chars().next()? {
        '☒' | '☑' | '✓' | '✔' | 'x' | 'X' | 'þ' | 'ý' => "true",
        '☐' | '□' | '¨' | 'o' => "false",
        _ => return None,
    };
    Some(value.to_owned())
}

fn duration(shown: &str, format: &str) -> Option<String> {
    let unit = match format {
        "duryear" => 'Y',
        "durmonth" => 'M',
        "durweek" => 'W',
        "durday" => 'D',
        "durhour" => 'H',
        _ => return Some(shown.to_owned()),
    };
    let (sign, count) = match shown.strip_prefix(['-', '−']) {
        Some(rest) => ("-", rest),
        None => ("", shown),
    };
    let count = number(count, None, 0, false)?;
    let fraction = count.fract();
    let whole = count.trunc();
    Some(match unit {
        // Years and months have whole months at the finest; that is how the SEC reads `2.5`.
        'Y' if !fraction.is_zero() => {
            let months = (fraction * rust_decimal::Decimal::from(12)).round();
            format!("{sign}P{whole}Y{months}M")
        }
        'M' if !fraction.is_zero() => {
            let days = (fraction * rust_decimal::Decimal::from(30)).round();
            format!("{sign}P{whole}M{days}D")
        }
        'H' => format!("{sign}PT{}H", count.normalize()),
        _ => format!("{sign}P{}{unit}", count.normalize()),
    })
}

/// `five years and six months`.
fn words_duration(shown: &str) -> Option<String> {
    let lower = shown.to_ascii_lowercase();
    let mut out = String::from("P");
    let mut count = String::new();
    for word in lower.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.')) {
        let unit = match word.trim_end_matches('s') {
            "year" => 'Y',
            "month" => 'M',
            "week" => 'W',
            "day" => 'D',
            _ => {
                count.push_str(word);
                count.push(' ');
                continue;
            }
        };
        let value = number(count.trim(), Some("numwordsen"), 0, false)
            .or_else(|| number(count.trim(), None, 0, false))?;
        out.push_str(&format!("{}{unit}", value.normalize()));
        count.clear();
    }
    (out.len() > 1).then_some(out)
}

fn exchange(shown: &str) -> Option<String> {
    let lower = shown.to_ascii_lowercase();
    let table = [
        ("nasdaq", "NASDAQ"),
        ("new york stock exchange", "NYSE"),
        ("nyse american", "NYSEAMER"),
        ("nyse arca", "NYSEArca"),
        ("nyse", "NYSE"),
        ("chicago stock exchange", "CHX"),
        ("nyse chicago", "CHX"),
        ("cboe bzx", "CboeBZX"),
        ("long-term stock exchange", "LTSE"),
    ];
    let known = table.iter().find(|(name, _)| lower.contains(name));
    Some(known.map_or_else(|| shown.to_owned(), |(_, code)| (*code).to_owned()))
}

/// Two-letter codes of the states; other places keep their name.
fn state(shown: &str) -> String {
    const STATES: &str = "Alabama AL,Alaska AK,Arizona AZ,Arkansas AR,California CA,Colorado CO,\
        Connecticut CT,Delaware DE,District of Columbia DC,Florida FL,Georgia GA,Hawaii HI,Idaho ID,\
        Illinois IL,Indiana IN,Iowa IA,Kansas KS,Kentucky KY,Louisiana LA,Maine ME,Maryland MD,\
        Massachusetts MA,Michigan MI,Minnesota MN,Mississippi MS,Missouri MO,Montana MT,Nebraska NE,\
        Nevada NV,New Hampshire NH,New Jersey NJ,New Mexico NM,New York NY,North Carolina NC,\
        North Dakota ND,Ohio OH,Oklahoma OK,Oregon OR,Pennsylvania PA,Puerto Rico PR,\
        Rhode Island RI,South Carolina SC,South Dakota SD,Tennessee TN,Texas TX,Utah UT,Vermont VT,\
        Virginia VA,Washington WA,West Virginia WV,Wisconsin WI,Wyoming WY";
    let wanted = shown
        .trim_start_matches("The ")
        .trim_start_matches("State of ");
    STATES
        .split(',')
        .filter_map(|entry| entry.trim().rsplit_once(' '))
        .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
        .map_or_else(|| shown.to_owned(), |(_, code)| code.to_owned())
}

/// English and numeric dates; the order of day, month and year is in the format's name.
fn date(shown: &str, format: &str) -> Option<String> {
    let mut numbers: Vec<u32> = Vec::new();
    let mut month: Option<(usize, u32)> = None;
    for word in shown
        .split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
    {
        let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        if digits.is_empty() {
            let head = word.get(..3).unwrap_or(word).to_ascii_lowercase();
            if let Some(at) = MONTHS.iter().position(|name| **name == head) {
                month = Some((numbers.len(), at as u32 + 1));
            }
        } else {
            numbers.push(digits.parse().ok()?);
        }
    }
    let rest = format.trim_start_matches("date").replace(['-', '_'], "");
    // The order of the parts is the order of their names in the format.
    let mut parts: Vec<(usize, char)> = [("year", 'y'), ("month", 'm'), ("day", 'd')]
        .iter()
        .filter_map(|(name, part)| rest.find(name).map(|at| (at, *part)))
        .collect();
    if parts.is_empty() {
        // Version 1 names: dateslashus, datedoteu, datelongus, ….
        let order = if rest.ends_with("us") { "mdy" } else { "dmy" };
        parts = order.chars().enumerate().collect();
    }
    parts.sort_unstable();
    let mut values = numbers.into_iter();
    let (mut year, mut day) = (None, None);
    let mut month_number = month.map(|(_, month)| month);
    for (_, part) in parts {
        match part {
            'y' => year = values.next(),
            'd' => day = values.next(),
            _ if month.is_none() => month_number = values.next(),
            _ => {}
        }
    }
    let year = year.map(|year| if year < 100 { year + 2000 } else { year });
    let month = month_number.filter(|month| (1..=12).contains(month));
    let day = day.filter(|day| (1..=31).contains(day));
    match (year, month, day) {
        (Some(year), Some(month), Some(day)) => Some(format!("{year:04}-{month:02}-{day:02}")),
        (None, Some(month), Some(day)) => Some(format!("--{month:02}-{day:02}")),
        (Some(year), Some(month), None) => Some(format!("{year:04}-{month:02}")),
        _ => None,
    }
}
