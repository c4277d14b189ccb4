package flags

import (
	"flag"
	"os"
	"strings"
	"testing"
)

func TestWhatIsNoFlagIsRefused(t *testing.T) {
	args, before := os.Args, flag.CommandLine
	defer func() { os.Args, flag.CommandLine = args, before }()
	for line, refused := range map[string]string{"": "", "-n 3": "", "n 3": `"n"`, "-n 3 last -n 4": `"last"`} {
		flag.CommandLine = flag.NewFlagSet("test", flag.ContinueOnError)
		flag.Int("n", 1, "a number")
		os.Args = append([]string{"program"}, strings.Fields(line)...)
		err := Parse()
		if (err == nil) != (refused == "") || err != nil && !strings.HasPrefix(err.Error(), refused+" is no flag") {
			t.Errorf("%q: %v", line, err)
		}
	}
}
