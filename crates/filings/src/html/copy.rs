//! Carries a table's text and marks from its own frame into the frame around it.

use super::frame::{Frame, Mark, Tie};

/// Copies a table's text into the frame around it, from front to back, and its marks with it.
pub(crate) struct Copier<'a> {
    from: &'a Frame,
    next_mark: usize,
}

impl<'a> Copier<'a> {
    pub(crate) fn new(from: &'a Frame) -> Copier<'a> {
        Copier { from, next_mark: 0 }
    }

    /// Appends the text at `start..end` as one line. Marks before it that were passed over land in
    /// front of it.
    pub(crate) fn copy(&mut self, start: usize, end: usize, into: &mut Frame) {
        self.copy_marks(start, end, into);
        push_line(&self.from.text[start..end], into);
    }

    /// Appends the text at `start..end` with its lines.
    pub(crate) fn copy_lines(&mut self, start: usize, end: usize, into: &mut Frame) {
        self.copy_marks(start, end, into);
        into.text.push_str(&self.from.text[start..end]);
    }

    fn copy_marks(&mut self, start: usize, end: usize, into: &mut Frame) {
        let offset = into.text.len();
        while let Some(mark) = self.from.marks.get(self.next_mark) {
            let inside = mark.at < end || (mark.at == end && !matches!(mark.tie, Tie::Start(_)));
            if !inside {
                break;
            }
            into.marks.push(Mark {
                at: offset + mark.at.saturating_sub(start),
                tie: mark.tie,
            });
            self.next_mark += 1;
        }
    }

    /// Appends the text at `start..end` again, leaving its marks where the first copy is.
    pub(crate) fn repeat(&self, start: usize, end: usize, into: &mut Frame) {
        push_line(&self.from.text[start..end], into);
    }

    /// Lands the marks that are left at the end of what was copied.
    pub(crate) fn finish(self, into: &mut Frame) {
        let at = into.text.len();
        for mark in &self.from.marks[self.next_mark..] {
            into.marks.push(Mark { at, tie: mark.tie });
        }
    }
}

/// Lines of one cell become one line, byte for byte so that marks keep their distance.
fn push_line(text: &str, into: &mut Frame) {
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            into.text.push(' ');
        }
        into.text.push_str(line);
    }
}
