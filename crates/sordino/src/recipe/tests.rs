use super::*;
use crate::fabric::Still;

#[test]
fn every_row_is_read_resolved_checked_built_and_written_back() {
    for row in ROWS {
        let mut recipe = Recipe::named(row.name).unwrap();
        recipe.resolve(&Defaults::default()).unwrap();
        check(&recipe).unwrap();
        recipe.build(Arc::new(Still)).unwrap_or_else(|e| panic!("{}: {e}", row.name));
        let text = recipe.to_toml();
        let back = Recipe::from_toml(&text, &[]).unwrap();
        assert_eq!(back, recipe);
        assert_eq!(back.to_toml(), text);
    }
    assert!(ROWS.windows(2).all(|w| w[0].name < w[1].name), "rows are in alphabetical order");
}

fn refusal(row: &str, sets: &[&str]) -> String {
    let mut recipe = Recipe::named(row).unwrap();
    for set in sets {
        if let Err(e) = recipe.set(set) {
            return e.to_string();
        }
    }
    let judged = recipe.resolve(&Defaults::default()).and_then(|()| check(&recipe));
    judged.err().map_or_else(|| format!("{row} {sets:?} is not refused"), |e| e.to_string())
}

#[test]
fn nonsense_is_refused_with_a_reason_and_a_cure() {
    for (row, sets, hint) in [
        ("qsgd", &["feedback=residual(lambda=1)"][..], "offer displacement"),
        ("sync-sgd", &["schedule.every=4"], "no silent steps"),
        ("celgc", &["compress=topk(0.1)"], "replaces the model"),
        ("celgc", &["compress=powersgd"], "replaces the model"),
        ("sync-sgd", &["compress=topk(0.1)"], "use exchange=gather"),
        ("clip21", &["exchange=star(down=topk(0.5))"], "exchange.feedback=ef21"),
        ("clip21", &["aggregate=weighted"], "aggregate=mean"),
        ("saef", &["exchange.feedback=residual(1)"], "nobody looks ahead"),
        ("sync-sgd", &["local.state=reset"], "local.state=keep"),
        ("cocoa", &["payload=gradient", "schedule=constant(1)"], "payload=displacement"),
        ("cocoa", &["payload=parameters"], "payload=displacement"),
        ("cocoa", &["optim.momentum=0.9"], "optim=sgd(momentum=0)"),
        ("cocoa", &["optim=adam"], "optim=sgd(momentum=0)"),
        ("cocoa", &["optim.clip=0.1"], "optim=sgd(momentum=0)"),
        ("cocoa", &["aggregate=weighted"], "aggregate=mean or sum"),
        ("cocoa", &["aggregate=median", "exchange=gather"], "aggregate=mean or sum"),
        ("cocoa", &["outer=momentum"], "outer=none"),
        ("cocoa", &["privacy=gaussian"], "privacy=none"),
        ("cocoa", &["fabric=threads(attack=random)"], "fabric.attack=none"),
        ("cocoa", &["compress=topk(0.1)", "exchange=gather"], "feedback=residual(lambda=auto)"),
        ("cocoa", &["compress=dense(clip=1)"], "feedback=residual(lambda=auto)"),
        ("cocoa", &["feedback=ef21"], "feedback=residual(lambda=auto)"),
        ("cocoa", &["exchange=star(down=topk(0.1))"], "exchange.feedback=residual"),
        ("cocoa", &["exchange=star(down=topk(0.1), feedback=ef21)"], "exchange.feedback=residual"),
        ("cocoa", &["local.estimate=per_sample"], "`estimate`"),
        ("cocoa", &["local.batch=8"], "`batch`"),
        ("cocoa", &["local.curvature=flat"], "full"),
        ("cocoa-plus", &["aggregate.gamma=0"], "above 0"),
        ("local-sgd", &["aggregate=sum", "payload=parameters"], "a sum of models"),
        ("ef21", &["aggregate=sum"], "aggregate=mean"),
        ("scaffold", &["aggregate=sum"], "aggregate=mean"),
        ("qsgd", &["feedback=residual(lambda=fast)"], "a number"),
        ("fedavg", &["partition=iid(flip=2)"], "use partition=contiguous(flip=2)"),
        ("fedavg", &["partition=contiguous(flip=0.5)"], "a whole number"),
        ("qsr", &["schedule.alhpa=1"], "did you mean `alpha`"),
        ("qsr", &["compres=dense"], "did you mean `compress`"),
        ("qsr", &["compress=topkk"], "did you mean `topk`"),
        ("qsr", &["compress"], "no `=` came"),
        ("qsr", &["optim.rate=fast"], "must be a number"),
        ("qsr", &["local.estimate=per_sampel(1)"], "did you mean `per_sample`"),
        ("qsr", &["local.estimate=per_sample(clip=0)"], "above 0"),
        ("qsr", &["local.estimate=3"], "an element"),
        ("qsr", &["local.estimate=svrg"], "set buffers=average"),
        ("fedavg", &["local.estimate=saga(of=coosge)"], "participation=everyone"),
        ("fedavg", &["fabric=threads(slow=1)"], "fabric=sim(slow=1)"),
        ("acpd", &["fabric=threads(slow=1, factor=0.5)"], "at least 1"),
        ("acpd", &["fabric.slow=1.5"], "a whole number"),
        ("acpd", &["fabric=sim(coders=3)"], "1 or 2"),
        ("sync-sgd", &["optim.prox=l2(1)"], "did you mean `l1`"),
        ("sync-sgd", &["optim.prox=box(1, 0)"], "nothing lies between"),
        ("scaffold", &["optim.prox=l1"], "without clip, max_norm, decay or prox"),
        ("sync-sgd", &["compress=span(5000)"], "at most 1024"),
        ("dsp", &["payload=gradient"], "offer displacement"),
        ("dsp", &["participation=sampled(2)", "exchange=star"], "participation=everyone"),
        ("dsp", &["privacy=gaussian", "exchange=gather"], "privacy=none"),
        ("dsp", &["local=scaffold"], "local=descent"),
        ("gpipe", &["local.estimate=micro_norms"], "local.estimate=plain"),
        ("gpipe", &["optim.clip=1"], "clip and max_norm"),
        ("gpipe", &["optim=mixclip"], "no mixclip"),
        ("gpipe", &["placement.capacity=1"], "micro=1"),
        ("pipeline-sync", &["placement.ring=true"], "ring=false"),
        ("sync-sgd", &["exchange=reduce(engine)", "aggregate=weighted"], "use exchange=reduce, or aggregate=mean"),
        ("sync-sgd", &["exchange=reduce(engine)", "compress=sign"], "use exchange=gather"),
        ("sync-sgd", &["exchange=reduce(engine)", "fabric=sim"], "use exchange=reduce"),
        ("gpipe", &["exchange=reduce(engine)"], "use exchange=reduce"),
        ("sync-sgd", &["exchange=reduce(motor)"], "one of ranks, engine"),
        ("powersgd", &["exchange=two_phase"], "use exchange=reduce"),
        ("ef-sgd", &["exchange=two_phase", "compress=span(2)", "aggregate=median"], "use exchange=gather"),
        ("ef-sgd", &["exchange=two_phase", "compress=topk(0.1, scope=model)"], "looks at the whole vector"),
        ("ef-sgd", &["exchange=two_phase", "compress=sign(clip=1)"], "looks at the whole vector"),
        ("ef-sgd", &["exchange=two_phase(down=powersgd)"], "exchange.down=dense"),
        ("ef-sgd", &["exchange=two_phase", "aggregate=krum"], "aggregate=median or trimmed"),
        ("ef-sgd", &["exchange=two_phase", "aggregate=centered_clip"], "aggregate=median or trimmed"),
        ("ef-sgd", &["exchange=two_phase", "aggregate=bucketing(2, then=geometric)"], "hears chunks"),
        ("ef-sgd", &["exchange=two_phase(feedback=residual(1))"], "without arguments"),
        ("ef-sgd", &["exchange=two_phase(feedback=ef21)"], "set exchange.feedback=residual"),
        ("ef-sgd", &["exchange=two_phase(piece=0)"], "`piece`"),
        ("qsgd", &["exchange=two_phase(feedback=residual)"], "set exchange.feedback=none"),
        ("ef21", &["exchange=two_phase(feedback=none)"], "set exchange.feedback=ef21"),
        ("ef21", &["exchange=two_phase(feedback=residual)"], "set exchange.feedback=ef21"),
        ("celgc", &["exchange=two_phase(down=sign)"], "set exchange.down=dense"),
        ("fedavg", &["exchange=two_phase"], "set exchange=star"),
        ("acpd", &["exchange=two_phase"], "use exchange=gather or star"),
        ("async-sgd", &["exchange=two_phase"], "set exchange=star"),
        (
            "cocoa",
            &["compress=sign", "feedback=residual", "exchange=two_phase(feedback=none)"],
            "exchange.feedback=residual",
        ),
    ] {
        let message = refusal(row, sets);
        assert!(message.contains(hint), "{row} {sets:?}: {message}");
    }
    assert!(Recipe::named("qrs").unwrap_err().to_string().contains("did you mean `qsr`"));
}

