//! How text looks: the few CSS properties and attributes that tell headings, hidden text and page
//! breaks, inherited from element to element.

use super::lexer::Attrs;
use super::tags::Tag;

/// How a run of text looks, as inherited down to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Look {
    pub(crate) bold: bool,
    pub(crate) italic: bool,
    pub(crate) underlined: bool,
    pub(crate) centered: bool,
    /// Not shown: `display:none`, `ix:header`, `head`.
    pub(crate) hidden: bool,
    /// Line ends count.
    pub(crate) preformatted: bool,
    /// Inside a link to a place in the same document.
    pub(crate) internal_link: bool,
    /// Superscript, as note marks are.
    pub(crate) superscript: bool,
    /// In the Wingdings font, whose letters are pictures.
    pub(crate) wingdings: bool,
    /// Inside a list item.
    pub(crate) list_item: bool,
    /// Font size in points, 0 where nothing states one.
    pub(crate) size_pt: f32,
    /// `h1`…`h6`, else 0.
    pub(crate) tag_level: u8,
}

/// What one element says besides the inherited look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Layout {
    /// `display:inline` on a block element.
    pub(crate) inline: bool,
    /// `display:block` and the like on an inline element.
    pub(crate) block: bool,
    /// A page ends before it.
    pub(crate) break_before: bool,
    /// A page ends after it.
    pub(crate) break_after: bool,
}

impl Look {
    /// The look inside an element with this tag and these attributes.
    pub(crate) fn enter(&self, tag: Tag, attrs: &Attrs<'_>) -> (Look, Layout) {
        let mut look = *self;
        let mut layout = Layout::default();
        match tag {
            Tag::Bold => look.bold = true,
            Tag::Italic => look.italic = true,
            Tag::Underline => look.underlined = true,
            Tag::Sup => look.superscript = true,
            Tag::Center => look.centered = true,
            // Browsers let a table start anew, as its rows are laid out by themselves.
            Tag::Table => look.centered = false,
            Tag::H(level) => {
                look.tag_level = level;
                look.bold = true;
            }
            Tag::Li => look.list_item = true,
            Tag::Pre => look.preformatted = true,
            Tag::Head | Tag::IxHeader | Tag::IxHidden | Tag::SecHeader => look.hidden = true,
            _ => {}
        }
        for (name, value) in attrs.iter() {
            match name.len() {
                5 if name.eq_ignore_ascii_case("style") => {
                    declarations(value, &mut look, &mut layout)
                }
                5 if name.eq_ignore_ascii_case("align") && tag != Tag::Table => {
                    look.centered = value.trim().eq_ignore_ascii_case("center");
                }
                4 if tag == Tag::Font && name.eq_ignore_ascii_case("size") => {
                    look.size_pt = font_tag_size(value).unwrap_or(look.size_pt);
                }
                4 if tag == Tag::Font && name.eq_ignore_ascii_case("face") => {
                    look.wingdings = is_wingdings(value);
                }
                4 if tag == Tag::A && name.eq_ignore_ascii_case("href") => {
                    look.internal_link = value.starts_with('#') && value.len() > 1;
                }
                6 if name.eq_ignore_ascii_case("hidden") => look.hidden = true,
                _ => {}
            }
        }
        (look, layout)
    }
}

fn is_wingdings(family: &str) -> bool {
    let first = family.split(',').next().unwrap_or(family);
    let first = first.trim().trim_matches(['\'', '"']);
    first
        .get(..9)
        .is_some_and(|head| head.eq_ignore_ascii_case("wingdings"))
}

