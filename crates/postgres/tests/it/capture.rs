//! Captures of several processes at once.

use baldur_core::{
    command::WhenFull,
    port::{CaptureError, CaptureStore, Disposition},
};
use futures_util::future::join_all;

use crate::lab::{Lab, keep};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_id_in_two_processes_is_new_once() {
    let lab = Lab::new().await;
    let other = lab.another().await;
    for _ in 0..20 {
        let capture = lab.captures.an_op().build();
        let stores = [&lab.store, &other, &lab.store, &other];
        let kept = join_all(stores.map(|store| keep(store, capture.clone()))).await;
        let (mut new, mut repeated) = (0, 0);
        for captured in kept {
            let captured = captured.expect("a capture");
            assert_eq!(captured.id, capture.op.id);
            match captured.disposition {
                Disposition::New => new += 1,
                Disposition::Repeated => repeated += 1,
                Disposition::Merged => panic!("nothing to merge with"),
            }
        }
        assert_eq!((new, repeated), (1, 3));
    }
    other.close().await;
    lab.store.close().await;
}
