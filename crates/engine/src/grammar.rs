//! Output held to a JSON schema, a Lark grammar or a regular expression, by llguidance.
//!
//! Before each draw the tokens that cannot continue the output are masked; tokens the grammar
//! forces are taken without asking the model. This module must not know prompts or weights.

use std::sync::{Arc, OnceLock};

use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use crate::sampling::TokenMask;
use crate::tokenizer::{TokenKind, Tokenizer};
use crate::{EngineError, Grammar};

/// Makes grammar states for one vocabulary. What they share is built on first use (a tenth of a
/// second and some 10 MB for a vocabulary of 150,000).
pub struct GrammarFactory {
    tokenizer: Arc<Tokenizer>,
    shared: OnceLock<Result<ParserFactory, String>>,
}

impl GrammarFactory {
    /// A factory for `tokenizer`'s vocabulary.
    pub fn new(tokenizer: Arc<Tokenizer>) -> GrammarFactory {
        GrammarFactory {
            tokenizer,
            shared: OnceLock::new(),
        }
    }

    /// A fresh state of `grammar`.
    ///
    /// # Errors
    /// [`EngineError::Grammar`] with what is wrong with it.
    pub fn start(&self, grammar: &Grammar) -> Result<GrammarState, EngineError> {
        let factory = self
            .shared
            .get_or_init(|| parser_factory(&self.tokenizer).map_err(|error| error.to_string()))
            .as_ref()
            .map_err(|reason| EngineError::Grammar(reason.clone()))?;
        let grammar = match grammar {
            Grammar::JsonSchema(schema) => TopLevelGrammar::from_json_schema(compact(schema)),
            Grammar::Lark(lark) => TopLevelGrammar::from_lark(lark.clone()),
            Grammar::Regex(regex) => TopLevelGrammar::from_regex(regex),
        };
        let parser = factory
            .create_parser(grammar)
            .map_err(|error| EngineError::Grammar(format!("{error:#}")))?;
        Ok(GrammarState {
            matcher: Matcher::new(Ok(parser)),
        })
    }
}

/// One output's place in its grammar.
pub struct GrammarState {
    matcher: Matcher,
}

impl GrammarState {
    /// Which tokens can come next.
    ///
    /// # Errors
    /// [`EngineError::Grammar`] where the parser gave up (its limits).
    pub(crate) fn mask(&mut self) -> Result<TokenMask, EngineError> {
        let mask = self.matcher.compute_mask_or_eos().map_err(grammar_error)?;
        Ok(TokenMask::new(mask.as_slice(), mask.len()))
    }

    /// Takes `token` as the next of the output.
    ///
    /// # Errors
    /// [`EngineError::Grammar`] where it does not fit.
    pub fn accept(&mut self, token: u32) -> Result<(), EngineError> {
        self.matcher.consume_token(token).map_err(grammar_error)
    }

    /// Tokens that must come next, already accepted; often none.
    pub fn forced(&mut self) -> Vec<u32> {
        if self.matcher.is_stopped() {
            return Vec::new();
        }
        self.matcher.consume_ff_tokens()
    }

    /// Whether the output is whole and nothing may follow.
    pub fn is_over(&self) -> bool {
        self.matcher.is_stopped()
    }
}

/// Schemas leave white space free, and small models lose themselves in it. Unless the schema says
/// otherwise, JSON comes in the one form models write most: `{"a": 1, "b": [2, 3]}`.
fn compact(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(fields) = &mut schema
        && !fields.contains_key("x-guidance")
    {
        fields.insert(
            "x-guidance".to_string(),
            json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "}),
        );
    }
    schema
}

fn grammar_error(error: impl std::fmt::Display) -> EngineError {
    EngineError::Grammar(format!("{error:#}"))
}

fn parser_factory(tokenizer: &Arc<Tokenizer>) -> Result<ParserFactory, impl std::fmt::Display> {
    let environment: TokEnv = Arc::new(Vocabulary::new(Arc::clone(tokenizer)));
    let capabilities = InferenceCapabilities {
        ff_tokens: true,
        ..InferenceCapabilities::default()
    };
    let slices = llguidance::earley::SlicedBiasComputer::general_slices();
    ParserFactory::new(&environment, capabilities, &slices).map(|mut factory| {
        // Problems come back as errors; a library does not write to standard error.
        factory.quiet();
        factory
    })
}

/// The vocabulary as llguidance wants it.
struct Vocabulary {
    tokenizer: Arc<Tokenizer>,
    trie: TokTrie,
}

impl Vocabulary {
    fn new(tokenizer: Arc<Tokenizer>) -> Vocabulary {
        let vocab = tokenizer.vocab() as u32;
        let words: Vec<Vec<u8>> = (0..vocab)
            .map(|token| match tokenizer.kind(token) {
                TokenKind::Text | TokenKind::Added => tokenizer.bytes(token).to_vec(),
                TokenKind::Unused => Vec::new(),
                TokenKind::Control => {
                    let mut word = vec![TokTrie::SPECIAL_TOKEN_MARKER];
                    word.extend(tokenizer.name_of(token).unwrap_or("").as_bytes());
                    word
                }
            })
            .collect();
        let ends = tokenizer.end_tokens();
        let trie = TokTrie::from(&TokRxInfo::new(vocab, ends[0]), &words).with_eos_tokens(ends);
        Vocabulary { tokenizer, trie }
    }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| {
            self.tokenizer
                .encode(text)
                // Text the tokenizer refuses is still covered by the vocabulary's bytes.
                .unwrap_or_else(|_| self.trie.greedy_tokenize(text.as_bytes()))
        })
    }
}
