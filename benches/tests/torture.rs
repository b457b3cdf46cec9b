//! The real binary, killed thirty times.

use std::path::Path;
use std::process::Command;

#[test]
fn thirty_kills_break_no_promise() {
    let torture = Path::new(env!("CARGO_BIN_EXE_torture"));
    // The tests of the binary itself are built in the same run, and with them the binary.
    let weir = torture.with_file_name("weir");
    assert!(weir.exists(), "run the tests of the whole workspace: cargo test --workspace");
    let output = Command::new(torture).args(["--kills", "30", "--weir"]).arg(weir).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("no violation"), "{said}");
}
