//! The name of the processor. Reports print it beside measured times. No computed bit depends on it.

/// The processor's model, as the system names it. Where the system does not, it is the architecture.
pub fn name() -> String {
    let said = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    of(&said, std::env::consts::ARCH)
}

/// The processor's name out of `said`, the text of `/proc/cpuinfo`, where the first processor counts. Falls back to
/// `architecture`.
fn of(said: &str, architecture: &str) -> String {
    let value = |key: &str| {
        let mut lines = said.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(found, _)| found.trim() == key).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    };
    if let Some(model) = value("model name") {
        return model.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    // Processors of Arm have no name there, but numbers for their maker and their kind.
    match (value("CPU implementer"), value("CPU part")) {
        (Some(maker), Some(part)) => format!("{architecture}, implementer {maker}, part {part}"),
        _ => architecture.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_what_the_system_says() {
        let x86 = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 17\nmodel name\t: AMD EPYC  9B14\nflags\t\t: fpu\n\
                   processor\t: 1\nmodel name\t: another\n";
        assert_eq!(of(x86, "x86_64"), "AMD EPYC 9B14");
        let arm =
            "processor\t: 0\nBogoMIPS\t: 243.75\nCPU implementer\t: 0x41\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\n";
        assert_eq!(of(arm, "aarch64"), "aarch64, implementer 0x41, part 0xd0c");
        for nothing in ["", "model name\t:\n", "CPU implementer : 0x41\n"] {
            assert_eq!(of(nothing, "riscv64"), "riscv64");
        }
        assert!(!name().is_empty());
    }
}
