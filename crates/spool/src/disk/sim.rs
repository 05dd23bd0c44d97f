//! A disk that can lose power: it keeps what was synced apart from what was only written.
//!
//! At a crash, each block that was not synced is there or not, each length lies between the old one and the new one, and each name that was made,
//! moved or removed without a sync of its directory is as before or as after. Whoever relied on more loses records here.

mod power;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Append, Disk, Held, Item, Kind};

/// How a disk does not do what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lie {
    /// It does.
    #[default]
    None,
    /// A sync does nothing: what a spool without syncs would be.
    NoSync,
    /// A write is done with the next one: what a spool that answers before it writes would be.
    LateWrite,
}

/// What fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// No more bytes than these fit.
    pub(crate) room: Option<usize>,
    /// Syncs of files fail.
    pub(crate) sync: bool,
    /// Cutting files fails.
    pub(crate) cut: bool,
    /// Everything that writes fails like this.
    pub(crate) writes: Option<io::ErrorKind>,
}

/// The disk; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk {
    world: Arc<Mutex<World>>,
    /// Whoever holds it stops all writes: a disk that hangs.
    pub(crate) gate: Arc<Mutex<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Dir,
    File(usize),
}

#[derive(Clone, Debug, Default)]
struct Data {
    now: Vec<u8>,
    synced: Vec<u8>,
}

type Names = BTreeMap<PathBuf, Entry>;

#[derive(Debug, Default)]
struct World {
    files: Vec<Data>,
    names: Names,
    synced: Names,
    locks: HashSet<usize>,
    /// Files that can't be read.
    unreadable: BTreeSet<PathBuf>,
    late: Vec<(usize, Vec<u8>)>,
    lie: Lie,
    faults: Faults,
    /// How many more operations there is power for.
    fuse: Option<u64>,
    off: bool,
    /// Counts crashes: what was opened before one is gone.
    life: u64,
}

impl SimDisk {
    /// A disk with an empty directory.
    pub(crate) fn with_dir(root: &Path) -> Self {
        let disk = Self::default();
        {
            let mut world = disk.world();
            world.names.insert(root.to_owned(), Entry::Dir);
            world.synced.insert(root.to_owned(), Entry::Dir);
        }
        disk
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on, with power.
    fn at_work(&self) -> io::Result<MutexGuard<'_, World>> {
        let mut world = self.world();
        world.tick()?;
        Ok(world)
    }

    pub(crate) fn lie(&self, lie: Lie) {
        self.world().lie = lie;
    }

    pub(crate) fn fail(&self, faults: Faults) {
        self.world().faults = faults;
    }

    /// Reads of this file fail from now on, or work again.
    pub(crate) fn unreadable(&self, path: &Path, is_so: bool) {
        let mut world = self.world();
        if is_so {
            world.unreadable.insert(path.to_owned());
        } else {
            world.unreadable.remove(path);
        }
    }

    /// How many bytes all files have.
    pub(crate) fn used(&self) -> usize {
        self.world().used()
    }

    /// Lets the power fail after so many operations.
    pub(crate) fn fuse(&self, operations: u64) {
        self.world().fuse = Some(operations);
    }

    /// Whether the power has failed.
    pub(crate) fn is_off(&self) -> bool {
        self.world().off
    }

    /// Loses power, and comes back with what is left. `pick` gives arbitrary numbers.
    pub(crate) fn crash(&self, pick: &mut dyn FnMut() -> usize) {
        self.world().crash(pick);
    }

    /// Changes a file as something else would.
    pub(crate) fn put(&self, path: &Path, bytes: &[u8]) {
        let mut world = self.world();
        let file = match world.names.get(path) {
            Some(Entry::File(file)) => *file,
            Some(Entry::Dir) => panic!("{} is a directory", path.display()),
            None => world.new_file(path),
        };
        world.files[file] = Data { now: bytes.to_vec(), synced: bytes.to_vec() };
        world.synced.insert(path.to_owned(), Entry::File(file));
    }

    /// What a file holds.
    pub(crate) fn get(&self, path: &Path) -> Option<Vec<u8>> {
        let world = self.world();
        world.file(path).ok().map(|file| world.files[file].now.clone())
    }

    /// Every file below a directory.
    pub(crate) fn files(&self, below: &Path) -> Vec<PathBuf> {
        let world = self.world();
        let files = world.names.iter().filter(|(_, entry)| matches!(entry, Entry::File(_)));
        files.map(|(path, _)| path.clone()).filter(|path| path.starts_with(below)).collect()
    }
}

impl World {
    fn tick(&mut self) -> io::Result<()> {
        if self.fuse == Some(0) {
            self.off = true;
        }
        if self.off {
            return Err(io::Error::other("no power"));
        }
        self.fuse = self.fuse.map(|left| left - 1);
        Ok(())
    }

    fn writable(&self) -> io::Result<()> {
        self.faults.writes.map_or(Ok(()), |kind| Err(io::Error::from(kind)))
    }

    fn used(&self) -> usize {
        let files: BTreeSet<usize> = self
            .names
            .values()
            .filter_map(|entry| if let Entry::File(file) = entry { Some(*file) } else { None })
            .collect();
        files.into_iter().map(|file| self.files[file].now.len()).sum()
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Entry::File(file)) => Ok(*file),
            Some(Entry::Dir) => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    fn new_file(&mut self, path: &Path) -> usize {
        self.files.push(Data::default());
        self.names.insert(path.to_owned(), Entry::File(self.files.len() - 1));
        self.files.len() - 1
    }

