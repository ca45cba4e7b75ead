//! Which instruction sets the kernels may use on this machine.

use std::sync::OnceLock;

/// A family of kernels. All forms of one operation agree within the bounds their tests state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, any machine.
    Portable,
}

impl Isa {
    /// The best family this machine runs.
    pub fn detect() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Isa::Portable)
    }

    /// Every family this machine runs, the portable one first.
    pub fn available() -> Vec<Isa> {
        [Isa::Portable]
            .into_iter()
            .filter(|isa| *isa <= Isa::detect())
            .collect()
    }
}
