//! Chance that can be repeated: what happens by chance in a simulation or by a fault plan comes from one seed.

/// splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Dice(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `limit` - 1; 0 where `limit` is 0.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// Whether something comes to pass that has this probability.
    pub(super) fn hits(&mut self, probability: f64) -> bool {
        // The upper 53 bits: as many as an f64 holds.
        ((self.next() >> 11) as f64) < probability * (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut one, mut other) = (Dice::new(7), Dice::new(7));
        assert!((0..1000).all(|_| one.next() == other.next()));
        // The first number of seed 0 in the authors' own program.
        assert_eq!(Dice::new(0).next(), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn probabilities_are_kept() {
        let mut dice = Dice::new(1);
        assert!(!(0..1000).any(|_| dice.hits(0.0)));
        assert!((0..1000).all(|_| dice.hits(1.0)));
        let hits = (0..10_000).filter(|_| dice.hits(0.1)).count();
        assert!((850..1150).contains(&hits), "{hits}");
    }
}
