//! `sordino eval`: what a trained model can do.

use std::path::PathBuf;

use sordino::base::{Stream, Use};
use sordino::workload::Split;
use sordino_lab::experiment::Plan;
use sordino_lab::model_file;
use sordino_tasks::tasks;

use crate::arguments::Eval;
use crate::{Done, failed, request};

/// Whether a task deals rows of data.
fn made_of_rows(task: &str) -> bool {
    !["polynomial", "quadratic", "valley"].contains(&task)
}

/// Prints the metrics of a run's model, and a sample of text from character models.
pub fn evaluate(arguments: &Eval) -> Done {
    let plan = Plan::read(&arguments.dir).map_err(request)?;
    let element = plan.recipe.choice("task").map_err(request)?;
    let entry = tasks::entry(&element.name).map_err(request)?;
    let data = arguments.data.clone().or_else(|| plan.header.data.as_ref().map(PathBuf::from));
    let partition = sordino::grammar::Element::word("iid");
    // Linear models take their number of features from the model: a held-out file may never use the last ones.
    let features = model_file::read_lengths(&arguments.dir.join("model.safetensors")).map_err(request)?;
    let features = features.first().copied().unwrap_or(0);
    // Problems without rows are a mean over the workers; data are evaluated whole, whoever held them.
    let participation = plan.recipe.participation().map_err(request)?;
    let clients = if made_of_rows(&element.name) { 1 } else { participation.clients(plan.workers) };
    let made = entry.make(element, &partition, clients, plan.seed, data.as_ref(), features).map_err(request)?;
    let mut workload = made.task.workload(clients, plan.seed).map_err(request)?;
    let path = arguments.dir.join("model.safetensors");
    let model = model_file::read(&path, workload.layout()).map_err(request)?;
    let mut rows = Vec::new();
    for (name, split) in [("train", Split::Train), ("test", Split::Test)] {
        let found = workload.evaluate(&model.parameters, &model.buffers, split).map_err(failed)?;
        rows.extend(found.map(|m| (name, m)));
    }
    let sample = made
        .writer
        .map(|write| {
            let mut stream = Stream::new(plan.seed, Use::Sample, 0, 0);
            // A text that knows no line break begins with a character of its own.
            let known = write(&model.parameters, &arguments.prompt, 0, 0.0, &mut stream).is_ok();
            let prompt = if known || arguments.prompt != "\n" { &arguments.prompt } else { "" };
            write(&model.parameters, prompt, arguments.length, arguments.temperature, &mut stream)
        })
        .transpose()
        .map_err(request)?;
    if arguments.json {
        let metrics: serde_json::Map<String, serde_json::Value> = rows
            .iter()
            .map(|(name, m)| {
                let value = serde_json::json!({"loss": m.loss, "accuracy": m.accuracy, "examples": m.examples});
                ((*name).to_owned(), value)
            })
            .collect();
        let all = serde_json::json!({
            "method": plan.recipe.method, "task": element.name, "metrics": metrics, "sample": sample,
        });
        say!("{all:#}");
        return Ok(());
    }
    say!("{} on {element}", plan.recipe.method);
    for (name, m) in rows {
        let accuracy = m.accuracy.map(|a| format!("  accuracy {:.2} %", 100.0 * a)).unwrap_or_default();
        say!("{name:>6}: loss {:.6}{accuracy}  ({} examples)", m.loss, m.examples);
    }
    if let Some(text) = sample {
        say!("\n{text}");
    }
    Ok(())
}
