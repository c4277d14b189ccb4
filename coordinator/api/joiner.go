package api

import (
	"net"
	"strconv"
	"strings"
	"unicode"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	// maxAddress is a host name of the greatest length, a colon and a port.
	maxAddress = 253 + 1 + 5
	maxVersion = 64
	// maxMilli and maxMemory are far beyond any machine, and far from overflow.
	maxMilli  = 1 << 30
	maxMemory = 1 << 56
)

// checkJoiner refuses a joiner that describes itself in ways that no machine
// is. The token decides the rest.
func checkJoiner(node *skerryv1.Node) error {
	refuse := func(field, format string, args ...any) error {
		return problem.New(problem.Invalid, "join", format, args...).WithField("node." + field)
	}
	switch {
	case !isAddress(node.GetAddress()):
		return refuse("address", "%.80q is not host:port", node.GetAddress())
	case node.GetGossipAddress() != "" && !isAddress(node.GetGossipAddress()):
		return refuse("gossipAddress", "%.80q is not host:port", node.GetGossipAddress())
	case len(node.GetVersion()) > maxVersion || strings.ContainsFunc(node.GetVersion(), unprintable):
		return refuse("version", "the version is longer than %d bytes or holds what cannot be printed", maxVersion)
	case node.GetCapacity().GetCpuMilli() < 0 || node.GetCapacity().GetCpuMilli() > maxMilli:
		return refuse("capacity.cpuMilli", "no machine has %d thousandths of a CPU", node.GetCapacity().GetCpuMilli())
	case node.GetCapacity().GetMemoryBytes() < 0 || node.GetCapacity().GetMemoryBytes() > maxMemory:
		return refuse("capacity.memoryBytes", "no machine has %d bytes of memory", node.GetCapacity().GetMemoryBytes())
	}
	return nil
}

func isAddress(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || len(address) > maxAddress || strings.ContainsFunc(address, unprintable) {
		return false
	}
	number, err := strconv.ParseUint(port, 10, 16)
	return err == nil && number > 0
}

// unprintable are the characters that could make a terminal lie.
func unprintable(r rune) bool { return !unicode.IsPrint(r) || r > unicode.MaxASCII }
