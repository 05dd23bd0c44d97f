//! The id and the idempotency key of one logical call, made when somebody asks for them first.
//!
//! Most calls work, and many send no key. An id costs a reading of the wall clock and randomness of the operating system,
//! which is more than all else that a guard does; so it is made by the first try that asks for the key, or by the
//! capture. From then on it stands: every try, the capture and the replay see the same one.
//!
//! A try may outlive its call and go to any thread, so its keys are shared by count. Each thread keeps some that nobody
//! holds any more, with what they need to make an id: else each call would ask for memory, and write the counts of the
//! guard's clock and randomness, which all threads share.

use std::{
    cell::RefCell,
    fmt,
    sync::{Arc, OnceLock},
};

use baldur_core::{Clock, EntryId, IdGen, id, name::IdempotencyKey};

use super::operation::Given;
use crate::Env;

/// How many a thread keeps: enough for the calls that it has under way at once.
const MOST_SPARES: usize = 64;

thread_local! {
    static SPARES: RefCell<Vec<Arc<Keys>>> = const { RefCell::new(Vec::new()) };
}

/// What the tries of a call and its capture share.
pub(super) struct Keys {
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGen>,
    id: OnceLock<EntryId>,
    key: OnceLock<IdempotencyKey>,
}

impl Keys {
    fn new(env: &Env) -> Self {
        let (clock, ids) = (Arc::clone(&env.clock), Arc::clone(&env.ids));
        Self { clock, ids, id: OnceLock::new(), key: OnceLock::new() }
    }

    /// The id that an entry of this call would have.
    pub(super) fn id(&self) -> EntryId {
        *self.id.get_or_init(|| id::mint(&*self.ids, self.clock.now(), None))
    }

    /// The idempotency key of the call: what was given, or the id.
    pub(super) fn key(&self) -> IdempotencyKey {
        self.key.get_or_init(|| IdempotencyKey::of_entry(self.id())).clone()
    }

    fn is_of(&self, env: &Env) -> bool {
        Arc::ptr_eq(&self.clock, &env.clock) && Arc::ptr_eq(&self.ids, &env.ids)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("id", &self.id.get()).finish_non_exhaustive()
    }
}

/// Lends keys to a new call, with what its caller has given.
pub(super) fn lend(env: &Env, given: Option<&Given>) -> Arc<Keys> {
    let keys = spare(env).unwrap_or_else(|| Arc::new(Keys::new(env)));
    // Nobody else has seen them, so both are empty.
    if let Some(id) = given.and_then(|given| given.id) {
        keys.id.get_or_init(|| id);
    }
    if let Some(key) = given.and_then(|given| given.key.clone()) {
        keys.key.get_or_init(|| key);
    }
    keys
}

/// Empty keys of these surroundings. What the thread has left of others is let go.
fn spare(env: &Env) -> Option<Arc<Keys>> {
    loop {
        let spare = SPARES.try_with(|spares| spares.borrow_mut().pop()).ok()??;
        if spare.is_of(env) {
            return Some(spare);
        }
    }
}

/// Takes the keys of a call that is over, unless one of its tries still holds them.
pub(super) fn take_back(mut keys: Arc<Keys>) {
    let Some(unused) = Arc::get_mut(&mut keys) else { return };
    unused.id.take();
    unused.key.take();
    // What finds no room is dropped after the borrow: a clock may do anything when it goes.
    let _no_room = SPARES.try_with(|spares| {
        let mut spares = spares.borrow_mut();
        if spares.len() < MOST_SPARES {
            spares.push(keys);
            return None;
        }
        Some(keys)
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use baldur_core::{
        SystemClock,
        name::{Namespace, WorkerName},
    };

    use super::*;

    /// Counts how often it is asked.
    #[derive(Debug, Default)]
    struct Counted(AtomicU64);

    impl IdGen for Counted {
        fn entropy(&self) -> [u8; 8] {
            self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes()
        }
    }

    fn env() -> (Env, Arc<Counted>) {
        let ids = Arc::new(Counted::default());
        let worker = WorkerName::parse("worker-1").unwrap();
        let env = Env::system(Namespace::default_namespace(), worker);
        let shared = Arc::<Counted>::clone(&ids) as Arc<dyn IdGen>;
        (Env { clock: Arc::new(SystemClock), ids: shared, ..env }, ids)
    }

    #[test]
    fn nothing_is_made_before_somebody_asks() {
        let (env, ids) = env();
        for _ in 0..3 {
            take_back(lend(&env, None));
        }
        assert_eq!(ids.0.load(Ordering::SeqCst), 0);
        let keys = lend(&env, None);
        assert_eq!(keys.key(), IdempotencyKey::of_entry(keys.id()));
        assert_eq!(keys.key(), Arc::clone(&keys).key());
    }

    #[test]
    fn no_two_calls_have_one_key_and_a_try_keeps_that_of_its_call() {
        let (env, _) = env();
        let first = lend(&env, None);
        let (held, asked) = (Arc::clone(&first), first.key());
        take_back(first);
        let second = lend(&env, None);
        let key = second.key();
        take_back(second);
        let third = lend(&env, None);
        assert_eq!(held.key(), asked);
        assert!(asked != key && third.key() != key && third.key() != asked);
    }

    #[test]
    fn what_a_caller_gives_is_for_its_call_only() {
        let (env, _) = env();
        let id = lend(&env, None).id();
        let key = IdempotencyKey::parse("order-7").unwrap();
        let given = Given { id: Some(id), key: Some(key.clone()), who: None };
        let keys = lend(&env, Some(&given));
        assert_eq!((keys.id(), keys.key()), (id, key.clone()));
        take_back(keys);
        let next = lend(&env, None);
        assert!(next.id() != id && next.key() != key);
    }

    #[test]
    fn spare_keys_of_other_surroundings_are_not_lent() {
        let ((one, _), (other, ids)) = (env(), env());
        take_back(lend(&one, None));
        lend(&other, None).id();
        assert!(ids.0.load(Ordering::SeqCst) > 0);
    }
}
