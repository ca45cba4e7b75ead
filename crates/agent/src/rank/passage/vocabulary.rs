//! What analysts ask about against the words of the passages that answer.
//!
//! Tables only, of general financial English: kinds of question with the cues of their answers, and
//! topics with the words around them. Nothing here names a company or comes from a labelled question.

/// The kinds of question that call for different kinds of passage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// What analysts or investors asked, doubted or felt.
    Analysts,
    /// What management said.
    Management,
    /// What is expected.
    Guidance,
    /// What may go wrong.
    Risk,
    /// What people are paid, and who decides it.
    Compensation,
    /// How a figure moved.
    Trend,
    /// Economy, rates, currencies.
    Macro,
    /// Market and competitors.
    Industry,
    /// A figure.
    Figure,
}

/// All kinds: how they are asked, and the cues of a passage that answers.
pub(super) const KINDS: &[(Kind, &str, &str)] = &[
    (
        Kind::Analysts,
        r"analysts?\b|investors?\b|q&a|questions? (?:were|was|arose|asked|did)|inquir|sentiment|concerns? (?:raised|were)|clarifications?|shareholders? (?:feedback|concerns?)",
        "question wondering curious color help understand thoughts guess thanks congrats follow-up could you talk about",
    ),
    (
        Kind::Management,
        r"management|leaders(?:hip)?\b|executives?\b|\bceo\b|\bcfo\b|commentary|(?:did|does) .* (?:say|said|discuss|describe|highlight|frame|characterize|outline|address)",
        "we our believe focus focused confident pleased continue see seeing progress team strong",
    ),
    (
        Kind::Guidance,
        r"guid(?:ance|ing)|outlook|forecast\w*|expect\w*|project(?:ed|ions?)|targets?\b|anticipat\w*|next (?:quarter|fiscal|reporting|year)|forward",
        "expect expected outlook guidance anticipate forecast range full-year second half target reaffirm raise approximately project assume",
    ),
    (
        Kind::Risk,
        r"risks?\b|challeng\w*|exposures?\b|headwinds?|threats?|disrupt\w*|vulnerab|depend(?:ency|ence|ent)|uncertain\w*|downturn",
        "risk could may might adversely affect materially harm failure unable uncertain disruption impact subject",
    ),
    (
        Kind::Compensation,
        r"compensation|incentive|\bpay\b|salar(?:y|ies)|bonus|equity award|award\w*|clawback|recoup|say.on.pay|ownership guidelines|retainer|\bfees\b|severance|\bproxy\b|burn rate|share pool|directors?\b",
        "compensation committee executive officer named award awards performance target payout plan shares director annual",
    ),
    (
        Kind::Trend,
        r"\btrend\w*|evolv\w*|chang(?:e|ed|es)\b|compar\w*|growth|grew|over (?:recent|time|the)|improv\w*|declin\w*|increas\w*|decreas\w*|progress|varied|ratio",
        "increased decreased increase decrease compared prior year percent growth grew due primarily driven higher lower",
    ),
    (
        Kind::Macro,
        r"macro\w*|econom\w*|inflation\w*|interest rates?|currenc\w*|\bfx\b|recession\w*|tariffs?|geopolitic\w*|credit market|labou?r market|wage",
        "economic inflation interest rates currency environment macroeconomic consumer recession conditions volatility uncertainty",
    ),
    (
        Kind::Industry,
        r"industry|compet\w*|market (?:share|position\w*|opportunit\w*|landscape|trends?|dynamics)|landscape|innovation|consolidation|adoption|demand|distribution channels?",
        "market industry competitors competitive competition customers demand trends share products innovation leading",
    ),
    (
        Kind::Figure,
        r"how (?:much|many)|what (?:was|is|were|are) (?:the )?.*(?:rate|amount|percentage|proportion|number|total|ratio|eps|margin|count|price|per share)|percentage|proportion|what .* did .* report|ratio",
        "total percent million billion amount per share",
    ),
];

