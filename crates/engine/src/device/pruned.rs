//! Prompts read on a device and remembered in part: of each layer and KV head the pairs that were chosen.
//!
//! A prompt is read whole, as for its attention alone; what is chosen then moves to the pages of a shorter cache, and the
//! whole one goes. All memory that this takes is taken before anything is read. Must not know how pairs are chosen.

use footnote_device::kernels::gather::{Chosen, gather};
use footnote_device::{Page, Plan, bytes_of};

use super::{DeviceCache, DeviceModel, heads_of};
use crate::EngineError;
use crate::cache::{CachePolicy, KeptPairs};
use crate::tap::Tap;

impl DeviceModel {
    /// Reads `tokens` under a tap on all of them, and keeps the `count` pairs a head that `choose` finds in its scores;
    /// `next` is the position of what is read after them.
    ///
    /// # Errors
    /// Where the pool has no room for all pairs and those that stay, the device fails, or nothing can be chosen.
    pub(crate) fn read_pruned(
        &self,
        tokens: &[u32],
        tap: Tap,
        count: usize,
        next: usize,
        choose: impl FnOnce(&[Vec<f32>]) -> Result<KeptPairs, EngineError>,
    ) -> Result<DeviceCache, EngineError> {
        let mut tap = tap;
        let cache = self.cache(CachePolicy::Full)?;
        let mut reader = self.reader(&[&tap], cache, &[count])?;
        self.read_under(&mut reader, tokens, None)?;
        self.score(&reader, &mut tap)?;
        let chosen = choose(&tap.into_scores())?;
        let mut pruned = reader.cache.emptied();
        pruned.prepare(count)?;
        pruned.commit(count);
        pruned.skip(next - count);
        // A prompt of one token has no pairs before it.
        if count > 0 {
            self.gather(&reader.cache, &pruned, &chosen, &reader.desk)?;
        }
        pruned.rest();
        Ok(pruned)
    }

    /// Writes the chosen pairs of `whole`, as many a head as `pruned` holds, to its pages; `desk` is where scores were
    /// worked out.
    fn gather(
        &self,
        whole: &DeviceCache,
        pruned: &DeviceCache,
        chosen: &[Vec<Vec<usize>>],
        desk: &Page,
    ) -> Result<(), EngineError> {
        let count = pruned.len();
        let (from, to) = (whole.addresses(), pruned.addresses());
        // The desk had a score of each query head for every token, and more.
        let tables = 8 * (from.len() + to.len());
        let bytes = tables + 4 * self.config.kv_heads * count;
        assert!(bytes <= desk.bytes(), "{bytes} bytes of lists on a desk");
        let at = self.memory.address(desk);
        let lists = Chosen {
            from: at,
            to: at.plus(8 * from.len()),
            slots: at.plus(tables),
            count,
        };
        self.device.upload(lists.from, bytes_of(&from))?;
        self.device.upload(lists.to, bytes_of(&to))?;
        for (heads, offset) in chosen.iter().zip(&whole.layout().layer_offsets) {
            let mut slots: Vec<u32> = Vec::new();
            for positions in heads {
                assert_eq!(positions.len(), count, "positions of a head");
                assert!(positions.last() < Some(&whole.len()), "they are held");
                slots.extend(positions.iter().map(|position| *position as u32));
            }
            // The launch before this one has read its list: work is done in order.
            self.device.upload(lists.slots, bytes_of(&slots))?;
            let op = gather(heads_of(&self.config), &lists, *offset);
            self.device.run(&Plan::once(vec![op]))?;
        }
        Ok(())
    }
}
