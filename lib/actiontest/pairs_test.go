package actiontest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// levels makes factors with so many levels each.
func levels(counts ...int) []Factor {
	var out []Factor
	for f, n := range counts {
		of := Factor{Name: fmt.Sprintf("f%d", f)}
		for level := range n {
			of.Levels = append(of.Levels, level)
		}
		out = append(out, of)
	}
	return out
}

func TestTwentyFiveStatesHaveEveryPairOfLevels(t *testing.T) {
	for _, counts := range [][]int{{2, 2}, {4, 4, 3, 3, 2, 2, 2}, {5, 4, 2, 2, 2, 2}, {3, 3, 3, 3, 3, 3}, {2, 2, 2, 2, 2, 2, 2, 2, 2, 2}} {
		factors := levels(counts...)
		states := Pairs(25, 1, factors)
		if missing, all := Uncovered(states, factors); missing > 0 {
			t.Errorf("%v: %d of %d pairs are in none of 25 states", counts, missing, all)
		}
		if len(states) != 25 {
			t.Errorf("%v: %d states", counts, len(states))
		}
		// no order of rows can have more in the first: every pair of it is new
		if missing, all := Uncovered(states[:1], factors); all-missing != len(counts)*(len(counts)-1)/2 {
			t.Errorf("%v: the first state has %d pairs", counts, all-missing)
		}
		if diff := cmp.Diff(states, Pairs(25, 1, factors)); diff != "" {
			t.Errorf("%v: the same seed gives others:\n%s", counts, diff)
		}
		if diff := cmp.Diff(states[:5], Pairs(5, 1, factors)); diff != "" {
			t.Errorf("%v: 5 states are not the first of 25:\n%s", counts, diff)
		}
	}
}

func TestUncoveredCountsWhatIsInNoState(t *testing.T) {
	factors := levels(2, 2, 2)
	states := []Choice{{"f0": 0, "f1": 0, "f2": 0}, {"f0": 1, "f1": 1, "f2": 1}}
	if missing, all := Uncovered(states, factors); missing != 6 || all != 12 {
		t.Errorf("%d of %d, want 6 of 12", missing, all)
	}
	if missing, _ := Uncovered(append(slices.Clone(states), Choice{"f0": 0, "f1": 1, "f2": 0}), factors); missing != 4 {
		t.Errorf("%d, want 4: two of the three pairs are new", missing)
	}
}
