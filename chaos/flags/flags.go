// Package flags reads the command lines of programs that take flags alone.
package flags

import (
	"flag"
	"fmt"
)

// Parse the command line. An error names the first word that is no flag: those behind
// it would not be read.
func Parse() error {
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%q is no flag, and what follows it was not read", flag.Arg(0))
	}
	return nil
}
