use proptest::prelude::*;
use weir_memory::SpecialBytes;

use super::*;
use crate::limits::JSON_DEPTH_MAX;
use crate::record::Reason;

/// A decoder of one source.
struct Source {
    tree: FieldTree,
    templates: Templates,
    tokens: Tokens,
}

impl Source {
    fn new(names: &[&str], chooser: Option<usize>) -> Self {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let kinds: Vec<String> = (0..40).map(|n| format!("k{n}")).chain(["x".to_owned(), String::new()]).collect();
        let chooser = chooser.map(|slot| (slot, kinds.as_slice()));
        let places = |_| (0..names.len() as u16).collect();
        let templates = Templates::new(chooser, places);
        Self { tree: FieldTree::new(&names), templates, tokens: Tokens::new(names.len()) }
    }

    /// The record as the scanner reads it, in the middle of a text and alone.
    fn scan(&mut self, line: &str) -> Result<(), Cause> {
        let mut alone = Tokens::new(self.tokens.slots.len());
        let exact = scan(line, &self.tree, &mut alone);
        for [before, behind] in [["", ""], ["{\"x\":[\n", "\n{\"y\":\"\\\"\"}\n"], ["[", ",2]"]] {
            let text = [before, line, behind].concat();
            let mut specials = SpecialBytes::default();
            specials.look_through(text.as_bytes());
            let (piece, marks) = (before.len()..before.len() + line.len(), Known(&specials));
            let result = scan_and_learn(&text, piece, marks, &self.tree, &mut self.tokens, &mut self.templates);
            assert_eq!(result, exact, "{line}");
            if result.is_ok() {
                assert_eq!(self.values(&text, text_of), values_of(&alone, line, text_of), "{line}");
            }
        }
        // Where its values lie in the line itself.
        self.tokens = alone;
        exact
    }

    /// The record as it is read if it looks like one before, in the middle of a text, and that text.
    fn as_usual(&mut self, line: &str) -> Option<String> {
        let text = format!("{{\"x\":[\n{line}\n{{\"y\":\"\\\"\"}}\n");
        let (start, end) = (7, 7 + line.len());
        let mut specials = SpecialBytes::default();
        specials.look_through(text.as_bytes());
        (self.templates.read(&text, start, &specials, &mut self.tokens) == Some(end)).then_some(text)
    }