    fn parent_is_there(&self, path: &Path) -> io::Result<()> {
        match path.parent().and_then(|parent| self.names.get(parent)) {
            Some(Entry::Dir) => Ok(()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    /// Does what was put off.
    fn catch_up(&mut self) {
        for (file, bytes) in std::mem::take(&mut self.late) {
            self.files[file].now.extend_from_slice(&bytes);
            self.files[file].synced = self.files[file].now.clone();
        }
    }

    fn append(&mut self, file: usize, bytes: &[u8]) -> io::Result<()> {
        self.writable()?;
        self.catch_up();
        if self.lie == Lie::LateWrite {
            self.late.push((file, bytes.to_vec()));
            return Ok(());
        }
        let room = self.faults.room.map_or(usize::MAX, |room| room.saturating_sub(self.used()));
        let fits = bytes.len().min(room);
        self.files[file].now.extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    fn sync(&mut self, file: usize) -> io::Result<()> {
        if self.faults.sync {
            return Err(io::Error::other("the device failed"));
        }
        if self.lie == Lie::None {
            self.files[file].synced = self.files[file].now.clone();
        }
        Ok(())
    }
}

impl Disk for SimDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.at_work()?;
        world.writable()?;
        world.parent_is_there(path)?;
        if world.names.contains_key(path) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        world.names.insert(path.to_owned(), Entry::Dir);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Item>> {
        let world = self.at_work()?;
        if world.names.get(dir) != Some(&Entry::Dir) {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        let inside = world.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        let item = |(path, entry): (&PathBuf, &Entry)| Item {
            name: path.file_name().map(ToOwned::to_owned).unwrap_or_default(),
            kind: if *entry == Entry::Dir { Kind::Dir } else { Kind::File },
        };
        Ok(inside.map(item).collect())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Held>>> {
        let mut world = self.at_work()?;
        world.parent_is_there(path)?;
        if !world.names.contains_key(path) {
            world.writable()?;
            world.new_file(path);
        }
        let file = world.file(path)?;
        let taken = world.locks.insert(file);
        let life = world.life;
        Ok(taken.then(|| Box::new(SimLock { disk: self.clone(), file, life }) as Box<dyn Held>))
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        let world = self.at_work()?;
        Ok(world.locks.contains(&world.file(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Append>> {
        let mut world = self.at_work()?;
        world.writable()?;
        world.parent_is_there(path)?;
        if world.names.contains_key(path) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let file = world.new_file(path);
        Ok(Box::new(SimFile { disk: self.clone(), file, life: world.life }))
    }

    fn append_to(&self, path: &Path) -> io::Result<Box<dyn Append>> {
        let mut world = self.at_work()?;
        world.writable()?;
        world.parent_is_there(path)?;
        let file = world.file(path).or_else(|_| io::Result::Ok(world.new_file(path)))?;
        Ok(Box::new(SimFile { disk: self.clone(), file, life: world.life }))
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        let world = self.at_work()?;
        match world.names.get(path) {
            Some(Entry::Dir) => Ok(0),
            _ => Ok(world.files[world.file(path)?].now.len() as u64),
        }
    }

    fn read(&self, path: &Path, from: u64, most: usize) -> io::Result<Vec<u8>> {
        let mut world = self.at_work()?;
        world.catch_up();
        if world.unreadable.contains(path) {
            return Err(io::Error::other("the device failed"));
        }
        let bytes = &world.files[world.file(path)?].now;
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes[from..from.saturating_add(most).min(bytes.len())].to_vec())
    }

    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.at_work()?;
        world.writable()?;
        world.parent_is_there(path)?;
        let file = world.file(path).or_else(|_| io::Result::Ok(world.new_file(path)))?;
        let now = &mut world.files[file].now;
        now.resize(now.len().max(bytes.len()), 0);
        now[..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn cut(&self, path: &Path, length: u64) -> io::Result<()> {
        let mut world = self.at_work()?;
        world.writable()?;
        let file = world.file(path)?;
        world.files[file].now.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        world.sync(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.at_work()?;
        world.writable()?;
        world.parent_is_there(to)?;
        let entry = world.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        world.names.insert(to.to_owned(), entry);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut world = self.at_work()?;
        world.writable()?;
        world.file(path)?;
        world.names.remove(path);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.at_work()?;
        world.writable()?;
        if world.names.keys().any(|inside| inside.parent() == Some(path)) {
            return Err(io::Error::from(io::ErrorKind::DirectoryNotEmpty));
        }
        world.names.remove(path);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.at_work()?;
        if world.lie == Lie::NoSync {
            return Ok(());
        }
        let is_inside = |path: &Path| path.parent() == Some(dir);
        let now: Names = world.names.clone().into_iter().filter(|(p, _)| is_inside(p)).collect();
        world.synced.retain(|path, _| !is_inside(path));
        world.synced.extend(now);
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    file: usize,
    life: u64,
}

impl SimFile {
    fn at_work(&self) -> io::Result<MutexGuard<'_, World>> {
        let mut world = self.disk.world();
        if world.life != self.life {
            return Err(io::Error::other("the process is gone"));
        }
        world.tick()?;
        Ok(world)
    }
}

impl Append for SimFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let _gate = self.disk.gate.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut world = self.disk.world();
            if world.fuse == Some(0) && !world.off && world.life == self.life {
                // The power fails within this write: any part of it may get to the disk.
                world.append(self.file, bytes)?;
            }
        }
        self.at_work()?.append(self.file, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.at_work()?.sync(self.file)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        let mut world = self.at_work()?;
        if world.faults.cut {
            return Err(io::Error::other("the device failed"));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        world.files[self.file].now.truncate(length);
        Ok(())
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    file: usize,
    life: u64,
}

impl Held for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        if world.life == self.life {
            world.locks.remove(&self.file);
        }
    }
}
