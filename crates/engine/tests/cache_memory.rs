//! What caches take, by the allocator's own count, on the shapes of models with as many KV heads as
//! heads: the sizes XQuant states (arXiv:2508.10395, tables 1 and 4).

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

use candle_core::quantized::GgmlDType;
use footnote_engine::EngineError;
use footnote_engine::cache::{
    Cache, CachePolicy, CacheShape, LayerRows, LayerView, Plan, PlanParts, Projection, Rotation,
    Window,
};
use footnote_engine::kernels::{HeadShape, LaneTable, QuantMatrix, RopeStyle, RopeTable};

/// Counts live bytes.
struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many times smaller than f16 keys and values closed groups are, by the allocator and by the cache's
/// own count.
fn saving(policy: &str, hidden: usize, layers: usize) -> (f64, f64) {
    let shape = CacheShape {
        layers,
        hidden,
        heads: HeadShape {
            heads: hidden / 64,
            kv_heads: hidden / 64,
            head_dim: 64,
        },
    };
    let rope = RopeTable::new(&[0.01; 32], 512);
    let no_bases = || Err(EngineError::Request("no bases are needed".to_string()));
    let no_joint = || Err(EngineError::Request("no bases are needed".to_string()));
    let parts = PlanParts {
        lanes: &|| Arc::new(LaneTable::new(&rope)),
        still: &|| Arc::new(LaneTable::new(&RopeTable::new(&[0.0; 32], 512))),
        bases: &no_bases,
        joint: &no_joint,
    };
    let policy: CachePolicy = policy.parse().unwrap();
    let plan = Plan::new(policy, shape, Window::Recent, &parts).unwrap();
    let weight = QuantMatrix::from_ggml(GgmlDType::F32, 1, 1, &[0; 4]).unwrap();
    let mut cache = Cache::quantised(Arc::new(plan));
    let tokens = 256;
    let rows: Vec<f32> = (0..tokens * hidden)
        .map(|i| ((i * 7919) % 1013) as f32 / 500.0 - 1.0)
        .collect();
    let before = LIVE.load(Ordering::Relaxed);
    for index in 0..layers {
        let projection = Projection {
            weight: &weight,
            bias: None,
        };
        let view = LayerView {
            index,
            rotation: Rotation {
                table: &rope,
                style: RopeStyle::Neox,
            },
            key: projection,
            value: projection,
            key_norm: None,
        };
        let rows = LayerRows {
            normed: &rows,
            keys: &rows,
            raw_keys: &rows,
            values: &rows,
        };
        cache.write(&view, &rows);
    }
    cache.commit(tokens);
    cache.rest();
    let full = (shape.full_bytes_per_token() * tokens) as f64;
    let counted = cache.bytes_by_use();
    assert_eq!((counted.open, counted.scratch), (0, 0));
    let allocated = LIVE.load(Ordering::Relaxed) - before;
    (full / allocated as f64, full / counted.stored as f64)
}

#[test]
fn stored_bytes_reach_the_published_savings() {
    // SmolLM2-1.7B and Llama-2-7B; three layers at 4 bits weigh more among 24 than among 32.
    for (name, hidden, layers, closed_3, closed_2) in
        [("1.7B", 2048, 24, 9.4, 12.7), ("7B", 4096, 32, 9.5, 13.0)]
    {
        for (policy, published) in [
            ("xquant4", 7.5),
            ("xquant2", 14.1),
            ("xquant-cl4", 7.5),
            ("xquant-cl3", closed_3),
            ("xquant-cl2", closed_2),
            ("kv4", 3.7),
            ("kv2", 7.0),
        ] {
            let (allocated, counted) = saving(policy, hidden, layers);
            println!("{name} {policy}: {allocated:.2} times smaller, counted {counted:.2}");
            assert!(
                (allocated / counted - 1.0).abs() < 0.01,
                "{name} {policy}: counted {counted:.3}, allocated {allocated:.3}"
            );
            assert!(
                allocated >= published,
                "{name} {policy}: {allocated:.3} of {published}"
            );
        }
    }
}
