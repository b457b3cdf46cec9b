//! Every example of docs/rules.md, run as it stands.

mod common;

use std::path::Path;

use common::{Place, text};

#[test]
fn every_example_of_the_rule_book_passes() {
    let book = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules.md")).unwrap();
    let blocks: Vec<&str> = book.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let (head, examples) = blocks.split_first().unwrap();
    assert!(head.starts_with("weir: 1") && examples.len() >= 7, "{} examples", examples.len());
    for example in examples {
        let place = Place::new();
        place.write("pack.yaml", format!("{head}{example}"));
        let check = place.weir(&["check", "pack.yaml"]);
        assert!(check.status.success(), "{}\n{example}", text(&check.stderr));
        // The head declares more than one example uses; nothing else may be said.
        let said = text(&check.stderr);
        let other = said.lines().find(|line| line.starts_with("warning[") && !line.contains("[WR0217]"));
        assert_eq!(other, None, "{said}");
        let test = place.weir(&["test", "pack.yaml"]);
        let said = text(&test.stdout);
        assert!(test.status.success() && !said.contains("0 tests"), "{said}");
    }
}
