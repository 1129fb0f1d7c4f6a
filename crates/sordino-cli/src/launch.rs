//! Who started this program: a shell, or a launcher that started several of it.

/// One of several processes that a launcher started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launched {
    /// Which of them this is, from 0.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
    /// What started them.
    pub by: &'static str,
}

/// The variables in which launchers say rank and size, most particular first.
const LAUNCHERS: [(&str, &str, &str); 4] = [
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "mpirun (Open MPI)"),
    ("PMI_RANK", "PMI_SIZE", "mpirun (MPICH)"),
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS", "srun"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "srun"),
];

/// Reads the environment, or whatever `variable` reads.
pub fn launched(variable: impl Fn(&str) -> Option<String>) -> Option<Launched> {
    let number = |name: &str| variable(name)?.trim().parse::<usize>().ok();
    LAUNCHERS.iter().find_map(|(rank, size, by)| {
        let (rank, size) = (number(rank)?, number(size)?);
        // Both of Slurm's own variables are also set in a batch script, which is one process.
        let batch = *by == "srun" && number("SLURM_STEP_ID").is_none();
        let by = if *by == "mpirun (MPICH)" && number("SLURM_STEP_ID").is_some() { "srun" } else { by };
        (rank < size && !batch).then_some(Launched { rank, size, by })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(set: &[(&str, &str)]) -> Option<Launched> {
        launched(|name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn launchers_are_known_by_their_variables() {
        let found = |rank, size, by| Some(Launched { rank, size, by });
        assert_eq!(with(&[]), None);
        let open_mpi = [("OMPI_COMM_WORLD_RANK", "2"), ("OMPI_COMM_WORLD_SIZE", "4"), ("PMIX_RANK", "2")];
        assert_eq!(with(&open_mpi), found(2, 4, "mpirun (Open MPI)"));
        assert_eq!(with(&[("PMI_RANK", "0"), ("PMI_SIZE", "3")]), found(0, 3, "mpirun (MPICH)"));
        let slurm = [("SLURM_PROCID", "1"), ("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_STEP_ID", "0")];
        assert_eq!(with(&slurm), found(1, 2, "srun"));
        assert_eq!(with(&[&slurm[..], &[("PMI_RANK", "1"), ("PMI_SIZE", "2")]].concat()), found(1, 2, "srun"));
        assert_eq!(with(&[&slurm[1..], &[("PMIX_RANK", "0")]].concat()), found(0, 2, "srun"));
    }

    #[test]
    fn a_batch_script_of_slurm_is_one_process_and_nonsense_is_none() {
        assert_eq!(with(&[("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1")]), None);
        assert_eq!(with(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")]), None);
        assert_eq!(with(&[("PMI_RANK", "4"), ("PMI_SIZE", "4")]), None);
        assert_eq!(with(&[("PMI_RANK", "one"), ("PMI_SIZE", "4")]), None);
    }
}
