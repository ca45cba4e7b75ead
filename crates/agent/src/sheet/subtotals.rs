//! Labels for subtotals that a filing prints without any.

use super::Row;

/// Marks a label that the filing does not print.
pub const UNLABELLED: &str = "unlabelled";

/// Subtotals without a label get one where the sums tell what they are: the total of the rows since
/// their heading, or gross profit (revenue less the costs on the row above).
pub(super) fn name_subtotals(rows: &mut [Row]) {
    let value = |row: &Row| {
        let cell = row.cells.first()?;
        cell.number.as_ref().map(|n| n.value)
    };
    for i in 1..rows.len() {
        let (before, after) = rows.split_at_mut(i);
        let row = &mut after[0];
        let Some(own) = value(row) else {
            continue;
        };
        if !row.label.is_empty() || row.cells[0].column.is_none() {
            continue;
        }
        let group: Vec<&Row> = before
            .iter()
            .rev()
            .take_while(|r| r.group == row.group && !r.label.is_empty())
            .collect();
        let total: rust_decimal::Decimal = group.iter().filter_map(|r| value(r)).sum();
        if group.len() > 1 && total == own && !row.group.is_empty() {
            row.label = format!("Total {} ({UNLABELLED})", row.group.to_lowercase());
            continue;
        }
        let Some(costs) = before
            .last()
            .filter(|r| r.label.to_lowercase().contains("cost"))
            .and_then(value)
        else {
            continue;
        };
        let sells = |r: &&Row| {
            let label = r.label.to_lowercase();
            label.contains("revenue") || label.contains("sales")
        };
        if before
            .iter()
            .filter(sells)
            .any(|r| value(r).is_some_and(|v| v - costs.abs() == own))
        {
            row.label = format!("Gross profit ({UNLABELLED})");
        }
    }
}
