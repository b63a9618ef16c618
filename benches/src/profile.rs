//! What callgrind has written.

use std::collections::HashSet;

/// The sums of a profile.
#[derive(Default)]
pub struct Profile {
    /// Instructions that were run.
    pub instructions: u64,
    /// Bytes of code that were run, in whole cache lines of 64 bytes: what has to be near each time.
    pub code_bytes: usize,
    /// Calls of the allocator for memory.
    pub allocations: u64,
}

impl Profile {
    /// Reads a profile with addresses of instructions (`--dump-instr=yes --compress-pos=no`).
    pub fn read(text: &str) -> Self {
        let mut profile = Self::default();
        let mut lines = HashSet::new();
        let mut names = Names::default();
        let (mut caller, mut callee) = (false, false);
        for line in text.lines() {
            if let Some(total) = line.strip_prefix("summary: ") {
                profile.instructions = total.trim().parse().unwrap();
            } else if let Some(name) = line.strip_prefix("fn=") {
                caller = names.is_allocator(name);
            } else if let Some(name) = line.strip_prefix("cfn=") {
                callee = names.allocates(name);
            } else if let Some(calls) = line.strip_prefix("calls=") {
                // What the allocator calls of its own is no allocation more.
                if callee && !caller {
                    let count = calls.split(' ').next().unwrap();
                    profile.allocations += count.parse::<u64>().unwrap();
                }
            } else if let Some(address) = line.strip_prefix("0x") {
                let address = address.split(' ').next().unwrap();
                lines.insert(u64::from_str_radix(address, 16).unwrap() / LINE as u64);
            }
        }
        profile.code_bytes = lines.len() * LINE;
        profile
    }
}

const LINE: usize = 64;

/// Numbers of functions: a name is there only where its number comes first, `(17) name`.
#[derive(Default)]
struct Names {
    of_allocator: HashSet<String>,
    of_allocation: HashSet<String>,
}

impl Names {
    fn is_allocator(&mut self, text: &str) -> bool {
        let number = self.learn(text);
        self.of_allocator.contains(&number)
    }

    fn allocates(&mut self, text: &str) -> bool {
        let number = self.learn(text);
        self.of_allocation.contains(&number)
    }

    /// The number, whose name is known from now on.
    fn learn(&mut self, text: &str) -> String {
        let (number, name) = text.split_once(' ').unwrap_or((text, ""));
        if name.starts_with("mi_") || name.starts_with("_mi_") {
            self.of_allocator.insert(number.to_owned());
            if name.contains("alloc") {
                self.of_allocation.insert(number.to_owned());
            }
        }
        number.to_owned()
    }
}
