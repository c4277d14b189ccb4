package manifest

import (
	"slices"
	"strconv"
	"strings"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Accepts tells whether a requirement is met by the value of a label, or by a
// node that does not have it.
func Accepts(r *skerryv1.Requirement, value string, has bool) bool {
	switch {
	case len(r.GetIn()) > 0:
		return has && slices.Contains(r.GetIn(), value)
	case len(r.GetNotIn()) > 0:
		return !has || !slices.Contains(r.GetNotIn(), value)
	case r.Exists != nil:
		return has == r.GetExists()
	case r.GetAtLeast() != "":
		is, known := Version(value)
		least, _ := Version(r.GetAtLeast())
		return has && known && slices.Compare(is, least) >= 0
	default:
		return false
	}
}

// Label of a node; `zone`, `name` and `version` are always there.
func Label(node *skerryv1.Node, name string) (value string, has bool) {
	switch name {
	case "zone":
		return node.GetZone(), true
	case "name":
		return node.GetName(), true
	case "version":
		return node.GetVersion(), true
	default:
		value, has = node.GetLabels()[name]
		return value, has
	}
}

// Version reads a number or version, `4`, `1.10`, `v1.2.3-rc1`: its numbers;
// what follows a - or + does not count, nor do zeros at the end.
func Version(text string) ([]uint64, bool) {
	text, _, _ = strings.Cut(strings.TrimPrefix(text, "v"), "+")
	text, _, _ = strings.Cut(text, "-")
	var numbers []uint64
	for _, part := range strings.Split(text, ".") {
		number, err := strconv.ParseUint(part, 10, 64)
		if err != nil || part[0] == '+' {
			return nil, false
		}
		numbers = append(numbers, number)
	}
	for len(numbers) > 0 && numbers[len(numbers)-1] == 0 {
		numbers = numbers[:len(numbers)-1]
	}
	return numbers, true
}