fn declarations(style: &str, look: &mut Look, layout: &mut Layout) {
    for declaration in style.split(';') {
        let Some((property, value)) = declaration.split_once(':') else {
            continue;
        };
        let (property, value) = (property.trim(), value.trim());
        let mut lower = [0u8; 20];
        let Some(buffer) = lower.get_mut(..property.len()) else {
            continue;
        };
        buffer.copy_from_slice(property.as_bytes());
        buffer.make_ascii_lowercase();
        match &*buffer {
            b"font-weight" => look.bold = weight(value).unwrap_or(look.bold),
            b"font-style" => look.italic = is(value, "italic") || is(value, "oblique"),
            b"font-size" => look.size_pt = size(value, look.size_pt).unwrap_or(look.size_pt),
            b"font-family" => look.wingdings = is_wingdings(value),
            b"font" => font(value, look),
            b"text-decoration" | b"text-decoration-line" => {
                look.underlined = value
                    .split_ascii_whitespace()
                    .any(|word| is(word, "underline"));
            }
            b"text-align" => look.centered = is(value, "center"),
            b"vertical-align" => look.superscript = is(value, "super"),
            // Workiva raises note marks by hand: `position:relative;top:-3.5pt`.
            b"top" if value.starts_with('-') => look.superscript = true,
            b"display" => {
                if is(value, "none") {
                    look.hidden = true;
                } else if is(value, "inline") {
                    layout.inline = true;
                } else if is(value, "block") || is(value, "list-item") {
                    layout.block = true;
                }
            }
            b"visibility" if is(value, "hidden") => look.hidden = true,
            b"white-space" => {
                let keeps = is(value, "pre") || is(value, "pre-wrap") || is(value, "pre-line");
                // In a span it only keeps spaces; a paragraph of it is meant line by line.
                look.preformatted = look.preformatted && keeps;
            }
            b"page-break-before" | b"break-before" => layout.break_before = breaks(value),
            b"page-break-after" | b"break-after" => layout.break_after = breaks(value),
            _ => {}
        }
    }
}

fn is(value: &str, word: &str) -> bool {
    value
        .get(..word.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(word))
        && !value
            .as_bytes()
            .get(word.len())
            .is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

fn breaks(value: &str) -> bool {
    ["always", "page", "left", "right"]
        .iter()
        .any(|word| is(value, word))
}

fn weight(value: &str) -> Option<bool> {
    if is(value, "bold") || is(value, "bolder") {
        return Some(true);
    }
    if is(value, "normal") || is(value, "lighter") {
        return Some(false);
    }
    let number = value.trim_end_matches("!important").trim_end();
    Some(number.parse::<u32>().ok()? >= 600)
}

/// A CSS font size in points.
fn size(value: &str, inherited: f32) -> Option<f32> {
    let end = value
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(value.len());
    let number = value[..end].parse::<f32>().ok();
    let unit = value[end..].trim_start();
    let points = match number {
        Some(number) if is(unit, "pt") => number,
        Some(number) if is(unit, "px") => number * 0.75,
        Some(number) if is(unit, "in") => number * 72.0,
        Some(number) if inherited > 0.0 && is(unit, "em") => number * inherited,
        Some(number) if inherited > 0.0 && unit.starts_with('%') => number / 100.0 * inherited,
        Some(_) => return None,
        None => [
            ("xx-small", 7.0),
            ("x-small", 7.5),
            ("small", 10.0),
            ("medium", 12.0),
            ("large", 13.5),
            ("x-large", 18.0),
            ("xx-large", 24.0),
        ]
        .iter()
        .find(|(name, _)| is(value, name))
        .map(|(_, points)| *points)?,
    };
    (0.0..=400.0).contains(&points).then_some(points)
}

/// The `font` shorthand: `italic bold 10pt/120% Times New Roman, serif`.
fn font(value: &str, look: &mut Look) {
    (look.bold, look.italic) = (false, false);
    let mut words = value.split_ascii_whitespace();
    for word in words.by_ref() {
        if let Some(bold) = weight(word) {
            look.bold |= bold;
        } else if is(word, "italic") || is(word, "oblique") {
            look.italic = true;
        } else if let Some(points) = size(word, look.size_pt) {
            look.size_pt = points;
            // What follows the size is the family.
            break;
        }
    }
    look.wingdings = words.next().is_some_and(is_wingdings);
}

/// `<font size>`: 1 to 7, or steps from 3.
fn font_tag_size(value: &str) -> Option<f32> {
    let value = value.trim();
    let number: i32 = value.strip_prefix('+').unwrap_or(value).parse().ok()?;
    let step = match value.as_bytes().first()? {
        b'+' | b'-' => 3 + number.clamp(-3, 4),
        _ => number,
    };
    [7.5, 10.0, 12.0, 13.5, 18.0, 24.0, 36.0]
        .get(usize::try_from(step.clamp(1, 7) - 1).ok()?)
        .copied()
}
