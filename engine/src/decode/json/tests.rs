use super::*;
use proptest::prelude::*;

fn read(line: &str, names: &[&str]) -> Result<Vec<Option<String>>, Cause> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut tree = FieldTree::new(&names);
    let mut tokens = vec![Token::default(); names.len()];
    // Twice, so that predictions are used.
    scan(line, &mut tree, &mut tokens)?;
    scan(line, &mut tree, &mut tokens)?;
    Ok(tokens
        .iter()
        .map(|token| match token.field(line) {
            Field::Missing => None,
            Field::Escaped(text) => {
                let mut out = String::new();
                unescape(text, &mut out);
                Some(out)
            }
            Field::Text(text) | Field::Number(text) | Field::Json(text) => Some(text.to_owned()),
            Field::Truth(truth) => Some(truth.to_string()),
            _ => unreachable!("not made by the scanner"),
        })
        .collect())
}

#[test]
fn wanted_fields_are_found_and_others_skipped() {
    let line = r#" {"a":"x","skip":{"a":[1,{"b":"}"}]},"b":-1.5e3,"c":null,"n":{"d":true,"e":{"f":"\u9655A\ud83d\ude00\n"}},"a":"y"} "#;
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        read(line, &["a", "b", "c", "n.d", "n.e.f", "zz"]).unwrap(),
        [some("y"), some("-1.5e3"), None, some("true"), some("陕A😀\n"), None]
    );
    assert_eq!(read(r#"{"\u0061":1}"#, &["a"]).unwrap(), [some("1")]);
}

#[test]
fn depth_is_bounded_without_using_the_stack() {
    for depth in [65, 1_000, 2_000_000] {
        let line = format!("{{\"x\":{}", "[".repeat(depth));
        assert_eq!(read(&line, &["a"]), Err(Reason::TooDeep { depth_max: JSON_DEPTH_MAX }.into()));
    }
    let line = format!("{{\"x\":{}{}}}", "[".repeat(63), "]".repeat(63));
    assert!(read(&line, &["a"]).is_ok());
}

#[test]
fn arrays_are_divided_into_records() {
    let text = r#" [ {"a":"],["} , {"b":[1,2]} ] "#;
    let parts: Vec<&str> =
        array_elements(text).unwrap().into_iter().map(|r| &text[r.start as usize..r.end as usize]).collect();
    assert_eq!(parts, [r#"{"a":"],["}"#, r#"{"b":[1,2]}"#]);
    assert!(array_elements("[]").unwrap().is_empty());
    assert!(array_elements("[{}").is_err());
    assert!(array_elements("{}").is_err());
}

/// The values of wanted fields, as `serde_json` would give them.
fn values(line: &str, names: &[&str]) -> Result<Vec<serde_json::Value>, Cause> {
    let owned: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut tree = FieldTree::new(&owned);
    let mut tokens = vec![Token::default(); names.len()];
    scan(line, &mut tree, &mut tokens)?;
    scan(line, &mut tree, &mut tokens)?;
    let value = |token: &Token| match token.field(line) {
        Field::Missing => serde_json::Value::Null,
        Field::Text(text) => text.into(),
        Field::Escaped(text) => {
            let mut out = String::new();
            unescape(text, &mut out);
            out.into()
        }
        Field::Number(text) => text.parse::<f64>().unwrap().into(),
        Field::Json(text) => serde_json::from_str(text).unwrap(),
        Field::Truth(truth) => truth.into(),
        _ => unreachable!("not made by the scanner"),
    };
    Ok(tokens.iter().map(value).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Valid and broken lines: the same verdict as serde_json, the same texts.
    #[test]
    fn agrees_with_serde_json(
        line in "\\{\"a\":(\"[a-z陕\\\\\"nu0d8/]{0,8}\"|-?[0-9.eE+-]{0,5}|true|null|\\[[0-9,\\[\\]]{0,6}|\\{\"b\":1\\}),? ?\"b\":[0-9]{1,3}\\}?",
        flip in proptest::option::of((0_usize..40, any::<char>())),
    ) {
        let mut line = line;
        if let Some((at, c)) = flip && line.is_char_boundary(at) && at < line.len() {
            line.insert(at, c);
        }
        let theirs = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&line);
        match (values(&line, &["a", "b"]), theirs) {
            (Ok(ours), Ok(theirs)) => {
                for (ours, name) in ours.into_iter().zip(["a", "b"]) {
                    let theirs = theirs.get(name).cloned().unwrap_or_default();
                    match (ours.as_f64(), theirs.as_f64()) {
                        // Ours are rounded correctly; serde_json without `float_roundtrip` may be off by a digit.
                        (Some(ours), Some(theirs)) => prop_assert!((ours - theirs).abs() <= theirs.abs() * 1e-15, "{line}"),
                        _ => prop_assert_eq!(ours, theirs, "{}", line),
                    }
                }
            }
            // serde_json also refuses numbers that overflow, which we leave to the column.
            (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("number out of range"), "{line}: {error}"),
            (Err(cause), Ok(_)) => prop_assert!(false, "{line}: {cause}"),
            (Err(_), Err(_)) => {}
        }
    }
}
