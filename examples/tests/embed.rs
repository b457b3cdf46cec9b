//! The embedding example does what it shows.

#[test]
fn embed_prints_its_two_alerts() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_embed")).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(stdout.contains("80 L of petrol at north") && stdout.ends_with("2 alerts\n"), "{stdout}");
}
