//! Exhaustive checks of a model: it keeps its promises, or a mutation breaks one.

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, Expectation, HasDiscoveries, Model, Path, Property};

/// Asserts that `model` keeps its promises in every reachable state.
pub fn holds<M>(name: &str, model: M)
where
    M: Model + Copy + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + Send + Sync + PartialEq + 'static,
    M::Action: Clone + Debug + Send + Sync + PartialEq + 'static,
{
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join();
    assert_promises(name, &model, &checker, trace);
}

/// Asserts that `checker` found no broken promise of `model`, and reached every situation.
pub fn assert_promises<M: Model>(
    name: &str,
    model: &M,
    checker: &impl Checker<M>,
    trace: fn(Path<M::State, M::Action>) -> String,
) where
    M::State: Clone + PartialEq,
    M::Action: Clone + PartialEq,
{
    assert_unbroken(name, model, checker, trace);
    let is_occasion = |property: &Property<M>| matches!(property.expectation, Expectation::Sometimes);
    for property in model.properties().iter().filter(|property| is_occasion(property)) {
        assert!(checker.discovery(property.name).is_some(), "never reached: {}", property.name);
    }
}

/// Asserts that `checker` found no broken promise of `model`.
pub fn assert_unbroken<M: Model>(
    name: &str,
    model: &M,
    checker: &impl Checker<M>,
    trace: fn(Path<M::State, M::Action>) -> String,
) where
    M::State: Clone + PartialEq,
    M::Action: Clone + PartialEq,
{
    let (states, unique) = (checker.state_count(), checker.unique_state_count());
    println!("{name}: {unique} unique states of {states}, depth {}", checker.max_depth());
    for property in model.properties() {
        let is_promise = !matches!(property.expectation, Expectation::Sometimes);
        if let Some(run) = checker.discovery(property.name).filter(|_| is_promise) {
            panic!("not so: {}\n{}", property.name, trace(run));
        }
    }
}

/// Asserts that a run of `model`, which has one wrong rule, breaks `promise`.
pub fn breaks<M>(mutation: impl Debug, model: M, promise: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + Send + Sync + PartialEq + 'static,
    M::Action: Clone + Debug + Send + Sync + PartialEq + 'static,
{
    let stop = HasDiscoveries::AnyOf([promise].into());
    let checker = model.checker().finish_when(stop).spawn_bfs().join();
    let states = checker.unique_state_count();
    let Some(run) = checker.discovery(promise) else {
        panic!("{mutation:?} does no harm in {states} states: {promise}");
    };
    println!("{mutation:?}, {states} states: not so: {promise}\n{}", trace(run));
}

/// Formats a run step by step.
fn trace<S: Clone + Debug + PartialEq, A: Clone + Debug + PartialEq>(path: Path<S, A>) -> String {
    let describe = |(state, action): (S, Option<A>)| match action {
        Some(action) => format!("  {state:?}\n    {action:?}\n"),
        None => format!("  {state:?}\n"),
    };
    path.into_vec().into_iter().map(describe).collect()
}
