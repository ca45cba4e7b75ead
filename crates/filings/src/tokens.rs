//! How long a text is in tokens of the default models.
//!
//! The default model family (Qwen2.5) and the `voyage3_base` table of `bpe-openai` have the same
//! 151,643 regular tokens and the same splitting rule, so a passage can be measured here without a
//! model file. Control tokens (`<|im_start|>` written out in a filing) count as the plain text that
//! they are. This module must not know what is measured, nor load a model.

/// The most tokens a passage may have, its lead included.
pub const PASSAGE_TOKENS: usize = 512;

/// Tokens of `text` for the default tokenizer, without any begin or end token.
pub fn count(text: &str) -> usize {
    bpe_openai::voyage3_base().count(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_like_the_models_own_tokenizer() {
        // Counts taken from the tokenizer of the Qwen2.5 GGUF files.
        for (text, tokens) in [
            ("", 0),
            ("Net sales", 2),
            ("12,345", 6),
            ("Total revenues | $ | 383,285", 13),
            ("\n\n", 1),
        ] {
            assert_eq!(count(text), tokens, "{text:?}");
        }
    }
}
