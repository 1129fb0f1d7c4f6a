//! Conditions on figures, and what follows from them.

use std::fmt;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use crate::figure::Figure;

/// `figure(arm) <= times·right + plus`, or `>=`: true if it is true of the mean over the seeds, and of every seed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// In words.
    pub says: String,
    /// The figure, as an element.
    pub figure: String,
    /// Whose figure.
    pub arm: String,
    /// What it must not exceed: a number, or an arm whose same figure is meant.
    #[serde(default)]
    pub at_most: Option<Side>,
    /// What it must reach.
    #[serde(default)]
    pub at_least: Option<Side>,
    /// What the right side is multiplied by.
    #[serde(default = "one")]
    pub times: f64,
    /// What is added to it then.
    #[serde(default)]
    pub plus: f64,
    /// An arm whose figure is subtracted from both sides first: what is left is above an optimum.
    #[serde(default)]
    pub above: Option<String>,
}

fn one() -> f64 {
    1.0
}

/// The right side of a condition.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Side {
    /// A number.
    Number(f64),
    /// Another arm.
    Arm(String),
}

/// What is thought of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Every condition is true.
    #[serde(rename = "holds")]
    Holds,
    /// A condition is false.
    #[serde(rename = "does not hold")]
    DoesNot,
    /// A premise is false: the experiment is not about what the claim is about.
    #[serde(rename = "cannot be judged at this size")]
    Cannot,
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Holds => "holds",
            Self::DoesNot => "does not hold",
            Self::Cannot => "cannot be judged at this size",
        })
    }
}

impl Verdict {
    /// From what is true of premises and of conditions.
    pub fn of(premises: impl IntoIterator<Item = bool>, expects: impl IntoIterator<Item = bool>) -> Self {
        if premises.into_iter().any(|is| !is) {
            return Self::Cannot;
        }
        if expects.into_iter().all(|is| is) { Self::Holds } else { Self::DoesNot }
    }
}

/// The mean of numbers; infinite where one is.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The standard deviation of numbers, of a sample; 0 for one.
pub fn spread(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let centre = mean(values);
    (values.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
}

impl Condition {
    /// Whether it speaks of an arm.
    pub fn names(&self, arm: &str) -> bool {
        self.arms().any(|name| name == arm)
    }

    fn arms(&self) -> impl Iterator<Item = &str> {
        let right = match self.at_most.as_ref().or(self.at_least.as_ref()) {
            Some(Side::Arm(name)) => Some(name.as_str()),
            _ => None,
        };
        [Some(self.arm.as_str()), right, self.above.as_deref()].into_iter().flatten()
    }

    /// Refuses a condition that cannot be judged.
    pub fn check(&self, arms: &[&str]) -> anyhow::Result<()> {
        Figure::parse(&self.figure)?;
        if self.at_most.is_some() == self.at_least.is_some() {
            bail!("the condition `{}` needs one of `at_most` and `at_least`", self.says);
        }
        if let Some(stranger) = self.arms().find(|name| !arms.contains(name)) {
            bail!(
                "the condition `{}` speaks of an arm that is not there: no arm `{stranger}` among {arms:?}",
                self.says
            );
        }
        Ok(())
    }

    /// Both sides for every seed, and whether the condition is true; `of` has an arm's values, seed after seed.
    pub fn judge(&self, of: impl Fn(&str) -> Vec<f64>) -> (Vec<f64>, Vec<f64>, bool) {
        let base = self.above.as_deref().map(&of);
        let excess = |values: Vec<f64>| match &base {
            None => values,
            // Where both are infinite nothing can be said: that is never true.
            Some(base) => values.iter().enumerate().map(|(at, v)| v - base[at.min(base.len() - 1)]).collect(),
        };
        let left = excess(of(&self.arm));
        let (side, below) = match (&self.at_most, &self.at_least) {
            (Some(side), _) => (side, true),
            (None, Some(side)) => (side, false),
            (None, None) => (&Side::Number(f64::NAN), true),
        };
        let right = match side {
            Side::Number(number) => vec![*number; left.len()],
            Side::Arm(arm) => excess(of(arm)),
        };
        let right: Vec<f64> = right.iter().map(|v| self.times * v + self.plus).collect();
        let is = |l: f64, r: f64| if below { l <= r && l.is_finite() } else { l >= r && r.is_finite() };
        let every = left.iter().enumerate().all(|(at, l)| is(*l, right[at.min(right.len() - 1)]));
        let holds = every && is(mean(&left), mean(&right));
        (left, right, holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(text: &str) -> Condition {
        toml::from_str(&format!("says = \"\"\nfigure = \"train_loss\"\narm = \"a\"\n{text}")).unwrap()
    }

    fn values(arm: &str) -> Vec<f64> {
        match arm {
            "a" => vec![1.0, 2.0, 3.0],
            "b" => vec![2.0, 3.0, 2.5],
            "never" => vec![f64::INFINITY; 3],
            _ => vec![0.5],
        }
    }

    #[test]
    fn a_condition_is_true_of_the_mean_and_of_every_seed() {
        let is = |text: &str| condition(text).judge(values).2;
        assert!(is("at_most = 3.0") && !is("at_most = 2.5"), "one seed is above 2.5, the mean is not");
        assert!(!is("at_most = \"b\"") && is("at_most = \"b\"\ntimes = 1.2"));
        assert!(is("at_most = \"b\"\nplus = 0.5") && is("at_least = 1.0") && !is("at_least = 1.5"));
        // 0.5, 1.5, 2.5 against 1.5, 2.5, 2.0.
        assert!(
            !is("at_most = \"b\"\nabove = \"c\"\ntimes = 1.2") && is("at_most = \"b\"\nabove = \"c\"\ntimes = 1.25")
        );
    }

    #[test]
    fn what_was_never_reached_is_beyond_every_number_and_equal_to_nothing() {
        let never = |text: &str| condition(text).judge(|arm| values(if arm == "a" { "never" } else { arm })).2;
        assert!(!never("at_most = 1e9") && never("at_least = 1e9"));
        assert!(!never("at_most = \"never\"") && !never("at_least = \"never\""));
        assert!(condition("at_most = \"never\"").judge(values).2, "whoever arrives is sooner than who never does");
    }

    #[test]
    fn a_false_premise_leaves_a_claim_unjudged() {
        assert_eq!(Verdict::of([true, false], [true]), Verdict::Cannot);
        assert_eq!(Verdict::of([true], [true, true]), Verdict::Holds);
        assert_eq!(Verdict::of([], [true, false]), Verdict::DoesNot);
    }
}
