//! The words of an XBRL concept's name.
//!
//! Knows taxonomies' way of writing names, nothing of any single taxonomy.

/// `us-gaap:PaymentsToAcquirePropertyPlantAndEquipment` in lower-case words, small ones too.
pub(crate) fn concept_words(concept: &str) -> Vec<String> {
    let name = concept.rsplit(':').next().unwrap_or(concept);
    let mut words: Vec<String> = Vec::new();
    let mut previous_lower = false;
    for c in name.chars() {
        match words.last_mut() {
            Some(word) if !(c.is_uppercase() && previous_lower) => word.extend(c.to_lowercase()),
            _ => words.push(c.to_lowercase().collect()),
        }
        previous_lower = c.is_lowercase() || c.is_ascii_digit();
    }
    words
}

/// The same without the words that say nothing by themselves.
pub(crate) fn telling_words(concept: &str) -> Vec<String> {
    let mut words = concept_words(concept);
    words.retain(|word| {
        !["and", "of", "the", "to", "in", "from", "by", "for", "or"].contains(&word.as_str())
    });
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concepts_come_apart_into_words() {
        assert_eq!(
            telling_words("us-gaap:PaymentsToAcquirePropertyPlantAndEquipment"),
            ["payments", "acquire", "property", "plant", "equipment"]
        );
        assert_eq!(concept_words("CostOfRevenue"), ["cost", "of", "revenue"]);
        assert_eq!(concept_words(""), Vec::<String>::new());
    }
}
