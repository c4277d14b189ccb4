package cli

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// kind of resource, with the words that users may write for it.
type kind struct {
	name    string
	aliases []string
	// inProject: its resources belong to projects.
	inProject bool
}

var kinds = []kind{
	{name: "Workload", aliases: []string{"workload", "workloads", "wl"}, inProject: true},
	{name: "Placement", aliases: []string{"placement", "placements", "pl"}, inProject: true},
	{name: "Node", aliases: []string{"node", "nodes", "no"}},
	{name: "Image", aliases: []string{"image", "images", "img"}},
	{name: "Secret", aliases: []string{"secret", "secrets", "sec"}, inProject: true},
	{name: "Volume", aliases: []string{"volume", "volumes", "vol"}, inProject: true},
	{name: "Settings", aliases: []string{"settings", "setting"}},
	{name: "Project", aliases: []string{"project", "projects", "pj"}},
	{name: "AccessPolicy", aliases: []string{"accesspolicy", "accesspolicies", "policy", "policies", "ap"}},
}

func parseKind(word string) (kind, error) {
	for _, k := range kinds {
		if slices.Contains(k.aliases, strings.ToLower(word)) {
			return k, nil
		}
	}
	if word = strings.ToLower(word); word == "events" || word == "event" {
		return kind{}, problem.New(problem.Invalid, "", "events are no kind of their own").
			WithHint("skerry events shows them, skerry events -f follows them")
	}
	return kind{}, problem.New(problem.Invalid, "", "there is no kind %q", word).
		WithHint("the kinds are %s", kindWords())
}

// kindWords names all kinds: `workload (wl)`.
func kindWords() string {
	words := make([]string, 0, len(kinds))
	for _, k := range kinds {
		words = append(words, k.aliases[0]+" ("+k.aliases[len(k.aliases)-1]+")")
	}
	return strings.Join(words, ", ")
}

// kindLines names all kinds in lines of a help text.
func kindLines() string {
	lines := "Kinds:"
	length := len(lines)
	for _, word := range strings.SplitAfter(kindWords(), ", ") {
		if length+1+len(word) > helpWidth {
			lines, length = strings.TrimRight(lines, " ")+"\n ", 1
		}
		lines += " " + strings.TrimSpace(word)
		length += 1 + len(word)
	}
	return lines + "."
}

// helpWidth of a line of help.
const helpWidth = 76

// inside returns the resource without the wrapper that tells its kind; nil
// when this version does not know it.
func inside(r *skerryv1.Resource) manifest.Object { return manifest.Of(r) }

// subject names a resource as the command line does: workload/web.
func subject(kindName, name string) string { return strings.ToLower(kindName) + "/" + name }

// sortResources sorts by project and name, web-2 before web-10, and drops what
// this version does not know.
func sortResources(resources []*skerryv1.Resource) []*skerryv1.Resource {
	resources = slices.DeleteFunc(resources, func(r *skerryv1.Resource) bool { return inside(r) == nil })
	slices.SortStableFunc(resources, func(a, b *skerryv1.Resource) int {
		return cmp.Or(cmp.Compare(inside(a).GetProject(), inside(b).GetProject()),
			compareNames(inside(a).GetName(), inside(b).GetName()))
	})
	return resources
}

// compareNames compares the part before a final -NUMBER as text, the number as
// a number.
func compareNames(a, b string) int {
	aStem, aNumber := splitNumber(a)
	bStem, bNumber := splitNumber(b)
	return cmp.Or(cmp.Compare(aStem, bStem), cmp.Compare(aNumber, bNumber), cmp.Compare(a, b))
}

func splitNumber(name string) (string, uint64) {
	at := strings.LastIndexByte(name, '-')
	if at < 0 {
		return name, 0
	}
	number, err := strconv.ParseUint(name[at+1:], 10, 64)
	if err != nil {
		return name, 0
	}
	return name[:at], number
}