/// Topics: how they are asked, and the words around the answer.
pub(super) const TOPICS: &[(&str, &str)] = &[
    (
        r"burn rate|share pool|overhang|equity (?:award|incentive)|shares available|authorized under",
        "equity incentive plan shares available future issuance grants outstanding awards burn rate overhang dilution reserve stock options restricted",
    ),
    (
        r"dividend|payout",
        "dividend dividends per share quarterly declared increase payout cash",
    ),
    (
        r"repurchas\w*|buy-?backs?|capital (?:return|allocation)|returns? (?:of|to) (?:capital|shareholders)",
        "repurchase repurchases buyback dividends return capital allocation shareholders authorization balance sheet invest",
    ),
    (
        r"innovat\w*|new products?|product launch|research|r&d",
        "innovation new products technology research development launch introduce pipeline platform",
    ),
    (
        r"compet\w*|market share|rival",
        "competition competitors competitive compete market share pricing advantage differentiated",
    ),
    (
        r"concentrat\w*|depend\w*|relian\w*|limited number",
        "concentration depend dependence rely significant customers suppliers limited number loss percent revenue largest single",
    ),
    (
        r"recurring|one.time",
        "recurring subscription non-recurring one-time items restructuring special adjusted services transaction revenue",
    ),
    (
        r"engagement|retention|loyalty|traffic|active users|satisfaction|churn|acquisition cost",
        "engagement customers users members retention loyalty satisfaction active visits traffic churn digital",
    ),
    (
        r"international|geograph\w*|region\w*|expansion|new markets",
        "international geographic regions countries markets expansion global europe asia china latin america domestic",
    ),
    (
        r"scenario\w*|recession\w*|downturn|stress",
        "scenario stress recession downturn economic slowdown sensitivity adverse hypothetical conditions demand",
    ),
    (
        r"segment\w*|profitab\w*",
        "segment operating income margin profit segments increased decreased",
    ),
    (
        r"supply chain|inventor\w*|logistics|supplier\w*|procurement|sourcing",
        "supply chain inventory suppliers sourcing logistics shortages materials availability",
    ),
    (
        r"\besg\b|sustainab\w*|climate|emissions|environmental",
        "sustainability environmental social climate emissions greenhouse esg energy goals",
    ),
    (
        r"clawback|recoup\w*",
        "clawback recoupment recover policy restatement misconduct incentive compensation",
    ),
    (
        r"say.on.pay|advisory vote|shareholder (?:vote|feedback)",
        "say-on-pay advisory vote votes cast approval support stockholders shareholders engagement outreach",
    ),
    (
        r"ownership (?:guideline|requirement)",
        "stock ownership guidelines multiple base salary required hold shares years",
    ),
    (
        r"performance (?:horizon|period|metric|share)|measurement period|incentive|long.term",
        "performance period three-year long-term incentive psus rsus vesting target threshold maximum metrics weighting annual",
    ),
    (
        r"consultant|advis[eo]r",
        "independent compensation consultant engaged retained committee advisor services conflict",
    ),
    (
        r"non.?employee director|director (?:compensation|fees)|retainer",
        "non-employee director annual cash retainer equity chair fees committee",
    ),
    (
        r"peer (?:group|compan)",
        "peer group companies benchmarking median percentile",
    ),
    (
        r"severance|change.in.control|terminat",
        "severance change control termination payments benefits",
    ),
    (
        r"pay ratio|\bceo pay|total compensation",
        "ceo pay ratio median employee total compensation summary",
    ),
    (
        r"currenc\w*|foreign exchange|\bfx\b",
        "foreign currency exchange rates translation dollar hedging unfavorable impact",
    ),
    (
        r"interest rate|funding cost|credit market|capital costs?",
        "interest rates rate variable debt borrowings basis points hedging credit",
    ),
    (
        r"inflation|wage|labou?r|cost pressure",
        "inflation inflationary costs wage labor price increases higher",
    ),
    (
        r"\bdebt\b|leverage|liquidity|maturit\w*|financing|interest coverage|cash and short",
        "debt leverage credit facility notes maturities borrowings liquidity cash ratio covenants",
    ),
    (
        r"cap(?:ital )?-?ex(?:penditures?)?\b|capital (?:spending|investment)",
        "capital expenditures capex spending investment property plant equipment",
    ),
    (
        r"free cash ?flow|cash flow",
        "free cash flow operating activities capital expenditures conversion",
    ),
    (
        r"pric(?:ing|es?)\b",
        "pricing price increases elasticity mix volume rate",
    ),
    (
        r"margins?\b",
        "margin gross operating basis points expansion mix productivity cost",
    ),
    (
        r"\btax\b|effective tax",
        "effective tax rate income taxes provision",
    ),
    (
        r"\beps\b|earnings per share",
        "earnings per share diluted adjusted eps",
    ),
    (
        r"cyber\w*|data (?:breach|privacy)",
        "cybersecurity security breach information systems attacks data privacy incidents",
    ),
    (
        r"regulat\w*|legal|litigation|lawsuits?|compliance",
        "regulatory regulations laws compliance litigation proceedings claims investigation",
    ),
    (
        r"acqui(?:sition|re)\w*|merger|integrat\w*|m&a",
        "acquisition acquired integration synergies merger transaction businesses",
    ),
    (
        r"digital|technolog\w*|\bai\b|automation|software",
        "technology digital platform artificial intelligence data automation software",
    ),
    (
        r"sentiment|investors?|reaction",
        "investors shareholders confidence concerns question",
    ),
    (
        r"demand|consumer|customer",
        "demand customers consumer trends behavior preferences spending volume",
    ),
    (
        r"tariffs?|trade|geopolitic\w*",
        "tariffs trade geopolitical sanctions conflict policies",
    ),
    (
        r"real estate|propert(?:y|ies)|leas(?:e|ing)|facilit",
        "real estate properties leases leasing facilities rent occupancy",
    ),
    (
        r"talent|employees|workforce|human capital",
        "employees talent workforce retention human capital",
    ),
    (
        r"backlog|orders|bookings",
        "backlog orders bookings remaining performance obligations",
    ),
    (
        r"premiums?\b|underwriting",
        "premiums written net gross underwriting combined ratio",
    ),
    (
        r"productivity|cost (?:saving|reduction)|efficien\w*",
        "cost savings productivity efficiency restructuring program reduction",
    ),
    (
        r"partner\w*|joint venture|distribution",
        "partners partnership distribution channels agreements collaboration",
    ),
    (
        r"brand|marketing|advertis\w*",
        "brand brands marketing advertising campaign awareness",
    ),
    (
        r"impairment|goodwill|write",
        "impairment goodwill intangible assets charge fair value",
    ),
    (
        r"headwinds?|challeng\w*",
        "headwinds challenges pressure difficult impact offset",
    ),
    (
        r"opportunit\w*",
        "opportunity opportunities growth potential addressable",
    ),
];