#[test]
fn auto_takes_the_tasks_numbers_and_follows_the_other_choices() {
    let mut recipe = Recipe::named("qsr").unwrap();
    recipe.resolve(&Defaults { sgd_rate: 0.5, momentum: 0.9, ..Defaults::default() }).unwrap();
    assert_eq!(recipe.choice("optim").unwrap().to_string(), "sgd(momentum=0.9, rate=0.5, schedule=constant)");
    assert_eq!(recipe.choice("payload").unwrap().name, "parameters");
    assert_eq!(recipe.choice("exchange").unwrap().name, "reduce");

    let mut recipe = Recipe::named("qsr").unwrap();
    recipe.set("compress=topk(0.1)").unwrap();
    recipe.set("optim=adamw").unwrap();
    recipe.resolve(&Defaults::default()).unwrap();
    assert_eq!(recipe.choice("payload").unwrap().name, "displacement");
    assert_eq!(recipe.choice("exchange").unwrap().name, "gather");
    assert_eq!(recipe.choice("optim").unwrap().named["rate"], Value::Number(1e-3));
    check(&recipe).unwrap();
}

#[test]
fn auto_converts_the_tasks_rates_to_those_of_other_optimizers() {
    let task = Defaults { sgd_rate: 0.2, momentum: 0.9, adam_rate: 2e-3, threshold: 4.0, ..Defaults::default() };
    for (optim, rate) in [
        ("sgd(momentum=0.5)", 1.0),
        ("adam", 2e-3),
        ("mixclip", 2.0),
        ("mixclip(nu=0, beta=0)", 2.0),
        ("lars", 2.0),
        ("lars(momentum=0, trust=0.01)", 2.0),
        ("clars", 0.2),
        ("lamb", 4.58831e-3),
        ("lamb(rate=0.5)", 0.5),
    ] {
        let mut recipe = Recipe::named("sync-sgd").unwrap();
        recipe.choose("optim", &Element::parse(optim).unwrap()).unwrap();
        recipe.resolve(&task).unwrap();
        assert_eq!(recipe.choice("optim").unwrap().named["rate"], Value::Number(rate), "{optim}");
    }
    for (estimate, optim, rate) in [
        ("gausge", "sgd(momentum=0.5)", 1.0 / 51.0),
        ("gausge(0.1, 7)", "sgd(momentum=0)", 14.0 / 57.0),
        ("svrg(gausge(directions=7))", "mixclip", 14.0 / 57.0),
        ("saga(of=gausge)", "adam", 2e-3),
        ("saga(of=coosge)", "sgd(momentum=0)", 2.0),
        ("gausge", "sgd(rate=0.3)", 0.3),
    ] {
        let mut recipe = Recipe::named("sync-sgd").unwrap();
        recipe.choose("optim", &Element::parse(optim).unwrap()).unwrap();
        recipe.set(&format!("local.estimate={estimate}")).unwrap();
        recipe.resolve(&Defaults { parameters: 49, ..task.clone() }).unwrap();
        let Value::Number(found) = recipe.choice("optim").unwrap().named["rate"] else { panic!("{optim}") };
        assert!((found / rate - 1.0).abs() < 1e-5, "{estimate}, {optim}: {found}");
    }
    let mut recipe = Recipe::named("mixed-clip").unwrap();
    recipe.resolve(&task).unwrap();
    assert_eq!(recipe.choice("optim").unwrap().named["gamma"], Value::Number(8.0));
    assert!(recipe.clips_steps());
}

