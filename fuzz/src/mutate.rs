//! Records that are nearly right.

use weir_engine::rng::SeededRng;

/// Records of five kinds as their devices write them.
const SAMPLES: [&str; 8] = [
    r#"{"kind":"vehicle","event_id":"BY-34-0000000001","ts":"2026-11-22T23:59:57.535Z","site":"BY-34","device":"BY-34-4","zone":"Z-0590","lane":"2","plate":"京JX0533","plate_color":"green","vehicle_class":"truck","speed_kmh":25.7,"confidence":0.92}"#,
    r#"{"kind":"person","event_id":"CP-02-0000000003","ts":"2026-11-22T23:59:57.257Z","site":"CP-02","device":"CP-02-2","zone":"Z-0077","person_id":"P06498954","direction":"in","confidence":0.92}"#,
    r#"{"kind":"id","event_id":"CP-11-0000000005","ts":"2026-11-22T23:59:59.079Z","site":"CP-11","device":"CP-11-4","zone":"Z-0238","doc_type":"permit","doc_number":"E57544819","issuer":"UTO","decision":"pass"}"#,
    r#"{"kind":"item","event_id":"G-1","ts":1795392000000,"site":"G1","device":"G1-1","item_class":"UN1203","quantity":20,"unit":"L"}"#,
    r#"{"kind":"code","event_id":"H-1","ts":"2026-11-22T23:59:59+08:00","site":"H1","device":"H1-1","holder":"h\u00e9 \"1\"","status":"green","zone":["a","b"]}"#,
    r#"{ "kind": "vehicle", "event_id": "e\\1", "ts": "2026-11-22T23:59:57Z", "plate": "陕A12345", "candidates": [{"text": "陕A12346", "score": 4e-1}], "owner": {"name": {"first": "x"}}, "seen": true, "lane": null }"#,
    r#"{"event_id":"x","kind":"person","count":3,"total":-0,"occupancy":1.0e2,"zone":"Z-1","zone":"Z-2","extra":"\ud83d\ude00"}"#,
    "{}",
];

/// What a mutation writes.
const PIECES: [&str; 30] = [
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    " ",
    "\t",
    "\r",
    "0",
    "-",
    ".",
    "e5",
    "null",
    "true",
    "\\u0041",
    "\\ud800",
    "\\n",
    "\u{1}",
    "陕",
    "\u{feff}",
    "\"kind\":\"person\",",
    "\"plate\":",
    "[[[[[[",
    "]]]]",
    "1e999",
    "{\"a\":1}",
    "\\\"",
];

/// Makes lines, each a record of the samples with no mutation, one, or a few.
pub struct Mutator {
    random: SeededRng,
}

impl Mutator {
    /// The same seed makes the same lines.
    pub fn new(seed: u64) -> Self {
        Self { random: SeededRng::new(seed) }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.random.next_u64() % bound.max(1) as u64) as usize
    }

    /// The next lines, each with its line feed.
    pub fn lines(&mut self, lines: u64) -> String {
        let mut text = String::new();
        for _ in 0..lines {
            let mut line = SAMPLES[self.below(SAMPLES.len())].to_owned();
            let mutations = [0, 0, 0, 1, 1, 2, 5][self.below(7)];
            for _ in 0..mutations {
                self.mutate(&mut line);
            }
            text.push_str(&line);
            text.push_str(if self.below(50) == 0 { "\r\n" } else { "\n" });
        }
        text
    }

    fn mutate(&mut self, line: &mut String) {
        let place = |mutator: &mut Self, line: &str| {
            let mut at = mutator.below(line.len() + 1);
            while !line.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (from, to) = (place(self, line), place(self, line));
        let (from, to) = (from.min(to), from.max(to));
        match self.below(6) {
            0 => line.replace_range(from..from, PIECES[self.below(PIECES.len())]),
            1 => {
                let end = (from + line[from..].chars().next().map_or(0, char::len_utf8)).min(line.len());
                line.replace_range(from..end, PIECES[self.below(PIECES.len())]);
            }
            2 if to - from < 20 => line.replace_range(from..to, ""),
            3 => {
                // A piece of another record.
                let other = SAMPLES[self.below(SAMPLES.len())];
                let (a, b) = (place(self, other), place(self, other));
                line.replace_range(from..from, &other[a.min(b)..a.max(b)]);
            }
            4 => line.truncate(to),
            _ => {
                // Another value between two quotes.
                if let Some(open) = line[from..].find(":\"").map(|at| from + at + 2)
                    && let Some(close) = line[open..].find('"').map(|at| open + at)
                {
                    let value = [
                        "",
                        "x",
                        "a longer text than there was, of more than sixty-four bytes, to cross a word",
                        "q\\\\",
                    ];
                    line.replace_range(open..close, value[self.below(value.len())]);
                }
            }
        }
        line.retain(|c| c != '\n');
    }
}
