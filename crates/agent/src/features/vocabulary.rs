//! The words of analysts against the words of filings.
//!
//! Tables only: which primary statements a financial term needs, by what line items filings call
//! it, and which words and items go with a topic. General financial English; nothing here may name
//! a company.

use super::Statement::{self, BalanceSheet, CashFlow, Income};

/// A financial term: how it is asked, the statements that hold it (and how surely, 0 to 1), and the
/// line items to look for.
pub(super) type Concept = (&'static str, &'static [Statement], f32, &'static str);

/// Names of the statements themselves.
pub(super) const STATEMENT_NAMES: &[(&str, Statement)] = &[
    (r"balance sheets?", BalanceSheet),
    (
        r"statements? of (?:consolidated )?financial (?:position|condition)",
        BalanceSheet,
    ),
    (r"income statements?", Income),
    (r"p&l(?: statements?)?", Income),
    (r"profit (?:and|&) loss(?: statements?| accounts?)?", Income),
    (
        r"statements? of (?:consolidated )?(?:net )?(?:income|operations|earnings)",
        Income,
    ),
    (r"cash ?flows? statements?", CashFlow),
    (r"statements? of (?:consolidated )?cash ?flows?", CashFlow),
];

pub(super) const CONCEPTS: &[Concept] = &[
    (
        r"working capital|current ratio",
        &[BalanceSheet],
        1.0,
        "total current assets total current liabilities",
    ),
    (
        r"quick ratio|acid.test|liquidity (?:profile|ratio|position)",
        &[BalanceSheet],
        1.0,
        "total current assets inventories cash receivables total current liabilities",
    ),
    (
        r"cash ratio",
        &[BalanceSheet],
        1.0,
        "cash and cash equivalents total current liabilities",
    ),
    (
        r"current (?:assets|liabilities)|total (?:assets|liabilities)",
        &[BalanceSheet],
        1.0,
        "total assets total liabilities",
    ),
    (
        r"accounts payable|trade payables",
        &[BalanceSheet],
        1.0,
        "accounts payable",
    ),
    (
        r"receivables?",
        &[BalanceSheet],
        0.7,
        "accounts receivable net",
    ),
    (r"inventor(?:y|ies)", &[BalanceSheet], 0.7, "inventories"),
    (
        r"inventory turnover|days (?:of )?inventory|\bdio\b|days sales of inventory",
        &[BalanceSheet, Income],
        1.0,
        "inventories cost of sales cost of goods sold",
    ),
    (
        r"days payables? outstanding|\bdpo\b|payables? turnover",
        &[BalanceSheet, Income],
        1.0,
        "accounts payable cost of sales inventories",
    ),
    (
        r"days sales outstanding|\bdso\b|receivables? turnover",
        &[BalanceSheet, Income],
        1.0,
        "accounts receivable net revenue",
    ),
    (
        r"cash conversion cycle|\bccc\b",
        &[BalanceSheet, Income],
        1.0,
        "accounts payable receivable inventories cost of sales revenue",
    ),
    (
        r"return on (?:total |average )?assets|\broa\b|asset turnover",
        &[BalanceSheet, Income],
        1.0,
        "total assets net income revenue property plant equipment net",
    ),
    (
        r"return on (?:total |average )?equity|\broe\b|return on (?:invested )?capital|\broic\b|\broce\b",
        &[BalanceSheet, Income],
        1.0,
        "total equity net income",
    ),
    (
        r"\b(?:net )?(?:pp&e|pp ?ne|ppe)\b|property,? plant,? (?:and|&) equipment",
        &[BalanceSheet],
        0.8,
        "property plant equipment net accumulated depreciation",
    ),
    (
        r"(?:share|stock|share ?owner)s?(?:holders)?'? equity|book value|debt.to.equity|debt.to.assets|leverage ratio|net debt|solvency",
        &[BalanceSheet],
        0.8,
        "total stockholders equity long-term debt",
    ),
    (
        r"retained earnings|goodwill|intangible",
        &[BalanceSheet],
        0.5,
        "goodwill intangible assets",
    ),
    (
        r"cash and cash equivalents|cash balance|cash position",
        &[BalanceSheet],
        0.6,
        "cash and cash equivalents",
    ),
    (
        r"gross (?:profit )?margins?|gross profit",
        &[Income],
        1.0,
        "gross profit cost of sales net sales revenue",
    ),
    (
        r"operating (?:profit )?(?:margins?|income|profit|earnings|loss)",
        &[Income],
        0.9,
        "operating income revenue",
    ),
    (
        r"net (?:profit )?margins?|net income|net profit|net earnings|net loss|bottom.?line|profitab",
        &[Income],
        0.7,
        "net income",
    ),
    (
        r"cost of goods sold|\bcogs\b|cost of (?:sales|revenues?|products? sold)",
        &[Income],
        0.9,
        "cost of sales cost of goods sold",
    ),
    (
        r"earnings per share|\beps\b",
        &[Income],
        0.6,
        "earnings per share diluted basic",
    ),
    (
        r"\brevenues?\b|net sales|\bsales\b|top.?line|turnover\b",
        &[Income],
        0.5,
        "net sales revenues",
    ),
    (
        r"(?:total )?(?:net )?(?:revenue|sales) (?:growth|cagr)|growth rate",
        &[Income],
        0.9,
        "total net revenue",
    ),
    (
        r"effective (?:income )?tax|tax rate|income tax",
        &[Income],
        0.6,
        "provision for income taxes effective tax rate income before taxes",
    ),
    (
        r"interest coverage|times interest|interest expense",
        &[Income],
        0.6,
        "interest expense operating income",
    ),
    (
        r"\bsg&a\b|\bsga\b|selling,? general|research and development|\br&d\b",
        &[Income],
        0.8,
        "selling general administrative research development expense",
    ),
    (
        r"\bebit(?:da)?\b",
        &[Income, CashFlow],
        0.6,
        "operating income depreciation and amortization",
    ),
    (
        r"depreciation|\bd&a\b|\bda\b",
        &[CashFlow],
        0.8,
        "depreciation and amortization",
    ),
    (
        r"cap(?:ital )?-?ex(?:penditures?)?\b",
        &[CashFlow],
        0.9,
        "capital expenditures purchases of property plant and equipment",
    ),
    (
        r"capital.intensive|capital intensity",
        &[BalanceSheet, CashFlow, Income],
        0.7,
        "property plant equipment capital expenditures total assets revenue",
    ),
    (
        r"operating cash ?flows?|cash ?flows? (?:from|used in) operat|cash (?:from|provided by) operations|cash (?:provided|generated)",
        &[CashFlow],
        1.0,
        "net cash provided by operating activities",
    ),
    (
        r"free cash ?flow|cash ?flow conversion|\bfcf\b",
        &[CashFlow],
        1.0,
        "net cash provided by operating activities purchases of property and equipment",
    ),
    (
        r"cash dividends?|dividends? (?:paid|payout|pay)|pa(?:id|y) (?:out )?(?:in )?(?:cash )?dividends?|pay out",
        &[CashFlow],
        0.7,
        "dividends paid",
    ),
    (
        r"retention ratio|payout ratio",
        &[CashFlow, Income],
        1.0,
        "dividends paid net income",
    ),
    (
        r"share repurchases?|buy-?backs?|repurchas",
        &[CashFlow],
        0.5,
        "repurchases of common stock share repurchase program",
    ),
    (
        r"(?:cash flows?|cash) (?:from |used in )?(?:investing|financing)|(?:investing|financing) (?:cash|activit)",
        &[CashFlow],
        1.0,
        "investing activities financing activities",
    ),
];

/// Topics told in words rather than in a statement: how they are asked and the words around the answer.
pub(super) const TOPICS: &[(&str, &str)] = &[
    (
        r"legal (?:battles?|proceedings?|issues?|matters?|disputes?)|litigation|lawsuits?|sued",
        "legal proceedings litigation contingencies lawsuits claims",
    ),
    (
        r"\bcustomers?\b|clients?\b",
        "customers significant customer concentration",
    ),
    (
        r"geograph\w+|countr(?:y|ies)|international",
        "geographic countries international region united states operations",
    ),
    (
        r"industr(?:y|ies)|line of business",
        "business overview company leader products industry",
    ),
    (
        r"cyclical\w*|seasonal\w*",
        "cyclical cycles seasonal economic downturn demand",
    ),
    (
        r"acquisitions?|acquired?|mergers?|takeover",
        "acquisition acquired business combination purchase price",
    ),
    (
        r"divest\w*|spin.?(?:off|ning)|separation|carve.?out",
        "divestiture spin-off separation sale of business discontinued operations",
    ),
    (
        r"segments?|divisions?",
        "segment results reportable segments",
    ),
    (r"\bregions?\b", "segment region net revenues"),
    (r"top.?line", "net revenues sales"),
    (
        r"retirees?|pensions?|postretirement",
        "pension postretirement retiree benefit payments contributions expected",
    ),
    (r"\bvar\b|value at risk", "value at risk average"),
    (
        r"\bagm\b|annual meeting|(?:share|stock)holder vote|votes?\b|proposals?|nominees?",
        "annual meeting of shareholders votes for against abstain broker non-votes proposal",
    ),
    (
        r"\bfx\b|foreign exchange|currenc",
        "foreign exchange currency",
    ),
    (
        r"guidance|outlook|forecast\w*|\bexpect(?:s|ed|ing|ations?)?\b|target\b",
        "guidance outlook expects expected",
    ),
    (
        r"\bdebt\b|\bnotes\b|borrowings?|leverage",
        "debt long-term notes borrowings",
    ),
    (
        r"debt securities|securities (?:exchange|registered)|registered|stock exchange",
        "securities registered pursuant to section 12 title of each class name of exchange on which registered",
    ),
    (
        r"restructuring|layoffs?|severance",
        "restructuring charges liability severance",
    ),
    (
        r"derivative|hedg",
        "derivative instruments notional swaps forwards hedges",
    ),
    (
        r"dividends?",
        "dividends declared per share dividend policy quarterly",
    ),
    (
        r"credit (?:agreement|facility|line)|revolv",
        "revolving credit agreement facility unsecured borrow",
    ),
    (r"competit", "competition competitors compete"),
    (
        r"employees?|headcount|workforce|labou?r|union|wages?",
        "employees human capital workforce labor",
    ),
    (r"\brisks?\b", "risk factors"),
    (
        r"products? (?:and|or|&|/) services?|major products|brands?|offerings?",
        "products services offerings brands business",
    ),
    (r"non.?gaap|\badjusted", "adjusted non-gaap reconciliation"),
    (r"ebitdar?\b", "ebitda adjusted reconciliation"),
    (
        r"bankrupt|liquidat|book value per share",
        "tangible book value per share",
    ),
    (
        r"impairment|write.?(?:off|down)s?|one.?(?:off|time)|gains?\b",
        "impairment charges loss gain",
    ),
    (
        r"\bdrove\b|drivers?|driven|\bwhy\b|reasons?|due to",
        "primarily due to driven by increase decrease",
    ),
    (
        r"\bboard\b|directors?|\bceo\b|\bcfo\b|officers?|resign\w*|appoint\w*|management team",
        "director officer appointed board resignation",
    ),
    (
        r"compensation|salar(?:y|ies)|bonus|say.on.pay|incentive",
        "executive compensation salary bonus incentive awards",
    ),
    (r"\bstores?\b|\bsquare f", "stores square feet"),
    (
        r"organic|exclud\w+|comparable|like.for.like|same.store",
        "organic comparable growth excluding impact",
    ),
    (
        r"inflation|macro\w*|interest rates?|tariffs?|supply chain",
        "inflation economic conditions interest rates supply",
    ),
    (
        r"cyber\w*|data breach",
        "cybersecurity information security",
    ),
    (r"tax\b", "income taxes effective rate"),
    (
        r"leases?|rent\b",
        "operating lease liabilities right-of-use",
    ),
    (
        r"deposits?|loans?|credit loss",
        "deposits loans allowance credit losses",
    ),
    (
        r"patents?|trademarks?|intellectual",
        "patents trademarks intellectual property",
    ),
    (
        r"backlog|orders?\b|remaining performance",
        "backlog orders remaining performance obligations",
    ),
    (
        r"subscri\w+|members?(?:hip)?s?\b|\busers?\b",
        "subscribers members users paid memberships",
    ),
    (
        r"accounting (?:polic|standard|change)|auditor|internal control",
        "accounting policies estimates pronouncements auditor",
    ),
];

/// Items of an annual report where a topic is at home.
pub(super) const ITEMS: &[(&str, &[&str])] = &[
    (r"legal|litigation|lawsuit", &["3"]),
    (
        r"dividend|repurchas|buy-?back|stock price|holders of record|stock exchange",
        &["5"],
    ),
    (
        r"industr|customers?|products? (?:and|or|&|/)|geograph|competit|employees|workforce|cyclical|seasonal|segments?|brands?|patents?",
        &["1"],
    ),
    (r"\brisks?\b|cyclical|cyber", &["1a"]),
    (r"propert(?:y|ies)\b|facilities|headquarter", &["2"]),
    (
        r"margin|driv|\bwhy\b|increase|decrease|chang|liquid|tax rate|growth|forecast|outlook|organic",
        &["7"],
    ),
];

/// What is at home in earnings releases and calls rather than in the annual report.
pub(super) const EARNINGS: &str = r"non.?gaap|\badjusted|guidance|outlook|organic|constant currency|\bcore\b|exclud|\bebitdar?\b|top.?line|same.store|comparable sales|analysts?\b.*\bcall";

/// Single events, at home in current reports.
pub(super) const EVENTS: &str = r"\bagm\b|annual meeting|\bvot(?:e|es|ed|ing)\b|nominat|nominees?|elected|appoint|resign|step(?:ped|ping)? down|credit agreement|indenture|merger agreement|\bannounc|filing dated|8-?k\b|entered into|terminated|key agenda";

/// Asks for a figure, and so for a place with many of them.
pub(super) const FIGURE: &str = r"how much|how many|ratio|percent|%|highest|lowest|largest|smallest|worst|best|average|margin|growth|\bin usd\b|represent|quantity|turnover|compare|increase|decrease|improv|declin|(?:what|how) (?:is|was|are|were) the .*(?:rate|amount|value|total|number|change)|per share|\bcagr\b|capital.intensive";

/// What examiners wrap around a question: roles, rounding, units, sources.
pub(super) const BOILERPLATE: &[&str] = &[
    r"you are an? [^.,:]*? and your only",
    r"your only resource\(?s?\)? to answer the following question (?:is|are|is \(are\))[: ]*",
    r"resource\(?s?\)? to answer the following question (?:is|are|is \(are\))[: ]*",
    r"here'?s the question:?",
    r"\(?(?:answer )?in (?:units of )?(?:usd|us dollars|u\.s\. dollars|percents?|percentages?|millions|billions|thousands)(?: (?:millions?|billions?|thousands?))?(?: and round[^.)]*)?\)?",
    r"\(in units of percents?[^)]*\)",
    r"(?:please )?round (?:your answer |to )[^.)]*(?:decimal places?)\.?",
    r"(?:respond to|approach|answer|address) the question(?: asked)? by (?:assuming|taking|adopting) the (?:perspective|standpoint|position|point of view|role) of an? [^.]*?(?:who (?:can only|only has|has only|only had)|with only|with)(?: use| access to)?",
    r"(?:assume|imagine|pretend) (?:that )?you (?:are|were) an? [^.,]*[.,]",
    r"we (?:need|want) to calculate [^.:]*[.:]",
    r"please answer the following question:?",
    r"answer the following question(?: to the best of your abilities)?:?",
    r"if [^.]*? (?:is|are) not (?:a )?(?:useful|relevant|something|explicitly|meaningful)[^.]*\.?",
    r"if [^.]*(?:please )?(?:state|explain) (?:that|why)[^.]*\.?",
    r"(?:taking into account|based on|basing your judgments? (?:off of|by)|considering|using|by using|relying on|give a (?:response|solution) to the question by (?:using|relying on)|provide a response to the question by (?:primarily )?using|please (?:utilize|base your judgments? on)|compute or extract the answer by (?:primarily )?using)?\s*(?:only |primarily )?(?:the )?(?:information|details|data)(?: plainly)?(?: (?:provided|shown|outlined))?(?: primarily| only)?(?: within| in)",
    r"\b(?:is|are) defined as\b|\bdefine [\w ]+ as\b",
];

/// Words that say nothing about what is looked for.
pub(super) const STOP_WORDS: &str = "a an the of in on at to for and or is are was were be been being has have had do does did \
    what which who whom how much many when where why that this these those it its as by from with if then than so such any \
    there their they them we you your our i us me my following question answer based please within by would could should can \
    may might will shall state explain give compare compared company companies using use used utilize respond response \
    solution assuming perspective only own among same also about into over during between until end year years fiscal fy \
    quarter quarters period vs versus q h primarily respectively directly outlined report reported reports reporting amount \
    total usd million millions billion billions percent units unit decimal round places defined define like not no yes one \
    provided shown information details data basing judgments off taking account considering response relying s t \
    formerly known all each more most some get make made out up";