#[test]
fn dual_ascent_takes_no_numbers_of_an_optimizer_and_waits_for_the_number_of_ranks() {
    let mut recipe = Recipe::named("local-sgd").unwrap();
    for set in ["local=dual", "aggregate=sum(0.5)", "compress=topk(0.1)", "feedback=residual(lambda=auto)"] {
        recipe.set(set).unwrap();
    }
    recipe.resolve(&Defaults { momentum: 0.9, ..Defaults::default() }).unwrap();
    check(&recipe).unwrap();
    assert_eq!(recipe.choice("optim").unwrap().named["momentum"], Value::Number(0.0));
    assert_eq!(recipe.choice("local").unwrap().to_string(), "dual");
    assert_eq!(recipe.choice("payload").unwrap().name, "displacement");
    assert!(recipe.to_toml().contains("lambda=auto"));
    recipe.solve(100, 6, &[10.0; 6]).unwrap();
    assert!(recipe.to_toml().contains("lambda=3"), "{}", recipe.to_toml());
    assert_eq!(Recipe::from_toml(&recipe.to_toml(), &[]).unwrap(), recipe);

    let mut plain = Recipe::named("local-sgd").unwrap();
    plain.set("local=dual").unwrap();
    plain.resolve(&Defaults::default()).unwrap();
    assert_eq!(plain.choice("payload").unwrap().name, "displacement", "auto does not offer parameters");
    let mut descent = Recipe::named("ef-sgd").unwrap();
    descent.set("feedback=residual(lambda=auto)").unwrap();
    descent.resolve(&Defaults::default()).unwrap();
    assert_eq!(descent.choice("feedback").unwrap().to_string(), "residual(lambda=0)");
}

#[test]
fn tables_of_keys_are_read_and_strangers_refused() {
    let recipe =
        Recipe::from_toml("method = \"celgc\"\n[schedule]\nevery = 16\n[optim]\nrate = 0.3\nclip = \"none\"\n", &[])
            .unwrap();
    assert_eq!(recipe.choice("schedule").unwrap().to_string(), "constant(every=16)");
    assert_eq!(recipe.choice("optim").unwrap().to_string(), "sgd(clip=none, momentum=0, rate=0.3)");
    assert!(Recipe::from_toml("metod = \"celgc\"", &[]).is_err());
    assert!(Recipe::from_toml("workers = 4", &["workers"]).is_ok());
    assert!(Recipe::from_toml("optim = 3", &[]).is_err());
    assert!(Recipe::from_toml("optim = ", &[]).unwrap_err().to_string().contains("TOML"));
}