/// Words of a question that say how it is asked and not what about.
pub(super) const FRAME_WORDS: &str = "a an the of in on at to for and or is are was were be been being has have had do does did \
    what which who whom whose how where when why that this these those it its as by from with if then than so such any there their \
    they them we you your our i me my about into over during between until would could should can may might will shall \
    also own other some most more all each both not no only same up out s t re ve ll \
    company companies corporation inc corp management leadership leaders executives executive team \
    analysts analyst investors investor question questions asked ask say said saying view views viewed discuss discussed describe \
    described highlight highlighted offered offer given give provide provided emerge emerged outline outlined frame framed \
    regarding relation related latest recent recently reported report reporting period periods fiscal year years quarter \
    quarters current disclosed disclose disclosures identified identify noted mention mentioned key main major \
    specific particular according based including within across around toward towards \
    evolved evolve changed change changes compare compared visible insights commentary expressed raised probe express";

/// Phrases of passages that are the same in every filing and answer nothing.
pub(super) const BOILERPLATE: &str = r"(?i)forward.looking statements?|safe harbor|private securities litigation reform|incorporated (?:herein )?by reference|pursuant to the requirements of the securities exchange act|hereunto duly authorized|table of contents|exhibit (?:index|no\.|number)|operator instructions|thank you for standing by|this conference is being recorded|commission file number|check the appropriate box|payment of filing fee|indicate by check mark|signatures?\s*$|power of attorney|all rights reserved|this concludes (?:today|the|our)|you may now disconnect|reconciliation of non-gaap";
