//! Merges the rankings of several arms into one list that a single reader sees, and
//! tells from what the reader liked which arm was better. In: one ranking per arm and a
//! seed. Out: picks, each with the arm's team; later, credits.
//!
//! Team-draft interleaving: Radlinski, Kurup and Joachims, CIKM 2008, algorithm 2; for
//! more than two arms team-draft multileaving: Schuth et al., CIKM 2014. In each round
//! the teams pick in a random order, each the best of its ranking that nobody has. With
//! two teams the order is a coin.
//!
//! As in the papers, a result that all rankings have first goes to the team that is
//! drawn first, and the others take their next best: each of them gets it as often.
//!
//! A departure: the papers end the draft once a ranking has nothing left. Here the rest
//! follows in the same order but without a team, so that no result is lost and none of
//! it counts for the arm that merely had more.

#[cfg(test)]
mod simulation;

use std::collections::HashSet;
use std::hash::Hash;

use rand::{RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The place of an arm's ranking among those given, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Team(pub usize);

/// One rank of the merged list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pick<T> {
    pub id: T,
    /// Who picked it; `None` once a ranking had nothing left.
    pub team: Option<Team>,
}

/// A draft under way: an iterator over the picks, so a further page goes on where the
/// last one ended. The first n picks depend on the seed and the first n of each ranking
/// alone, so a page may as well be drafted anew from longer rankings.
#[derive(Clone, Debug)]
pub struct Draft<'rankings, T> {
    /// What each team may still look at.
    left: Vec<&'rankings [T]>,
    taken: HashSet<T>,
    /// Teams yet to pick in this round, the next one last.
    round: Vec<usize>,
    /// No ranking was found empty so far.
    even: bool,
    random: ChaCha8Rng,
}

