//! Broken packs, each with more than one mistake: what is said about them, all of it in one run.

use std::path::Path;

use weir_rules::diagnostic::{Style, render};
use weir_rules::{Catalog, Diagnostics, SourceFile, pack};

#[test]
fn broken_packs_are_told_in_full() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    names.sort();
    assert!(names.len() >= 40, "{} packs", names.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("broken");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for path in names {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let mut diagnostics = Diagnostics::new();
            let file = SourceFile::new(format!("{name}.yaml"), text);
            let _ = pack::parse(&file, &Catalog::builtin(), &mut diagnostics);
            diagnostics.sort();
            let told: Vec<String> = diagnostics.iter().map(|found| render(found, Style::Plain)).collect();
            assert!(!told.is_empty(), "{name} is not broken");
            insta::assert_snapshot!(name, told.join("\n\n"));
        }
    });
}
