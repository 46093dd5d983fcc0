//! Simulated readers, to see that interleaving finds the better of two rankings, how many
//! of them it needs, and that it finds nothing where there is nothing.
//!
//! Readers follow a position-based model: they look at a rank with a chance that falls
//! with it, and like what they look at with the chance that the document is attractive.
//! Some give no feedback whatever they see.
//!
//! How much interleaving saves depends on the readers. A split has to see a difference in
//! how many succeed, among all whose success has nothing to do with the ranking; so the
//! more readers find something anyway, or never say anything, the more it needs.

use rand::Rng as _;

use super::*;

const QUERIES: usize = 300;
const DOCUMENTS: usize = 30;
const PAGE: usize = 10;
const ALPHA_Z: f64 = 1.959_964;
const POWER: f64 = 0.8;
const POWER_Z: f64 = 0.841_621;

/// How readers behave.
#[derive(Clone, Copy, Debug)]
struct Readers {
    /// Rank r is looked at with the chance 1/r^fall.
    attention_fall: f64,
    /// The share that gives feedback at all.
    giving: f64,
}

/// One query: how attractive each document is, and how each system ranks them.
struct Query {
    attraction: [f64; DOCUMENTS],
    rankings: [Vec<u64>; 2],
}

/// Systems see attraction through noise; the more noise, the worse.
fn queries(noise: [f64; 2]) -> Vec<Query> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    // Sum of twelve uniform variables: near the normal law, of standard deviation 1.
    let normal = |random: &mut ChaCha8Rng| (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
    let mut query = || {
        let attraction: [f64; DOCUMENTS] = std::array::from_fn(|_| if random.random_bool(0.2) { 0.5 } else { 0.05 });
        let mut rank = |noise: f64| {
            let scores: Vec<f64> = attraction.iter().map(|at| at + noise * normal(&mut random)).collect();
            let mut ids: Vec<u64> = (0..DOCUMENTS as u64).collect();
            ids.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]));
            ids
        };
        Query { attraction, rankings: noise.map(&mut rank) }
    };
    (0..QUERIES).map(|_| query()).collect()
}

impl Readers {
    fn like_chance(&self, query: &Query, rank: usize, id: u64) -> f64 {
        query.attraction[id as usize] / ((rank + 1) as f64).powf(self.attention_fall)
    }
}

/// The share of sessions with a liked result, for readers who see one system's page. Both
/// systems meet the same readers, which makes the difference exact sooner.
fn success_rates(queries: &[Query], readers: Readers, sessions: u32) -> [f64; 2] {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut successes = [0.0; 2];
    for _ in 0..sessions {
        let query = &queries[random.random_range(0..queries.len() as u32) as usize];
        let gives = random.random_bool(readers.giving);
        let mood: [f64; PAGE] = std::array::from_fn(|_| random.random());
        for (ranking, successes) in query.rankings.iter().zip(&mut successes) {
            let liked = gives && (0..PAGE).any(|rank| mood[rank] < readers.like_chance(query, rank, ranking[rank]));
            *successes += f64::from(u8::from(liked));
        }
    }
    successes.map(|count| count / f64::from(sessions))
}

/// Units of both arms together that tell two rates apart, by
/// (z_α + z_β)² (p₁q₁ + p₂q₂) / (p₁ − p₂)² for each; Fleiss, Statistical Methods for
/// Rates and Proportions.
fn split_needs([one, two]: [f64; 2]) -> f64 {
    let variance = one * (1.0 - one) + two * (1.0 - two);
    2.0 * (ALPHA_Z + POWER_Z).powi(2) * variance / (one - two).powi(2)
}

/// Per session 1 if the first system wins, −1 if the other one does, 0 for a tie.
fn outcomes(queries: &[Query], readers: Readers, sessions: u64) -> Vec<i32> {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let session = |seed| {
        let query = &queries[random.random_range(0..queries.len() as u32) as usize];
        let picks = team_draft(&query.rankings.each_ref().map(Vec::as_slice), seed, PAGE);
        let gives = random.random_bool(readers.giving);
        let likes = |(rank, pick): (usize, &Pick<u64>)| random.random_bool(readers.like_chance(query, rank, pick.id)).then_some(pick.id);
        let liked: Vec<u64> = picks.iter().enumerate().filter_map(likes).filter(|_| gives).collect();
        match Credits::of(&picks, 2, &liked).winner() {
            Some(Team(0)) => 1,
            Some(_) => -1,
            None => 0,
        }
    };
    (0..sessions).map(session).collect()
}

/// How often, over repeated experiments of `units` sessions each, the sign test calls the
/// first system better and the other one better. Ties are left out.
fn calls(outcomes: &[i32], units: usize) -> [f64; 2] {
    const REPEATS: u32 = 1_000;
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let mut calls = [0.0; 2];
    for _ in 0..REPEATS {
        let (mut sum, mut decided) = (0, 0);
        for _ in 0..units {
            let outcome = outcomes[random.random_range(0..outcomes.len() as u32) as usize];
            sum += outcome;
            decided += outcome.abs();
        }
        let z = f64::from(sum) / f64::from(decided.max(1)).sqrt();
        calls[0] += f64::from(u8::from(z > ALPHA_Z));
        calls[1] += f64::from(u8::from(z < -ALPHA_Z));
    }
    calls.map(|count| count / f64::from(REPEATS))
}

/// The fewest sessions with which the better system is found as often as [`POWER`].
fn interleaving_needs(outcomes: &[i32]) -> usize {
    let (mut too_few, mut enough) = (1, 2);
    while calls(outcomes, enough)[0] < POWER {
        (too_few, enough) = (enough, enough * 2);
    }
    while enough - too_few > enough / 50 + 1 {
        let between = usize::midpoint(too_few, enough);
        if calls(outcomes, between)[0] < POWER { too_few = between } else { enough = between }
    }
    enough
}

#[test]
fn interleaving_needs_less_than_a_tenth_of_a_splits_units() {
    let queries = queries([0.20, 0.26]);
    for (readers, times_fewer) in [
        // Most look at several results, and one run in three is answered with feedback.
        (Readers { attention_fall: 0.5, giving: 0.3 }, 10.0),
        // The least favourable: everybody says what they like, and seldom likes a second.
        (Readers { attention_fall: 1.0, giving: 1.0 }, 2.0),
    ] {
        let rates = success_rates(&queries, readers, 400_000);
        let (split, interleaved) = (split_needs(rates), interleaving_needs(&outcomes(&queries, readers, 150_000)));
        let measured = split / interleaved as f64;
        println!("{readers:?}: success {rates:?}; a split needs {split:.0} units, interleaving {interleaved}: {measured:.1} times fewer");
        assert!(rates[0] > rates[1] && measured >= times_fewer, "{readers:?}: {measured:.1}");
    }
}

#[test]
fn equal_systems_are_seldom_told_apart() {
    // The same ranking twice: all that differs is who picked.
    let mut queries = queries([0.20, 0.20]);
    for query in &mut queries {
        query.rankings[1] = query.rankings[0].clone();
    }
    let calls = calls(&outcomes(&queries, Readers { attention_fall: 0.5, giving: 1.0 }, 60_000), 1_000);
    println!("called better {calls:?}");
    // 2.5 % each is expected; 2 % more is four standard deviations.
    assert!(calls.iter().all(|share| *share < 0.045), "{calls:?}");
}
