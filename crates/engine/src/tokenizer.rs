//! The tokenizer a GGUF file describes, built in memory.
//!
//! Byte-level BPE only (`tokenizer.ggml.model` = `gpt2`), with the pre-tokenizers of the families
//! this engine runs. Text given to [`Tokenizer::encode`] is data: the names of control tokens
//! written in it are split like any other text. No Unicode normalisation is applied, as in
//! llama.cpp and unlike the Hugging Face files of Qwen, so that what goes in comes out byte for byte.
//! This module must not know prompts, templates or grammars.

use std::collections::HashMap;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

use crate::EngineError;
use crate::model_file::{ModelFile, Value};

/// Pre-tokenizer of GPT-2.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Pre-tokenizer of Qwen2 and later: single digits.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Pre-tokenizer of Llama 3: up to three digits together.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Names that end a turn or a document wherever a vocabulary has them as control tokens.
const END_NAMES: [&str; 7] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "</s>",
];

/// What a token is (`tokenizer.ggml.token_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A piece of text.
    Text,
    /// Steers the model; never text.
    Control,
    /// Text that templates use as one token (`<tool_call>`).
    Added,
    /// A number without a meaning.
    Unused,
}

/// A model's tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    kinds: Vec<TokenKind>,
    /// All tokens' bytes on end; token `i` is `bytes[ends[i - 1]..ends[i]]`.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Names of control and added tokens, longest first.
    named: Vec<(String, u32)>,
    end_tokens: Vec<u32>,
    begin_token: Option<u32>,
}

impl Tokenizer {
    /// Builds the tokenizer of a model file.
    ///
    /// # Errors
    /// [`EngineError::ModelFile`] where the file's tokenizer is of another kind or damaged.
    pub fn from_file(file: &ModelFile) -> Result<Tokenizer, EngineError> {
        let other = "choose another model (`footnote models list`)";
        match file.value("tokenizer.ggml.model") {
            Some(Value::Text(model)) if model == "gpt2" => {}
            Some(Value::Text(model)) => {
                return Err(file.error(
                    format!(
                        "its tokenizer is of kind {model:?}; this engine has byte-level BPE (gpt2)"
                    ),
                    other,
                ));
            }
            _ => return Err(file.damaged("it holds no tokenizer")),
        }
        let pre = match file.value("tokenizer.ggml.pre") {
            Some(Value::Text(pre)) => pre.as_str(),
            _ => "",
        };
        let Some(plan) = SplitPlan::from_name(pre) else {
            return Err(file.error(
                format!("its tokenizer splits text in a way this engine does not know ({pre:?})"),
                other,
            ));
        };
        let Some(Value::Texts(tokens)) = file.value("tokenizer.ggml.tokens") else {
            return Err(file.damaged("it holds no vocabulary"));
        };
        let Some(Value::Texts(merges)) = file.value("tokenizer.ggml.merges") else {
            return Err(file.damaged("its tokenizer holds no merges"));
        };
        let kinds = match file.value("tokenizer.ggml.token_type") {
            Some(Value::Integers(types)) if types.len() == tokens.len() => {
                types.iter().map(|kind| token_kind(*kind)).collect()
            }
            None => vec![TokenKind::Text; tokens.len()],
            Some(_) => {
                return Err(file.damaged("its token types do not match its vocabulary"));
            }
        };
        let inner = build(tokens, &kinds, merges, &plan).map_err(|reason| {
            file.damaged(&format!("its tokenizer does not fit together: {reason}"))
        })?;

        let token_id = |key: &str| match file.value(key) {
            Some(Value::Unsigned(id)) => u32::try_from(*id)
                .ok()
                .filter(|id| (*id as usize) < tokens.len()),
            _ => None,
        };
        let (bytes, ends) = token_bytes(tokens, &kinds);
        let mut named: Vec<(String, u32)> = tokens
            .iter()
            .enumerate()
            .filter(|(id, name)| {
                matches!(kinds[*id], TokenKind::Control | TokenKind::Added) && !name.is_empty()
            })
            .map(|(id, name)| (name.clone(), id as u32))
            .collect();
        named.sort_by(|left, right| right.0.len().cmp(&left.0.len()).then(left.0.cmp(&right.0)));

        let mut end_tokens: Vec<u32> = [
            "tokenizer.ggml.eos_token_id",
            "tokenizer.ggml.eot_token_id",
            "tokenizer.ggml.eom_token_id",
        ]
        .into_iter()
        .filter_map(token_id)
        .collect();
        for (name, id) in &named {
            if kinds[*id as usize] == TokenKind::Control && END_NAMES.contains(&name.as_str()) {
                end_tokens.push(*id);
            }
        }
        // The first is the main one; later mentions of it go.
        let mut seen = std::collections::HashSet::new();
        end_tokens.retain(|id| seen.insert(*id));
        if end_tokens.is_empty() {
            return Err(file.damaged("its tokenizer names no end token"));
        }
        let begin_token = match file.value("tokenizer.ggml.add_bos_token") {
            Some(Value::Bool(true)) => token_id("tokenizer.ggml.bos_token_id"),
            // Llama 3's files leave the flag out and mean yes.
            None if pre == "llama-bpe" => token_id("tokenizer.ggml.bos_token_id"),
            _ => None,
        };
        Ok(Tokenizer {
            inner,
            kinds,
            bytes,
            ends,
            named,
            end_tokens,
            begin_token,
        })
    }

