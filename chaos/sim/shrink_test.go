package sim

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"skerry.dev/chaos/check"
	"skerry.dev/chaos/nemesis"
)

// shrinkTries is how many runs it may take to shrink one.
const shrinkTries = 150

func TestDropKeepsWhatIsNeededAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := make([]int, rapid.IntRange(0, 60).Draw(t, "length"))
		var needed []int
		for i := range all {
			all[i] = i
			if rapid.IntRange(0, 9).Draw(t, "needed") == 0 {
				needed = append(needed, i)
			}
		}
		got := drop(all, func(some []int) bool {
			return !slices.ContainsFunc(needed, func(i int) bool { return !slices.Contains(some, i) })
		})
		if !slices.Equal(got, needed) {
			t.Fatalf("left are %v, needed %v", got, needed)
		}
	})
}

func TestAScriptReadsAsItIsWritten(t *testing.T) {
	want := Script{
		Found: "what was not synced was lost", Seed: 7, Bug: SkipSync, Rule: check.NothingLost, Faults: 90 * time.Second,
		People: []string{"client-1-3", "client-5-2"},
		Plan: []nemesis.Fault{
			{At: time.Second, For: 300 * time.Millisecond, Kind: nemesis.PowerOff, Hosts: []int{0, 2}, Seed: 1 << 63},
			{At: 2 * time.Second, For: time.Second, Kind: nemesis.Split, Leader: true, Exclusive: true, Seed: 3},
			{At: 3 * time.Second, For: time.Second, Kind: nemesis.PowerOff, Moving: true, Seed: 4},
		},
	}
	got, err := ParseScript("# by hand\n\n" + want.String())
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, wrong := range []string{
		"fault at 1s for 2s nonsense seed 1 of n1", "fault at 1s power-off", "fault at x for 2s crash seed 1 of n1",
		"fault at 1s for 2s crash seed 1 of n0", "sed 1", "seed one", "for ever",
	} {
		if _, err := ParseScript(wrong); err == nil {
			t.Errorf("%q is taken for a script", wrong)
		}
	}
}

const regressDir = "regress"

// TestRegressionScripts runs each script that is kept: with a planted bug it still
// finds that, without one all rules hold.
func TestRegressionScripts(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(regressDir, "*.txt"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no scripts in %s: %v", regressDir, err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			script, err := ParseScript(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if script.Bug != "" {
				findsBug(t, script)
				return
			}
			if result := simulate(t, script.Options()); result.Violation != nil {
				keep(t, result)
				t.Errorf("%v; it once found: %s", result.Violation, script.Found)
			}
		})
	}
}

// findsBug with one of a few seeds: a change of what is drawn changes what each does.
func findsBug(t *testing.T, script Script) {
	t.Helper()
	if !full {
		t.Skip("only with SKERRY_SIM=full")
	}
	for range tries {
		result := simulate(t, script.Options())
		t.Log(result)
		if result.Violation != nil && result.Violation.Rule == script.Rule {
			return
		}
		script.Seed++
	}
	t.Errorf("no seed up to %d breaks %q: make it anew with make sim-shrink BUG=%s", script.Seed-1, script.Rule, script.Bug)
}

// TestShrink shrinks the seed of SKERRY_SIM_SHRINK, with the bug and at the pace that
// are given, and writes the script.
func TestShrink(t *testing.T) {
	name := os.Getenv("SKERRY_SIM_SHRINK")
	if name == "" {
		t.Skip("nothing to shrink: make sim-shrink SEED=n NAME=name")
	}
	options, seed := paces[os.Getenv("SKERRY_SIM_PACE")], seedOf(t)
	options.Seed, options.Bug = seed, Bug(os.Getenv("SKERRY_SIM_BUG"))
	result := simulate(t, options)
	if result.Violation == nil {
		t.Fatalf("seed %d breaks no rule: %v", seed, result)
	}
	script := Shrink(options, result, shrinkTries, func(o Options) Result { return simulate(t, o) })
	t.Logf("from %d faults and %d requests:\n%v", len(result.plan), len(result.acts), script)
	if err := os.WriteFile(filepath.Join(regressDir, name+".txt"), []byte(script.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestAPlantedBugShrinksToAFewLines: what is left is short, and still finds the bug.
func TestAPlantedBugShrinksToAFewLines(t *testing.T) {
	if !full {
		t.Skip("only with SKERRY_SIM=full")
	}
	options := Options{Seed: 1, Faults: 70 * time.Second, Bug: ForgetOrders}
	result := simulate(t, options)
	if result.Violation == nil {
		t.Fatalf("the bug is not found: %v", result)
	}
	script := Shrink(options, result, 25, func(o Options) Result { return simulate(t, o) })
	t.Logf("from %d faults and %d requests:\n%v", len(result.plan), len(result.acts), script)
	if len(script.Plan) > 3 || script.Everybody || len(script.People) > 10 {
		t.Errorf("%d faults and %d requests are left", len(script.Plan), len(script.People))
	}
	if again := simulate(t, script.Options()); again.Violation == nil || again.Violation.Rule != result.Violation.Rule {
		t.Errorf("it does not find the bug: %v", again)
	}
}
