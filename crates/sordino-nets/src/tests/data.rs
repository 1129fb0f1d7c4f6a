//! Batches of text, text written by a model, and dropout.

use burn::tensor::{Device, Tensor};
use sordino::base::{Stream, Use};
use sordino::workload::{Split, Workload as _};

use super::chant;
use crate::{CharLstm, Data, Model, Pass, Sample, Text};

#[test]
fn windows_do_not_overlap_and_answers_follow() {
    let text = Text::new((0..25).collect::<Vec<u8>>(), vec![0; 8], vec!['x'; 25], 8).unwrap();
    assert_eq!((text.rows(Split::Train), text.rows(Split::Test)), (3, 0));
    let batch = text.batch(Split::Train, &[2, 0], &Device::default());
    let codes: Vec<i32> = batch.codes.into_data().try_to_vec().unwrap();
    let answers: Vec<i32> = batch.answers.into_data().try_to_vec().unwrap();
    assert_eq!(codes, (16..24).chain(0..8).collect::<Vec<_>>());
    assert_eq!(answers, codes.iter().map(|c| c + 1).collect::<Vec<_>>());
    assert!(Text::new(vec![3], vec![], vec!['a'; 3], 1).is_err());
}

#[test]
fn windows_begin_where_they_are_told_to_and_are_looked_at_evenly() {
    let codes: Vec<u8> = (0..25).collect();
    let text = Text::new(codes.clone(), codes, vec!['x'; 25], 4).unwrap();
    let told = text.clone().beginning_at([0, 3, 9, 12, 20], [1]).unwrap();
    assert_eq!((told.rows(Split::Train), told.rows(Split::Test)), (5, 1));
    let codes: Vec<i32> = told.batch(Split::Train, &[4, 1], &Device::default()).codes.into_data().try_to_vec().unwrap();
    assert_eq!(codes, (20..24).chain(3..7).collect::<Vec<_>>());
    assert_eq!((told.looked_at(2), told.looked_at(9)), (vec![0, 3], vec![0, 1, 2, 3, 4]));
    assert_eq!(text.looked_at(2), [0, 1]);
    assert_ne!(told.fingerprint(), text.fingerprint());
    let error = text.beginning_at([21], []).unwrap_err().to_string();
    assert!(error.contains("at 21"), "{error}");
}

#[test]
fn a_character_model_writes_what_it_was_asked() {
    let (text, model) = (chant(), CharLstm { embedding: 4, hidden: 8, dropout: 0.0 });
    let parameters = model.workload(text.clone()).unwrap().start(0).parameters;
    let say = |prompt: &str, temperature: f64| {
        model.sample(&text, &parameters, prompt, 30, temperature, &mut Stream::new(1, Use::Sample, 0, 0))
    };
    let said = say("abc", 1.0).unwrap();
    assert!(said.starts_with("abc") && said.chars().count() == 33);
    assert_eq!(said, say("abc", 1.0).unwrap());
    assert_eq!(say("", 0.0).unwrap().chars().count(), 31);
    assert!(say("z", 1.0).unwrap_err().to_string().contains("'z'"));
}

#[test]
fn dropout_keeps_the_mean_and_is_silent_in_evaluation() {
    let x = Tensor::<1>::ones([10_000], &Device::default());
    let mean: f32 = Pass::training(Stream::new(0, Use::Noise, 0, 0)).dropout(x.clone(), 0.25).mean().into_scalar();
    assert!((mean - 1.0).abs() < 0.04, "{mean}");
    let same: f32 = Pass::evaluation().dropout(x, 0.25).mean().into_scalar();
    assert_eq!(same, 1.0);
}
