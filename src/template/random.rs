//! Python's random numbers: the Mersenne Twister as `random.Random(seed)` seeds and draws it, so
//! that `random(seed=inventory_hostname)` picks here what it picks in ansible-core.

use sha2::{Digest, Sha512};

use crate::value::Value;

const SIZE: usize = 624;
const SHIFT: usize = 397;

/// A generator that is either repeatable from a seed or unpredictable.
pub(super) enum Generator {
    Seeded(Box<Twister>),
    System,
}

/// Draws for others: repeatable from a seed, else unpredictable.
pub struct Seeded(Generator);

impl Seeded {
    /// Makes a source of draws.
    pub fn new(seed: Option<&str>) -> Self {
        Self(match seed {
            Some(seed) => Generator::seeded(&seed.into()),
            None => Generator::unpredictable(),
        })
    }

    /// Draws an index below `limit`, which is not zero.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.0.below(limit as u128)).unwrap_or(0)
    }
}

impl Generator {
    /// Makes a generator that draws what nobody can foretell.
    pub(super) fn unpredictable() -> Self {
        Self::System
    }

    /// Makes the generator that Python makes from the same seed.
    pub(super) fn seeded(seed: &Value) -> Self {
        let mut bytes = match seed {
            Value::Int(number) => number.unsigned_abs().to_be_bytes().to_vec(),
            Value::Bool(flag) => vec![u8::from(*flag)],
            other => {
                let text = other.to_string();
                let mut bytes = text.clone().into_bytes();
                bytes.extend_from_slice(&Sha512::digest(text.as_bytes()));
                bytes
            }
        };
        bytes.reverse();
        let mut key: Vec<u32> = bytes
            .chunks(4)
            .map(|chunk| {
                chunk
                    .iter()
                    .rev()
                    .fold(0, |word, byte| (word << 8) | u32::from(*byte))
            })
            .collect();
        while key.len() > 1 && key.last() == Some(&0) {
            key.pop();
        }
        Self::Seeded(Box::new(Twister::from_key(&key)))
    }

    fn bits(&mut self, count: u32) -> u128 {
        let mut value = 0_u128;
        let mut filled = 0;
        while filled < count {
            let word = match self {
                Self::Seeded(twister) => twister.next(),
                Self::System => rand::random::<u32>(),
            };
            let wanted = (count - filled).min(32);
            value |= u128::from(word >> (32 - wanted)) << filled;
            filled += wanted;
        }
        value
    }

    /// Draws a number below `limit`, each as likely as any other.
    pub(super) fn below(&mut self, limit: u128) -> u128 {
        let count = 128 - limit.leading_zeros();
        loop {
            let drawn = self.bits(count);
            if drawn < limit {
                return drawn;
            }
        }
    }
}

/// MT19937.
pub(super) struct Twister {
    state: [u32; SIZE],
    at: usize,
}

impl Twister {
    fn from_number(seed: u32) -> Self {
        let mut state = [0_u32; SIZE];
        state[0] = seed;
        for index in 1..SIZE {
            let last = state[index - 1];
            state[index] = 1_812_433_253_u32
                .wrapping_mul(last ^ (last >> 30))
                .wrapping_add(u32::try_from(index).unwrap_or(0));
        }
        Self { state, at: SIZE }
    }

    fn from_key(key: &[u32]) -> Self {
        let mut twister = Self::from_number(19_650_218);
        let state = &mut twister.state;
        let (mut index, mut place) = (1, 0);
        for _ in 0..SIZE.max(key.len()) {
            let last = state[index - 1];
            state[index] = (state[index] ^ (last ^ (last >> 30)).wrapping_mul(1_664_525))
                .wrapping_add(key[place])
                .wrapping_add(u32::try_from(place).unwrap_or(0));
            index += 1;
            place += 1;
            if index >= SIZE {
                state[0] = state[SIZE - 1];
                index = 1;
            }
            if place >= key.len() {
                place = 0;
            }
        }
        for _ in 0..SIZE - 1 {
            let last = state[index - 1];
            state[index] = (state[index] ^ (last ^ (last >> 30)).wrapping_mul(1_566_083_941))
                .wrapping_sub(u32::try_from(index).unwrap_or(0));
            index += 1;
            if index >= SIZE {
                state[0] = state[SIZE - 1];
                index = 1;
            }
        }
        state[0] = 0x8000_0000;
        twister
    }

    fn next(&mut self) -> u32 {
        if self.at >= SIZE {
            for index in 0..SIZE {
                let joined = (self.state[index] & 0x8000_0000)
                    | (self.state[(index + 1) % SIZE] & 0x7fff_ffff);
                let twist = if joined & 1 == 0 { 0 } else { 0x9908_b0df };
                self.state[index] = self.state[(index + SHIFT) % SIZE] ^ (joined >> 1) ^ twist;
            }
            self.at = 0;
        }
        let mut word = self.state[self.at];
        self.at += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_what_python_draws() {
        // Recorded from CPython: [random.Random(s).randrange(60) for s in ('web1', 'db.example', 7)]
        let draws: Vec<u128> = ["web1".into(), "db.example".into(), Value::from(7)]
            .iter()
            .map(|seed| Generator::seeded(seed).below(60))
            .collect();
        assert_eq!(draws, [52, 24, 20]);
    }
}
