//! Which runs are one method with several seeds.

use super::RunView;

/// Runs that differ in nothing but their seeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// What to call them: the method, and what tells it from others of that name.
    pub label: String,
    /// Their positions among the runs.
    pub runs: Vec<usize>,
}

/// The groups in the order of their first runs.
pub(super) fn of(runs: &[RunView]) -> Vec<Group> {
    let choices: Vec<Vec<String>> = runs.iter().map(choices).collect();
    let mut groups: Vec<Group> = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        let same = |g: &&mut Group| {
            let first = g.runs[0];
            runs[first].method == run.method && choices[first] == choices[at]
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.runs.push(at),
            None => groups.push(Group { label: run.method.clone(), runs: vec![at] }),
        }
    }
    let labels: Vec<String> = groups.iter().map(|group| label(group, &groups, runs, &choices)).collect();
    for (group, label) in groups.iter_mut().zip(labels) {
        group.label = label;
    }
    groups
}

/// Everything that was chosen, except the seed: `key = value` lines with the name of their table.
fn choices(run: &RunView) -> Vec<String> {
    let mut table = String::new();
    let mut lines = vec![format!("task = {}", run.summary.task), format!("workers = {}", run.summary.workers)];
    for line in run.recipe.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            table = format!("{name}.");
        } else if line.split('=').next().is_none_or(|key| key.trim() != "seed") {
            lines.push(format!("{table}{line}"));
        }
    }
    lines
}

/// The method alone where no other group has it, else with the choices that others of its name do not share.
fn label(group: &Group, groups: &[Group], runs: &[RunView], choices: &[Vec<String>]) -> String {
    let first = group.runs[0];
    let method = &runs[first].method;
    let others: Vec<&Group> =
        groups.iter().filter(|g| g.runs[0] != first && &runs[g.runs[0]].method == method).collect();
    let own = |line: &&String| others.iter().any(|g| !choices[g.runs[0]].contains(line));
    let own: Vec<&str> = choices[first].iter().filter(own).map(String::as_str).collect();
    match (others.is_empty(), own.is_empty()) {
        (true, _) => method.clone(),
        (false, true) => format!("{method} ({})", runs[first].name),
        (false, false) => {
            let words = own.join(", ");
            let short: String = words.chars().take(60).collect();
            format!("{method} ({short}{})", if short.len() < words.len() { "…" } else { "" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, method: &str, recipe: &str) -> RunView {
        RunView { name: name.into(), method: method.into(), recipe: recipe.into(), ..RunView::default() }
    }

    #[test]
    fn seeds_are_one_group_and_other_choices_are_named() {
        let runs = [
            run("a", "qsr", "seed = 0\n[optim]\nrate = 0.1\n"),
            run("b", "sync-sgd", "seed = 0\n"),
            run("c", "qsr", "seed = 1\n# a note\n[optim]\nrate = 0.1\n"),
            run("d", "qsr", "seed = 0\n[optim]\nrate = 0.2\n"),
            run("e", "qsr", "seed = 0\n"),
        ];
        let groups = of(&runs);
        let found: Vec<(&str, &[usize])> = groups.iter().map(|g| (g.label.as_str(), g.runs.as_slice())).collect();
        let expected: [(&str, &[usize]); 4] = [
            ("qsr (optim.rate = 0.1)", &[0, 2]),
            ("sync-sgd", &[1]),
            ("qsr (optim.rate = 0.2)", &[3]),
            ("qsr (e)", &[4]),
        ];
        assert_eq!(found, expected);
    }
}
