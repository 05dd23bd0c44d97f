//! Files and their modes.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use crate::support::{Lab, keep, open_at};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode()
        & 0o777
}

#[tokio::test]
async fn all_files_are_for_their_owner_only() {
    let lab = Lab::new().await;
    keep(&lab.store, lab.captures.an_op().build()).await.expect("a capture");
    for file in ["baldur.db", "baldur.db-wal", "baldur.db-shm"] {
        assert_eq!(mode(&lab.path().with_file_name(file)), 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_missing_directory_is_made_for_its_owner_only() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("a/b/baldur.db");
    open_at(&path).await.expect("it is made").close().await;
    assert_eq!(mode(&dir.path().join("a")), 0o700);
    assert_eq!(mode(&dir.path().join("a/b")), 0o700);
}

#[tokio::test]
async fn an_existing_file_keeps_its_mode_and_identity() {
    let lab = Lab::new().await;
    lab.store.close().await;
    fs::set_permissions(lab.path(), fs::Permissions::from_mode(0o640)).expect("a mode");
    let before = fs::metadata(lab.path()).expect("a file").ino();
    lab.another().await.close().await;
    assert_eq!(mode(&lab.path()), 0o640);
    assert_eq!(fs::metadata(lab.path()).expect("a file").ino(), before);
}

#[tokio::test]
async fn a_directory_in_the_place_of_the_file_is_an_error() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let error = open_at(dir.path()).await.expect_err("a directory");
    assert_eq!(error.kind(), baldur_core::BackendKind::Unavailable);
}