    /// The tokens of `text`, none of them a control token.
    ///
    /// # Errors
    /// [`EngineError::Request`] where the tokenizer refuses the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let encoding = self.inner.encode_fast(text, false).map_err(|error| {
            EngineError::Request(format!("the text cannot be tokenised: {error}"))
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Whether both give every token the same number. Padding at a vocabulary's end does not matter.
    pub fn agrees_with(&self, other: &Tokenizer) -> bool {
        let shared = self.vocab().min(other.vocab());
        let longer = if self.vocab() > shared { self } else { other };
        let padding =
            (shared..longer.vocab()).all(|token| longer.kinds[token] == TokenKind::Unused);
        padding
            && self.named == other.named
            && (0..shared as u32).all(|token| self.bytes(token) == other.bytes(token))
    }

    /// The bytes a token writes; none for a control or unused token.
    pub fn bytes(&self, token: u32) -> &[u8] {
        let token = token as usize;
        let Some(&end) = self.ends.get(token) else {
            return &[];
        };
        let start = match token {
            0 => 0,
            _ => self.ends[token - 1],
        };
        &self.bytes[start..end]
    }

    /// The text of `tokens`; bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|token| self.bytes(*token))
            .copied()
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What a token is.
    pub fn kind(&self, token: u32) -> TokenKind {
        self.kinds
            .get(token as usize)
            .copied()
            .unwrap_or(TokenKind::Unused)
    }

    /// Tokens in the vocabulary.
    pub fn vocab(&self) -> usize {
        self.kinds.len()
    }

    /// Bytes of the longest token.
    pub fn longest_token_bytes(&self) -> usize {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts
            .zip(&self.ends)
            .map(|(start, end)| end - start)
            .max()
            .unwrap_or(0)
    }

    /// Control and added tokens by name, longest name first.
    pub fn named(&self) -> &[(String, u32)] {
        &self.named
    }

    /// The name of a control or added token.
    pub fn name_of(&self, token: u32) -> Option<&str> {
        self.named
            .iter()
            .find(|(_, id)| *id == token)
            .map(|(name, _)| name.as_str())
    }

    /// Tokens that end an output, the model's main one first; never empty.
    pub fn end_tokens(&self) -> &[u32] {
        &self.end_tokens
    }

    /// The token every text starts with, for models that want one.
    pub fn begin_token(&self) -> Option<u32> {
        self.begin_token
    }
}

/// How text is cut before merges apply: each pattern cuts what the one before left whole.
struct SplitPlan {
    patterns: &'static [&'static str],
    /// Whether a piece that is a token by itself is taken before any merge.
    whole_pieces: bool,
}

impl SplitPlan {
    fn from_name(pre: &str) -> Option<SplitPlan> {
        let (patterns, whole_pieces): (&'static [&'static str], bool) = match pre {
            "qwen2" => (&[QWEN2], false),
            "smollm" => (&[r"\p{N}", GPT2], false),
            "llama-bpe" | "llama3" | "llama-v3" => (&[LLAMA3], true),
            "gpt-2" => (&[GPT2], false),
            _ => return None,
        };
        Some(SplitPlan {
            patterns,
            whole_pieces,
        })
    }
}

fn token_kind(number: i32) -> TokenKind {
    match number {
        3 => TokenKind::Control,
        4 => TokenKind::Added,
        5 => TokenKind::Unused,
        _ => TokenKind::Text,
    }
}

