package config

import (
	"os"
	"strings"
)

// hostName is the machine's name up to its first dot, in lower case; `node`
// when it has none.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "node"
	}
	name, _, _ = strings.Cut(strings.ToLower(name), ".")
	if name == "" || name == "localhost" {
		return "node"
	}
	return name
}
