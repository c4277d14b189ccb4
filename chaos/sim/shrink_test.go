package sim

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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
		Tide: Tide{Wave: 3 * time.Minute, Calm: 57 * time.Minute}, Witness: true, Rehearse: true,
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
		"fault at 1s for 2s crash seed 1 of n0", "sed 1", "seed one", "for ever", "tide 1s", "tide",
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

// TestWhatARunWasGivenIsKept: a script that leaves something out replays another run.
func TestWhatARunWasGivenIsKept(t *testing.T) {
	given := Options{
		Seed: 9, Faults: time.Hour, Bug: SkipSync, Tide: Tide{Wave: time.Minute, Calm: 9 * time.Minute}, Witness: true, Rehearse: true,
	}
	failed := Result{Violation: &check.Violation{Rule: check.NothingLost}, At: openTime + time.Minute}
	var tried []Options
	script := Shrink(given, failed, 10, func(o Options) Result {
		tried = append(tried, o)
		return failed
	})
	read, err := ParseScript(script.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range append(tried, read.Options()) {
		if o.Seed != given.Seed || o.Bug != given.Bug || o.Tide != given.Tide || o.Witness != given.Witness || o.Rehearse != given.Rehearse {
			t.Errorf("%+v is another run than %+v", o, given)
		}
	}
}

// TestARunIsTheSameByItsPlan: nothing else depends on whether the faults are drawn or given,
// else no script would replay what was found.
func TestARunIsTheSameByItsPlan(t *testing.T) {
	options := Options{Seed: 2, Faults: briefTime}
	drawn := simulate(t, options)
	options.Plan = drawn.plan
	if given := simulate(t, options); given.Hash != drawn.Hash {
		t.Errorf("drawn: %v\ngiven: %v", drawn, given)
	}
}

// shrinking is what make sim-shrink was asked for.
func shrinking(name, seed, pace, bug string) (Options, error) {
	if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return Options{}, fmt.Errorf("NAME=%q names no file in %s: make sim-shrink SEED=n NAME=name", name, regressDir)
	}
	options, known := paces[pace]
	if !known {
		return Options{}, fmt.Errorf("PACE=%q is none of %q", pace, slices.Sorted(maps.Keys(paces)))
	}
	if bug != "" && !slices.Contains(bugNames(), bug) {
		return Options{}, fmt.Errorf("BUG=%q is no planted bug; these are: %s", bug, strings.Join(bugNames(), ", "))
	}
	number, err := strconv.ParseUint(seed, 10, 64)
	if err != nil {
		return Options{}, fmt.Errorf("SEED=%q is no number: make sim-shrink SEED=n NAME=name", seed)
	}
	options.Seed, options.Bug = number, Bug(bug)
	return options, nil
}

// bugNames are all planted bugs, as their declarations name them.
func bugNames() []string {
	text, err := os.ReadFile("bugs.go")
	if err != nil {
		panic(err) // tests run where the package is
	}
	var names []string
	for _, found := range regexp.MustCompile(`\sBug = "([a-z-]+)"`).FindAllStringSubmatch(string(text), -1) {
		names = append(names, found[1])
	}
	return names
}

func TestWhatIsToBeShrunkIsChecked(t *testing.T) {
	if len(bugNames()) < 25 {
		t.Errorf("only %q are known as bugs", bugNames())
	}
	for _, test := range []struct{ name, seed, pace, bug, says string }{
		{name: "lost", seed: "7"},
		{name: "lost", seed: "7", pace: "night", bug: string(SkipSync)},
		{seed: "7", says: "NAME"},
		{name: "../lost", seed: "7", says: "NAME"},
		{name: "lost", says: "SEED"},
		{name: "lost", seed: "seven", says: "SEED"},
		{name: "lost", seed: "7", pace: "nightly", says: "PACE"},
		{name: "lost", seed: "7", bug: "skip-syncs", says: "BUG"},
	} {
		_, err := shrinking(test.name, test.seed, test.pace, test.bug)
		if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
			t.Errorf("%+v: it says %v", test, err)
		}
	}
}

// TestShrink shrinks the seed of SKERRY_SIM_SEED, with the bug and at the pace that
// are given, and writes the script of the name SKERRY_SIM_SHRINK, if that breaks the
// rule too.
func TestShrink(t *testing.T) {
	name, asked := os.LookupEnv("SKERRY_SIM_SHRINK")
	if !asked {
		t.Skip("nothing to shrink: make sim-shrink SEED=n NAME=name")
	}
	options, err := shrinking(name, os.Getenv("SKERRY_SIM_SEED"), os.Getenv("SKERRY_SIM_PACE"), os.Getenv("SKERRY_SIM_BUG"))
	if err != nil {
		t.Fatal(err)
	}
	result := simulate(t, options)
	if result.Violation == nil {
		t.Fatalf("seed %d breaks no rule: %v", options.Seed, result)
	}
	script := Shrink(options, result, shrinkTries, func(o Options) Result { return simulate(t, o) })
	t.Logf("from %d faults and %d requests:\n%v", len(result.plan), len(result.acts), script)
	read, err := ParseScript(script.String())
	if err != nil {
		t.Fatal(err)
	}
	if again := simulate(t, read.Options()); again.Violation == nil || again.Violation.Rule != script.Rule {
		t.Fatalf("the script does not break %q, so it is not written: %v", script.Rule, again)
	}
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
