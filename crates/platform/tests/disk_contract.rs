//! One contract, run against every disk.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use twinge_platform::{Disk, DiskFile, RealDisk, SimulatedDisk};

#[test]
fn the_real_disk_keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    check(&RealDisk, root.path());
}

#[test]
fn the_simulated_disk_keeps_the_contract() {
    check(&SimulatedDisk::new(0), Path::new("/root"));
}

#[cfg(unix)]
#[test]
fn the_real_disk_hides_what_a_crash_left_unfinished() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join(".channel.json.1-0.unfinished"), b"half").unwrap();
    RealDisk.replace(&root.path().join("channel.json"), b"whole").unwrap();
    assert_eq!(RealDisk.list(root.path()).unwrap(), [root.path().join("channel.json")]);
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 2, "no other file is left over");
}

fn check(disk: &dyn Disk, root: &Path) {
    appends_and_reads(disk, &root.join("deep/er/log"));
    replaces(disk, &root.join("replaced/file"));
    creates_once(disk, &root.join("created/file"));
    lists_in_order(disk, &root.join("listed"));
    renames_and_removes(disk, &root.join("moved"));
    locks_once(disk, &root.join("locked/lock"));
}

fn appends_and_reads(disk: &dyn Disk, path: &Path) {
    let mut file = disk.open_append(path).expect("creates parents and file");
    assert!(file.is_empty().expect("len"));
    file.append(b"hello ").expect("append");
    file.append(b"world").expect("append");
    file.sync().expect("sync");
    assert_eq!(read_all(file.as_mut(), 6), b"world");
    assert_eq!(file.read_at(100, &mut [0; 4]).expect("past the end"), 0);

    file.truncate(5).expect("truncate");
    let longer = file.truncate(6).expect_err("cannot grow a file by truncating it");
    assert_eq!(longer.kind(), ErrorKind::InvalidInput);
    file.append(b"!").expect("append after a read and a cut goes to the end");
    drop(file);

    let mut file = disk.open_append(path).expect("opens what exists");
    assert_eq!(file.len().expect("len"), 6);
    file.append(b"?").expect("append");
    let mut other = disk.open_append(path).expect("a second handle");
    assert_eq!(read_all(other.as_mut(), 0), b"hello!?");
    assert_eq!(disk.read(path).expect("read"), b"hello!?");
}

fn read_all(file: &mut dyn DiskFile, mut offset: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4];
    loop {
        let count = file.read_at(offset, &mut buffer).expect("read_at");
        if count == 0 {
            return bytes;
        }
        bytes.extend_from_slice(&buffer[..count]);
        offset += count as u64;
    }
}

fn replaces(disk: &dyn Disk, path: &Path) {
    assert_eq!(disk.read(path).expect_err("missing").kind(), ErrorKind::NotFound);
    disk.replace(path, b"first, longer").expect("replace what is missing");
    disk.replace(path, b"second").expect("replace what exists");
    assert_eq!(disk.read(path).expect("read"), b"second");
}

fn creates_once(disk: &dyn Disk, path: &Path) {
    disk.create_new(path, b"first").expect("create");
    let again = disk.create_new(path, b"second").expect_err("the name is taken");
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    assert_eq!(disk.read(path).expect("read"), b"first");
    assert_eq!(disk.list(path.parent().expect("parent")).expect("list"), [path.to_owned()]);
}

fn lists_in_order(disk: &dyn Disk, dir: &Path) {
    assert_eq!(disk.list(dir).expect("a missing directory is empty"), Vec::<PathBuf>::new());
    for name in ["b", "a", "inner/c"] {
        disk.replace(&dir.join(name), b"x").expect("replace");
    }
    assert_eq!(disk.list(dir).expect("list"), [dir.join("a"), dir.join("b")]);
}

fn renames_and_removes(disk: &dyn Disk, dir: &Path) {
    let (from, to) = (dir.join("from"), dir.join("to"));
    disk.replace(&from, b"new").expect("replace");
    disk.replace(&to, b"old").expect("replace");
    disk.rename(&from, &to).expect("rename over another");
    assert_eq!(disk.read(&to).expect("read"), b"new");
    assert_eq!(disk.list(dir).expect("list"), [to.as_path()]);
    let missing = disk.rename(&from, &to).expect_err("nothing to rename");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    disk.remove(&to).expect("remove");
    disk.remove(&to).expect("removing what is missing is fine");
    assert!(disk.list(dir).expect("list").is_empty());
}

fn locks_once(disk: &dyn Disk, path: &Path) {
    let lock = disk.lock(path).expect("nobody has it");
    let again = disk.lock(path).expect_err("it is taken");
    assert_eq!(again.kind(), ErrorKind::WouldBlock);
    drop(lock);
    disk.lock(path).expect("it is free again");
}
