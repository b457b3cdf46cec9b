//! Every test vector of testdata/identifiers.

use std::fs;
use std::path::Path;

use serde_json::Value;
use weir_engine::normalise::{MrzKind, PlateReading, apply, check_resident_id, read_mrz, read_plate, un_number};
use weir_rules::schema::Normaliser;

fn vectors(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/identifiers").join(name);
    let vectors: Vec<Value> =
        fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!vectors.is_empty());
    vectors
}

#[test]
fn plates() {
    for vector in vectors("plates_cn.ndjson") {
        let raw = vector["plate"].as_str().unwrap();
        let read = read_plate(raw);
        let mut canonical = String::new();
        let usable = apply(Normaliser::PlateV1, raw, &mut canonical).unwrap();
        match (vector["valid"].as_bool().unwrap(), &read) {
            (true, PlateReading::Plate { text, kind: Some(kind) }) => {
                assert_eq!(text, vector["normalised"].as_str().unwrap(), "{vector}");
                assert_eq!(kind.word(), vector["kind"].as_str().unwrap(), "{vector}");
                assert!(usable && canonical == *text, "{vector}");
            }
            // An invalid plate may still be one of another country; it has no form of GA 36.
            (false, PlateReading::Plate { kind: None, .. }) => {
                assert!(vector["kind"].is_null(), "{vector}");
            }
            (false, PlateReading::Partial) => {
                assert_eq!(vector["kind"], "unread", "{vector}");
                assert!(!usable, "a partial reading never makes an exact hit: {vector}");
            }
            (false, PlateReading::Unread) => {
                assert!(vector["kind"] == "unread" || raw.is_empty(), "{vector}");
                assert!(!usable, "{vector}");
            }
            (valid, read) => panic!("{vector}: valid {valid}, read {read:?}"),
        }
    }
}

#[test]
fn resident_ids() {
    for vector in vectors("gb11643.ndjson") {
        let checked = check_resident_id(vector["id"].as_str().unwrap());
        assert_eq!(checked.valid_check, vector["valid_check"].as_bool().unwrap(), "{vector}");
        if let Some(date) = vector["birth_date_valid"].as_bool() {
            assert_eq!(checked.birth_date_valid, date, "{vector}");
        }
    }
}

