//! The elements that the reader tells apart, and what sort each is.

/// An element by what the reader does with it. Elements it has no use for are [`Tag::Unknown`] and
/// leave their content to flow on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// Starts and ends a block and is otherwise plain: `div`, `section`, `body`, `dl`, ….
    Block,
    /// `p`.
    P,
    /// `h1` … `h6`.
    H(u8),
    /// `ul`, `ol`.
    List,
    /// `li`, `dt`, `dd`.
    Li,
    /// `center`.
    Center,
    /// `pre`, and EDGAR's own plain-text pages.
    Pre,
    /// `table`.
    Table,
    /// `thead`, `tbody`, `tfoot`, `colgroup`: only their boundaries matter.
    RowGroup,
    /// `caption` of a table.
    Caption,
    /// `tr`.
    Tr,
    /// `td`, `th`.
    Td,
    /// `b`, `strong`.
    Bold,
    /// `i`, `em`.
    Italic,
    /// `u`, `ins`.
    Underline,
    /// `sup`.
    Sup,
    /// `font`.
    Font,
    /// `a`.
    A,
    /// Inline elements of which only the style counts: `span`, `sub`, `small`, ….
    Span,
    /// `br`.
    Br,
    /// `hr`.
    Hr,
    /// `title`.
    Title,
    /// Elements whose content is no text: `script`, `style`, `iframe`, ….
    Raw,
    /// `head`, a block whose text is not shown.
    Head,
    /// EDGAR's `PAGE`.
    Page,
    /// EDGAR's one-line SGML heads: `TYPE`, `SEQUENCE`, `FILENAME`, `DESCRIPTION`.
    SgmlLine,
    /// EDGAR's `SEC-HEADER` block.
    SecHeader,
    /// `ix:header`.
    IxHeader,
    /// `ix:hidden`.
    IxHidden,
    /// `ix:resources`.
    IxResources,
    /// `ix:nonFraction`.
    IxNonFraction,
    /// `ix:nonNumeric`.
    IxNonNumeric,
    /// `ix:fraction`.
    IxFraction,
    /// `ix:numerator`.
    IxNumerator,
    /// `ix:denominator`.
    IxDenominator,
    /// `ix:continuation`.
    IxContinuation,
    /// `ix:exclude`.
    IxExclude,
    /// Everything else, void elements included.
    Unknown,
}

impl Tag {
    /// The element called `name`, in any case.
    pub(crate) fn of(name: &str) -> Tag {
        let mut lower = [0u8; 16];
        let Some(buffer) = lower.get_mut(..name.len()) else {
            return Tag::Unknown;
        };
        buffer.copy_from_slice(name.as_bytes());
        buffer.make_ascii_lowercase();
        match &*buffer {
            b"td" | b"th" => Tag::Td,
            b"span" | b"sub" | b"small" | b"big" | b"s" | b"strike" | b"code" | b"tt" | b"abbr"
            | b"acronym" | b"cite" | b"label" | b"q" | b"mark" | b"del" | b"nobr" => Tag::Span,
            b"tr" => Tag::Tr,
            b"div" | b"body" | b"html" | b"section" | b"article" | b"header" | b"footer"
            | b"aside" | b"nav" | b"main" | b"address" | b"blockquote" | b"dl" | b"form"
            | b"fieldset" | b"figure" | b"figcaption" | b"details" | b"summary" | b"dir"
            | b"menu" | b"option" | b"select" => Tag::Block,
            b"p" => Tag::P,
            b"font" => Tag::Font,
            b"b" | b"strong" => Tag::Bold,
            b"i" | b"em" | b"var" | b"dfn" => Tag::Italic,
            b"u" | b"ins" => Tag::Underline,
            b"a" => Tag::A,
            b"sup" => Tag::Sup,
            b"br" => Tag::Br,
            b"hr" => Tag::Hr,
            b"table" => Tag::Table,
            b"tbody" | b"thead" | b"tfoot" | b"colgroup" => Tag::RowGroup,
            b"caption" => Tag::Caption,
            b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" => Tag::H(buffer[1] - b'0'),
            b"ul" | b"ol" => Tag::List,
            b"li" | b"dt" | b"dd" => Tag::Li,
            b"center" => Tag::Center,
            b"pre" | b"listing" | b"xmp" => Tag::Pre,
            b"title" => Tag::Title,
            b"script" | b"style" | b"iframe" | b"noframes" | b"noembed" | b"textarea" => Tag::Raw,
            b"head" => Tag::Head,
            b"page" => Tag::Page,
            b"type" | b"sequence" | b"filename" | b"description" => Tag::SgmlLine,
            b"sec-header" | b"ims-header" => Tag::SecHeader,
            _ => Tag::Unknown,
        }
    }

    /// The inline-XBRL element with this local name, in any case.
    pub(crate) fn of_ix(local: &str) -> Tag {
        let table = [
            ("nonfraction", Tag::IxNonFraction),
            ("nonnumeric", Tag::IxNonNumeric),
            ("continuation", Tag::IxContinuation),
            ("header", Tag::IxHeader),
            ("hidden", Tag::IxHidden),
            ("resources", Tag::IxResources),
            ("exclude", Tag::IxExclude),
            ("fraction", Tag::IxFraction),
            ("numerator", Tag::IxNumerator),
            ("denominator", Tag::IxDenominator),
        ];
        table
            .iter()
            .find(|(name, _)| local.eq_ignore_ascii_case(name))
            .map_or(Tag::Unknown, |(_, tag)| *tag)
    }

    /// Whether it begins and ends a block of text.
    pub(crate) fn is_block(self) -> bool {
        matches!(
            self,
            Tag::Block
                | Tag::P
                | Tag::H(_)
                | Tag::List
                | Tag::Li
                | Tag::Center
                | Tag::Pre
                | Tag::Table
                | Tag::RowGroup
                | Tag::Caption
                | Tag::Tr
                | Tag::Td
                | Tag::Head
        )
    }

    /// Whether it only dresses text: such elements left open do not outlive the paragraph.
    pub(crate) fn is_dressing(self) -> bool {
        matches!(
            self,
            Tag::Bold | Tag::Italic | Tag::Underline | Tag::Sup | Tag::Font | Tag::A | Tag::Span
        )
    }

    /// Whether it is an inline-XBRL element.
    pub(crate) fn is_ix(self) -> bool {
        matches!(
            self,
            Tag::IxHeader
                | Tag::IxHidden
                | Tag::IxResources
                | Tag::IxNonFraction
                | Tag::IxNonNumeric
                | Tag::IxFraction
                | Tag::IxNumerator
                | Tag::IxDenominator
                | Tag::IxContinuation
                | Tag::IxExclude
        )
    }
}
