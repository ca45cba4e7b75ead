//! Chosen tokens moved to a shorter cache on the emulator, to the bit, and nothing else touched.

mod common;

use common::cache::{Held, layer_offset};
use common::{Bench, numbers};
use footnote_device::kernels::gather::{Chosen, gather};
use footnote_device::kernels::{HeadShape, PAGE_TOKENS};

/// `count` rising slots of `tokens`, by luck.
fn rising(tokens: usize, count: usize, seed: u64) -> Vec<u32> {
    let luck = numbers(tokens, seed);
    let mut slots: Vec<usize> = (0..tokens).collect();
    slots.sort_by(|a, b| luck[*a].total_cmp(&luck[*b]));
    slots.truncate(count);
    slots.sort_unstable();
    slots.into_iter().map(|slot| slot as u32).collect()
}

/// Every half of the shorter cache's pages beside what it held before and what was chosen of the longer one.
fn check(shape: HeadShape, tokens: usize, count: usize) {
    let bench = Bench::new();
    let dim = shape.head_dim;
    let pages = count.div_ceil(PAGE_TOKENS);
    let from = Held::random(&bench, shape, tokens, 1);
    let to = Held::random(&bench, shape, pages * PAGE_TOKENS, 2);
    let slots: Vec<u32> = (0..shape.kv_heads)
        .flat_map(|head| rising(tokens, count, 3 + head as u64))
        .collect();
    let on_device = bench.buffer(&slots);
    let whole: Vec<Vec<u16>> = (0..tokens.div_ceil(PAGE_TOKENS))
        .map(|group| from.halves(group))
        .collect();
    let mut wanted: Vec<Vec<u16>> = (0..pages).map(|group| to.halves(group)).collect();
    for slot in 0..count {
        let (page, place) = (&mut wanted[slot / PAGE_TOKENS], slot % PAGE_TOKENS);
        for at in 0..shape.kv_heads * dim {
            let source = slots[at / dim * count + slot] as usize;
            let (whole, there) = (&whole[source / PAGE_TOKENS], source % PAGE_TOKENS);
            page[to.key_at(place, at)] = whole[from.key_at(there, at)];
            page[to.value_at(place, at)] = whole[from.value_at(there, at)];
        }
    }
    let chosen = Chosen {
        from: from.table(),
        to: to.table(),
        slots: on_device.address(),
        count,
    };
    bench.run(vec![gather(shape, &chosen, layer_offset(shape))]);
    for (group, wanted) in wanted.iter().enumerate() {
        let got = to.halves(group);
        let differs = got.iter().zip(wanted).position(|(got, want)| got != want);
        let what = format!("{shape:?}, {count} of {tokens}");
        assert_eq!(differs, None, "{what}: half of page {group}");
    }
}

#[test]
fn chosen_tokens_move_and_nothing_else_does() {
    for (kv_heads, head_dim) in [(1, 16), (2, 32), (8, 64), (3, 96), (2, 128)] {
        let shape = HeadShape {
            heads: 2 * kv_heads,
            kv_heads,
            head_dim,
        };
        for (tokens, count) in [
            (1, 1),
            (300, 1),
            (129, 127),
            (300, 128),
            (511, 129),
            (400, 301),
            (259, 259),
        ] {
            check(shape, tokens, count);
        }
    }
}
