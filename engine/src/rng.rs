//! Randomness from outside: keys and jitter. Nothing that is emitted depends on it.

/// Where the engine gets random bytes.
pub trait Rng: Send {
    /// Fills the buffer.
    fn fill(&mut self, bytes: &mut [u8]);

    /// A random number below `bound` (0 if `bound` is 0); biased by less than 2^-32 for small bounds.
    fn below(&mut self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes).checked_rem(bound).unwrap_or(0)
    }
}

/// The operating system's generator, fit for keys.
#[derive(Debug, Default)]
pub struct OsRng;

impl Rng for OsRng {
    /// # Panics
    /// When the system has no random device: a key that can be guessed is worse than no start.
    fn fill(&mut self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the system gives random bytes");
    }
}

/// `SplitMix64` (Steele, Lea, Flood 2014): small, seeded, repeatable; not fit for keys.
#[derive(Debug, Clone)]
pub struct SeededRng {
    state: u64,
}

impl SeededRng {
    /// The same seed gives the same sequence.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number of the sequence.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Rng for SeededRng {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}
