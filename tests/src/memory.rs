//! Looks into the memory of a running process: what another program on its machine would find.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use memchr::memmem;

/// What is searched for: a name, and bytes that are nowhere by chance.
pub type Needle = (String, Vec<u8>);

/// A place at which something was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The needle's name.
    pub name: String,
    /// Whether it is in the linear memory of an instance of the guest.
    pub in_guest: bool,
    /// How `/proc/PID/maps` shows the mapping.
    pub mapping: String,
    /// The address in the process.
    pub address: u64,
}

/// Searches all that the process can write to and that is in memory.
///
/// # Panics
/// If the process is gone or does not let its memory be read.
pub fn search(process: u32, needles: &[Needle]) -> Vec<Found> {
    let open = |name: &str| File::open(format!("/proc/{process}/{name}")).unwrap();
    let (memory, pages) = (open("mem"), open("pagemap"));
    let mappings = mappings(process);
    let mut found = Vec::new();
    for (at, mapping) in mappings.iter().enumerate() {
        if !mapping.line.contains(" rw") {
            continue;
        }
        let in_guest = is_linear_memory(&mappings[at..]);
        for (start, end) in present(&pages, mapping) {
            let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
            if memory.read_exact_at(&mut bytes, start).is_err() {
                // Unmapped since the list was read.
                continue;
            }
            for (name, needle) in needles {
                found.extend(memmem::find_iter(&bytes, needle).map(|offset| Found {
                    name: name.clone(),
                    in_guest,
                    mapping: mapping.line.clone(),
                    address: start + offset as u64,
                }));
            }
        }
    }
    found
}

struct Mapping {
    start: u64,
    end: u64,
    line: String,
}

fn mappings(process: u32) -> Vec<Mapping> {
    let text = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let parse = |line: &str| {
        let (start, rest) = line.split_once('-')?;
        let (end, _) = rest.split_once(' ')?;
        Some(Mapping {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            line: line.to_owned(),
        })
    };
    text.lines().map(|line| parse(line).unwrap()).collect()
}

/// Whether the first of these mappings belongs to a linear memory: wasmtime reserves 4 GiB of addresses
/// for each, whose beginning can be written to. Nothing else has so much that can't.
fn is_linear_memory(mappings: &[Mapping]) -> bool {
    let adjacent = mappings
        .windows(2)
        .take_while(|two| two[0].end == two[1].start);
    adjacent
        .map(|two| &two[1])
        .find(|mapping| mapping.line.contains(" ---p"))
        .is_some_and(|mapping| mapping.end - mapping.start >= 3 << 30)
}

/// The parts of a mapping that are in memory or in swap. The rest was never written to.
fn present(pages: &File, mapping: &Mapping) -> Vec<(u64, u64)> {
    let page = rustix::param::page_size() as u64;
    // A word for each page; the two highest bits say that it is in memory, or in swap.
    let words = (mapping.end - mapping.start) / page * 8;
    let mut bits = vec![0; usize::try_from(words).unwrap()];
    pages
        .read_exact_at(&mut bits, mapping.start / page * 8)
        .unwrap();
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for (at, word) in bits.chunks_exact(8).enumerate() {
        if u64::from_ne_bytes(word.try_into().unwrap()) >> 62 == 0 {
            continue;
        }
        let start = mapping.start + at as u64 * page;
        match runs.last_mut() {
            Some((_, end)) if *end == start => *end += page,
            _ => runs.push((start, start + page)),
        }
    }
    runs
}