impl<'rankings, T: Copy + Eq + Hash> Draft<'rankings, T> {
    /// A draft from the rankings, best first. The seed belongs to what one reader asked,
    /// so that its pages and repetitions agree. An id that a ranking has twice counts
    /// once; no rankings give no picks.
    pub fn new(rankings: &[&'rankings [T]], seed: u64) -> Draft<'rankings, T> {
        Draft { left: rankings.to_vec(), taken: HashSet::new(), round: Vec::new(), even: true, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// All teams in random order, by Fisher and Yates. A draw takes 64 bits and reduces
    /// them by their product's upper half, which no library version changes.
    fn draw_round(&mut self) {
        self.round.extend(0..self.left.len());
        for last in (1..self.round.len()).rev() {
            let other = (u128::from(self.random.next_u64()) * (last as u128 + 1)) >> 64;
            self.round.swap(last, other as usize);
        }
    }
}

impl<T: Copy + Eq + Hash> Iterator for Draft<'_, T> {
    type Item = Pick<T>;

    fn next(&mut self) -> Option<Pick<T>> {
        for left in &mut self.left {
            let known = left.iter().take_while(|id| self.taken.contains(id)).count();
            *left = &left[known..];
        }
        if self.left.iter().all(|left| left.is_empty()) {
            return None;
        }
        self.even &= self.left.iter().all(|left| !left.is_empty());
        loop {
            if self.round.is_empty() {
                self.draw_round();
            }
            // A team with nothing left passes.
            if let Some(team) = self.round.pop()
                && let Some(id) = self.left[team].first().copied()
            {
                self.taken.insert(id);
                return Some(Pick { id, team: self.even.then_some(Team(team)) });
            }
        }
    }
}

/// The first `length` picks of a draft; fewer if the rankings have fewer ids.
pub fn team_draft<T: Copy + Eq + Hash>(rankings: &[&[T]], seed: u64, length: usize) -> Vec<Pick<T>> {
    Draft::new(rankings, seed).take(length).collect()
}

/// What each team earned from one reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credits {
    /// Its picks that were liked, by team.
    pub of_team: Vec<u32>,
}

impl Credits {
    /// One credit for each liked id to the team that picked it, however often it is
    /// named. An id that is not among the picks, or has no team, earns nothing.
    pub fn of<T: Copy + Eq + Hash>(picks: &[Pick<T>], teams: usize, liked: &[T]) -> Credits {
        let liked: HashSet<T> = liked.iter().copied().collect();
        let mut of_team = vec![0; teams];
        for Team(team) in picks.iter().filter(|pick| liked.contains(&pick.id)).filter_map(|pick| pick.team) {
            if let Some(credits) = of_team.get_mut(team) {
                *credits += 1;
            }
        }
        Credits { of_team }
    }

    /// The team with more credits than every other one; `None` for a tie, as when nothing
    /// was liked.
    pub fn winner(&self) -> Option<Team> {
        let most = *self.of_team.iter().max().filter(|most| **most > 0)?;
        let mut best = (0..self.of_team.len()).filter(|team| self.of_team[*team] == most);
        best.next().filter(|_| best.next().is_none()).map(Team)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    /// As `id/team`, `-` for none.
    fn shown(picks: &[Pick<u64>]) -> String {
        let team = |pick: &Pick<u64>| pick.team.map_or("-".into(), |Team(team)| team.to_string());
        picks.iter().map(|pick| format!("{}/{}", pick.id, team(pick))).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn drafts_are_the_same_on_every_machine() {
        let (one, two, three): (Vec<u64>, Vec<u64>, Vec<u64>) = ((1..6).collect(), (1..6).rev().collect(), vec![1, 9, 2, 8, 3]);
        for (rankings, seed, expect) in [
            (vec![&one[..], &two], 1, "1/0 5/1 2/0 4/1 3/1"),
            (vec![&one, &two], 2, "5/1 1/0 4/1 2/0 3/1"),
            (vec![&one, &two, &three], 1, "5/1 1/0 9/2 4/1 2/0 8/2 3/0"),
            // The second one ends first; what follows is nobody's.
            (vec![&one, &two[..1]], 1, "1/0 5/1 2/- 3/- 4/-"),
            (vec![&one[..2]], 1, "1/0 2/0"),
            (vec![&one, &[]], 1, "1/- 2/- 3/- 4/- 5/-"),
            (vec![&[], &[]], 1, ""),
            (vec![], 1, ""),
        ] {
            assert_eq!(shown(&team_draft(&rankings, seed, 99)), expect);
        }
    }

    #[test]
    fn a_shared_first_result_is_each_teams_as_often() {
        let (one, two, three) = ([1, 2, 3], [1, 3, 2], [1, 4, 5]);
        for rankings in [vec![&one[..], &two], vec![&one, &two, &three]] {
            let mut counts = vec![0; rankings.len()];
            for seed in 0..9_000 {
                let Team(team) = team_draft(&rankings, seed, 1)[0].team.unwrap();
                counts[team] += 1;
            }
            let expected = 9_000 / rankings.len() as i32;
            // Four standard deviations, 47 at most.
            assert!(counts.iter().all(|count: &i32| (count - expected).abs() < 190), "{counts:?}");
        }
    }

    #[test]
    fn credits_go_to_the_team_that_picked() {
        let picks: Vec<Pick<u64>> =
            [(1, Some(0)), (2, Some(1)), (3, Some(1)), (4, Some(0)), (5, None)].map(|(id, team)| Pick { id, team: team.map(Team) }).into();
        for (liked, of_team, winner) in [
            (&[][..], [0, 0], None),
            (&[2, 3], [0, 2], Some(1)),
            (&[1, 2], [1, 1], None),
            (&[1, 1, 1, 2, 3], [1, 2], Some(1)),
            (&[4, 5, 99], [1, 0], Some(0)),
            (&[5], [0, 0], None),
        ] {
            let credits = Credits::of(&picks, 2, liked);
            assert_eq!((credits.of_team.as_slice(), credits.winner()), (&of_team[..], winner.map(Team)), "{liked:?}");
        }
        assert_eq!(Credits { of_team: vec![2, 1, 2] }.winner(), None);
        assert_eq!(Credits { of_team: vec![1, 0, 2] }.winner(), Some(Team(2)));
        assert_eq!(Credits { of_team: vec![] }.winner(), None);
    }

    /// Rankings without repetitions that share many ids.
    fn rankings() -> impl Strategy<Value = Vec<Vec<u64>>> {
        let ranking = Just((0..30).collect::<Vec<u64>>()).prop_shuffle();
        prop::collection::vec((ranking, 0..=30_usize).prop_map(|(ids, len)| ids[..len].to_vec()), 1..5)
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]
        #[test]
        fn a_longer_draft_begins_with_the_shorter_one(rankings in rankings(), seed in any::<u64>(), length in 0..40_usize) {
            let all: Vec<&[u64]> = rankings.iter().map(Vec::as_slice).collect();
            let whole = team_draft(&all, seed, usize::MAX);
            let page = team_draft(&all, seed, length);
            prop_assert_eq!(&page[..], &whole[..length.min(whole.len())]);
            let mut draft = Draft::new(&all, seed);
            let in_two: Vec<Pick<u64>> = draft.by_ref().take(length).collect();
            prop_assert_eq!(in_two.into_iter().chain(draft).collect::<Vec<_>>(), whole);
            // Rankings that are cut after as many ids give the same page.
            let cut: Vec<&[u64]> = all.iter().map(|ids| &ids[..length.min(ids.len())]).collect();
            if all.iter().all(|ids| ids.len() >= length) {
                prop_assert_eq!(team_draft(&cut, seed, length), page);
            }
        }

        #[test]
        fn teams_pick_their_best_and_take_turns(rankings in rankings(), seed in any::<u64>()) {
            let all: Vec<&[u64]> = rankings.iter().map(Vec::as_slice).collect();
            let picks = team_draft(&all, seed, usize::MAX);
            let taken: HashSet<u64> = picks.iter().map(|pick| pick.id).collect();
            prop_assert_eq!(taken.len(), picks.len());
            prop_assert_eq!(taken, all.iter().copied().flatten().copied().collect::<HashSet<_>>());
            let mut counts = vec![0_u32; all.len()];
            let mut seen = HashSet::new();
            for pick in &picks {
                let empty = all.iter().any(|ids| ids.iter().all(|id| seen.contains(id)));
                prop_assert_eq!(pick.team.is_none(), empty);
                if let Some(Team(team)) = pick.team {
                    prop_assert_eq!(all[team].iter().find(|id| !seen.contains(*id)), Some(&pick.id));
                    counts[team] += 1;
                    prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
                }
                seen.insert(pick.id);
            }
        }
    }
}
