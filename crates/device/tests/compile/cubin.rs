//! What machine code asks of a multiprocessor, read from a cubin, which is an ELF file: registers, local and shared memory.
//!
//! `ptxas --verbose` says the same, but only when it compiles, and compiled programs are kept. Must not know kernels.

use std::collections::BTreeMap;

/// What one kernel asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of a thread.
    pub registers: usize,
    /// Bytes of a thread's local memory: registers that were spilled, and arrays that were not kept in registers.
    pub local: usize,
    /// Bytes of shared memory that it declares.
    pub shared: usize,
    /// The most threads of a block.
    pub threads: usize,
}

/// What the multiprocessors of an architecture have.
#[derive(Clone, Copy, Debug)]
pub struct Multiprocessor {
    pub architecture: u32,
    /// Bytes of shared memory.
    pub shared: usize,
    /// Bytes that one block may have of it.
    pub block_shared: usize,
    pub threads: usize,
    pub blocks: usize,
}

/// What is promised to work: A100, H100, and GeForce RTX 50.
pub const MULTIPROCESSORS: [Multiprocessor; 3] = [
    Multiprocessor {
        architecture: 80,
        shared: 164 << 10,
        block_shared: 163 << 10,
        threads: 2048,
        blocks: 32,
    },
    Multiprocessor {
        architecture: 90,
        shared: 228 << 10,
        block_shared: 227 << 10,
        threads: 2048,
        blocks: 32,
    },
    Multiprocessor {
        architecture: 120,
        shared: 100 << 10,
        block_shared: 99 << 10,
        threads: 1536,
        blocks: 24,
    },
];

/// Shared memory that the system takes of each block.
const RESERVED: usize = 1 << 10;
/// Registers of each of a multiprocessor's four parts, and what a warp gets a multiple of.
const REGISTERS: usize = 16 << 10;
const WARP_REGISTERS: usize = 256;

impl Multiprocessor {
    /// How many blocks run on it at once, each with `dynamic` bytes of shared memory besides what the kernel declares.
    pub fn blocks_of(&self, usage: &Usage, dynamic: usize) -> usize {
        let warps = usage.threads.div_ceil(32);
        let of_warp = (32 * usage.registers).next_multiple_of(WARP_REGISTERS);
        let by_registers = 4 * (REGISTERS / of_warp) / warps;
        let by_shared = self.shared / (usage.shared + dynamic + RESERVED);
        let by_threads = self.threads / usage.threads;
        self.blocks.min(by_registers).min(by_shared).min(by_threads)
    }
}

/// Attributes of kernels that are read, and how those with bytes of their own begin.
const SIZED: u8 = 0x04;
const MAX_THREADS: u8 = 0x05;
const FRAME_SIZE: u8 = 0x11;
const REGISTER_COUNT: u8 = 0x2f;

/// What each kernel of a cubin for `architecture` asks for; nothing where the file is none.
pub fn usages(cubin: &[u8], architecture: u32) -> Option<BTreeMap<String, Usage>> {
    let file = Elf::of(cubin)?;
    let mut usages: BTreeMap<String, Usage> = BTreeMap::new();
    for section in &file.sections {
        if let Some(kernel) = section.name.strip_prefix(".nv.info.") {
            for (attribute, values) in attributes(section.bytes(cubin)?) {
                if attribute == MAX_THREADS {
                    let threads: u32 = values.iter().product();
                    usages.entry(kernel.to_string()).or_default().threads = threads as usize;
                }
            }
        }
    }
    for section in &file.sections {
        if section.name == ".nv.info" {
            for (attribute, values) in attributes(section.bytes(cubin)?) {
                let [symbol, value] = values[..] else {
                    continue;
                };
                // Functions that a kernel calls have frames of their own.
                let frame = attribute == FRAME_SIZE;
                if !frame && attribute != REGISTER_COUNT {
                    continue;
                }
                let usage = usages.get_mut(&file.symbol(cubin, symbol)?);
                match usage {
                    Some(usage) if frame => usage.local = value as usize,
                    Some(usage) => usage.registers = value as usize,
                    None if value == 0 => {}
                    // Whoever calls it, it is that kernel's.
                    None => usages
                        .values_mut()
                        .for_each(|usage| usage.local += value as usize),
                }
            }
        } else if let Some(kernel) = section.name.strip_prefix(".nv.shared.") {
            // From Hopper on, what the system takes is counted with it.
            let reserved = if architecture >= 90 { RESERVED } else { 0 };
            if let Some(usage) = usages.get_mut(kernel) {
                usage.shared = section.size.saturating_sub(reserved);
            }
        }
    }
    Some(usages)
}

/// Attributes in a section, and their words.
fn attributes(mut bytes: &[u8]) -> Vec<(u8, Vec<u32>)> {
    let mut found = Vec::new();
    while let [form, attribute, low, high, rest @ ..] = bytes {
        let size = usize::from(u16::from_le_bytes([*low, *high]));
        bytes = rest;
        if *form == SIZED {
            let (value, rest) = bytes.split_at(size.min(bytes.len()));
            let words = value.chunks_exact(4);
            let words = words.map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
            found.push((*attribute, words.collect()));
            bytes = rest;
        }
    }
    found
}

struct Section {
    name: String,
    at: usize,
    size: usize,
    /// The section that it refers to.
    link: usize,
}

impl Section {
    fn bytes<'a>(&self, file: &'a [u8]) -> Option<&'a [u8]> {
        file.get(self.at..self.at + self.size)
    }
}

/// An ELF file of 64 bits, little-endian.
struct Elf {
    sections: Vec<Section>,
}

impl Elf {
    fn of(file: &[u8]) -> Option<Elf> {
        if !file.starts_with(b"\x7fELF\x02\x01") {
            return None;
        }
        let half = |at: usize| Some(u16::from_le_bytes(file.get(at..at + 2)?.try_into().ok()?));
        let headers = number(file, 0x28, 8)?;
        let (step, count, names) = (half(0x3a)?, half(0x3c)?, half(0x3e)?);
        let header = |index: u16| headers + usize::from(index) * usize::from(step);
        let names = number(file, header(names) + 24, 8)?;
        let sections = (0..count).map(|index| {
            let at = header(index);
            Some(Section {
                name: text(file, names + number(file, at, 4)?)?,
                at: number(file, at + 24, 8)?,
                size: number(file, at + 32, 8)?,
                link: number(file, at + 40, 4)?,
            })
        });
        Some(Elf {
            sections: sections.collect::<Option<_>>()?,
        })
    }

    /// The name of a symbol.
    fn symbol(&self, file: &[u8], index: u32) -> Option<String> {
        let table = self.sections.iter().find(|found| found.name == ".symtab")?;
        let name = number(file, table.at + 24 * index as usize, 4)?;
        text(file, self.sections.get(table.link)?.at + name)
    }
}

fn number(file: &[u8], at: usize, bytes: usize) -> Option<usize> {
    let mut number = [0; 8];
    number[..bytes].copy_from_slice(file.get(at..at + bytes)?);
    usize::try_from(u64::from_le_bytes(number)).ok()
}

fn text(file: &[u8], at: usize) -> Option<String> {
    let bytes = file.get(at..)?;
    let end = bytes.iter().position(|byte| *byte == 0)?;
    String::from_utf8(bytes[..end].to_vec()).ok()
}
