//! Ways to fail, for tests of the host alone (feature `faults`).

/// Fails as the request line's path asks for: `/fault/trap`, `/fault/spin` or `/fault/memory`.
pub fn fail_if_asked(line: &str) {
    match line.split_once(' ').unwrap_or_default().1 {
        "/fault/trap" => std::process::abort(),
        "/fault/spin" => loop {
            std::hint::spin_loop();
        },
        "/fault/memory" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(vec![1_u8; 1 << 20]);
            }
        }
        _ => {}
    }
}
