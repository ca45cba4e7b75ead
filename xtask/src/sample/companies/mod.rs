//! The four invented companies of the sample corpus. None of them exists: symbols, filer numbers,
//! places and telephone numbers are from ranges that are not in use.

mod aquillon;
mod brackwater;
mod carrowmere;
mod dunmarrow;

use super::company::Company;

/// All four.
pub static ALL: [&Company; 4] = [
    &aquillon::COMPANY,
    &brackwater::COMPANY,
    &carrowmere::COMPANY,
    &dunmarrow::COMPANY,
];
