//! What is left when the power fails.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{Entry, Faults, Names, World};

const BLOCK: usize = 64;

impl World {
    pub(super) fn crash(&mut self, pick: &mut dyn FnMut() -> usize) {
        for data in &mut self.files {
            data.now = mix(&data.synced, &data.now, pick);
            data.synced.clone_from(&data.now);
        }
        let paths: BTreeSet<PathBuf> =
            self.names.keys().chain(self.synced.keys()).cloned().collect();
        let mut left = Names::new();
        for path in paths {
            let (now, synced) = (self.names.get(&path), self.synced.get(&path));
            let chosen = if now == synced || pick().is_multiple_of(2) { synced } else { now };
            chosen.map(|entry| left.insert(path, *entry));
        }
        // File systems move names as a whole: what is at neither place is at the new one.
        for (path, entry) in &self.names {
            let was_elsewhere = self.synced.values().any(|synced| synced == entry);
            if was_elsewhere && !left.values().any(|kept| kept == entry) {
                left.insert(path.clone(), *entry);
            }
        }
        let all = left.clone();
        let is_dir = |path: &Path| all.get(path) == Some(&Entry::Dir);
        left.retain(|path, _| {
            let below_root = |dir: &&Path| dir.components().count() > 1;
            path.ancestors().skip(1).filter(below_root).all(is_dir)
        });
        self.names.clone_from(&left);
        self.synced = left;
        self.locks.clear();
        self.late.clear();
        self.faults = Faults::default();
        (self.fuse, self.off) = (None, false);
        self.life += 1;
    }
}

/// What is left of a file of which some was not synced.
fn mix(synced: &[u8], now: &[u8], pick: &mut dyn FnMut() -> usize) -> Vec<u8> {
    if synced == now {
        return now.to_vec();
    }
    let (short, long) = (synced.len().min(now.len()), synced.len().max(now.len()));
    let length = match pick() % 4 {
        0 => synced.len(),
        1 => now.len(),
        _ => short + pick() % (long - short + 1),
    };
    let mut left = vec![0; length];
    for (index, block) in left.chunks_mut(BLOCK).enumerate() {
        let from = index * BLOCK;
        let source = if pick().is_multiple_of(2) { synced } else { now };
        let kept = source.get(from..).unwrap_or_default();
        let kept = &kept[..kept.len().min(block.len())];
        block[..kept.len()].copy_from_slice(kept);
        // What both agree on was on the disk before.
        for (at, byte) in block.iter_mut().enumerate() {
            if let (Some(old), Some(new)) = (synced.get(from + at), now.get(from + at))
                && old == new
            {
                *byte = *old;
            }
        }
    }
    left
}
