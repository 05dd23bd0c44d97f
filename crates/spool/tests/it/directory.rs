//! Whose directory it is, and who may read it.

use std::{
    fs::Permissions,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use baldur_core::{BackendKind, Chain, port::Spool as _};
use baldur_spool::SpoolConfig;

use crate::support::{append, drain, ids, open, try_open};

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().expect("there").permissions().mode() & 0o777
}

async fn refused(dir: &Path) -> String {
    let error = try_open(SpoolConfig::new(dir)).await.expect_err("refused");
    assert_eq!(error.kind(), BackendKind::Refused, "{error:?}");
    Chain(&error).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_can_read_what_the_spool_makes() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("var").join("spool");
    let spool = open(&root).await;
    append(&spool, 1..=2).await;
    let first = spool.peek(1).await.expect("readable")[0].position;
    spool.set_aside(first, "no".to_owned()).await.expect("set aside");
    assert_eq!(mode(&root), 0o700);
    let mut files = 0;
    for lane in root.read_dir().expect("readable").map(|lane| lane.expect("there").path()) {
        assert_eq!(mode(&lane), 0o700, "{}", lane.display());
        for file in lane.read_dir().expect("readable").map(|file| file.expect("there").path()) {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
            files += 1;
        }
    }
    assert_eq!(files, 5, "two locks, a cursor, a segment, and a file of refused records");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_others_can_write_into_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    for shared in [0o777, 0o770, 0o702] {
        std::fs::set_permissions(dir.path(), Permissions::from_mode(shared)).expect("ours");
        assert!(refused(dir.path()).await.contains("chmod 700"));
    }
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("ours");
    open(dir.path()).await.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_another_user_is_refused() {
    // One of the two is not ours, whoever we are.
    let dir = tempfile::tempdir().expect("a directory");
    let is_root = std::os::unix::fs::chown(dir.path(), Some(4_711), None).is_ok();
    let others = if is_root { dir.path() } else { Path::new("/") };
    assert!(refused(others).await.contains("another user"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_and_a_file_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let link = dir.path().join("link");
    symlink(dir.path().join("target"), &link).expect("made");
    assert!(refused(&link).await.contains("symbolic link"));
    let file = dir.path().join("file");
    std::fs::write(&file, b"").expect("written");
    assert!(refused(&file).await.contains("no directory"));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_the_spool_are_moved_away_and_never_followed() {
    let (dir, elsewhere) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir());
    let elsewhere = elsewhere.expect("a directory");
    let secret = elsewhere.path().join("secret");
    std::fs::write(&secret, b"keep").expect("written");
    let first = open(dir.path()).await;
    append(&first, 1..=2).await;
    first.close().await;
    let lane = dir.path().read_dir().expect("readable").next().expect("a lane").expect("there");
    symlink(&secret, lane.path().join("00000000000000000009.seg")).expect("made");
    symlink(elsewhere.path(), dir.path().join("lane-x")).expect("made");
    let second = open(dir.path()).await;
    assert_eq!(second.status().set_aside, 2);
    assert_eq!(drain(&second).await, ids(1..=2));
    assert_eq!(std::fs::read(&secret).expect("there"), b"keep");
}
