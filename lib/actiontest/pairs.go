package actiontest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Factor is something in which starting states differ, and the levels that it has.
type Factor struct {
	Name   string
	Levels []any
}

// Choice is a starting state: a level of each factor, by the factor's name.
type Choice map[string]any

// Number gives a level that is an int.
func (c Choice) Number(factor string) int { return c[factor].(int) }

// Text gives a level that is a string.
func (c Choice) Text(factor string) string { return c[factor].(string) }

// Is gives a level that is a bool.
func (c Choice) Is(factor string) bool { return c[factor].(bool) }

// Name tells the levels, in the order of the factors.
func (c Choice) Name(factors []Factor) string {
	var out []string
	for _, f := range factors {
		out = append(out, fmt.Sprintf("%s=%v", f.Name, c[f.Name]))
	}
	return strings.Join(out, " ")
}

type pair struct{ f, g, a, b int } // factor f at level a, factor g at level b; f < g

// tries is how many rows compete for each place.
const tries = 200

// Pairs picks n starting states of all that the factors span, so that the first ones have as many pairs of levels in them as a
// greedy search finds. The same arguments give the same states.
func Pairs(n int, seed uint64, factors []Factor) []Choice {
	random := rand.New(rand.NewPCG(seed, seed))
	left := every(factors)
	var out []Choice
	for range n {
		var best []int
		most := -1
		for range tries {
			row := candidate(random, factors, left)
			if found := gain(row, left); found > most {
				best, most = row, found
			}
		}
		for _, p := range pairsOf(best) {
			delete(left, p)
		}
		c := Choice{}
		for f, level := range best {
			c[factors[f].Name] = factors[f].Levels[level]
		}
		out = append(out, c)
	}
	return out
}

// Uncovered counts the pairs of levels, and those of them that are in none of the states.
func Uncovered(states []Choice, factors []Factor) (missing, all int) {
	left := every(factors)
	all = len(left)
	for _, c := range states {
		row := make([]int, len(factors))
		for f, of := range factors {
			row[f] = slices.Index(of.Levels, c[of.Name])
		}
		for _, p := range pairsOf(row) {
			delete(left, p)
		}
	}
	return len(left), all
}

// candidate gives each factor, in any order, a level that adds most pairs that no row has yet.
func candidate(random *rand.Rand, factors []Factor, left map[pair]bool) []int {
	row := slices.Repeat([]int{-1}, len(factors))
	for _, f := range random.Perm(len(factors)) {
		best, most := 0, -1
		for _, level := range random.Perm(len(factors[f].Levels)) {
			row[f] = level
			if found := gain(row, left); found > most {
				best, most = level, found
			}
		}
		row[f] = best
	}
	return row
}

// gain counts the pairs of a row, also one without all its levels, that are still left.
func gain(row []int, left map[pair]bool) int {
	n := 0
	for _, p := range pairsOf(row) {
		if left[p] {
			n++
		}
	}
	return n
}

func pairsOf(row []int) []pair {
	var out []pair
	for f := range row {
		for g := f + 1; g < len(row); g++ {
			if row[f] >= 0 && row[g] >= 0 {
				out = append(out, pair{f, g, row[f], row[g]})
			}
		}
	}
	return out
}

// every gives all pairs of levels.
func every(factors []Factor) map[pair]bool {
	out := map[pair]bool{}
	for f := range factors {
		for g := f + 1; g < len(factors); g++ {
			for a := range factors[f].Levels {
				for b := range factors[g].Levels {
					out[pair{f, g, a, b}] = true
				}
			}
		}
	}
	return out
}