fn build(
    tokens: &[String],
    kinds: &[TokenKind],
    merges: &[String],
    plan: &SplitPlan,
) -> Result<tokenizers::Tokenizer, String> {
    // Control tokens are left out, so that no text can become one.
    let vocab: Vocab = tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| matches!(kinds[*id], TokenKind::Text | TokenKind::Added))
        .map(|(id, token)| (token.clone(), id as u32))
        .collect();
    let merges = merges
        .iter()
        .map(|merge| {
            merge
                .split_once(' ')
                .map(|(left, right)| (left.to_string(), right.to_string()))
                .ok_or_else(|| format!("merge {merge:?} is no pair"))
        })
        .collect::<Result<Vec<_>, String>>()?;
    let bpe = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .ignore_merges(plan.whole_pieces)
        .build()
        .map_err(|error| error.to_string())?;
    let mut steps = Vec::new();
    for pattern in plan.patterns {
        let split = Split::new(
            SplitPattern::Regex((*pattern).to_string()),
            SplitDelimiterBehavior::Isolated,
            false,
        )
        .map_err(|error| error.to_string())?;
        steps.push(PreTokenizerWrapper::Split(split));
    }
    steps.push(PreTokenizerWrapper::ByteLevel(ByteLevel::new(
        false, false, false,
    )));
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
    Ok(tokenizer)
}

/// The bytes every token writes, on end, and where each ends.
fn token_bytes(tokens: &[String], kinds: &[TokenKind]) -> (Vec<u8>, Vec<usize>) {
    let alphabet = byte_alphabet();
    let mut bytes = Vec::new();
    let mut ends = Vec::with_capacity(tokens.len());
    for (token, kind) in tokens.iter().zip(kinds) {
        match kind {
            TokenKind::Text => {
                for character in token.chars() {
                    match alphabet.get(&character) {
                        Some(byte) => bytes.push(*byte),
                        // Not a byte's stand-in: the token means the character itself.
                        None => bytes.extend(character.encode_utf8(&mut [0; 4]).as_bytes()),
                    }
                }
            }
            TokenKind::Added => bytes.extend(token.as_bytes()),
            TokenKind::Control | TokenKind::Unused => {}
        }
        ends.push(bytes.len());
    }
    (bytes, ends)
}

/// GPT-2's printable stand-ins for bytes: visible Latin-1 characters stand for themselves, the
/// other bytes in order for the characters from U+0100.
fn byte_alphabet() -> HashMap<char, u8> {
    let mut next = 0x100u32;
    let mut alphabet = HashMap::new();
    for byte in 0..=255u8 {
        let stand_in = match byte {
            b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
            _ => {
                let stand_in = char::from_u32(next).unwrap_or(char::REPLACEMENT_CHARACTER);
                next += 1;
                stand_in
            }
        };
        alphabet.insert(stand_in, byte);
    }
    alphabet
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text and its tokens.
    type Recorded = (&'static str, &'static [u32]);

    const TABLE: &str = "Net sales of $1,234.5 million, up 6% (2023: 12.3%).\n\n\tItem 7A.";
    const ODD: &str = "it's WE'LL they’re\r\n  café £€ 𝒳 日本 🏦 \u{a0}x";

    /// Recorded from llama.cpp on the same files.
    #[test]
    fn tokens_equal_those_of_llama_cpp() {
        let cases: [(&str, [Recorded; 2]); 2] = [
            (
                "smollm2-135m-instruct-q4_1.gguf",
                [
                    (
                        TABLE,
                        &[
                            9622, 7122, 282, 1885, 33, 28, 34, 35, 36, 30, 37, 2215, 28, 614, 216,
                            38, 21, 365, 34, 32, 34, 35, 42, 216, 33, 34, 30, 35, 18554, 1116, 197,
                            12659, 216, 39, 49, 30,
                        ],
                    ),
                    (
                        ODD,
                        &[
                            269, 506, 26587, 23, 16421, 502, 417, 257, 23799, 37366, 10257, 14195,
                            216, 23159, 236, 128, 17097, 241, 115, 40993, 15107, 233, 116, 216,
                            15442, 104,
                        ],
                    ),
                ],
            ),
            (
                "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                [
                    (
                        TABLE,
                        &[
                            6954, 6625, 315, 400, 16, 11, 17, 18, 19, 13, 20, 3526, 11, 705, 220,
                            21, 4, 320, 17, 15, 17, 18, 25, 220, 16, 17, 13, 18, 94081, 61574, 220,
                            22, 32, 13,
                        ],
                    ),
                    (
                        ODD,
                        &[
                            275, 594, 19677, 6, 4086, 807, 3129, 319, 220, 51950, 6938, 15056,
                            81250, 240, 111, 75402, 21894, 11162, 237, 99, 220, 4102, 87,
                        ],
                    ),
                ],
            ),
        ];
        for (name, texts) in cases {
            let Some(path) = footnote_testkit::model(name) else {
                footnote_testkit::skip(module_path!(), name);
                continue;
            };
            let tokenizer = Tokenizer::from_file(&ModelFile::open(&path).unwrap()).unwrap();
            for (text, expected) in texts {
                let tokens = tokenizer.encode(text).unwrap();
                assert_eq!(tokens, expected, "{name}");
                assert_eq!(tokenizer.decode(&tokens), text, "{name}");
            }
        }
    }
}