#[test]
fn travel_documents() {
    for vector in vectors("mrz.ndjson") {
        let lines: Vec<&str> = vector["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        let read = read_mrz(&lines.join("\n"));
        let kind = match vector["type"].as_str().unwrap() {
            "TD1" => MrzKind::Td1,
            "TD2" => MrzKind::Td2,
            "TD3" => MrzKind::Td3,
            "MRVA" => MrzKind::MrvA,
            _ => MrzKind::MrvB,
        };
        let valid = read.as_ref().is_some_and(|mrz| mrz.valid && mrz.kind == kind);
        assert_eq!(valid, vector["valid"].as_bool().unwrap(), "{vector}\n{read:?}");
        if vector["source"].is_string() {
            let number = read.unwrap().document_number;
            assert!(["L898902C3", "D23145890", "L8988901C"].iter().any(|known| number.starts_with(known)), "{number}");
        }
    }
}

#[test]
fn a_document_read_by_machine_meets_one_typed_by_hand() {
    let lines = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10";
    let (mut machine, mut hand) = (String::new(), String::new());
    assert!(apply(Normaliser::DocumentV1, lines, &mut machine).unwrap());
    assert!(apply(Normaliser::DocumentV1, " l898902c3 ", &mut hand).unwrap());
    assert_eq!(machine, hand);
    // Lines whose digits do not fit must not hit somebody else's document.
    let misread = lines.replace("L898902C36", "L898902C46");
    assert!(!apply(Normaliser::DocumentV1, &misread, &mut String::new()).unwrap());
    let mut lower = String::new();
    assert!(apply(Normaliser::DocumentV1, &lines.to_lowercase(), &mut lower).unwrap());
    assert_eq!(machine, lower);
    let wide = |c: char| char::from_u32(u32::from(c) + 0xfee0).unwrap();
    let mut wider = String::new();
    let lines_in_full_width: String = lines.lines().flat_map(str::chars).map(wide).collect();
    assert!(apply(Normaliser::DocumentV1, &lines_in_full_width, &mut wider).unwrap());
    assert_eq!(machine, wider);
    // What has the shape of lines only once its separators are gone is none: a list that is sealed from what is
    // canonical would hold another number than the one it meets.
    let dotted = lines.replace('<', "A").replace('\n', ".");
    assert!(read_mrz(&dotted).is_none() && read_mrz(&dotted.replace('.', "")).is_some());
    let mut none = String::from("before");
    assert!(!apply(Normaliser::DocumentV1, &dotted, &mut none).unwrap());
    assert_eq!(none, "before");
}

#[test]
fn a_filler_within_a_machine_read_number_stands_for_what_a_list_may_write_there() {
    let upper = "P<UTOERIKSSON<<ANNA<M<R<I<A<A<<<<<<<<<<<9<<<";
    let (mut machine, mut hand) = (String::new(), String::new());
    let lines = format!("{upper}\n9<6056LC36UTO7408122F1204159ZE184226B<<<<<10");
    assert!(read_mrz(&lines).unwrap().valid);
    assert!(apply(Normaliser::DocumentV1, &lines, &mut machine).unwrap());
    assert!(apply(Normaliser::DocumentV1, "9-6056 lc3", &mut hand).unwrap());
    assert_eq!((machine.as_str(), hand.as_str()), ("96056LC3", "96056LC3"));
    // Lines that fit and hold no number are no document that a list could name.
    let without = (0..10).map(|digit| format!("{upper}\n<<<<<<<<<0UTO7408122F1204159ZE184226B<<<<<1{digit}"));
    let valid: Vec<String> = without.filter(|lines| read_mrz(lines).unwrap().valid).collect();
    assert_eq!(valid.len(), 1);
    assert!(!apply(Normaliser::DocumentV1, &valid[0], &mut String::new()).unwrap());
}

/// The examples of ICAO Doc 9303-11, appendix D.2.
#[test]
fn a_number_longer_than_its_places_goes_on_in_the_optional_data() {
    let card = "I<UTOD23145890<7349<<<<<<<<<<<\n3407127M9507122UTO<<<<<<<<<<<2\nSTEVENSON<<PETER<JOHN<<<<<<<<<";
    let sheet = "I<UTOSTEVENSON<<PETER<JOHN<<<<<<<<<<\nD23145890<UTO3407127M95071227349<<<8";
    for lines in [card, sheet] {
        let mut number = String::new();
        assert!(apply(Normaliser::DocumentV1, lines, &mut number).unwrap());
        assert_eq!(number, "D23145890734");
        // Neither a misread character of what goes on, nor a digit that is not there, gives the number of nine places.
        for misread in [lines.replace("7349", "7449"), lines.replace("7349", "9<<<"), lines.replace("7349", "<<<<")] {
            assert!(!apply(Normaliser::DocumentV1, &misread, &mut String::new()).unwrap(), "{misread}");
        }
    }
}

#[test]
fn un_numbers() {
    for vector in vectors("un_numbers.ndjson") {
        let number: u16 = vector["number"].as_str().unwrap().parse().unwrap();
        assert!(un_number(number).is_some(), "{vector}");
        let mut canonical = String::new();
        assert!(apply(Normaliser::ItemClassV1, &format!("UN {number:04}"), &mut canonical).unwrap());
        assert_eq!(canonical, format!("{number:04}"));
    }
    assert_eq!(un_number(1203).unwrap().class, "3");
    assert!(un_number(9999).is_none());
    assert!(apply(Normaliser::ItemClassV1, "9999", &mut String::new()).is_err());
    let mut fireworks = String::new();
    assert!(apply(Normaliser::ItemClassV1, " Fireworks ", &mut fireworks).unwrap());
    assert_eq!(fireworks, "fireworks");
}
