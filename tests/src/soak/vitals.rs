//! The memory of a server over time: its plateau, and whether it has left it.

/// Resident memory in KiB, taken at even intervals.
#[derive(Default)]
pub struct Samples(Vec<u64>);

/// What the samples say, in KiB. The first half of the load warms the server up: memory that it needs at
/// some moment is kept for the next. What peaks for a moment changes no median.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The median in the third quarter.
    pub plateau: u64,
    /// The median in the last quarter: a server that leaks is above its plateau by then.
    pub late: u64,
    /// The median after the load.
    pub idle: u64,
}

impl Samples {
    /// Adds one.
    pub fn add(&mut self, resident: u64) {
        self.0.push(resident);
    }

    /// What they say together with those that were taken after the load.
    pub fn memory(&self, idle: &Self) -> Memory {
        let (_, warm) = self.0.split_at(self.0.len() / 2);
        let (plateau, late) = warm.split_at(warm.len() / 2);
        Memory {
            plateau: median(plateau),
            late: median(late),
            idle: median(&idle.0),
        }
    }
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

impl Memory {
    /// What to say if it is above its plateau by more than so many per cent, at the end of the load or
    /// after it. That it is below is how it should be.
    pub fn growth_beyond(&self, percent: f64) -> Option<String> {
        let end = self.late.max(self.idle);
        let growth = self.growth();
        (growth > percent).then(|| {
            let plateau = self.plateau;
            format!(
                "{end} KiB at the end, {plateau} KiB before: {growth:.1} % more, {percent} % may be"
            )
        })
    }

    /// By how many per cent it is above its plateau at the end; negative if it is below.
    pub fn growth(&self) -> f64 {
        (self.late.max(self.idle) as f64 / self.plateau as f64 - 1.0) * 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(load: impl IntoIterator<Item = u64>, idle: u64) -> Memory {
        let load = Samples(load.into_iter().collect());
        load.memory(&Samples(vec![idle; 5]))
    }

    #[test]
    fn a_server_that_warms_up_and_stays_there_has_not_grown() {
        let load = (0..100).map(|at| 50_000 + at * 500).chain([100_000; 100]);
        let memory = memory(load, 80_000);
        assert_eq!(memory.plateau, 100_000);
        assert_eq!(memory.growth_beyond(0.0), None);
    }

    #[test]
    fn a_peak_is_no_growth() {
        let load = (0..300).map(|at| if at % 150 == 149 { 900_000 } else { 100_000 });
        assert_eq!(memory(load, 100_000).growth_beyond(1.0), None);
    }

    #[test]
    fn a_server_that_leaks_has_grown() {
        let load = (0..300).map(|at| 100_000 + at * 400);
        let memory = memory(load, 90_000);
        assert!(memory.growth_beyond(10.0).is_some(), "{memory:?}");
        assert!(memory.growth_beyond(20.0).is_none(), "{memory:?}");
    }

    #[test]
    fn memory_that_is_held_after_the_load_has_grown() {
        assert!(
            memory([100_000; 300], 111_000)
                .growth_beyond(10.0)
                .is_some()
        );
    }
}