    fn values<T>(&self, text: &str, value: impl Fn(Field<'_>) -> T) -> Vec<T> {
        values_of(&self.tokens, text, value)
    }
}

fn values_of<T>(tokens: &Tokens, text: &str, value: impl Fn(Field<'_>) -> T) -> Vec<T> {
    (0..tokens.slots.len()).map(|slot| value(tokens.field(slot, text))).collect()
}

/// What a field says, as text.
fn text_of(field: Field<'_>) -> Option<String> {
    match field {
        Field::Missing => None,
        Field::Escaped(text) => Some(unescaped(text)),
        Field::Text(text) | Field::Number(text) | Field::Json(text) => Some(text.to_owned()),
        Field::Truth(truth) => Some(truth.to_string()),
        _ => unreachable!("not made by the scanner"),
    }
}

fn read(line: &str, names: &[&str]) -> Result<Vec<Option<String>>, Cause> {
    let mut source = Source::new(names, None);
    source.scan(line)?;
    let exact = source.values(line, text_of);
    // What it has taught reads the same, or leaves it to the scanner.
    if let Some(text) = source.as_usual(line) {
        assert_eq!(source.values(&text, text_of), exact, "{line}");
    }
    Ok(exact)
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
    let mut source = Source::new(names, None);
    source.scan(line)?;
    let value = |field: Field<'_>| match field {
        Field::Missing => serde_json::Value::Null,
        Field::Text(text) => text.into(),
        Field::Escaped(text) => unescaped(text).into(),
        Field::Number(text) => text.parse::<f64>().unwrap().into(),
        Field::Json(text) => serde_json::from_str(text).unwrap(),
        Field::Truth(truth) => truth.into(),
        _ => unreachable!("not made by the scanner"),
    };
    let exact = source.values(line, value);
    if let Some(text) = source.as_usual(line) {
        assert_eq!(source.values(&text, value), exact, "{line}");
    }
    Ok(exact)
}

/// Whatever was usual before, a line is read as usual only if the scanner accepts it, and with the same values.
fn agree_after(before: &[String], line: &str) {
    const NAMES: [&str; 4] = ["kind", "a", "b", "n.c"];
    let mut source = Source::new(&NAMES, Some(0));
    for before in before {
        let _taught = source.scan(before);
    }
    let Some(text) = source.as_usual(line) else { return };
    let usual = source.values(&text, text_of);
    let mut exact = Source::new(&NAMES, None);
    exact.scan(line).expect("what is usual is accepted");
    assert_eq!(usual, exact.values(line, text_of), "{line} after {before:?}");
}

#[test]
fn usual_records_are_read_as_usual_and_others_are_not() {
    let mut source = Source::new(&["kind", "a", "a_long_name_of_a_field_so_that_it_does_not_fit", "n.c"], Some(0));
    let line = r#"{"kind":"x","a":"1","a_long_name_of_a_field_so_that_it_does_not_fit":-1.5e3,"n":{"c":[1,"]"]}}"#;
    assert!(source.as_usual(line).is_none(), "nothing is usual yet");
    source.scan(line).unwrap();
    for usual in [line, &line.replace("\"1\"", "\"\\u0031\""), &line.replace("[1,\"]\"]", "null")] {
        let text = source.as_usual(usual).unwrap_or_else(|| panic!("{usual} is usual"));
        assert_eq!(source.values(&text, text_of)[1].as_deref(), Some("1"));
    }
    let spaced = line.replace(':', " : ").replace(",\"", ", \"");
    assert!(source.as_usual(&spaced).is_none());
    source.scan(&spaced).unwrap();
    assert!(source.as_usual(&spaced).is_some() && source.as_usual(line).is_some(), "two makers send this kind");
    for unusual in [
        line.replace("\"x\"", "\"y\""),
        line.replace("not_fit", "not_fix"),
        line.replace("-1.5e3", "01"),
        line.replace("-1.5e3", "\"1\""),
        line.replace("}}", "},}"),
        line.replace("}}", "}"),
        line.replace("\"1\"", "1"),
        line.replace("\"]\"", &format!("{}1", "1,".repeat(3_000))),
        line.replace("\"1\"", "\"1\t\""),
        line.replace("\"]\"", "\n2"),
        line.replace("\"]\"", &format!("{}{}", "[".repeat(JSON_DEPTH_MAX - 2), "]".repeat(JSON_DEPTH_MAX - 2))),
        "{\"kind\":\"x\",\"a\":\"1\"".to_owned(),
        "{\"kind\":\"\",\"a\":\"1\"}".to_owned(),
    ] {
        assert!(source.as_usual(&unusual).is_none(), "{unusual}");
    }
    let deep = line.replace("\"]\"", &format!("{}{}", "[".repeat(JSON_DEPTH_MAX - 3), "]".repeat(JSON_DEPTH_MAX - 3)));
    assert!(source.as_usual(&deep).is_some() && check_record(&deep).is_ok(), "as deep as it may be");
    let long = line.replace("\"1\"", &format!("\"{}\"", "陕A".repeat(10_000)));
    assert!(source.as_usual(&long).is_some(), "a plain text may be long");
}

#[test]
fn a_record_is_read_on_by_another_template_as_far_as_they_are_alike() {
    let mut source = Source::new(&["kind", "a", "b", "c", "d"], Some(0));
    let lines = [
        r#"{"kind":"x","a":"1","b":"2","c":"3","d":"4"}"#,
        r#"{"kind":"x","a":"1","b":"2","c":"3"}"#,
        r#"{"kind":"x","a":"1","b":"2","d":"4"}"#,
        r#"{"kind":"x","a":"1","c":"3","d":4}"#,
        r#"{"kind":"x","a":"1"}"#,
        r#"{"kind":"x","b":"2","a":1}"#,
        r#"{"kind":"x"}"#,
        r#"{"a":"1","b":"2"}"#,
        r#"{"a":"1","c":"3"}"#,
    ];
    for line in lines {
        source.scan(line).unwrap();
    }
    // Each behind each other: what one template has found is not what the next one says.
    for first in lines {
        for second in lines {
            for line in [first, second, first] {
                let text = source.as_usual(line).unwrap_or_else(|| panic!("{line} is usual"));
                let usual = source.values(&text, text_of);
                assert_eq!(usual, read(line, &["kind", "a", "b", "c", "d"]).unwrap(), "{line} after {first}, {second}");
            }
        }
    }
    for unusual in
        [lines[0].replace("\"4\"", "4"), lines[1].replace("\"c\"", "\"d\"") + "}", lines[4].replace('}', ",}")]
    {
        assert!(source.as_usual(&unusual).is_none(), "{unusual}");
    }
}

#[test]
fn templates_are_bounded_and_hold_what_is_declared() {
    let names: Vec<String> = (0..20).map(|key| format!("x{key}")).chain(["kind".to_owned()]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut source = Source::new(&names, Some(20));
    let line = |kind: &str, key: &str| format!(r#"{{"kind":"{kind}","{key}":1}}"#);
    for kind in 0..1_000 {
        for key in 0..20 {
            source.scan(&line(&format!("k{kind}"), &format!("x{key}"))).unwrap();
        }
        source.scan(&line("k7", "P06498954")).unwrap();
    }
    let usual = |source: &mut Source, kind: &str| {
        (0..20).filter(|key| source.as_usual(&line(kind, &format!("x{key}"))).is_some()).count()
    };
    assert!((1..=8).contains(&usual(&mut source, "k3")));
    assert_eq!(usual(&mut source, "k900"), 0, "no such kind is declared");
    let held = format!("{:?}", source.templates);
    let digits = format!("{:?}", b"P064");
    assert!(!held.contains(digits.trim_matches(['[', ']'])), "no such key is declared");
}

#[test]
fn templates_of_no_use_are_not_kept_where_nothing_repeats() {
    let names: Vec<String> = (0..20).map(|key| format!("x{key}")).chain(["kind".to_owned()]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut source = Source::new(&names, Some(20));
    let lines: Vec<String> = (0..400)
        .filter(|number| number / 20 != number % 20)
        .map(|number| format!(r#"{{"kind":"k3","x{}":1,"x{}":1}}"#, number / 20, number % 20))
        .collect();
    for line in lines.iter().chain(&lines) {
        source.scan(line).unwrap();
    }
    let usual = lines.iter().filter(|line| source.as_usual(line).is_some()).count();
    assert_eq!(usual, 1, "the one that was learned last");
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

    /// After any record, the next one is read as usual only if it is valid, and as the scanner reads it.
    #[test]
    fn what_is_usual_is_valid_and_reads_the_same(
        before in proptest::collection::vec(proptest::collection::vec((0_usize..6, 0_usize..9, 0_usize..4), 0..7), 1..4),
        other in proptest::collection::vec((0_usize..6, 0_usize..9, 0_usize..4), 0..7),
        same in any::<bool>(),
        cut in proptest::option::of((0_usize..80, "[\\{\\}\\[\\]:,\" \n\\\\0-9a-z]")),
    ) {
        let line = |fields: &[(usize, usize, usize)]| {
            const KEYS: [&str; 6] = ["\"kind\"", "\"a\"", "\"b\"", "\"n\"", "\"z\"", "\"\\u0061\""];
            const VALUES: [&str; 9] =
                ["\"x\"", "\"\"", "\"q\\\"\"", "-0.5", "12", "null", "{\"c\":\"v\"}", "[1,{\"c\":2}]", "true"];
            const COLONS: [&str; 4] = [":", ": ", " :", "  :\t"];
            let fields: Vec<String> =
                fields.iter().map(|(key, value, colon)| format!("{}{}{}", KEYS[*key], COLONS[*colon], VALUES[*value])).collect();
            format!("{{{}}}", fields.join(","))
        };
        let before: Vec<String> = before.iter().map(|fields| line(fields)).collect();
        let mut next = if same { before[0].clone() } else { line(&other) };
        if let Some((at, with)) = cut && at < next.len() {
            next.replace_range(at..=at, &with);
        }
        agree_after(&before, &next);
    }
}
