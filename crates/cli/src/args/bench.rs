//! Flags of `engine bench`.

use std::str::FromStr;

use clap::{ArgGroup, Args, ValueEnum};
use footnote_engine::cache::{CacheChoice, CachePolicy};
use footnote_engine::device::{SHAPES, shape};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["model", "synthetic", "pair"]))]
pub struct BenchArgs {
    /// Catalogue name, or path of a GGUF file or of a safetensors folder
    #[arg(long)]
    pub model: Option<String>,
    /// The shape of a model, with made-up weights, on a GPU: llama-3.1-8b, llama-2-7b, qwen2.5-1.5b, …
    #[arg(long, value_name = "SHAPE", value_parser = known_shape)]
    pub synthetic: Option<String>,
    /// Shapes of a draft and its target, for the time to the first token with and without the draft, on a GPU
    #[arg(long, value_name = "DRAFT,TARGET")]
    pub pair: Option<PairName>,
    /// Length of the prompt
    #[arg(long, conflicts_with_all = ["synthetic", "pair"], default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=131_072))]
    pub prompt_tokens: u32,
    /// How many tokens to write
    #[arg(long, conflicts_with_all = ["synthetic", "pair"], default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..=8192))]
    pub gen_tokens: u32,
    /// How many requests at once, each with a prompt of its own
    #[arg(long, conflicts_with_all = ["synthetic", "pair"], default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub requests: u32,
    /// How the context is kept: full, kv8|4|3|2, xquant8|4|3|2, xquant-cl4|3|2, or auto
    #[arg(long, conflicts_with_all = ["synthetic", "pair"], default_value = "full", value_name = "POLICY")]
    pub cache: CacheChoice,
    /// What is measured of a shape (comma-separated)
    #[arg(long, value_enum, value_delimiter = ',', default_value = "decode,prefill", conflicts_with_all = ["model", "pair"])]
    pub parts: Vec<Part>,
    /// Sequences that write at once (comma-separated), of a shape
    #[arg(long, conflicts_with_all = ["model", "pair"], value_delimiter = ',', default_value = "1,8,32", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub batch: Vec<u32>,
    /// Tokens that each holds already (comma-separated), of a shape
    #[arg(long, conflicts_with_all = ["model", "pair"], value_delimiter = ',', default_value = "1024,8192,32768,131072", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=131_072))]
    pub contexts: Vec<u32>,
    /// Cache policies (comma-separated), of a shape
    #[arg(
        long,
        conflicts_with_all = ["model", "pair"],
        value_delimiter = ',',
        default_value = "full,kv4,xquant4,xquant2,xquant-cl2",
        value_name = "POLICY"
    )]
    pub caches: Vec<CachePolicy>,
    /// Lengths of prompts (comma-separated), of a shape [default: 2048,8192] or a pair [default: 8192,32768,131072]
    #[arg(long, value_delimiter = ',', value_name = "N", conflicts_with = "model", value_parser = clap::value_parser!(u32).range(1..=131_072))]
    pub prompts: Vec<u32>,
    /// Tokens of a prompt that the draft leaves to the target, of a pair
    #[arg(long, conflicts_with_all = ["model", "synthetic"], default_value_t = 2048, value_name = "C", value_parser = clap::value_parser!(u32).range(1..=131_072))]
    pub kept: u32,
    /// Layers that the draft reads the prompt with, of a pair: up to its last evidence head [default: three fifths of them]
    #[arg(long, conflicts_with_all = ["model", "synthetic"], value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub draft_layers: Option<u32>,
    /// Only work out the least that bytes and operations could take on an H100; needs no GPU
    #[arg(long, conflicts_with_all = ["model", "pair"])]
    pub floors: bool,
    /// Measure for about so long; what is left then is named as skipped
    #[arg(long, value_name = "S", conflicts_with = "model")]
    pub seconds: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What is measured of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Writing tokens, by batch, context and cache
    Decode,
    /// Reading prompts
    Prefill,
}

/// Two shapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairName {
    /// Reads the whole prompt, with its first layers.
    pub draft: String,
    /// Reads what the draft leaves.
    pub target: String,
}

impl FromStr for PairName {
    type Err = String;

    fn from_str(text: &str) -> Result<PairName, String> {
        let (draft, target) = text
            .split_once(',')
            .ok_or("a pair is DRAFT,TARGET".to_owned())?;
        Ok(PairName {
            draft: known_shape(draft)?,
            target: known_shape(target)?,
        })
    }
}

fn known_shape(name: &str) -> Result<String, String> {
    match shape(name) {
        Some(_) => Ok(name.to_owned()),
        None => Err(format!(
            "no shape is called {name:?}; there are {}",
            SHAPES.join(", ")
        )),
    }
}
