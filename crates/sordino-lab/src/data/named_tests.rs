use std::fs;

use super::*;

fn images(name: &str) -> ImageSet {
    match load(name, None).unwrap() {
        Set::Images(set) => set,
        other => panic!("{name} is no set of images: {other:?}"),
    }
}

#[test]
fn the_embedded_sets_are_whole() {
    let digits = images("optdigits");
    assert_eq!((digits.channels, digits.height, digits.width, digits.classes), (1, 8, 8, 10));
    assert_eq!((digits.train_labels.len(), digits.test_labels.len()), (3823, 1797));
    assert_eq!(digits.train_pixels.len(), 3823 * digits.pixels());
    assert!(digits.train_pixels.iter().all(|p| (0.0..=1.0).contains(p)));

    let clothes = images("fashion-tiny");
    assert_eq!((clothes.train_labels.len(), clothes.test_labels.len(), clothes.pixels()), (1500, 500, 784));
    let mean = clothes.train_pixels.iter().map(|&p| f64::from(p)).sum::<f64>() / clothes.train_pixels.len() as f64;
    assert!(mean.abs() < 0.05, "{mean}");

    let Set::Text(plays) = load("shakespeare-tiny", None).unwrap() else { panic!("a text") };
    assert_eq!(plays.symbols.len(), 65);
    assert!(plays.train.len() > 900_000 && plays.test.len() > 100_000);

    let Set::Sparse(mushrooms) = load("agaricus", None).unwrap() else { panic!("sparse rows") };
    assert_eq!((mushrooms.train.rows(), mushrooms.test.rows()), (6513, 1611));
    assert_eq!((mushrooms.train.features, mushrooms.test.features), (126, 126));
    assert_eq!(mushrooms.train.label_values(), [0.0, 1.0]);
}

#[test]
fn the_embedded_clients_are_whole() {
    let Set::Roles(plays) = load("shakespeare-roles", None).unwrap() else { panic!("roles") };
    assert_eq!((plays.roles.len(), plays.symbols.len()), (1426, 79));
    assert_eq!(plays.roles.iter().filter(|r| r.text.len() >= 1000).count(), 663);
    assert_eq!(plays.roles.iter().map(|r| r.text.len()).sum::<usize>(), 4_491_851);
    let rows = plays.windows(32);
    let mut clients = rows.clients.clone();
    clients.dedup();
    assert!(clients.into_iter().eq(0..1426), "every role holds a training row");
    assert_eq!(plays.roles.iter().filter(|r| r.text.len() <= 32).count(), 88, "said again");
    assert_eq!((rows.train.len(), rows.test.len()), (133_286, 6437));

    let Set::Dense(vowels) = load("vowel", None).unwrap() else { panic!("dense rows") };
    assert_eq!((vowels.features, vowels.classes), (10, 11));
    assert_eq!((vowels.train.labels.len(), vowels.test.labels.len()), (15 * 44, 15 * 22));
    for speaker in 0..15 {
        for (rows, each) in [(&vowels.train, 4), (&vowels.test, 2)] {
            let mut said = vec![0; 11];
            let mine = rows.clients.iter().zip(&rows.labels).filter(|(s, _)| **s == speaker);
            mine.for_each(|(_, vowel)| said[*vowel as usize] += 1);
            assert_eq!(said, [each; 11], "speaker {speaker}");
        }
    }
}

#[test]
fn the_catalogue_is_sorted_and_every_entry_loads_or_says_what_it_needs() {
    assert!(entries().is_sorted_by_key(|e| e.name));
    for entry in entries() {
        match load(entry.name, None) {
            Ok(_) => assert!(entry.embedded),
            Err(error) => {
                let says = error.to_string();
                assert!(!entry.embedded && says.contains("--data DIR") && says.contains(entry.source), "{says}");
                assert!(entry.files.iter().all(|f| says.contains(f)), "{says}");
            }
        }
    }
    assert!(load("imagenet", None).unwrap_err().to_string().contains("known are a9a, agaricus"));
}

#[test]
fn files_are_found_in_the_directory_or_in_the_folder_of_the_set() {
    let directory = std::env::temp_dir().join(format!("sordino-lab-named-{}", std::process::id()));
    fs::create_dir_all(directory.join("a9a")).unwrap();
    fs::write(directory.join("a9a").join("a9a"), "-1 1:1\n+1 3:1\n").unwrap();
    let missing = load("a9a", Some(&directory)).unwrap_err().to_string();
    assert!(missing.contains("has no a9a.t or a9a.t.gz"), "{missing}");
    fs::write(directory.join("a9a.t.libsvm"), "-1 5:1\n").unwrap();
    let Set::Sparse(pair) = load("a9a", Some(&directory)).unwrap() else { panic!("sparse rows") };
    assert_eq!((pair.train.rows(), pair.test.rows(), pair.train.features), (2, 1, 5));

    let mut batch = vec![7; cifar::PIXELS + 1];
    batch[1] = 255;
    for file in CIFAR {
        fs::write(directory.join(file), &batch).unwrap();
    }
    let Set::Images(set) = load("cifar10", Some(&directory)).unwrap() else { panic!("images") };
    assert_eq!((set.train_labels.len(), set.test_labels.as_slice(), set.pixels()), (5, [7].as_slice(), 3072));
    assert!((set.train_pixels[0] - (1.0 - 0.4914) / 0.2470).abs() < 1e-5);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn images_and_labels_of_different_sets_are_refused() {
    let one = [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 9];
    let wide = [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 9, 9];
    let label = [0, 0, 8, 1, 0, 0, 0, 1, 3];
    let labels = [0, 0, 8, 1, 0, 0, 0, 2, 3, 4];
    let says = |files: [&[u8]; 4]| {
        let [a, b, c, d] = files;
        grey([("a", a), ("b", b), ("c", c), ("d", d)], MNIST).unwrap_err().to_string()
    };
    assert!(says([&one, &labels, &one, &label]).contains("a has 1 images, but b has 2 labels"));
    assert!(says([&one, &label, &wide, &label]).contains("images of 1 x 1, but c of 1 x 2"));
}
